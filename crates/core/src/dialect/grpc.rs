//! gRPC (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): how its calls are told apart, how long they may
//! take, and how the gateway's own answers look to them.

use std::fmt::Write;
use std::time::Duration;

use super::Dialect;
use crate::head::ReplyHead;
use crate::problem::{Problem, Retry};
use crate::reply::Reply;

/// Whether a request of this `Content-Type` is a call of gRPC: `application/grpc`, alone or with `+proto`, `+json`, `;…`
/// behind it. gRPC-Web is something else.
#[must_use]
pub fn is_call(content_type: &[u8]) -> bool {
    const NAME: &[u8] = b"application/grpc";
    match content_type.split_at_checked(NAME.len()) {
        Some((name, behind)) => name.eq_ignore_ascii_case(NAME) && matches!(behind.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// What `grpc-timeout` says: at most eight digits and a unit. `None`: it says nothing that can be understood.
#[must_use]
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |n: u64, digit| n * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The value of `grpc-timeout` for what is left of a call's time: in milliseconds, or seconds if that takes too many digits.
pub fn write_timeout(out: &mut Vec<u8>, left: Duration) {
    const MOST: u128 = 99_999_999;
    let (number, unit) = match left.as_millis() {
        millis if millis <= MOST => (millis, b'm'),
        millis => ((millis / 1000).min(MOST), b'S'),
    };
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(unit);
}

/// An answer that is only a status: no message, `grpc-status` and `grpc-message` beside the fields ("Trailers-Only").
#[derive(Debug)]
pub struct Grpc;

impl Dialect for Grpc {
    fn render(&self, problem: &Problem, _: &str) -> Reply {
        let fault = problem.fault;
        let mut head = ReplyHead::new(200);
        head.fields.add("Content-Type", "application/grpc");
        head.fields.add("grpc-status", status(fault.status));
        let mut message = String::from(fault.title);
        if !problem.detail.is_empty() {
            message.push_str(": ");
            message.push_str(&problem.detail);
        }
        head.fields.add("grpc-message", encoded(&message));
        // What to do about it, for whoever looks it up.
        head.fields.add("problem-type", format!("{}{}", super::TYPE_PREFIX, fault.slug));
        // When to retry, or not to, in the words of gRPC's retries (gRFC A6).
        let after = problem.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        let seconds = after.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse::<u64>().ok());
        match seconds {
            Some(seconds) => head.fields.add("grpc-retry-pushback-ms", seconds.saturating_mul(1000).to_string()),
            None if fault.retry == Retry::Never => head.fields.add("grpc-retry-pushback-ms", "-1"),
            None => {}
        }
        problem.headers.iter().for_each(|(name, value)| head.fields.add(*name, value.clone()));
        Reply { head, ..Reply::default() }
    }
}

/// The status of gRPC nearest to one of HTTP. For answers of others gRPC's own table is coarser
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>); here it is known what is meant.
fn status(http: u16) -> &'static str {
    match http {
        400 => "3",                   // INVALID_ARGUMENT
        408 | 504 => "4",             // DEADLINE_EXCEEDED
        403 => "7",                   // PERMISSION_DENIED
        413 | 414 | 429 | 431 => "8", // RESOURCE_EXHAUSTED
        409 => "10",                  // ABORTED
        404 | 405 | 501 => "12",      // UNIMPLEMENTED
        500 => "13",                  // INTERNAL
        502 | 503 => "14",            // UNAVAILABLE
        401 => "16",                  // UNAUTHENTICATED
        _ => "2",                     // UNKNOWN
    }
}

/// A message as it may stand in a field: all but visible ASCII and blanks as `%XX`, and `%` itself.
fn encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to memory does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Fault;

    static SPENT: Fault = Fault::client("limit/spent", 429, "Quota is spent", "Wait.");

    #[test]
    fn calls_are_told_by_their_type() {
        for call in ["application/grpc", "application/grpc+proto", "Application/GRPC;charset=utf-8"] {
            assert!(is_call(call.as_bytes()), "{call}");
        }
        for other in ["application/grpc-web", "application/grpcx", "application/json", "", "application/grp"] {
            assert!(!is_call(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn times_are_at_most_eight_digits_and_a_unit() {
        assert_eq!(timeout(b"100m"), Some(Duration::from_millis(100)));
        assert_eq!(timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!((timeout(b"1S"), timeout(b"5u")), (Some(Duration::from_secs(1)), Some(Duration::from_micros(5))));
        for wrong in ["", "S", "100", "100x", "123456789S", "-1S", "1 S", "1.5S"] {
            assert_eq!(timeout(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_left_is_written_so_that_it_can_be_read() {
        for (left, text) in [(0, "0m"), (99_999_999, "99999999m"), (100_000_000, "100000S")] {
            let mut out = Vec::new();
            write_timeout(&mut out, Duration::from_millis(left));
            assert_eq!(String::from_utf8_lossy(&out), text);
            assert_eq!(timeout(&out), Some(Duration::from_millis(left)));
        }
    }

    #[test]
    fn what_a_client_is_to_do_is_told_to_callers_of_grpc_too() {
        let reply = Grpc.render(&SPENT.problem().header("Retry-After", "3").header("RateLimit", "x"), "c-1");
        let field = |name| reply.head.fields.text(name).unwrap_or_default().to_owned();
        assert_eq!((field("retry-after").as_str(), field("ratelimit").as_str()), ("3", "x"));
        assert_eq!(reply.head.fields.all("grpc-retry-pushback-ms").collect::<Vec<_>>(), [b"3000"]);
    }

    #[test]
    fn a_problem_is_a_status_without_a_message() {
        let reply = Grpc.render(&SPENT.problem().detail("100 % used — wait"), "c-1");
        let field = |name| reply.head.fields.text(name).unwrap_or_default().to_owned();
        assert_eq!((reply.head.status, field("grpc-status")), (200, "8".to_owned()));
        assert_eq!(field("grpc-message"), "Quota is spent: 100 %25 used %E2%80%94 wait");
        assert_eq!(field("problem-type"), "urn:tollgate:problem:limit/spent");
    }
}
