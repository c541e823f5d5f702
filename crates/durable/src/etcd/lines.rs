//! JSON of which one line is one message, as the gateway sends what comes bit by bit.

/// Lines that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no end of a line.
    looked: usize,
}

/// A line is longer than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    /// The lines that are complete with this piece; `most`: bytes of a line.
    pub(super) fn take(&mut self, piece: &[u8], most: usize) -> Result<Vec<Vec<u8>>, TooLong> {
        self.bytes.extend_from_slice(piece);
        let (mut lines, mut start) = (Vec::new(), 0);
        while let Some(length) = self.bytes[self.looked..].iter().position(|byte| *byte == b'\n') {
            let end = self.looked + length;
            if end > start {
                lines.push(self.bytes[start..end].to_vec());
            }
            (start, self.looked) = (end + 1, end + 1);
        }
        self.bytes.drain(..start);
        self.looked = self.bytes.len();
        let is_too_long = self.looked > most || lines.iter().any(|line| line.len() > most);
        if is_too_long { Err(TooLong) } else { Ok(lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let text = b"one\n\ntwo\nthree\nfo";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let out: Vec<_> = text.chunks(size).flat_map(|piece| lines.take(piece, 5).unwrap()).collect();
            assert_eq!(out, [&b"one"[..], b"two", b"three"], "{size}");
            assert_eq!(lines.take(b"ur\n", 5).unwrap(), [b"four"]);
        }
    }

    #[test]
    fn a_line_has_an_end_or_too_many_bytes() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"12345", 5), Ok(Vec::new()));
        assert_eq!(lines.take(b"6", 5), Err(TooLong));
        assert_eq!(Lines::default().take(b"123456\n", 5), Err(TooLong));
    }
}
