//! Request targets and hosts (RFC 9112 §3.2).

use std::ops::Range;

use tollgate_core::head::{Method, Part, RequestHead};
use tollgate_core::path::{self, Normal};
use tollgate_core::problem::Problem;

use crate::faults::{MALFORMED, PATH};

/// Splits the target of a head whose `raw_path` is still the whole target: path, query, and in absolute form the
/// authority, which must be the same as `Host`. Normalises the path.
///
/// # Errors
/// The problem to answer with.
pub fn resolve(head: &mut RequestHead) -> Result<(), Problem> {
    let whole = head.raw_path;
    let bytes = whole.of(head.fields.buffer.filled());
    let at = |offset: usize| whole.start + u16::try_from(offset).unwrap_or(u16::MAX);
    let path_start = match bytes {
        [b'/', ..] => 0,
        b"*" if head.method == Method::Options => {
            head.is_asterisk = true;
            return Ok(());
        }
        _ => {
            let authority = absolute(bytes, head.host())?;
            let end = authority.end;
            // HTTP/1.0 may leave `Host` out: then the target names it (RFC 9112 §3.2.2).
            if head.host.is_empty() {
                head.host = Part { start: at(authority.start), end: at(end) };
            }
            if end == bytes.len() && head.method == Method::Options {
                // `OPTIONS http://host` asks about the server as a whole: the last proxy sends it on as `*`
                // (RFC 9112 §3.2.4).
                head.is_asterisk = true;
                head.raw_path = Part { start: at(end), end: at(end) };
                head.normal_path = Some(b"*".to_vec());
                return Ok(());
            }
            end
        }
    };
    let query = bytes.iter().position(|b| *b == b'?').unwrap_or(bytes.len());
    if bytes.contains(&b'#') {
        return Err(MALFORMED.problem().detail("a `#` in the request target"));
    }
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

/// Where the authority stands in an absolute-form target. RFC 9112 §3.2.2 lets the target override `Host`; where they
/// differ two readers may take different ones, so that is refused.
fn absolute(target: &[u8], host: &str) -> Result<Range<usize>, Problem> {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|s| target.get(..s.len()).is_some_and(|have| have.eq_ignore_ascii_case(s.as_bytes())));
    let Some(scheme) = scheme else {
        return Err(MALFORMED.problem().detail("a request target that is neither a path nor an http URL"));
    };
    let rest = &target[scheme.len()..];
    let len = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let authority = &rest[..len];
    check_host(authority).map_err(|what| MALFORMED.problem().detail(what))?;
    if !host.is_empty() && !authority.eq_ignore_ascii_case(host.as_bytes()) {
        return Err(MALFORMED.problem().detail("an absolute request target that contradicts `Host`"));
    }
    Ok(scheme.len()..scheme.len() + len)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Reader, judge};
    use crate::{HeadLimits, Parsed};
    use tollgate_core::buffer::Buffer;

    /// Host, path and query of a request with this line, `HTTP/1.x` left out.
    fn resolved(line: &str, fields: &str, version: &str) -> Result<(String, String, Option<String>), String> {
        let mut head = RequestHead::default();
        head.fields.buffer = Buffer::holding(format!("{line} HTTP/{version}\r\n{fields}\r\n").as_bytes());
        let problem = |problem: Problem| format!("{}: {}", problem.fault.slug, problem.detail);
        assert_eq!(Reader::default().read(&mut head, &HeadLimits::default()).map_err(problem)?, Parsed::Complete);
        judge(&mut head).map_err(problem)?;
        Ok((head.host().to_owned(), head.path().to_owned(), head.query().map(str::to_owned)))
    }

    #[test]
    fn a_target_has_a_path_and_perhaps_a_query() {
        let table = [
            ("GET /", "/", None),
            ("GET /?", "/", Some("")),
            ("GET /a?b?c=/..&d", "/a", Some("b?c=/..&d")),
            ("GET /%61//b/./c", "/a/b/c", None),
            ("GET //evil.test/a", "/evil.test/a", None),
            ("GET http://a.test/b?c", "/b", Some("c")),
            ("GET HTTPS://A.TEST", "/", None),
            ("GET http://a.test?c", "/", Some("c")),
            ("GET http://a.test/../a", "http/path: the path leads above its root", None),
            ("OPTIONS *", "*", None),
            ("OPTIONS http://a.test", "*", None),
            ("OPTIONS http://a.test/", "/", None),
            ("OPTIONS http://a.test?", "/", Some("")),
        ];
        for (line, path, query) in table {
            match resolved(line, "Host: a.test\r\n", "1.1") {
                Ok((_, have, have_query)) => assert_eq!((&have[..], have_query.as_deref()), (path, query), "{line}"),
                Err(problem) => assert_eq!(problem, path, "{line}"),
            }
        }
    }

    #[test]
    fn other_forms_of_a_target_are_refused() {
        let neither = "http/malformed: a request target that is neither a path nor an http URL";
        let no_host = "http/malformed: a `Host` that is not a host name with an optional port";
        let contradicts = "http/malformed: an absolute request target that contradicts `Host`";
        let table = [
            ("GET *", neither),
            ("GET a", neither),
            ("GET a.test:80", neither),
            ("GET ftp://a.test/", neither),
            ("GET http:/a.test/", neither),
            ("GET http:///a", no_host),
            ("GET http://u@a.test/", no_host),
            ("GET http://a.test:/", no_host),
            ("GET http://a.test\\b/", no_host),
            ("GET http://b.test/", contradicts),
            ("GET http://a.test:80/", contradicts),
            ("GET /a#b", "http/malformed: a `#` in the request target"),
            ("GET /a?b#c", "http/malformed: a `#` in the request target"),
            ("GET /a%00", "http/path: the path contains an encoded control character"),
        ];
        for (line, problem) in table {
            assert_eq!(
                resolved(line, "Host: a.test\r\n", "1.1").as_ref().err().map(String::as_str),
                Some(problem),
                "{line}"
            );
        }
    }

    /// RFC 9112 §3.2.2.
    #[test]
    fn the_target_names_the_host_where_http_1_0_has_no_host_field() {
        let named = resolved("GET http://a.test:81/b", "", "1.0").unwrap();
        assert_eq!(named, ("a.test:81".to_owned(), "/b".to_owned(), None));
    }

    /// RFC 9110 §7.2, RFC 3986 §3.2.2.
    #[test]
    fn a_host_is_a_name_or_an_ip_literal_and_perhaps_a_port() {
        for host in ["a", "A-b_c.test", "a.test.", "1.2.3.4", "a:0", "a:65535", "[::1]", "[::ffff:1.2.3.4]:80"] {
            assert_eq!(check_host(host.as_bytes()), Ok(()), "{host}");
        }
        let hosts = [
            "",
            ":",
            ":80",
            "a:",
            "a:b",
            "a:+1",
            "a:65536",
            "a:1:2",
            "a b",
            "a,b",
            "a/b",
            "a@b",
            "a%41",
            "a;b",
            "a?b",
            "\u{e9}",
            "::1",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1%eth0]",
            "[1.2.3.4]",
            "[v1.a]",
            "[::1]]",
            "a[::1]",
            "a\\b",
            "a\"",
            "a\u{b}",
        ];
        for host in hosts {
            assert!(check_host(host.as_bytes()).is_err(), "{host}");
        }
        assert!(check_host("a".repeat(255).as_bytes()).is_ok());
        assert!(check_host("a".repeat(256).as_bytes()).is_err());
    }
}
