//! Finding the first byte that ends a field value, eight bytes at a time.

/// Index of the first control byte other than tab (below 0x20, or 0x7f) in `bytes` from `from` on; the length if there
/// is none.
#[must_use]
pub(crate) fn control(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
        if may_have_control(word)
            && let Some(found) = (at..at + 8).find(|i| is_control(bytes[*i]))
        {
            return found;
        }
        at += 8;
    }
    (at..bytes.len()).find(|i| is_control(bytes[*i])).unwrap_or(bytes.len())
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// Whether any byte of `word` is below 0x20 or equals 0x7f ("Bit Twiddling Hacks", hasless and haszero). Never misses
/// one; may name a word that has none (a tab, or a byte behind a borrow): the caller looks closer.
fn may_have_control(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let less = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    let delete = word ^ (ONES * 0x7f);
    let equal = delete.wrapping_sub(ONES) & !delete & HIGHS;
    less | equal != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_plain_loop_finds(bytes in prop::collection::vec(any::<u8>(), 0..64), from in 0usize..64) {
            let from = from.min(bytes.len());
            let plain = (from..bytes.len()).find(|i| is_control(bytes[*i])).unwrap_or(bytes.len());
            prop_assert_eq!(control(&bytes, from), plain);
        }
    }
}
