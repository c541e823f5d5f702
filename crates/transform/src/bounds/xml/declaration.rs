//! The XML declaration (XML 1.0 §2.8): `<?xml version="1.0" encoding="UTF-8"?>`.

use super::{Wrong, is_space};

/// Longer is none of those that mean something.
const LONGEST: usize = 256;

/// A declaration on its way.
#[derive(Debug, Default)]
pub(super) struct Declaration {
    text: Vec<u8>,
    /// Where it begins, if there is one.
    place: u64,
}

impl Declaration {
    /// It may begin behind so many bytes, and nowhere else.
    pub(super) fn may_stand_at(&mut self, place: u64) {
        self.place = place;
    }

    /// Whether it may begin behind so many bytes.
    pub(super) fn stands_at(&self, place: u64) -> bool {
        self.place == place
    }

    /// Takes what stands behind `<?xml`, byte by byte; whether that was all.
    pub(super) fn take(&mut self, byte: u8) -> Result<bool, Wrong> {
        if self.text.len() == LONGEST {
            return Err(AMISS);
        }
        self.text.push(byte);
        match self.text.strip_suffix(b"?>") {
            None => Ok(false),
            Some(inside) => judge(inside).map(|()| true),
        }
    }
}

const AMISS: Wrong = Wrong::Malformed("an XML declaration that is none");

/// What stands between `<?xml` and `?>`.
fn judge(inside: &[u8]) -> Result<(), Wrong> {
    let Some((version, rest)) = pair(inside, b"version")? else { return Err(AMISS) };
    let is_version = version.strip_prefix(b"1.").is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
    if !is_version {
        return Err(AMISS);
    }
    // What XML 1.1 takes for white space and for characters is something else.
    if version == b"1.1" {
        return Err(Wrong::Refused("XML 1.1"));
    }
    let (encoding, rest) = pair(rest, b"encoding")?.map_or((None, rest), |(encoding, rest)| (Some(encoding), rest));
    // What is ASCII is UTF-8, too.
    let is_utf8 = |name: &[u8]| [&b"utf-8"[..], b"us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known));
    if encoding.is_some_and(|encoding| !is_utf8(encoding)) {
        return Err(Wrong::Encoding("an XML declaration that names another encoding than UTF-8"));
    }
    let (alone, rest) = pair(rest, b"standalone")?.map_or((None, rest), |(alone, rest)| (Some(alone), rest));
    let is_over = alone.is_none_or(|alone| matches!(alone, b"yes" | b"no")) && rest.iter().all(|byte| is_space(*byte));
    if is_over { Ok(()) } else { Err(AMISS) }
}

/// A value, and what stands behind it.
type Pair<'t> = (&'t [u8], &'t [u8]);

/// The value of this name, if it stands next.
fn pair<'t>(text: &'t [u8], name: &[u8]) -> Result<Option<Pair<'t>>, Wrong> {
    let trimmed = text.trim_ascii_start();
    let Some(behind) = trimmed.strip_prefix(name).filter(|_| trimmed.len() < text.len()) else { return Ok(None) };
    let behind = behind.trim_ascii_start().strip_prefix(b"=").ok_or(AMISS)?.trim_ascii_start();
    let (quote, behind) = behind.split_first().ok_or(AMISS)?;
    let end = behind.iter().position(|byte| byte == quote).filter(|_| matches!(quote, b'"' | b'\''));
    let (value, behind) = behind.split_at(end.ok_or(AMISS)?);
    Ok(Some((value, &behind[1..])))
}
