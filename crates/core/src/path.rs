//! The one form of a request path. What is matched, shown to policies and sent on is this form and no other, so
//! that no rule can be walked around by writing a path differently.
//!
//! Decided once, for requests and for the patterns in the config alike:
//! - The input is the path of an origin-form target, without its query. Raw control bytes, blanks, bytes from
//!   0x80 on, `\`, `?` and `#` are refused; so are incomplete percent-encodings, encoded controls (`%00`),
//!   encoded backslashes and overlong UTF-8.
//! - An encoded octet that may stand by itself in a segment (`pchar`, RFC 3986 §3.3) is decoded. Every other
//!   encoding stays, in upper-case hex: `%2F` is no separator, `%25` stays `%25`. Raw bytes that are no `pchar`
//!   but are seen in the wild (`"<>^{|}[]` and the backtick) get encoded.
//! - Runs of `/` become one, then `.` and `..` segments are removed (RFC 3986 §5.2.4). A `..` above the root is
//!   refused, not clamped. A trailing slash is kept and means something: `/a/` is not `/a`; `/a/.` is `/a/`.
//! - A dot segment in disguise is refused: with parameters (`..;x`, which servlets strip), beside an encoded
//!   slash (`..%2F`), or encoded more than once (`%252e%252e`).
//! - Case is kept.
//!
//! The result is ASCII, starts with `/`, and however often a backend decodes it, no dot segment appears.

mod readings;

use std::borrow::Cow;
use std::fmt;

pub use readings::{Reading, readings};

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A byte that must not stand raw in a path: a blank, a control, `?`, `#`, or one from 0x80 on.
    RawByte,
    /// A `%` without two hex digits.
    Encoding,
    /// An encoded control character, such as `%00`.
    Control,
    /// A backslash, raw or encoded: some backends take it for a slash.
    Backslash,
    /// Overlong UTF-8, such as `%C0%AF`: a character hidden from whoever compares bytes.
    Overlong,
    /// More `..` than there are segments before them.
    AboveRoot,
    /// A dot segment hidden behind an encoding or a parameter.
    HiddenDots,
}

impl PathError {
    /// What is wrong, in words for the caller.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the path does not begin with `/`",
            Self::RawByte => "the path contains a byte that must be percent-encoded",
            Self::Encoding => "the path contains a `%` without two hex digits",
            Self::Control => "the path contains an encoded control character",
            Self::Backslash => "the path contains a backslash",
            Self::Overlong => "the path contains overlong UTF-8",
            Self::AboveRoot => "the path leads above its root",
            Self::HiddenDots => "the path hides a `.` or `..` segment behind an encoding or a parameter",
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for PathError {}

/// Where the normal form stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normal {
    /// The input is normal already.
    AsIs,
    /// The input is not; its normal form was written to the buffer.
    Rewritten,
}

/// Normalises `raw`. `buffer` is cleared and written to only where a look at the bytes does not settle it; it
/// never needs more than three times the input.
///
/// # Errors
/// [`PathError`], when the path is ambiguous or not allowed; the buffer's content is then of no use.
pub fn normalise(raw: &[u8], buffer: &mut Vec<u8>) -> Result<Normal, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plainly_normal(raw) {
        return Ok(Normal::AsIs);
    }
    rewrite(raw, buffer)?;
    Ok(if buffer == raw { Normal::AsIs } else { Normal::Rewritten })
}

/// [`normalise`] for those without a buffer at hand: allocates if the path was not normal.
///
/// # Errors
/// As [`normalise`].
pub fn normalised(raw: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    let mut buffer = Vec::new();
    Ok(match normalise(raw, &mut buffer)? {
        Normal::AsIs => Cow::Borrowed(raw),
        Normal::Rewritten => Cow::Owned(buffer),
    })
}

/// Decodes every percent-encoding once. For showing or comparing a captured segment as text; what is sent on
/// stays encoded. A `+` is a plus (it means a blank in queries only); a stray `%` stands for itself.
#[must_use]
pub fn percent_decode(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = text.iter().position(|b| *b == b'%') else { return Cow::Borrowed(text) };
    let (plain, mut rest) = text.split_at(first);
    let mut decoded = plain.to_vec();
    while let Some((&byte, tail)) = rest.split_first() {
        if let (b'%', Some(octet)) = (byte, encoded_octet(tail)) {
            decoded.push(octet);
            rest = &tail[2..];
        } else {
            decoded.push(byte);
            rest = tail;
        }
    }
    Cow::Owned(decoded)
}

