//! Request heads: read, then judged.
//!
//! Reading is incremental: it goes on at the line where it stopped, so that a head that arrives byte by byte costs no
//! more than its longest line, and nonsense is refused before the head is complete.

use tollgate_core::body::Length;
use tollgate_core::field::{Known, TOKEN};
use tollgate_core::head::{Method, Part, RequestHead, Version};
use tollgate_core::problem::Problem;

use crate::faults::{CODING, CONNECT, EXPECTATION, HEAD_TOO_LARGE, MALFORMED, TARGET_TOO_LONG, VERSION};
use crate::fields::{self, Named, Progress, Refused};
use crate::{HeadLimits, Parsed, list, target};

/// Longest method name in bytes; the longest registered one has 17.
const LONGEST_METHOD: usize = 32;

/// Reads one head. Make a new one for each request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    /// Where the next line starts; 0: the request line is not read yet.
    next: usize,
}

impl Reader {
    /// Looks at what is in `head`'s buffer and reads as far as it goes.
    ///
    /// # Errors
    /// The problem to answer with; the connection must be closed afterwards.
    pub fn read(&mut self, head: &mut RequestHead, limits: &HeadLimits) -> Result<Parsed, Problem> {
        if self.next == 0 {
            match request_line(head, limits)? {
                Some(next) => self.next = next,
                None => return partial(head, limits),
            }
        }
        match fields::lines(&mut head.fields, self.next, limits.fields) {
            Ok(Progress::Complete(end)) if end <= limits.head => {
                head.fields.head_len = end;
                Ok(Parsed::Complete)
            }
            Ok(Progress::Complete(_)) => Err(too_large(limits)),
            Ok(Progress::Partial(next)) => {
                self.next = next;
                partial(head, limits)
            }
            Err(Refused::TooMany) => {
                Err(HEAD_TOO_LARGE.problem().detail(format!("more than {} header lines", limits.fields)))
            }
            Err(Refused::Malformed(what)) => Err(malformed(what)),
        }
    }
}

fn partial(head: &RequestHead, limits: &HeadLimits) -> Result<Parsed, Problem> {
    if head.fields.buffer.len() >= limits.head { Err(too_large(limits)) } else { Ok(Parsed::Partial) }
}

fn too_large(limits: &HeadLimits) -> Problem {
    HEAD_TOO_LARGE.problem().detail(format!("the head is larger than {} bytes", limits.head))
}

fn malformed(what: &'static str) -> Problem {
    MALFORMED.problem().detail(what)
}

/// `method SP request-target SP HTTP-version CRLF` (RFC 9112 §3): single spaces, nothing else. Gives where the next line
/// starts; `None`: not all there yet.
fn request_line(head: &mut RequestHead, limits: &HeadLimits) -> Result<Option<usize>, Problem> {
    let bytes = head.fields.buffer.filled();
    // RFC 9112 §2.2: one empty line before a request is forgiven.
    let start = match bytes {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return Ok(None),
        _ => 0,
    };
    let Some(method_end) = token_end(bytes, start)? else { return Ok(None) };
    let target_start = method_end + 1;
    let rest = &bytes[target_start..];
    let target_len = rest.iter().position(|b| !b.is_ascii_graphic()).unwrap_or(rest.len());
    if target_len > limits.target {
        return Err(TARGET_TOO_LONG
            .problem()
            .detail(format!("the request target is longer than {} bytes", limits.target)));
    }
    let target_end = target_start + target_len;
    match bytes.get(target_end) {
        None => return Ok(None),
        Some(b' ') if target_len > 0 => {}
        Some(b'\r' | b'\n') => return Err(malformed("a request line without a version")),
        Some(_) => return Err(malformed("a byte in the request target that must be percent-encoded")),
    }
    let Some((version, next)) = version(bytes, target_end + 1)? else { return Ok(None) };
    let part =
        |start: usize, end: usize| Some(Part { start: u16::try_from(start).ok()?, end: u16::try_from(end).ok()? });
    let (Some(method), Some(target)) = (part(start, method_end), part(target_start, target_end)) else {
        return Err(too_large(limits));
    };
    head.method = Method::of(method.of(bytes));
    head.method_part = method;
    head.version = version;
    head.raw_path = target;
    Ok(Some(next))
}

