//! Writing heads: start line and framing from what was decided, other fields as they were understood.

use tollgate_core::field::Known;
use tollgate_core::head::Fields;

/// Appends `HTTP/1.1 status reason`.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends one field line. Name and value must be well formed.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields that hold, in order, without those of one connection and those for which `skip` speaks, which is
/// told their names.
pub fn fields(out: &mut Vec<u8>, fields: &Fields, skip: impl Fn(Known, &[u8]) -> bool) {
    each(fields, skip, |name, value| field(out, name, value));
}

/// The same, told one by one: for heads that are not text.
#[inline]
pub fn each(fields: &Fields, skip: impl Fn(Known, &[u8]) -> bool, mut tell: impl FnMut(&[u8], &[u8])) {
    let bytes = fields.buffer.filled();
    for have in fields.received() {
        let name = have.name.of(bytes);
        if !have.dropped && !have.known.is_hop_by_hop() && !skip(have.known, name) {
            tell(name, have.value.of(bytes));
        }
    }
    for (name, value) in fields.added() {
        let known = Known::of(name);
        // Framing is never a policy's to write, and what the caller writes itself must not stand there twice.
        if !known.is_hop_by_hop() && !skip(known, name) {
            tell(name, value);
        }
    }
}

/// Appends `Content-Length`.
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends `Transfer-Encoding: chunked`.
pub fn chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
}

/// Appends a number in decimal digits.
pub fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes the line of a chunk of `size` bytes; gives its length.
pub(crate) fn chunk_line(line: &mut [u8; 20], size: usize) -> usize {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1) as usize;
    for (i, place) in line[..digits].iter_mut().enumerate() {
        *place = b"0123456789abcdef"[(size >> (4 * (digits - 1 - i))) & 15];
    }
    line[digits] = b'\r';
    line[digits + 1] = b'\n';
    digits + 2
}

/// The end of a chunked body with trailers (RFC 9112 §7.1.2).
pub(crate) fn last_chunk(trailers: &Fields, behind_content: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(if behind_content { b"\r\n0\r\n" } else { b"0\r\n" });
    fields(&mut out, trailers, |_, _| false);
    out.extend_from_slice(b"\r\n");
    out
}

/// The reason phrase of a status code (RFC 9110 §15 and the registry); empty for one that is not registered.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    REASONS.binary_search_by_key(&status, |(code, _)| *code).map_or("", |at| REASONS[at].1)
}

/// In the order of codes.
static REASONS: &[(u16, &str)] = &[
    (100, "Continue"),
    (101, "Switching Protocols"),
    (102, "Processing"),
    (103, "Early Hints"),
    (200, "OK"),
    (201, "Created"),
    (202, "Accepted"),
    (203, "Non-Authoritative Information"),
    (204, "No Content"),
    (205, "Reset Content"),
    (206, "Partial Content"),
    (207, "Multi-Status"),
    (208, "Already Reported"),
    (226, "IM Used"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (305, "Use Proxy"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (425, "Too Early"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (511, "Network Authentication Required"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_one_connection_and_those_of_the_caller_are_left_out() {
        let mut have = Fields::default();
        for (name, value) in [
            ("Via", "x"),
            ("Transfer-Encoding", "chunked"),
            ("A", "b"),
            ("content-length", "9"),
            ("Host", "h"),
            ("X-Own", "o"),
        ] {
            have.add(name, value);
        }
        let mut out = Vec::new();
        fields(&mut out, &have, |known, name| known == Known::Host || name == b"X-Own");
        assert_eq!(out, b"Via: x\r\nA: b\r\n");
    }

    #[test]
    fn chunk_lines_are_plain_hexadecimal() {
        for size in [1, 9, 10, 15, 16, 255, 65536, usize::MAX] {
            let mut line = [0; 20];
            let len = chunk_line(&mut line, size);
            assert_eq!(line[..len], *format!("{size:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn each_registered_code_finds_its_reason() {
        assert!(REASONS.is_sorted_by(|one, other| one.0 < other.0));
        assert!(REASONS.iter().all(|(code, text)| reason(*code) == *text));
        assert_eq!((reason(200), reason(451), reason(299)), ("OK", "Unavailable For Legal Reasons", ""));
    }

    #[test]
    fn lines_are_written_as_the_grammar_has_them() {
        let mut out = Vec::new();
        status_line(&mut out, 404);
        status_line(&mut out, 299);
        content_length(&mut out, u64::MAX);
        chunked(&mut out);
        let text = "HTTP/1.1 404 Not Found\r\nHTTP/1.1 299 \r\nContent-Length: 18446744073709551615\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(String::from_utf8_lossy(&out), text);
    }
}
