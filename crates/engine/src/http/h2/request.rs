//! The head of an HTTP/2 request, judged as strictly as one of HTTP/1.1 and kept in the same form.
//!
//! What may come from here goes to services that speak HTTP/1.1, so nothing may pass that they would read otherwise
//! (RFC 9113 §10.3). The crate h2 has refused what §8.2 and §8.3 forbid of names and pseudo-header fields; values, target,
//! authority and length are judged here.

use http::request::Parts;
use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::field::{Known, is_token};
use tollgate_core::head::{Method, RequestHead, Version};
use tollgate_core::problem::Problem;
use tollgate_http1::faults::{CONNECT, EXPECTATION, HEAD_TOO_LARGE, MALFORMED, TARGET_TOO_LONG};
use tollgate_http1::{list, request, target};

use super::copy::{Copied, NoCopy};
use crate::deployment::Rules;
use crate::http::turn::Turn;

/// Reads a head into `turn`. `ended`: no body follows.
///
/// # Errors
/// The problem to answer with.
pub(super) fn read(turn: &mut Turn, parts: &Parts, ended: bool, rules: &Rules) -> Result<(), Problem> {
    turn.x.head.version = Version::Http2;
    turn.verdict.keep_alive = true;
    turn.x.head.fields.buffer = Buffer::lend();
    copy(&mut turn.x.head, parts, rules)?;
    if turn.x.head.method == Method::Connect {
        match parts.extensions.get::<h2::ext::Protocol>() {
            Some(protocol) => connect(turn, protocol.as_str(), rules)?,
            None => return Err(CONNECT.problem().detail("CONNECT is not served here")),
        }
    }
    let ended = ended || turn.connects;
    let head = &mut turn.x.head;
    if parts.uri.scheme_str().is_some_and(str::is_empty) {
        return Err(malformed("an empty `:scheme`"));
    }
    // RFC 9113 §8.3.1: a path must be there, and begin with a slash unless the server as a whole is asked about. A whole
    // URL, which HTTP/1.1 knows, would name the authority once more. The `Uri` makes a missing path into `/`.
    let target = head.raw_path.of(head.fields.buffer.filled());
    let is_whole_server = head.method == Method::Options && target == b"*";
    if parts.uri.path().is_empty() || !(target.starts_with(b"/") || is_whole_server) {
        return Err(malformed("a `:path` that is missing or does not begin with `/`"));
    }
    target::check_host(head.host.of(head.fields.buffer.filled())).map_err(malformed)?;
    target::resolve(head)?;
    turn.verdict.length = length(head, ended)?;
    turn.x.length = turn.verdict.length;
    turn.verdict.expects_continue = expects_continue(head)?;
    turn.verdict.takes_trailers =
        head.fields.all("te").flat_map(list).any(|element| element.eq_ignore_ascii_case(b"trailers"));
    Ok(())
}

/// `CONNECT` for another protocol (RFC 8441 §4) is the same wish as `GET` with `Upgrade`, and is from here on told so: to
/// routes, to policies, and to services that speak HTTP/1.1. What follows belongs to that protocol; it is no body.
fn connect(turn: &mut Turn, protocol: &str, rules: &Rules) -> Result<(), Problem> {
    // One name of the registry of upgrade tokens, where `Upgrade` may hold a list.
    if !is_token(protocol.as_bytes()) {
        return Err(malformed("a `:protocol` that is not one name"));
    }
    let head = &mut turn.x.head;
    let has_key = head.fields.has("sec-websocket-key");
    let no = |no| no_copy(no, rules);
    let mut copied = Copied { fields: &mut head.fields, most: rules.heads.head };
    head.method = Method::Get;
    head.method_part = copied.put(b"GET").map_err(no)?;
    copied.field(b"upgrade", protocol.as_bytes(), Known::Upgrade).map_err(no)?;
    if protocol.eq_ignore_ascii_case("websocket") && !has_key {
        // RFC 6455 §4.1: 16 random bytes, which HTTP/2 has no need of.
        let key = fastrand::u128(..).to_be_bytes();
        let key = data_encoding::BASE64.encode(&key);
        copied.field(b"sec-websocket-key", key.as_bytes(), Known::Other).map_err(no)?;
    }
    copied.end();
    turn.connects = true;
    turn.verdict.upgrades = true;
    Ok(())
}

