//! Ranges of a file (RFC 9110 §14).

/// More ranges than this, and the whole file is cheaper for everybody (RFC 9110 §14.2).
const MOST: usize = 16;

/// A range within a file: its first byte, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl Range {
    /// `Content-Range` of this range in a file of `size` bytes.
    pub(crate) fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.start + self.length - 1)
    }
}

/// What a request for ranges comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// All of the file: what was asked for is no range of bytes, or makes no sense.
    Whole,
    /// These, in the order asked for; at least one.
    Parts(Vec<Range>),
    /// None of them lies within the file.
    Outside,
}

/// Reads `Range` for a file of `size` bytes. What is not understood is ignored (RFC 9110 §14.2).
pub(crate) fn read(value: &[u8], size: u64) -> Ranges {
    let Some((unit, set)) = std::str::from_utf8(value).ok().and_then(|text| text.split_once('=')) else {
        return Ranges::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Ranges::Whole;
    }
    let (mut parts, mut count) = (Vec::new(), 0);
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()) {
        count += 1;
        match one(spec, size) {
            _ if count > MOST => return Ranges::Whole,
            None => return Ranges::Whole,
            Some(None) => {}
            Some(Some(range)) => parts.push(range),
        }
    }
    // Ranges that overlap can make a small request worth many times the file.
    let total = parts.iter().fold(0u64, |sum, range| sum.saturating_add(range.length));
    match parts.as_slice() {
        _ if count == 0 || total > size => Ranges::Whole,
        [] => Ranges::Outside,
        _ => Ranges::Parts(parts),
    }
}

/// One of the set. `None`: it is no range; `Some(None)`: it lies outside of the file.
fn one(spec: &str, size: u64) -> Option<Option<Range>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some((length > 0).then(|| Range { start: size - length, length }));
    }
    let start = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < start {
        return None;
    }
    if start >= size {
        return Some(None);
    }
    Some(Some(Range { start, length: last.min(size - 1) - start + 1 }))
}

/// Digits only; a number beyond all files is one that lies outside of them.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(value: &str) -> Vec<(u64, u64)> {
        match read(value.as_bytes(), 1000) {
            Ranges::Parts(parts) => parts.iter().map(|range| (range.start, range.length)).collect(),
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn ranges_of_rfc_9110_are_read() {
        assert_eq!(parts("bytes=0-499"), [(0, 500)]);
        assert_eq!(parts("bytes=500-999"), [(500, 500)]);
        assert_eq!(parts("Bytes=-500"), [(500, 500)]);
        assert_eq!(parts("bytes=990-"), [(990, 10)]);
        assert_eq!(parts("bytes=0-0,-1"), [(0, 1), (999, 1)]);
        assert_eq!(parts("bytes= 0-499 , 4500-5499,"), [(0, 500)]);
    }

    #[test]
    fn ranges_end_with_the_file() {
        assert_eq!(parts("bytes=900-99999999999999999999999"), [(900, 100)]);
        assert_eq!(parts("bytes=-5000"), [(0, 1000)]);
        assert_eq!(Range { start: 0, length: 500 }.content_range(1000), "bytes 0-499/1000");
    }

    #[test]
    fn ranges_outside_are_told_apart_from_nonsense() {
        for outside in ["bytes=1000-", "bytes=1000-2000,3000-", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(read(outside.as_bytes(), 1000), Ranges::Outside, "{outside}");
        }
        assert_eq!(read(b"bytes=0-", 0), Ranges::Outside);
        let nonsense = [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=--5",
            "bytes=5",
            "items=0-5",
            "bytes=+1-5",
        ];
        for nonsense in nonsense {
            assert_eq!(read(nonsense.as_bytes(), 1000), Ranges::Whole, "{nonsense}");
        }
    }

    #[test]
    fn many_ranges_and_overlapping_ones_get_the_whole_file() {
        let many = format!("bytes={}", vec!["0-0"; MOST + 1].join(","));
        assert_eq!(read(many.as_bytes(), 1000), Ranges::Whole);
        let most = format!("bytes={}", vec!["0-0"; MOST].join(","));
        assert_eq!(parts(&most).len(), MOST);
        assert_eq!(read(b"bytes=0-,0-", 1000), Ranges::Whole);
        assert_eq!(read(b"bytes=0-600,400-", 1000), Ranges::Whole);
    }

    proptest! {
        #[test]
        fn what_is_given_lies_within_the_file(value in "bytes=[0-9, -]{0,40}", size in 0..2000u64) {
            if let Ranges::Parts(parts) = read(value.as_bytes(), size) {
                prop_assert!(!parts.is_empty() && parts.len() <= MOST);
                prop_assert!(parts.iter().all(|range| range.length > 0 && range.start + range.length <= size));
                prop_assert!(parts.iter().map(|range| range.length).sum::<u64>() <= size);
            }
        }
    }
}
