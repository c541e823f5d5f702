//! Who asks and under which id: the correlation id, the trace, the client's address (rows E3, T4).

use std::net::IpAddr;

use tollgate_config::model::Accept;
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_core::field::Known;
use tollgate_core::ids::{CorrelationId, Trace};
use tollgate_http1::list;

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
    // Whoever is not believed may not be quoted either: not to policies, not to conditions, not to services. And the state
    // of a trace that was not taken over belongs to no other (W3C Trace Context §4.3).
    x.head.fields.drop_received(|field, _| match field.known {
        Known::Tracestate => continued.is_none(),
        known => known.tells_of_client() && !trusted,
    });
}

fn correlation(x: &Exchange, rules: &Rules) -> Option<CorrelationId> {
    let name = &rules.correlation.header;
    let value = match rules.correlation.known {
        Known::Other => x.head.fields.get(std::str::from_utf8(name).ok()?),
        known => x.head.fields.known(known),
    };
    value.and_then(CorrelationId::accept)
}

/// Takes over what a trusted proxy says of its client: from the right, the first address that is no trusted proxy.
/// `Forwarded` (RFC 7239) goes before `X-Forwarded-For`.
fn believe(x: &mut Exchange, rules: &Rules) {
    let mut nearest_first = forwarded_for(x);
    if nearest_first.is_empty() {
        nearest_first = x_forwarded_for(x);
    }
    for hop in nearest_first {
        // What cannot be read cannot be trusted to be one of ours: the chain ends there.
        let Some(address) = hop else { break };
        x.client = address.into();
        if !rules.trust.is_proxy(x.client) {
            break;
        }
    }
    let told = [x.head.fields.known(Known::XForwardedProto), forwarded_proto(x)];
    let says = |scheme: &str| told.iter().flatten().any(|proto| proto.eq_ignore_ascii_case(scheme.as_bytes()));
    // The proxy may speak TLS with us and none with its client, or the other way round.
    if says("https") {
        x.scheme = "https";
    } else if says("http") {
        x.scheme = "http";
    }
}

fn x_forwarded_for(x: &Exchange) -> Vec<Option<IpAddr>> {
    let mut hops: Vec<Option<IpAddr>> = x.head.fields.all("x-forwarded-for").flat_map(list).map(address).collect();
    hops.reverse();
    hops
}

fn forwarded_for(x: &Exchange) -> Vec<Option<IpAddr>> {
    let elements = x.head.fields.all("forwarded").flat_map(list);
    let mut hops: Vec<Option<IpAddr>> = elements.map(|element| parameter(element, b"for").and_then(address)).collect();
    hops.reverse();
    hops
}

fn forwarded_proto(x: &Exchange) -> Option<&[u8]> {
    let last = x.head.fields.all("forwarded").flat_map(list).last();
    last.and_then(|element| parameter(element, b"proto"))
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
