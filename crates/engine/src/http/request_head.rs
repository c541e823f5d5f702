//! The head that goes to a service: start line and framing from what was decided, the client's fields minus those of its
//! connection, and what a gateway must say of itself (RFC 9110 §7.6).

use std::io::Write;
use std::time::Instant;

use tollgate_core::body::Length;
use tollgate_core::dialect::grpc;
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_core::facts::Address;
use tollgate_core::field::Known;
use tollgate_core::head::Version;
use tollgate_core::onward::Outgoing;
use tollgate_core::problem::Problem;
use tollgate_http1::write;
use tollgate_plan::{Captures, Proxy, RoutePlan};

use crate::deadline;
use crate::deployment::{Backend, Deployment};
use crate::http::turn::Turn;

/// What a head is written from, beside the request itself.
#[derive(Clone, Copy)]
pub(crate) struct Way<'w> {
    pub(crate) d: &'w Deployment,
    pub(crate) route: &'w RoutePlan,
    pub(crate) proxy: &'w Proxy,
    pub(crate) captures: &'w Captures,
    pub(crate) backend: &'w Backend,
}

/// Writes the head for this try, whose answer is due then.
///
/// # Errors
/// It has to be signed, and cannot be.
pub(crate) fn write(
    turn: &mut Turn,
    way: Way<'_>,
    address: &Address,
    now: Instant,
    due: Instant,
) -> Result<(), Problem> {
    let Way { d, route, proxy, captures, backend } = way;
    let (x, out) = (&turn.x, turn.request_head.clear());
    start_line(out, x, proxy, captures);
    host(out, x, backend, proxy, address);
    let correlation = &d.rules.correlation;
    let is_call = turn.is_grpc && x.deadline.is_some();
    let is_time = |known, name: &[u8]| {
        (is_call && known == Known::Other && name.eq_ignore_ascii_case(b"grpc-timeout"))
            || route.deadline.as_ref().is_some_and(|field| name.eq_ignore_ascii_case(field.name.as_bytes()))
    };
    // Most routes say nothing of time.
    let has_time = is_call || route.deadline.is_some();
    write::fields(out, &x.head.fields, |known, name| {
        is_ours(known)
            || x.onward.hides(name)
            || correlation.is_header(known, name)
            || (has_time && is_time(known, name))
    });
    if let Some(field) = &route.deadline {
        deadline::write(out, field, due, now);
    }
    if let Some(deadline) = x.deadline.filter(|_| is_call) {
        out.extend_from_slice(b"grpc-timeout: ");
        grpc::write_timeout(out, deadline.saturating_duration_since(now));
        out.extend_from_slice(b"\r\n");
    }
    match turn.upload.outgoing(x.length) {
        // A body of no bytes is told where a method usually has one (RFC 9110 §8.6).
        Length::None if x.head.fields.known(Known::ContentLength).is_some() => write::content_length(out, 0),
        Length::None | Length::UntilClose => {}
        Length::Known(n) => write::content_length(out, n),
        Length::Chunked => write::chunked(out),
    }
    if let Some(protocol) = &turn.upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        write::field(out, b"Upgrade", protocol);
    } else if turn.verdict.takes_trailers {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    if turn.verdict.expects_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    let signer = x.onward.signer.as_ref();
    let is_signers = |name: &[u8]| signer.is_some_and(|signer| signer.writes(name));
    let own = x.onward.fields.iter().filter(|(name, _)| !is_signers(name));
    own.for_each(|(name, value)| write::field(out, name, value));
    forwarded(out, x);
    write::field(out, &correlation.header, x.id.as_bytes());
    write::field(out, b"traceparent", &x.trace.field());
    if let Some(signer) = signer {
        // A body of no bytes is none: what is signed is the same.
        let content = x.content.as_ref().filter(|_| x.length != Length::None);
        let fields = signer.sign(&Outgoing { head: out, scheme: backend.scheme, content })?;
        fields.iter().for_each(|(name, value)| write::field(out, name.as_bytes(), value.as_bytes()));
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Fields that the gateway writes itself: what the client sent under these names is not passed on, or was taken into
/// account already.
fn is_ours(known: Known) -> bool {
    matches!(
        known,
        Known::Host
            | Known::Expect
            | Known::Traceparent
            | Known::Via
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedProto
    )
}

fn start_line(out: &mut Vec<u8>, x: &Exchange, proxy: &Proxy, captures: &Captures) {
    out.extend_from_slice(x.head.method_bytes());
    out.push(b' ');
    match &proxy.path {
        _ if x.head.is_asterisk => out.push(b'*'),
        None => out.extend_from_slice(x.head.path().as_bytes()),
        Some(change) => change.write(x.head.path(), captures, out),
    }
    if let Some(query) = x.head.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// What the route says, else what the service says, else what the client sent, else the address; a Unix socket has none that
/// could stand there.
fn host(out: &mut Vec<u8>, x: &Exchange, backend: &Backend, proxy: &Proxy, address: &Address) {
    out.extend_from_slice(b"Host: ");
    match proxy.host.as_ref().or(backend.host.as_ref()) {
        Some(host) => out.extend_from_slice(host),
        None if x.head.host_bytes().is_empty() => match address {
            Address::Socket(address) => display(out, address),
            Address::Unix(_) => out.extend_from_slice(b"localhost"),
        },
        None => out.extend_from_slice(x.head.host_bytes()),
    }
    out.extend_from_slice(b"\r\n");
}

/// `Via` (RFC 9110 §7.6.3), `Forwarded` (RFC 7239) and the older `X-Forwarded-*`. What a trusted proxy said before is
/// kept and added to; everybody else's was dropped, and so was what that proxy does not write itself: that is made anew
/// from what is believed.
fn forwarded(out: &mut Vec<u8>, x: &Exchange) {
    out.extend_from_slice(b"Via: ");
    if x.peer == Peer::Proxy {
        earlier(out, x, Known::Via, "via");
    }
    out.extend_from_slice(match x.head.version {
        Version::Http10 => b"1.0 tollgate\r\nX-Forwarded-For: ",
        Version::Http11 => b"1.1 tollgate\r\nX-Forwarded-For: ",
        Version::Http2 => b"2.0 tollgate\r\nX-Forwarded-For: ",
    });
    let peer = x.conn.peer();
    let told_host = x.told_host.as_deref().map(str::as_bytes);
    if !earlier(out, x, Known::XForwardedFor, "x-forwarded-for") && x.client != peer {
        display(out, x.client);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(x.conn.peer_text.as_bytes());
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    out.extend_from_slice(x.scheme.as_bytes());
    out.extend_from_slice(b"\r\n");
    let host = x.head.host_bytes();
    let asked = told_host.unwrap_or(host);
    if !asked.is_empty() {
        write::field(out, b"X-Forwarded-Host", asked);
    }
    out.extend_from_slice(b"Forwarded: ");
    if !earlier(out, x, Known::Forwarded, "forwarded") && x.client != peer {
        element(out, &x.client.to_string(), asked, x.scheme);
        out.extend_from_slice(b", ");
    }
    element(out, &x.conn.peer_text, host, x.scheme);
    out.extend_from_slice(b"\r\n");
}

/// One element of `Forwarded` (RFC 7239 §4): IPv6 in brackets and quotes (§6).
fn element(out: &mut Vec<u8>, from: &str, host: &[u8], scheme: &str) {
    let (before, behind): (&[u8], &[u8]) = if from.contains(':') { (b"for=\"[", b"]\"") } else { (b"for=", b"") };
    out.extend_from_slice(before);
    out.extend_from_slice(from.as_bytes());
    out.extend_from_slice(behind);
    if !host.is_empty() {
        // A port or brackets need quotes.
        let is_token = host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b));
        let quote: &[u8] = if is_token { b"" } else { b"\"" };
        for piece in [b";host=", quote, host, quote] {
            out.extend_from_slice(piece);
        }
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(scheme.as_bytes());
}

/// What was said before in the field of this name, as a list to go on with; whether there was anything.
fn earlier(out: &mut Vec<u8>, x: &Exchange, known: Known, name: &str) -> bool {
    if !x.head.fields.received().iter().any(|f| f.known == known && !f.dropped) {
        return false;
    }
    let before = out.len();
    for value in x.head.fields.all(name).filter(|value| !value.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
    out.len() > before
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}
