//! Escapes with `\`: of JavaScript, of CSS, of C, and numbers of SQL.

use super::url::narrow;
use super::{digit, hex_pair};

/// `\uHHHH`, `\xHH`, `\OOO`, `\n`; of anything else the character itself.
pub(super) fn js(text: &[u8], to: &mut Vec<u8>) {
    undo(text, to, |rest| match rest[0] {
        b'u' if let Some(value) = narrow(&rest[1..]) => (value, 5),
        b'x' if let Some(value) = hex_pair(&rest[1..]) => (value, 3),
        b'0'..=b'7' => octal(rest),
        other => (control(other).unwrap_or(other), 1),
    });
}

/// Takes what stands behind each `\` for what `of` says: a byte, and how many it takes the place of. It is asked of one at least.
fn undo(text: &[u8], to: &mut Vec<u8>, of: impl Fn(&[u8]) -> (u8, usize)) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        let rest = &text[at..];
        if *byte != b'\\' || rest.is_empty() {
            to.push(*byte);
            continue;
        }
        let (value, length) = of(rest);
        to.push(value);
        at += length;
    }
}

/// Up to three octal digits that are no more than a byte.
fn octal(text: &[u8]) -> (u8, usize) {
    let most = if text[0] <= b'3' { 3 } else { 2 };
    let count = text.iter().take(most).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    (text[..count].iter().fold(0u8, |all, byte| all.wrapping_mul(8).wrapping_add(byte - b'0')), count)
}

fn control(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}

/// `\` and one to six hexadecimal digits, of which the last two count, and a blank behind them; `\` in front of a line's end is nothing.
pub(super) fn css(text: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte != b'\\' {
            to.push(*byte);
            continue;
        }
        let rest = &text[at..];
        let count = rest.iter().take(6).take_while(|byte| digit(**byte).is_some()).count();
        let digits = &rest[..count];
        at += count;
        match digits {
            [] => match rest.first() {
                None => {}
                Some(next) => {
                    at += 1;
                    if *next != b'\n' {
                        to.push(*next);
                    }
                }
            },
            [one] => to.push(digit(*one).unwrap_or_default()),
            digits => {
                let last = &digits[count.saturating_sub(4)..];
                let leading = &digits[..count.saturating_sub(4)];
                let full_width =
                    (count >= 4 && leading.iter().all(|byte| *byte == b'0')).then(|| narrow(last)).flatten();
                to.push(full_width.or_else(|| hex_pair(&digits[count - 2..])).unwrap_or_default());
            }
        }
        if count > 0 && text.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
    }
}

/// Escapes of C: `\n`, `\xHH`, `\OOO`, `\'`; what is none stays.
pub(super) fn sequences(text: &[u8], to: &mut Vec<u8>) {
    undo(text, to, |rest| match rest[0] {
        b'x' | b'X' if let Some(value) = hex_pair(&rest[1..]) => (value, 3),
        b'0'..=b'7' => octal(rest),
        other @ (b'\\' | b'?' | b'\'' | b'"') => (other, 1),
        other if let Some(value) = control(other) => (value, 1),
        _ => (b'\\', 0),
    });
}

/// `0x414243` as the bytes that it is in SQL.
pub(super) fn sql_hex(text: &[u8], to: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let is_start = *byte == b'0' && matches!(text.get(at + 1), Some(b'x' | b'X'));
        let digits = if is_start { &text[at + 2..] } else { &[] };
        let count = digits.chunks_exact(2).take_while(|pair| hex_pair(pair).is_some()).count();
        if count == 0 {
            to.push(*byte);
            at += 1;
            continue;
        }
        to.extend(digits[..2 * count].chunks_exact(2).filter_map(hex_pair));
        at += 2 + 2 * count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::of;

    #[test]
    fn escapes_are_undone() {
        for (name, text, becomes) in [
            ("jsDecode", r"\u003cscript\x3e\74\n\q\", "<script><\nq\\"),
            ("jsDecode", r"\uff1c\u00zz\x4", "<u00zzx4"),
            ("jsDecode", r"\1011\777", "A1?7"),
            ("cssDecode", r"ja\vascript\3a \00003ax\", "javascript::x"),
            ("cssDecode", "\\\nx\\ff1c\\3c\\q", "x<<q"),
            ("cssDecode", r"\1 x", "\u{1}x"),
            ("escapeSeqDecode", r"\x41\101\n\'\q\", "AA\n'\\q\\"),
            ("sqlHexDecode", "a0x4142g0x4", "aABg0x4"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of(name, text.as_bytes())), becomes, "{name} {text}");
        }
    }
}
