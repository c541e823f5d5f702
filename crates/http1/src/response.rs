//! Answers of upstreams: read, then judged. As strict as with requests: a backend that two readers understand
//! differently is as dangerous as a client.

use tollgate_core::body::Length;
use tollgate_core::field::Known;
use tollgate_core::head::{Method, Part, ReplyHead, Version};

use crate::fields::{self, Named, Progress, Refused};
use crate::request::content_length;
use crate::{HeadLimits, Parsed, list};

/// Reads one answer's head. Make a new one for each, interim ones included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    next: usize,
}

impl Reader {
    /// Looks at what is in `head`'s buffer and reads as far as it goes.
    ///
    /// # Errors
    /// Says what breaks the grammar or the limits.
    pub fn read(&mut self, head: &mut ReplyHead, limits: &HeadLimits) -> Result<Parsed, &'static str> {
        if self.next == 0 {
            match status_line(head)? {
                Some(next) => self.next = next,
                None => return partial(head, limits),
            }
        }
        match fields::lines(&mut head.fields, self.next, limits.fields) {
            Ok(Progress::Complete(end)) if end <= limits.head => {
                head.fields.head_len = end;
                Ok(Parsed::Complete)
            }
            Ok(Progress::Complete(_)) => Err("a head larger than `limits.head`"),
            Ok(Progress::Partial(next)) => {
                self.next = next;
                partial(head, limits)
            }
            Err(Refused::TooMany) => Err("more fields than `limits.fields`"),
            Err(Refused::Malformed(what)) => Err(what),
        }
    }
}

fn partial(head: &ReplyHead, limits: &HeadLimits) -> Result<Parsed, &'static str> {
    if head.fields.buffer.len() >= limits.head { Err("a head larger than `limits.head`") } else { Ok(Parsed::Partial) }
}

/// `HTTP-version SP status-code SP [ reason-phrase ] CRLF` (RFC 9112 §4). The space before an empty reason may be
/// missing, as many servers leave it out.
fn status_line(head: &mut ReplyHead) -> Result<Option<usize>, &'static str> {
    let refused = Err("a status line that is not HTTP/1.x");
    let bytes = head.fields.buffer.filled();
    let named = bytes.len().min(7);
    if bytes[..named] != b"HTTP/1."[..named] {
        return refused;
    }
    let Some(start) = bytes.get(..13) else { return Ok(None) };
    head.version = match start[7] {
        b'0' => Version::Http10,
        b'1' => Version::Http11,
        _ => return refused,
    };
    if start[8] != b' ' || !start[9..12].iter().all(u8::is_ascii_digit) {
        return refused;
    }
    head.status = start[9..12].iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    // RFC 9110 §15: everything else is invalid.
    if !(100..600).contains(&head.status) {
        return Err("a status code outside 100 to 599");
    }
    let reason = match start[12] {
        b' ' => 13,
        b'\r' => 12,
        _ => return refused,
    };
    let end = crate::scan::control(bytes, reason);
    match (bytes.get(end), bytes.get(end + 1)) {
        (None, _) | (Some(b'\r'), None) => return Ok(None),
        (Some(b'\r'), Some(b'\n')) => {}
        _ => return Err("a status line that does not end in CRLF"),
    }
    let (Ok(start), Ok(stop)) = (u16::try_from(reason), u16::try_from(end)) else { return refused };
    head.reason = Part { start, end: stop };
    Ok(Some(end + 2))
}

/// What a complete head means for the connection and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How the body ends.
    pub length: Length,
    /// The length that the head tells, also where no body follows (answers to `HEAD`, 304).
    pub told: Length,
    /// Whether the upstream lets the connection stay open.
    pub keep_alive: bool,
}

/// Decides how the body ends (RFC 9112 §6.3) and whether the connection may be used again; drops the fields that
/// `Connection` names.
///
/// # Errors
/// Says what is doubtful.
pub fn judge(head: &mut ReplyHead, request: Method) -> Result<Verdict, &'static str> {
    let keep_alive = connection(head)?;
    let has_none = request == Method::Head || head.status < 200 || matches!(head.status, 204 | 304);
    let count = |known: Known| head.fields.received().iter().filter(|f| f.known == known).count();
    let length = match (count(Known::TransferEncoding), count(Known::ContentLength)) {
        (0, 0) => Length::UntilClose,
        (0, 1) => Length::Known(content_length(head.fields.known(Known::ContentLength).unwrap_or_default())?),
        (1, 0) if head.version == Version::Http10 => return Err("`Transfer-Encoding` in an HTTP/1.0 answer"),
        (1, 0) => match head.fields.known(Known::TransferEncoding) {
            Some(value) if value.eq_ignore_ascii_case(b"chunked") => Length::Chunked,
            _ => return Err("a `Transfer-Encoding` other than `chunked`"),
        },
        (0, _) => return Err("more than one `Content-Length`"),
        _ => return Err("both `Content-Length` and `Transfer-Encoding`, or one of them twice"),
    };
    // RFC 9110 §8.6, RFC 9112 §6.1: these may announce no body. Should it come all the same, it must not be taken for
    // the next answer.
    let announces_body = !matches!(length, Length::UntilClose | Length::Known(0));
    if head.status < 200 && announces_body {
        return Err("an interim answer that announces a body");
    }
    if has_none {
        let keep_alive = keep_alive && !(head.status == 204 && announces_body);
        return Ok(Verdict { length: Length::None, told: length, keep_alive });
    }
    Ok(Verdict { length, told: length, keep_alive: keep_alive && length != Length::UntilClose })
}

fn connection(head: &mut ReplyHead) -> Result<bool, &'static str> {
    let by_default = head.version == Version::Http11;
    if !head.fields.received().iter().any(|f| f.known == Known::Connection) {
        return Ok(by_default);
    }
    let (mut close, mut keep) = (false, false);
    let mut named = Named::default();
    let bytes = head.fields.buffer.filled();
    for field in head.fields.received().iter().filter(|field| field.known == Known::Connection) {
        for option in list(field.value.of(bytes)) {
            match Known::of(option) {
                _ if option.eq_ignore_ascii_case(b"close") => close = true,
                Known::KeepAlive => keep = true,
                known if known.is_hop_by_hop() => {}
                _ => named.push(bytes, option)?,
            }
        }
    }
    head.fields.drop_named(named.parts());
    Ok(!close && (by_default || keep))
}

#[cfg(test)]
mod tests;
