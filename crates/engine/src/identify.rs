//! Who asks and under which id: the correlation id, the trace, the client's address (rows E3, T4).

use std::net::IpAddr;

use tollgate_config::model::{Accept, ProxyHeaders};
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_core::field::Known;
use tollgate_core::ids::{CorrelationId, Trace};
use tollgate_http1::list;
use tollgate_http1::target::check_host;

use crate::deployment::Rules;

/// Settles ids and the client's address for an exchange whose head was read, as far as it was; drops what is said of the
/// client by those who are not believed.
pub fn identify(x: &mut Exchange, rules: &Rules) {
    let trusted = rules.trust.is_proxy(x.conn.peer());
    x.peer = if trusted { Peer::Proxy } else { Peer::Client };
    let believed = match rules.correlation.accept {
        Accept::Always => true,
        Accept::Trusted => trusted,
        Accept::Never => false,
    };
    let continued = if believed { x.head.fields.known(Known::Traceparent).and_then(Trace::continued) } else { None };
    x.trace = continued.unwrap_or_else(Trace::start);
    let sent = if believed { correlation(x, rules) } else { None };
    x.id = sent.unwrap_or_else(|| CorrelationId::from_trace(x.trace.id));
    x.client = x.conn.peer();
    if trusted {
        believe(x, rules);
    }
    drop_what_is_not_believed(x, rules, continued.is_some());
    if trusted {
        x.told_host = told_host(x).and_then(|host| std::str::from_utf8(host).ok()).map(Into::into);
    }
}

/// Whoever is not believed may not be quoted either: not to policies, not to conditions, not to services.
fn drop_what_is_not_believed(x: &mut Exchange, rules: &Rules, trace_continued: bool) {
    let trusted = x.peer == Peer::Proxy;
    let correlation = &rules.correlation;
    x.head.fields.drop_received(|field, name| match field.known {
        // Policies write it after this: nobody else may, not even a proxy that is trusted.
        Known::Other | Known::Identity | Known::XForwardedOther if rules.owns(name) => true,
        // A field of the gateway's own in disguise: services might see it in place of the real one.
        Known::Other if name.contains(&b'_') => {
            (Known::disguised(name) != Known::Other || correlation.is_disguised(name))
                && !correlation.is_header(Known::Other, name)
        }
        // The state of a trace that was not taken over belongs to no other (W3C Trace Context §4.3).
        Known::Tracestate => !trace_continued,
        known => known.tells_of_client() && !(trusted && writes(rules.trust.headers, known)),
    });
}

/// Whether a trusted proxy writes this field. What it does not write it passes on as its client sent it.
fn writes(headers: ProxyHeaders, field: Known) -> bool {
    match headers {
        ProxyHeaders::XForwarded => {
            matches!(field, Known::XForwardedFor | Known::XForwardedProto | Known::XForwardedHost)
        }
        ProxyHeaders::Forwarded => field == Known::Forwarded,
    }
}

fn correlation(x: &Exchange, rules: &Rules) -> Option<CorrelationId> {
    let name = &rules.correlation.header;
    let value = match rules.correlation.known {
        Known::Other => x.head.fields.get(std::str::from_utf8(name).ok()?),
        known => x.head.fields.known(known),
    };
    value.and_then(CorrelationId::accept)
}

/// Takes over what a trusted proxy says of its client, in the fields that it is known to write: from the right, the first
/// address that is no trusted proxy.
fn believe(x: &mut Exchange, rules: &Rules) {
    let (client, scheme) = match rules.trust.headers {
        ProxyHeaders::XForwarded => {
            let hops = last_first(x, "x-forwarded-for").map(|hop| (address(hop), None));
            let (client, _) = search(hops, rules);
            (client, last_first(x, "x-forwarded-proto").next().and_then(scheme))
        }
        ProxyHeaders::Forwarded => {
            let hop = |element| (parameter(element, b"for").and_then(address), parameter(element, b"proto"));
            let (client, told) = search(last_first(x, "forwarded").map(hop), rules);
            (client, told.and_then(scheme))
        }
    };
    x.client = client.map_or(x.client, Into::into);
    // The proxy may speak TLS with us and none with its client, or the other way round.
    x.scheme = scheme.unwrap_or(x.scheme);
}

/// The client, and what is told by the element that names it. An element holds as long as trusted proxies wrote it.
fn search<'x>(
    hops: impl Iterator<Item = (Option<IpAddr>, Option<&'x [u8]>)>,
    rules: &Rules,
) -> (Option<IpAddr>, Option<&'x [u8]>) {
    let (mut client, mut told) = (None, None);
    for (address, says) in hops {
        told = says.or(told);
        // What cannot be read cannot be trusted to be one of ours: the chain ends there.
        let Some(address) = address else { break };
        client = Some(address);
        if !rules.trust.is_proxy(address.into()) {
            break;
        }
    }
    (client, told)
}

fn scheme(told: &[u8]) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|scheme| told.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// The host that the client asked a trusted proxy for, if that says so and it is one.
fn told_host(x: &Exchange) -> Option<&[u8]> {
    let fields = &x.head.fields;
    let told = match fields.known(Known::XForwardedHost) {
        Some(_) => last_first(x, "x-forwarded-host").next(),
        None if fields.known(Known::Forwarded).is_some() => {
            last_first(x, "forwarded").next().and_then(|element| parameter(element, b"host"))
        }
        None => None,
    };
    told.filter(|host| check_host(host).is_ok())
}

/// The elements of a list, the nearest proxy's first.
fn last_first<'x>(x: &'x Exchange, name: &str) -> impl Iterator<Item = &'x [u8]> {
    let elements: Vec<&[u8]> = x.head.fields.all(name).flat_map(list).collect();
    elements.into_iter().rev()
}

/// A parameter of a `Forwarded` element (RFC 7239 §4), without its quotes.
fn parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = element.split(|b| *b == b';').filter_map(|pair| {
        let equals = pair.iter().position(|b| *b == b'=')?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    });
    let (_, value) = pairs.find(|(have, _)| have.eq_ignore_ascii_case(name))?;
    Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
}

/// An address, with or without a port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
