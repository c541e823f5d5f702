//! References (XML 1.0 §4.1): to characters, and to the five entities that need no declaration.

use super::Wrong;

/// Where in a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// Behind `&`.
    Begun,
    /// In a name of so many letters.
    Named([u8; 4], usize),
    /// Behind `&#`.
    Number,
    /// Behind `&#x`.
    Hex,
    /// In a number of this base.
    Digits(u32, u32),
}

/// The predefined entities (§4.6).
const PREDEFINED: [&[u8]; 5] = [b"lt", b"gt", b"amp", b"apos", b"quot"];

const UNKNOWN: Wrong = Wrong::Refused("an entity other than `lt`, `gt`, `amp`, `apos` and `quot`");
const AMISS: Wrong = Wrong::Malformed("`&` that begins no reference");
const NO_CHARACTER: Wrong = Wrong::Malformed("a reference to a character that XML does not know");

impl Reference {
    /// Where it stands behind this byte; `None`: it is over.
    pub(super) fn next(self, byte: u8) -> Result<Option<Self>, Wrong> {
        let is_letter = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.' | 0x80..);
        Ok(Some(match (self, byte) {
            (Self::Begun, b'#') => Self::Number,
            (Self::Begun, _) if is_letter => Self::Named([byte, 0, 0, 0], 1),
            (Self::Named(name, len), b';') => {
                let is_known = name.get(..len).is_some_and(|name| PREDEFINED.contains(&name));
                return if is_known { Ok(None) } else { Err(UNKNOWN) };
            }
            (Self::Named(mut name, len), _) if is_letter => {
                *name.get_mut(len).ok_or(UNKNOWN)? = byte;
                Self::Named(name, len + 1)
            }
            (Self::Number, b'x') => Self::Hex,
            (Self::Number, b'0'..=b'9') => Self::Digits(10, u32::from(byte - b'0')),
            (Self::Hex, _) if byte.is_ascii_hexdigit() => Self::Digits(16, digit(byte)),
            (Self::Digits(_, code), b';') => return is_character(code).map(|()| None),
            (Self::Digits(base, code), _) if (byte as char).is_digit(base) => {
                // What is larger than any character stays so.
                Self::Digits(base, code.saturating_mul(base).saturating_add(digit(byte)))
            }
            _ => return Err(AMISS),
        }))
    }
}

fn digit(byte: u8) -> u32 {
    (byte as char).to_digit(16).unwrap_or_default()
}

/// Whether it is a character (§2.2).
fn is_character(code: u32) -> Result<(), Wrong> {
    match char::from_u32(code) {
        Some('\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..) => Ok(()),
        _ => Err(NO_CHARACTER),
    }
}
