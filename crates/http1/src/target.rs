//! Request targets and hosts (RFC 9112 §3.2).

use tollgate_core::head::{Method, Part, RequestHead};
use tollgate_core::path::{self, Normal};
use tollgate_core::problem::Problem;

use crate::faults::{MALFORMED, PATH};

/// Splits the target of a head whose `raw_path` is still the whole target: path, query, and in absolute form the
/// authority, which must be the same as `Host`. Normalises the path.
///
/// # Errors
/// The problem to answer with.
pub(crate) fn resolve(head: &mut RequestHead) -> Result<(), Problem> {
    let whole = head.raw_path;
    let bytes = whole.of(head.fields.buffer.filled());
    let path_start = match bytes {
        [b'/', ..] => 0,
        b"*" if head.method == Method::Options => {
            head.is_asterisk = true;
            return Ok(());
        }
        _ => absolute(bytes, head.host())?,
    };
    let query = bytes.iter().position(|b| *b == b'?').unwrap_or(bytes.len());
    if bytes.contains(&b'#') {
        return Err(MALFORMED.problem().detail("a `#` in the request target"));
    }
    let at = |offset: usize| whole.start + u16::try_from(offset).unwrap_or(u16::MAX);
    head.raw_path = Part { start: at(path_start), end: at(query) };
    head.query = (query < bytes.len()).then(|| Part { start: at(query + 1), end: whole.end });
    normalise(head)
}

fn normalise(head: &mut RequestHead) -> Result<(), Problem> {
    let raw = head.raw_path.of(head.fields.buffer.filled());
    if raw.is_empty() {
        // `http://host` and `http://host?query` mean the root (RFC 9110 §4.2.3).
        head.normal_path = Some(b"/".to_vec());
        return Ok(());
    }
    let mut rewritten = Vec::new();
    match path::normalise(raw, &mut rewritten) {
        Ok(Normal::AsIs) => Ok(()),
        Ok(Normal::Rewritten) => {
            head.normal_path = Some(rewritten);
            Ok(())
        }
        Err(refused) => Err(PATH.problem().detail(refused.message())),
    }
}

/// Where the path starts in an absolute-form target. RFC 9112 §3.2.2 lets the target override `Host`; where they differ two
/// readers may take different ones, so that is refused.
fn absolute(target: &[u8], host: &str) -> Result<usize, Problem> {
    let scheme = ["http://", "https://"].into_iter().find(|s| {
        target.get(..s.len()).is_some_and(|have| have.eq_ignore_ascii_case(s.as_bytes()))
    });
    let Some(scheme) = scheme else {
        return Err(MALFORMED.problem().detail("a request target that is neither a path nor an http URL"));
    };
    let rest = &target[scheme.len()..];
    let len = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let authority = &rest[..len];
    check_host(authority).map_err(|what| MALFORMED.problem().detail(what))?;
    if !authority.eq_ignore_ascii_case(host.as_bytes()) {
        return Err(MALFORMED.problem().detail("an absolute request target that contradicts `Host`"));
    }
    Ok(scheme.len() + len)
}

/// `uri-host [":" port]` (RFC 9110 §7.2), and of `uri-host` only what names machines: letters, digits, `-._`, or an IP
/// literal in brackets. No user info, no percent-encoding, no empty host.
///
/// # Errors
/// Says what is wrong.
pub fn check_host(host: &[u8]) -> Result<(), &'static str> {
    let refused = Err("a `Host` that is not a host name with an optional port");
    let name_len = match host {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|b| *b == b']') else { return refused };
            if !is_ipv6(&rest[..end]) {
                return refused;
            }
            end + 2
        }
        _ => {
            let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            host.iter().position(|b| !fits(b)).unwrap_or(host.len())
        }
    };
    match &host[name_len..] {
        _ if name_len == 0 || name_len > 255 => refused,
        [] => Ok(()),
        [b':', port @ ..] if is_port(port) => Ok(()),
        _ => refused,
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_port(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|t| t.bytes().all(|b| b.is_ascii_digit()) && t.parse::<u16>().is_ok())
}
