//! Texts with `%{…}` in them, which stand for what a variable is when they are read.

use crate::compile::Names;
use crate::value::{Collection, Key};

/// A text with variables in it.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
    /// What it is as a number, if nothing in it varies.
    number: Option<i64>,
}

/// A part of it.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    /// A variable of the transaction, by its number.
    Tx(usize),
    /// The first value of this.
    Value(Collection, Key),
    /// What was matched last.
    Matched,
    /// Where that stands.
    MatchedName,
}

impl Template {
    /// The text, if its variables are known.
    pub(crate) fn read(text: &str, names: &mut Names) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once("%{") {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.as_bytes().to_vec()));
            }
            let (name, behind) = inside.split_once('}').ok_or("`%{` has no `}`")?;
            pieces.push(piece(name, names)?);
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.as_bytes().to_vec()));
        }
        let number = match &pieces[..] {
            [] => Some(0),
            [Piece::Text(text)] => Some(number(text)),
            _ => None,
        };
        Ok(Self { pieces, number })
    }

    /// The text, if nothing in it varies.
    pub(crate) fn fixed(&self) -> Option<&[u8]> {
        match &self.pieces[..] {
            [] => Some(b""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it is as a number, if nothing in it varies.
    pub(crate) fn fixed_number(&self) -> Option<i64> {
        self.number
    }
}

fn piece(name: &str, names: &mut Names) -> Result<Piece, String> {
    let lower = name.to_ascii_lowercase();
    if let Some(own) = lower.strip_prefix("tx.").or_else(|| lower.strip_prefix("tx:")) {
        return Ok(Piece::Tx(names.number(own)));
    }
    match lower.as_str() {
        "matched_var" => return Ok(Piece::Matched),
        "matched_var_name" => return Ok(Piece::MatchedName),
        // What a rule says of itself is for logs, and what is kept from one request to the next is not kept here.
        _ if ["rule.", "ip.", "global.", "session.", "user.", "resource."].iter().any(|own| lower.starts_with(own)) => {
            return Ok(Piece::Text(Vec::new()));
        }
        _ => {}
    }
    let (collection, key) = lower.split_once(['.', ':']).map_or((lower.as_str(), None), |(c, key)| (c, Some(key)));
    let collection = Collection::named(collection).ok_or_else(|| format!("`%{{{name}}}` is not known here"))?;
    Ok(Piece::Value(collection, key.map_or(Key::All, |key| Key::Named(key.as_bytes().to_vec()))))
}

/// The number that a text begins with, as C reads it; 0 if there is none.
pub(crate) fn number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0i64, |all, byte| all.saturating_mul(10).saturating_add(i64::from(byte - b'0')));
    if is_negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_does() {
        for (text, is) in [("5", 5), (" -7x", -7), ("+3", 3), ("x", 0), ("", 0), ("99999999999999999999", i64::MAX)] {
            assert_eq!(number(text.as_bytes()), is, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let read = |text: &str| Template::read(text, &mut Names::default()).map(|t| t.pieces.len());
        assert_eq!(read("a%{tx.x}b%{REQUEST_HEADERS.host}"), Ok(4));
        assert_eq!(read("%{nobody.knows}"), Err("`%{nobody.knows}` is not known here".to_owned()));
        assert_eq!(read("%{tx.x"), Err("`%{` has no `}`".to_owned()));
    }
}
