//! Where a body ends, after each reader.

use super::Reader;

impl Reader {
    /// A body whose length a field says; none without one.
    pub(super) fn counted(self, bytes: &[u8], at: usize, fields: &[(String, String)]) -> (Vec<u8>, usize) {
        let mut lengths = fields.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value.as_str());
        let length = match self {
            Self::Loose => lengths.next_back().map_or(0, |value| strtoul(value, 10)),
            Self::Literal => lengths.next().filter(|v| v.bytes().all(|b| b.is_ascii_digit())).map_or(0, digits),
        };
        let end = bytes.len().min(at.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
        (bytes[at..end].to_vec(), end)
    }

    /// A chunked body, with its trailer section.
    pub(super) fn chunks(self, bytes: &[u8], mut at: usize) -> (Vec<u8>, usize) {
        let mut body = Vec::new();
        while at < bytes.len() {
            let (line, next) = self.chunk_line(bytes, at);
            at = next;
            let size = match self {
                Self::Loose => strtoul(&line, 16),
                Self::Literal => hex_prefix(&line),
            };
            if size == 0 {
                return (body, self.trailers(bytes, at));
            }
            let end = bytes.len().min(at.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)));
            body.extend_from_slice(&bytes[at..end]);
            at = match self {
                // Whatever end of line is there, or none.
                Self::Loose if bytes[end..].starts_with(b"\r\n") => end + 2,
                Self::Loose if bytes[end..].starts_with(b"\n") || bytes[end..].starts_with(b"\r") => end + 1,
                Self::Loose => end,
                // Two bytes, whatever they are.
                Self::Literal => bytes.len().min(end + 2),
            };
        }
        (body, at)
    }

    /// A line of a chunk. The loose reader knows that a quoted text in an extension may hold anything.
    fn chunk_line(self, bytes: &[u8], at: usize) -> (String, usize) {
        let (mut line, mut next) = self.line(bytes, at);
        while self == Self::Loose && line.matches('"').count() % 2 == 1 && next < bytes.len() {
            let (more, end) = self.line(bytes, next);
            line.push_str(&more);
            next = end;
        }
        (line, next)
    }

    fn trailers(self, bytes: &[u8], mut at: usize) -> usize {
        while at < bytes.len() {
            let (line, next) = self.line(bytes, at);
            at = next;
            if line.is_empty() {
                break;
            }
        }
        at
    }
}

/// As C reads a number: blanks, a sign, perhaps `0x`, digits, and what follows does not matter; too large ones wrap.
fn strtoul(text: &str, radix: u32) -> u64 {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let text = text.strip_prefix('+').unwrap_or(text);
    let text = if radix == 16 { text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text) } else { text };
    let digits = text.chars().map_while(|c| c.to_digit(radix));
    let number = digits.fold(0u64, |sum, digit| sum.wrapping_mul(radix.into()).wrapping_add(digit.into()));
    if negative { number.wrapping_neg() } else { number }
}

/// The hex digits at the start; too large ones stay at the top.
fn hex_prefix(text: &str) -> u64 {
    let digits = text.chars().map_while(|c| c.to_digit(16));
    digits.fold(0, |sum: u64, digit| sum.saturating_mul(16).saturating_add(digit.into()))
}

fn digits(text: &str) -> u64 {
    text.bytes().fold(0, |sum: u64, b| sum.saturating_mul(10).saturating_add((b - b'0').into()))
}
