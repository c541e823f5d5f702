//! The few parts of JSON that a log line needs, written straight into the worker's buffer (RFC 8259).

/// Appends a string with its quotes. What is no UTF-8 becomes U+FFFD; control bytes, which could deceive whoever reads
/// the log in a terminal, are escaped.
pub(super) fn string(to: &mut Vec<u8>, text: &[u8]) {
    to.push(b'"');
    // Nearly all there is in a log: one look, one copy.
    if text.iter().all(|byte| matches!(*byte, b' '..=b'~') && !matches!(*byte, b'"' | b'\\')) {
        to.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            escaped(to, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                to.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    to.push(b'"');
}

fn escaped(to: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = text.iter().position(|byte| *byte < 0x20 || matches!(*byte, b'"' | b'\\' | 0x7f)) {
        to.extend_from_slice(&text[..at]);
        match text[at] {
            b'"' => to.extend_from_slice(b"\\\""),
            b'\\' => to.extend_from_slice(b"\\\\"),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            byte => {
                to.extend_from_slice(b"\\u00");
                to.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        }
        text = &text[at + 1..];
    }
    to.extend_from_slice(text);
}

/// Appends a whole number.
pub(super) fn number(to: &mut Vec<u8>, mut n: u64) {
    let (mut digits, mut first) = ([0; 20], 20);
    loop {
        first -= 1;
        digits[first] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[first..]);
}

/// Appends 32 hexadecimal digits, with quotes.
pub(super) fn hex(to: &mut Vec<u8>, n: u128) {
    to.push(b'"');
    to.extend((0..32).rev().map(|place| digit((n >> (4 * place)) as u8 & 15)));
    to.push(b'"');
}

fn digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut to = Vec::new();
        write(&mut to);
        String::from_utf8(to).unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_string_that_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let json = written(|to| string(to, &bytes));
            prop_assert!(json.bytes().all(|b| b >= 0x20 && b != 0x7f));
            let back: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn numbers_are_those_of_the_standard_library(n in any::<u64>(), wide in any::<u128>()) {
            prop_assert_eq!(written(|to| number(to, n)), n.to_string());
            prop_assert_eq!(written(|to| hex(to, wide)), format!("\"{wide:032x}\""));
        }
    }

    #[test]
    fn the_ends_of_the_range_are_written_too() {
        assert_eq!(written(|to| number(to, 0)), "0");
        assert_eq!(written(|to| number(to, u64::MAX)), u64::MAX.to_string());
        assert_eq!(written(|to| string(to, b"")), "\"\"");
    }
}
