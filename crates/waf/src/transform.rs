//! Transformations: what a value is turned into before it is matched. All of them work on bytes, give at most six times what they take,
//! and never fail.

mod entity;
mod escape;
mod path;
mod space;
pub(crate) mod url;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// A transformation: writes what becomes of the text behind what is there already.
pub(crate) type Apply = fn(&[u8], &mut Vec<u8>);

/// Every transformation by its name, as rules write it but for case.
const ALL: &[(&str, Apply)] = &[
    ("base64decode", base64_decode),
    ("base64decodeext", base64_decode_ext),
    ("base64encode", base64_encode),
    ("cmdline", space::command_line),
    ("compresswhitespace", space::compress),
    ("cssdecode", escape::css),
    ("escapeseqdecode", escape::sequences),
    ("hexdecode", hex_decode),
    ("hexencode", hex_encode),
    ("htmlentitydecode", entity::decode),
    ("jsdecode", escape::js),
    ("length", length),
    ("lowercase", |text, to| to.extend(text.iter().map(u8::to_ascii_lowercase))),
    ("normalisepath", path::normalise),
    ("normalizepath", path::normalise),
    ("normalisepathwin", path::normalise_windows),
    ("normalizepathwin", path::normalise_windows),
    ("removecomments", space::remove_comments),
    ("removenulls", |text, to| to.extend(text.iter().filter(|byte| **byte != 0))),
    ("removewhitespace", |text, to| to.extend(text.iter().filter(|byte| !space::is_blank(**byte)))),
    ("replacecomments", space::replace_comments),
    ("replacenulls", |text, to| to.extend(text.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }))),
    ("sha1", |text, to| to.extend(digest(&SHA1_FOR_LEGACY_USE_ONLY, text).as_ref())),
    ("sqlhexdecode", escape::sql_hex),
    ("trim", |text, to| to.extend(space::trim_end(space::trim_start(text)))),
    ("trimleft", |text, to| to.extend(space::trim_start(text))),
    ("trimright", |text, to| to.extend(space::trim_end(text))),
    ("uppercase", |text, to| to.extend(text.iter().map(u8::to_ascii_uppercase))),
    ("urldecode", url::decode),
    ("urldecodeuni", url::decode_uni),
    ("urlencode", url::encode),
    ("utf8tounicode", url::utf8_to_unicode),
];

/// The transformation of this name.
pub(crate) fn named(name: &str) -> Option<Apply> {
    let name = name.to_ascii_lowercase();
    ALL.iter().find(|(own, _)| *own == name).map(|(_, apply)| *apply)
}

/// Their names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

fn length(text: &[u8], to: &mut Vec<u8>) {
    to.extend(text.len().to_string().bytes());
}

fn hex_encode(text: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    to.extend(text.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

fn hex_decode(text: &[u8], to: &mut Vec<u8>) {
    let value = |byte: u8| digit(byte).unwrap_or(0);
    to.extend(text.chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])));
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The value of two of them.
fn hex_pair(text: &[u8]) -> Option<u8> {
    let [high, low] = text.get(..2)? else { return None };
    Some(digit(*high)? << 4 | digit(*low)?)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// What can be decoded, up to what is no digit.
fn base64_decode(text: &[u8], to: &mut Vec<u8>) {
    base64(text.iter().map_while(|byte| base64_value(*byte)), to);
}

/// What can be decoded, without what is no digit, as PHP does it.
fn base64_decode_ext(text: &[u8], to: &mut Vec<u8>) {
    base64(text.iter().filter_map(|byte| base64_value(*byte)), to);
}

fn base64(digits: impl Iterator<Item = u32>, to: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits {
        bits = (bits << 6 | digit) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            to.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
}

fn base64_encode(text: &[u8], to: &mut Vec<u8>) {
    for group in text.chunks(3) {
        let bits = group.iter().fold(0usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            to.push(if place <= group.len() { BASE64[bits >> (18 - 6 * place) & 63] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of a text.
    pub(super) fn of(name: &str, text: &[u8]) -> Vec<u8> {
        let mut to = Vec::new();
        named(name).unwrap_or_else(|| panic!("{name}"))(text, &mut to);
        to
    }

    #[test]
    fn each_does_what_it_says() {
        for (name, text, becomes) in [
            ("lowercase", "AbC", "abc"),
            ("upperCase", "AbC", "ABC"),
            ("length", "abc", "3"),
            ("hexEncode", "a\u{1}", "6101"),
            ("hexDecode", "616263", "abc"),
            ("base64Decode", "YWJj", "abc"),
            ("base64Decode", "YWI=", "ab"),
            ("base64Decode", "YW!Jj", "a"),
            ("base64DecodeExt", "Y W!J_j==", "ab\u{7f}"),
            ("base64Encode", "ab", "YWI="),
            ("removeNulls", "a\0b", "ab"),
            ("replaceNulls", "a\0b", "a b"),
            ("removeWhitespace", " a\tb\n", "ab"),
            ("trim", "\t a b ", "a b"),
            ("trimLeft", " a ", "a "),
            ("trimRight", " a ", " a"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of(name, text.as_bytes())), becomes, "{name} {text}");
        }
        let mut hashed = Vec::new();
        hex_encode(&of("sha1", b"abc"), &mut hashed);
        assert_eq!(hashed, b"a9993e364706816aba3e25717850c26c9cd0d89d");
        assert!(named("md5").is_none());
    }

    proptest! {
        #[test]
        fn none_panics_or_makes_much_of_little(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            like in "[%u0-9a-fFxX+&#;/\\\\.* <>!nt'\"^-]{0,60}",
        ) {
            for name in names() {
                for text in [&text[..], like.as_bytes()] {
                    prop_assert!(of(name, text).len() <= 6 * text.len() + 20, "{}", name);
                }
            }
        }
    }
}
