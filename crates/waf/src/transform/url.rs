//! Percent-encoding, and what some servers make of it.

use super::{digit, hex_pair};

/// `%HH` and `+`; what is no such stays.
pub(crate) fn decode(text: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'%' if let Some(value) = hex_pair(&text[at..]) => {
                to.push(value);
                at += 2;
            }
            b'+' => to.push(b' '),
            byte => to.push(*byte),
        }
    }
}

/// The same, and `%uHHHH`, of which the lower byte is taken.
pub(super) fn decode_uni(text: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'%' if let Some(value) = wide(&text[at..]) => {
                to.push(value);
                at += 5;
            }
            b'%' if let Some(value) = hex_pair(&text[at..]) => {
                to.push(value);
                at += 2;
            }
            b'+' => to.push(b' '),
            byte => to.push(*byte),
        }
    }
}

/// `uHHHH` as one byte.
fn wide(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"u").or_else(|| text.strip_prefix(b"U"))?;
    narrow(digits)
}

/// Four digits as one byte: the lower one. Of the full-width forms of ASCII (`FF01` to `FF5E`), what they are forms of.
pub(super) fn narrow(digits: &[u8]) -> Option<u8> {
    let (high, low) = (hex_pair(digits)?, hex_pair(&digits[2..])?);
    Some(if high == 0xff && (0x01..0x5f).contains(&low) { low + 0x20 } else { low })
}

pub(super) fn encode(text: &[u8], to: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b' ' => to.push(b'+'),
            b'*' | b'-' | b'.' | b'_' => to.push(*byte),
            byte if byte.is_ascii_alphanumeric() => to.push(*byte),
            byte => to.extend(format!("%{byte:02x}").bytes()),
        }
    }
}

/// What is no ASCII becomes `%uHHHH`; what is no UTF-8 stays.
pub(super) fn utf8_to_unicode(text: &[u8], to: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match u8::try_from(c) {
                Ok(byte) if byte.is_ascii() => to.push(byte),
                _ => to.extend(format!("%u{:04x}", u32::from(c)).bytes()),
            }
        }
        to.extend(chunk.invalid());
    }
}

/// Whether `%` stands where no two digits follow.
pub(crate) fn is_badly_encoded(text: &[u8]) -> bool {
    let is_digit = |at: usize| text.get(at).is_some_and(|byte| digit(*byte).is_some());
    let percents = text.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    percents.into_iter().any(|(at, _)| !is_digit(at + 1) || !is_digit(at + 2))
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        for (name, text, becomes) in [
            ("urlDecode", "a%20b+c%zz%4", "a b c%zz%4"),
            ("urlDecode", "%u0041", "%u0041"),
            ("urlDecodeUni", "%u0041%uff1c%3E%u00zz", "A<>%u00zz"),
            ("urlEncode", "a b/ü", "a+b%2f%c3%bc"),
            ("utf8toUnicode", "aü€", "a%u00fc%u20ac"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of(name, text.as_bytes())), becomes, "{name} {text}");
        }
        assert_eq!(of("utf8toUnicode", b"\xff\xc3\xbc"), b"\xff%u00fc");
    }

    #[test]
    fn bad_encodings_are_told() {
        for (text, is) in [("a%20", false), ("%", true), ("%2", true), ("%zz", true), ("", false), ("%%41", true)] {
            assert_eq!(is_badly_encoded(text.as_bytes()), is, "{text}");
        }
    }
}