/// The end of the method, which a single space must follow.
fn token_end(bytes: &[u8], start: usize) -> Result<Option<usize>, Problem> {
    let rest = &bytes[start..];
    let len = rest.iter().position(|b| !TOKEN[usize::from(*b)]);
    if len.unwrap_or(rest.len()) > LONGEST_METHOD {
        return Err(malformed("a method longer than 32 bytes"));
    }
    match len {
        None => Ok(None),
        Some(0) => Err(malformed("a request line that does not start with a method")),
        Some(len) if rest[len] == b' ' => Ok(Some(start + len)),
        Some(_) => Err(malformed("a byte that may not stand in a method")),
    }
}

/// `HTTP/1.0` or `HTTP/1.1` and CRLF; gives the version and where the next line starts.
fn version(bytes: &[u8], at: usize) -> Result<Option<(Version, usize)>, Problem> {
    let text = &bytes[at..bytes.len().min(at + 10)];
    let is_digit = |i: usize| text.get(i).is_none_or(u8::is_ascii_digit);
    let named = text.len().min(5);
    if text[..named] != b"HTTP/"[..named] || !is_digit(5) || text.get(6).is_some_and(|b| *b != b'.') || !is_digit(7) {
        return Err(malformed("a request line that does not end in an HTTP version"));
    }
    let Some(number) = text.get(5..8) else { return Ok(None) };
    let version = match number {
        b"1.0" => Version::Http10,
        b"1.1" => Version::Http11,
        _ => return Err(VERSION.problem().detail("only HTTP/1.0 and HTTP/1.1 are spoken here")),
    };
    match (text.get(8), text.get(9)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Some((version, at + 10))),
        (None, _) | (Some(b'\r'), None) => Ok(None),
        (Some(b'\n'), _) => Err(malformed("a line that ends in LF alone")),
        (Some(b'\r'), _) => Err(malformed("a CR without LF")),
        _ => Err(malformed("something behind the HTTP version")),
    }
}

/// What a complete head means for the connection and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the body ends.
    pub length: Length,
    /// Whether the client lets the connection stay open (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether it waits for `100 Continue`.
    pub expects_continue: bool,
    /// Whether it takes trailers (`TE: trailers`).
    pub takes_trailers: bool,
    /// Whether it asks for another protocol on this connection (`Upgrade`, RFC 9110 §7.8).
    pub upgrades: bool,
}

/// Decides what the head means: host, target, framing, connection. Fields that `Connection` names are dropped.
///
/// # Errors
/// The problem to answer with; the connection must be closed afterwards.
pub fn judge(head: &mut RequestHead) -> Result<Verdict, Problem> {
    if head.method == Method::Connect {
        return Err(CONNECT.problem().detail("CONNECT is not served here"));
    }
    let seen = survey(head)?;
    host(head, &seen)?;
    target::resolve(head)?;
    let length = framing(head, &seen)?;
    let (keep_alive, names_upgrade) = connection(head, &seen)?;
    // RFC 9110 §7.8: to be ignored from HTTP/1.0, and without `Connection: upgrade`. With a body to come, nobody could tell
    // where the other protocol begins.
    let upgrades = names_upgrade
        && length == Length::None
        && head.version == Version::Http11
        && head.fields.known(Known::Upgrade).is_some();
    let expects_continue = expectation(head, &seen)?;
    let takes_trailers =
        seen.te > 0 && head.fields.all("te").flat_map(list).any(|element| element.eq_ignore_ascii_case(b"trailers"));
    Ok(Verdict { length, keep_alive, expects_continue, takes_trailers, upgrades })
}

/// How often the fields occur that decide something.
#[derive(Default)]
struct Seen {
    host: u32,
    content_length: u32,
    transfer_encoding: u32,
    connection: u32,
    expect: u32,
    te: u32,
    host_part: Part,
}

fn survey(head: &RequestHead) -> Result<Seen, Problem> {
    let mut seen = Seen::default();
    for field in head.fields.received() {
        match field.known {
            Known::Host => {
                seen.host += 1;
                seen.host_part = field.value;
            }
            Known::ContentLength => seen.content_length += 1,
            Known::TransferEncoding => seen.transfer_encoding += 1,
            Known::Connection => seen.connection += 1,
            Known::Expect => seen.expect += 1,
            Known::Te => seen.te += 1,
            _ => {}
        }
    }
    Ok(seen)
}

/// Exactly one `Host` of the right form; HTTP/1.0 may leave it out (RFC 9112 §3.2).
fn host(head: &mut RequestHead, seen: &Seen) -> Result<(), Problem> {
    match (seen.host, head.version) {
        (1, _) => {
            head.host = seen.host_part;
            target::check_host(seen.host_part.of(head.fields.buffer.filled())).map_err(malformed)
        }
        (0, Version::Http10) => Ok(()),
        (0, _) => Err(malformed("no `Host` field")),
        _ => Err(malformed("more than one `Host` field")),
    }
}

