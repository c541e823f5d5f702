//! What of a body has passed, kept for as long as it may have to be sent once more, within a bound.

use bytes::Bytes;

/// The pieces of a body from its first byte on.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// How many of them have passed, since the body last began.
    passed: usize,
}

/// Most bytes of a body that are kept for another try.
const MOST: usize = 64 * 1024;
/// Most pieces, whose own cost is not counted.
const MOST_PIECES: usize = 256;
/// A shorter piece is copied: it may be a bit of a long buffer, all of which it would keep.
const SHORT: usize = 1024;

impl Memory {
    /// A piece comes from the source. Whether all that came is still known.
    pub(super) fn keep(&mut self, piece: &Bytes) -> bool {
        if piece.is_empty() {
            return true;
        }
        self.bytes += piece.len();
        if self.bytes > MOST || self.pieces.len() >= MOST_PIECES {
            return false;
        }
        self.pieces.push(if piece.len() < SHORT { Bytes::copy_from_slice(piece) } else { piece.clone() });
        self.passed = self.pieces.len();
        true
    }

    /// The next piece that is to pass once more; `None`: the source goes on.
    pub(super) fn again(&mut self) -> Option<Bytes> {
        let piece = self.pieces.get(self.passed).cloned();
        self.passed += usize::from(piece.is_some());
        piece
    }

    /// Whether pieces are left that are to pass once more.
    pub(super) fn has_more(&self) -> bool {
        self.passed < self.pieces.len()
    }

    /// The body begins anew.
    pub(super) fn start_over(&mut self) {
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_passes_again_in_its_order_and_then_the_source_goes_on() {
        let (mut memory, piece) = (Memory::default(), Bytes::from_static);
        assert!(memory.keep(&piece(b"a")) && memory.keep(&piece(b"")) && memory.keep(&piece(b"b")));
        assert!(!memory.has_more() && memory.again().is_none());
        for _ in 0..2 {
            memory.start_over();
            assert_eq!(memory.again(), Some(piece(b"a")));
        }
        assert!(memory.has_more());
        memory.start_over();
        assert_eq!([memory.again(), memory.again(), memory.again()], [Some(piece(b"a")), Some(piece(b"b")), None]);
        assert!(memory.keep(&piece(b"c")) && !memory.has_more());
    }

    #[test]
    fn only_so_much_is_kept() {
        let mut large = Memory::default();
        assert!(large.keep(&Bytes::from(vec![0; MOST])));
        assert!(!large.keep(&Bytes::from_static(b"x")));
        let mut many = Memory::default();
        assert_eq!((0..300).take_while(|_| many.keep(&Bytes::from_static(b"x"))).count(), MOST_PIECES);
    }
}