fn malformed(what: &'static str) -> Problem {
    MALFORMED.problem().detail(what)
}

/// Copies the head into the buffer, with an index of its fields, as if it had been received as text.
fn copy(head: &mut RequestHead, parts: &Parts, rules: &Rules) -> Result<(), Problem> {
    let no = |no| no_copy(no, rules);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > rules.heads.target {
        let limit = rules.heads.target;
        return Err(TARGET_TOO_LONG.problem().detail(format!("the request target is longer than {limit} bytes")));
    }
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(malformed("a byte in the request target that must be percent-encoded"));
    }
    let mut copied = Copied { fields: &mut head.fields, most: rules.heads.head };
    head.method = Method::of(parts.method.as_str().as_bytes());
    head.method_part = copied.put(parts.method.as_str().as_bytes()).map_err(no)?;
    head.raw_path = copied.put(target.as_bytes()).map_err(no)?;
    head.host = copied.field(b"host", host(parts)?, Known::Host).map_err(no)?;
    if let Some(cookie) = cookie(parts) {
        copied.field(b"cookie", &cookie, Known::Cookie).map_err(no)?;
    }
    for (name, value) in &parts.headers {
        let known = Known::of(name.as_str().as_bytes());
        if !matches!(known, Known::Host | Known::Cookie) {
            copied.field(name.as_str().as_bytes(), value.as_bytes(), known).map_err(no)?;
        }
    }
    copied.end();
    match head.fields.received().len() > rules.heads.fields {
        true => {
            let limit = rules.heads.fields;
            Err(HEAD_TOO_LARGE.problem().detail(format!("more than {limit} header lines")))
        }
        false => Ok(()),
    }
}

fn no_copy(no: NoCopy, rules: &Rules) -> Problem {
    match no {
        NoCopy::TooLarge => {
            let most = rules.heads.head;
            HEAD_TOO_LARGE.problem().detail(format!("the head is larger than {most} bytes"))
        }
        NoCopy::Malformed => malformed("a header field whose name or value may not stand there"),
    }
}

/// `:authority` goes before `Host`; where they differ two readers may take different ones (RFC 9113 §8.3.1).
fn host(parts: &Parts) -> Result<&[u8], Problem> {
    let mut named = parts.headers.get_all(http::header::HOST).iter();
    let (host, second) = (named.next().map(http::HeaderValue::as_bytes), named.next());
    if second.is_some() {
        return Err(malformed("more than one `Host` field"));
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(malformed("an `:authority` that contradicts `Host`"))
        }
        (Some(told), _) | (None, Some(told)) => Ok(told),
        (None, None) => Err(malformed("neither `:authority` nor `Host`")),
    }
}

/// Crumbs of cookies are put together again for everybody who is not HTTP/2 (RFC 9113 §8.2.3).
fn cookie(parts: &Parts) -> Option<Vec<u8>> {
    let mut crumbs = parts.headers.get_all(http::header::COOKIE).iter();
    let mut whole = crumbs.next()?.as_bytes().to_vec();
    for crumb in crumbs {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    Some(whole)
}

/// RFC 9113 §8.1.1: a length that is told must be that of the content; h2 counts it.
fn length(head: &RequestHead, ended: bool) -> Result<Length, Problem> {
    let mut told = head.fields.received().iter().filter(|field| field.known == Known::ContentLength);
    let (first, second) = (told.next(), told.next());
    if second.is_some() {
        return Err(malformed("more than one `Content-Length` field"));
    }
    let told = first.map(|field| request::content_length(field.value.of(head.fields.buffer.filled())));
    match (told.transpose().map_err(malformed)?, ended) {
        (Some(1..), true) => Err(malformed("a `Content-Length` without content")),
        (_, true) => Ok(Length::None),
        // Whether truly nothing comes is known only at the end: until then the service must not take the request for whole.
        (None | Some(0), false) => Ok(Length::Chunked),
        (Some(n), false) => Ok(Length::Known(n)),
    }
}

/// `100-continue` or nothing (RFC 9110 §10.1.1).
fn expects_continue(head: &RequestHead) -> Result<bool, Problem> {
    let mut expected = head.fields.all("expect");
    match (expected.next(), expected.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        _ => Err(EXPECTATION.problem().detail("only `100-continue` can be expected")),
    }
}
