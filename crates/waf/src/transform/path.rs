//! Paths in their shortest form.

pub(super) fn normalise(text: &[u8], to: &mut Vec<u8>) {
    shorten(text.split(|byte| *byte == b'/'), text.starts_with(b"/"), to);
}

/// The same with `\`, which becomes `/`.
pub(super) fn normalise_windows(text: &[u8], to: &mut Vec<u8>) {
    let is_absolute = text.starts_with(b"/") || text.starts_with(b"\\");
    shorten(text.split(|byte| [b'/', b'\\'].contains(byte)), is_absolute, to);
}

fn shorten<'t>(parts: impl Iterator<Item = &'t [u8]>, is_absolute: bool, to: &mut Vec<u8>) {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut last: &[u8] = b"x";
    for part in parts {
        last = part;
        match part {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|part| *part != b"..") => {
                kept.pop();
            }
            // Above the root there is nothing.
            b".." if is_absolute => {}
            part => kept.push(part),
        }
    }
    if is_absolute {
        to.push(b'/');
    }
    to.extend(kept.join(&b'/'));
    if !kept.is_empty() && matches!(last, b"" | b"." | b"..") && kept.last() != Some(&&b".."[..]) {
        to.push(b'/');
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;

    #[test]
    fn paths_are_shortened() {
        for (text, becomes) in [
            ("/a//b/./c/../d", "/a/b/d"),
            ("/a/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("a/../../b", "../b"),
            ("../../x", "../../x"),
            ("/a/b/", "/a/b/"),
            ("/a/b/.", "/a/b/"),
            ("..", ".."),
            ("", ""),
            ("a\\..\\b", "a\\..\\b"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of("normalisePath", text.as_bytes())), becomes, "{text}");
        }
        assert_eq!(of("normalizePathWin", b"\\a\\..\\b/c"), b"/b/c");
    }
}