/// Whether a byte may stand by itself in a segment: `pchar` of RFC 3986 §3.3 without the encodings.
#[must_use]
pub const fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@') || is_sub_delim(byte)
}

const fn is_sub_delim(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// Bytes that need no second look wherever they stand: `pchar` and the slash.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "stays below 256; const code has no checked conversion")]
        let b = byte as u8;
        table[byte] = is_pchar(b) || b == b'/';
        byte += 1;
    }
    table
};

/// The fast check: true only for paths that [`rewrite`] would give back unchanged. Encodings and segments that
/// begin with a dot are left to it.
fn is_plainly_normal(raw: &[u8]) -> bool {
    raw.iter().all(|b| PLAIN[usize::from(*b)])
        && !raw.windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'))
}

/// Writes the normal form of `raw`, which begins with a slash, to `out`.
fn rewrite(raw: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    // Kept while writing: `out` is empty or ends in a whole segment, never in a slash.
    let mut ends_in_slash = false;
    for segment in raw[1..].split(|b| *b == b'/') {
        let start = out.len();
        out.push(b'/');
        write_segment(segment, out)?;
        ends_in_slash = true;
        match &out[start + 1..] {
            b"" | b"." => out.truncate(start),
            b".." => {
                out.truncate(start);
                let parent = out.iter().rposition(|b| *b == b'/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
            }
            written => {
                refuse_hidden_dots(written)?;
                ends_in_slash = false;
            }
        }
    }
    if ends_in_slash {
        out.push(b'/');
    }
    Ok(())
}

/// Writes one segment with every octet in its one form.
fn write_segment(segment: &[u8], out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = segment;
    let mut previous_octet = 0;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let mut octet = byte;
        match byte {
            b'%' => {
                octet = encoded_octet(tail).ok_or(PathError::Encoding)?;
                rest = &tail[2..];
                match octet {
                    b'\\' => return Err(PathError::Backslash),
                    octet if octet.is_ascii_control() => return Err(PathError::Control),
                    octet if is_overlong(previous_octet, octet) => return Err(PathError::Overlong),
                    octet if is_pchar(octet) => out.push(octet),
                    octet => write_encoded(octet, out),
                }
            }
            b'\\' => return Err(PathError::Backslash),
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'[' | b']' => write_encoded(byte, out),
            byte if is_pchar(byte) => out.push(byte),
            _ => return Err(PathError::RawByte),
        }
        previous_octet = octet;
    }
    Ok(())
}

/// The octet that the two hex digits at the start of `digits` stand for.
fn encoded_octet(digits: &[u8]) -> Option<u8> {
    let value = |byte: u8| char::from(byte).to_digit(16).and_then(|v| u8::try_from(v).ok());
    match digits {
        [high, low, ..] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    }
}

fn write_encoded(octet: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
}

/// Whether two octets begin a UTF-8 sequence longer than its character needs (RFC 3629 §3: such are invalid).
fn is_overlong(first: u8, second: u8) -> bool {
    matches!((first, second), (0xC0 | 0xC1, 0x80..=0xBF) | (0xE0, 0x80..=0x9F) | (0xF0, 0x80..=0x8F))
}

/// Refuses a segment in which further decoding, stripping of parameters or both would make a dot segment.
fn refuse_hidden_dots(segment: &[u8]) -> Result<(), PathError> {
    // Some(n): the part between separators consists of n dots so far. None: it is something else.
    let mut dots = Some(0);
    let mut rest = segment;
    while !rest.is_empty() {
        let (byte, tail) = decoded_wholly(rest);
        rest = tail;
        dots = match (byte, dots) {
            (b'/' | b'\\' | b';', Some(1 | 2)) => return Err(PathError::HiddenDots),
            (b'/' | b'\\', _) => Some(0),
            (b'.', Some(n)) if n < 2 => Some(n + 1),
            _ => None,
        };
    }
    if matches!(dots, Some(1 | 2)) { Err(PathError::HiddenDots) } else { Ok(()) }
}

/// The first byte of `text` after as many rounds of decoding as it takes (`%252e` is `.`), and what follows.
fn decoded_wholly(text: &[u8]) -> (u8, &[u8]) {
    let Some(mut digits) = text.strip_prefix(b"%") else { return (text[0], &text[1..]) };
    loop {
        match encoded_octet(digits) {
            Some(b'%') if encoded_octet(&digits[2..]).is_some() => digits = &digits[2..],
            Some(octet) => return (octet, &digits[2..]),
            None => return (b'%', digits),
        }
    }
}

#[cfg(test)]
mod tests;
