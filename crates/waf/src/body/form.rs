//! Forms: `a=1&b=2` (WHATWG URL §5.1).

use crate::transform::url;

/// Names and values, decoded.
pub(crate) fn pairs(text: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let parts = text.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let at = part.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((part, &b""[..]), |at| (&part[..at], &part[at + 1..]));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut to = Vec::with_capacity(text.len());
    url::decode(text, &mut to);
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let read: Vec<_> = pairs(b"a=1+2&b%3D=%3C&&c&=d&a=").collect();
        let expected = [("a", "1 2"), ("b=", "<"), ("c", ""), ("", "d"), ("a", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.into(), value.into())));
    }
}
