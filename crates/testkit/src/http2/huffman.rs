//! The code that strings may be in (RFC 7541 §5.2, Appendix B).

/// How many bits each byte takes, and the end at last. The code is canonical: all else follows from these.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

/// The byte whose code is `code`, `length` bits long.
fn symbol(code: u32, length: u8) -> Option<usize> {
    let (mut next, mut at) = (0_u32, 0);
    for bits in 1..=length {
        next = (next + at) << 1;
        at = u32::try_from(LENGTHS.iter().filter(|l| **l == bits).count()).ok()?;
    }
    let number = usize::try_from(code.checked_sub(next)?).ok()?;
    (0..LENGTHS.len()).filter(|symbol| LENGTHS[*symbol] == length).nth(number)
}

/// Reads a whole string.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (mut text, mut code, mut length) = (Vec::new(), 0_u32, 0_u8);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        if let Some(symbol) = symbol(code, length) {
            text.push(u8::try_from(symbol).map_err(|_| "the end of a string is coded in it")?);
            (code, length) = (0, 0);
        } else if length >= 30 {
            return Err("a code that nothing has".to_owned());
        }
    }
    // What fills the last byte is the beginning of the end's code, all ones, and less than a byte.
    if length > 7 || code != (1 << length) - 1 {
        return Err("a string is filled up with other than ones".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 Appendix C.4.1, C.6.1.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&coded).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decode(&[0xae, 0xc3, 0x77, 0x1a, 0x4b]).unwrap(), b"private");
        assert!(decode(&[0xae, 0xc3, 0x77, 0x1a, 0x4a]).is_err());
        assert!(decode(&[0xff; 4]).is_err());
    }
}