/// How the body ends (RFC 9112 §6.3), with everything doubtful refused rather than resolved.
fn framing(head: &RequestHead, seen: &Seen) -> Result<Length, Problem> {
    match (seen.transfer_encoding, seen.content_length) {
        (0, 0) => Ok(Length::None),
        (0, 1) => {
            let value = head.fields.known(Known::ContentLength).unwrap_or_default();
            content_length(value).map(|n| if n == 0 { Length::None } else { Length::Known(n) }).map_err(malformed)
        }
        (0, _) => Err(malformed("more than one `Content-Length` field")),
        (_, 1..) => Err(malformed("both `Content-Length` and `Transfer-Encoding`")),
        // RFC 9112 §6.1: an HTTP/1.0 message with Transfer-Encoding must be treated as faulty.
        _ if head.version == Version::Http10 => Err(malformed("`Transfer-Encoding` in an HTTP/1.0 request")),
        (1, 0) => transfer_encoding(head.fields.known(Known::TransferEncoding).unwrap_or_default()),
        _ => Err(malformed("more than one `Transfer-Encoding` field")),
    }
}

/// Exactly `chunked`. A list of well-formed codings that ends in `chunked` is understood but not implemented; anything
/// else is malformed.
fn transfer_encoding(value: &[u8]) -> Result<Length, Problem> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Length::Chunked);
    }
    let known: &[&[u8]] = &[b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    let codings: Vec<&[u8]> = list(value).collect();
    match codings.split_last() {
        Some((last, before))
            if last.eq_ignore_ascii_case(b"chunked")
                && !before.is_empty()
                && before.iter().all(|c| known.iter().any(|k| c.eq_ignore_ascii_case(k))) =>
        {
            Err(CODING.problem().detail("`chunked` is the only transfer coding spoken here"))
        }
        _ => Err(malformed("a `Transfer-Encoding` other than `chunked`")),
    }
}

/// The value of `Content-Length`: one or more digits, no sign, no list (RFC 9110 §8.6), below 2^63.
///
/// # Errors
/// Says what is wrong.
pub fn content_length(value: &[u8]) -> Result<u64, &'static str> {
    let refused = "a `Content-Length` that is not one plain number";
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(refused);
    }
    let number = value.iter().try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    number.filter(|n| i64::try_from(*n).is_ok()).ok_or(refused)
}

/// Whether the connection may stay open, and whether `Connection` names `Upgrade`; drops the fields that it names
/// (RFC 9110 §7.6.1).
fn connection(head: &mut RequestHead, seen: &Seen) -> Result<(bool, bool), Problem> {
    let by_default = head.version == Version::Http11;
    if seen.connection == 0 {
        return Ok((by_default, false));
    }
    let (mut close, mut keep, mut upgrade) = (false, false, false);
    let mut named = Named::default();
    let bytes = head.fields.buffer.filled();
    for field in head.fields.received().iter().filter(|field| field.known == Known::Connection) {
        for option in list(field.value.of(bytes)) {
            match Known::of(option) {
                _ if option.eq_ignore_ascii_case(b"close") => close = true,
                Known::KeepAlive => keep = true,
                // Dropping these would change what the message means: nobody names them in good faith.
                Known::Host | Known::ContentLength | Known::TransferEncoding => {
                    return Err(malformed("`Connection` names a field that frames or routes the request"));
                }
                Known::Upgrade => upgrade = true,
                Known::Te => {}
                _ => named.push(bytes, option).map_err(malformed)?,
            }
        }
    }
    head.fields.drop_named(named.parts());
    Ok((!close && (by_default || keep), upgrade))
}

/// `100-continue` or nothing (RFC 9110 §10.1.1); HTTP/1.0 clients do not know it and are not asked.
fn expectation(head: &RequestHead, seen: &Seen) -> Result<bool, Problem> {
    if seen.expect == 0 || head.version == Version::Http10 {
        return Ok(false);
    }
    let value = head.fields.known(Known::Expect).unwrap_or_default();
    if seen.expect == 1 && value.eq_ignore_ascii_case(b"100-continue") {
        Ok(true)
    } else {
        Err(EXPECTATION.problem().detail("only `100-continue` can be expected"))
    }
}

#[cfg(test)]
mod tests;
