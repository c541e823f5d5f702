//! Entities of HTML.

use super::digit;

/// `&lt;`, `&#60;`, `&#x3c;` and the like, also without `;`. Of numbers above 255 the lower byte is taken, as `ModSecurity` does.
pub(super) fn decode(text: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let found = if *byte == b'&' { entity(&text[at + 1..]) } else { None };
        match found {
            Some((value, length)) => {
                to.push(value);
                at += 1 + length;
                if text.get(at) == Some(&b';') {
                    at += 1;
                }
            }
            None => {
                to.push(*byte);
                at += 1;
            }
        }
    }
}

/// The byte, and how long its name is.
fn entity(text: &[u8]) -> Option<(u8, usize)> {
    if let Some(number) = text.strip_prefix(b"#") {
        let hexadecimal = number.strip_prefix(b"x").or_else(|| number.strip_prefix(b"X"));
        let (digits, radix, before) = hexadecimal.map_or((number, 10, 1), |digits| (digits, 16, 2));
        let own = |byte: &u8| digit(*byte).map(u32::from).filter(|value| *value < radix);
        let count = digits.iter().take_while(|byte| own(byte).is_some()).count();
        // As `strtol` does: no larger than it can be.
        let value = digits[..count].iter().filter_map(own).fold(0u64, |all, digit| {
            all.saturating_mul(radix.into()).saturating_add(digit.into()).min(i64::MAX as u64)
        });
        return (count > 0).then(|| (u8::try_from(value & 0xff).unwrap_or_default(), before + count));
    }
    let count = text.iter().take(8).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let name = &text[..count];
    let names: [(&[u8], u8); 5] = [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", 160)];
    names.iter().find(|(own, _)| name.eq_ignore_ascii_case(own)).map(|(_, byte)| (*byte, count))
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;

    #[test]
    fn entities_are_bytes() {
        for (text, becomes) in [
            ("&lt;&GT&quot;&amp;", "<>\"&"),
            ("&#60;&#x3c;&#X3E&#62x", "<<>>x"),
            ("&#x13c;", "<"),
            ("&#;&#x;&foo;&", "&#;&#x;&foo;&"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of("htmlEntityDecode", text.as_bytes())), becomes, "{text}");
        }
        assert_eq!(of("htmlEntityDecode", b"&nbsp;&#99999999999999999999999;"), [160, 0xff]);
    }
}
