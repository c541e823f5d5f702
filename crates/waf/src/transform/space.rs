//! Blanks and comments, and what shells make of them.

/// A blank, or the one of HTML that does not break.
pub(super) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == 160
}

pub(super) fn trim_start(text: &[u8]) -> &[u8] {
    let from = text.iter().position(|byte| !is_blank(*byte));
    from.map_or(&[], |from| &text[from..])
}

pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    let to = text.iter().rposition(|byte| !is_blank(*byte));
    to.map_or(&[], |to| &text[..=to])
}

/// Blanks, however many, become one space.
pub(super) fn compress(text: &[u8], to: &mut Vec<u8>) {
    let mut was = false;
    for byte in text {
        match is_blank(*byte) {
            true if was => {}
            true => to.push(b' '),
            false => to.push(*byte),
        }
        was = is_blank(*byte);
    }
}

/// What a command line means: no `\`, `"`, `'` and `^`, no blanks before `/` and `(`, `,` and `;` as blanks, of these one, in lower case.
pub(super) fn command_line(text: &[u8], to: &mut Vec<u8>) {
    let start = to.len();
    for byte in text {
        let ends_in_space = to.len() > start && to.last() == Some(&b' ');
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !ends_in_space {
                    to.push(b' ');
                }
            }
            b'/' | b'(' => {
                if ends_in_space {
                    to.pop();
                }
                to.push(*byte);
            }
            byte => to.push(byte.to_ascii_lowercase()),
        }
    }
}

/// `/* … */` becomes a space; one without an end, too.
pub(super) fn replace_comments(text: &[u8], to: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = find(rest, b"/*") {
        to.extend(&rest[..at]);
        to.push(b' ');
        rest = find(&rest[at + 2..], b"*/").map_or(&[], |end| &rest[at + 2 + end + 2..]);
    }
    to.extend(rest);
}

/// `/* … */` and `<!-- … -->` go; `--` and `#` and what is behind them, too.
pub(super) fn remove_comments(text: &[u8], to: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(byte) = rest.first() {
        let pair: Option<(&[u8], &[u8])> = match rest {
            [b'/', b'*', ..] => Some((b"/*", b"*/")),
            [b'<', b'!', b'-', b'-', ..] => Some((b"<!--", b"-->")),
            [b'-', b'-', ..] | [b'#', ..] => return,
            _ => None,
        };
        rest = match pair {
            Some((start, end)) => {
                let rest = &rest[start.len()..];
                find(rest, end).map_or(&[], |at| &rest[at + end.len()..])
            }
            None => {
                to.push(*byte);
                &rest[1..]
            }
        };
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;

    #[test]
    fn blanks_and_comments() {
        for (name, text, becomes) in [
            ("compressWhitespace", "a \t\r\n b", "a b"),
            ("cmdLine", "C^at  ,;\"/etc\\/'passwd' (x", "cat/etc/passwd(x"),
            ("replaceComments", "UN/**/ION/*x", "UN ION "),
            ("replaceComments", "a*/b", "a*/b"),
            ("removeComments", "a/*x*/b<!--y-->c--d", "abc"),
            ("removeComments", "a#b", "a"),
            ("removeComments", "a/*x", "a"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of(name, text.as_bytes())), becomes, "{name} {text}");
        }
        assert_eq!(of("compressWhitespace", b"a\xa0\xa0b"), b"a b");
    }
}
