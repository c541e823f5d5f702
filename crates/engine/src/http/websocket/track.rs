//! Where the frames of a WebSocket end (RFC 6455 §5.2): so that the gateway can say goodbye between two of them. What is in
//! them passes unread.

use bytes::Bytes;

/// The longest header: two bytes, and eight of length. The key of the mask counts as content here.
const LONGEST: usize = 10;
/// RFC 6455 §5.5.1.
const CLOSE: u8 = 8;
/// Going away: RFC 6455 §7.4.1.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(crate) struct Track {
    /// What has come of a frame's header.
    header: [u8; LONGEST],
    known: usize,
    /// What is still to come of the frame behind its header.
    left: u64,
    /// The last frame has begun: whoever sends it sends no other.
    closes: bool,
    end: End,
    /// The end was reached, and what came behind it looked at.
    over: bool,
}

/// When nothing more is to pass.
#[derive(Debug, Default)]
enum End {
    /// Whenever whoever sends it closes.
    #[default]
    Theirs,
    /// Between two frames, as soon as may be, and then this.
    Said(Bytes),
    /// Behind their Close frame.
    Heard,
}

impl Track {
    /// These bytes came: so many of them are to pass. What is behind the end is looked at for their goodbye.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_at_end() {
            at += self.follow(bytes.get(at..).unwrap_or_default());
        }
        self.over = self.is_at_end();
        let mut behind = bytes.get(at..).unwrap_or_default();
        while !behind.is_empty() {
            let n = self.follow(behind);
            behind = behind.get(n..).unwrap_or_default();
        }
        at
    }

    /// One byte of a header, or as much of a frame's content as there is; gives how much that was, at least 1.
    fn follow(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let some = self.left.min(bytes.len() as u64);
            self.left -= some;
            return usize::try_from(some).unwrap_or(bytes.len());
        }
        if let (Some(to), Some(byte)) = (self.header.get_mut(self.known), bytes.first()) {
            *to = *byte;
        }
        self.known += 1;
        if self.known == self.header_len() {
            self.left = self.content_len();
            self.closes |= self.header[0] & 0x0F == CLOSE;
            self.known = 0;
        }
        1
    }

    /// How long the header is, as far as it is known.
    fn header_len(&self) -> usize {
        match self.header[1] & 0x7F {
            _ if self.known < 2 => 2,
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn content_len(&self) -> u64 {
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        let told = match (self.header[1] & 0x7F, self.header) {
            (126, [_, _, a, b, ..]) => u64::from(u16::from_be_bytes([a, b])),
            (127, [_, _, rest @ ..]) => u64::from_be_bytes(rest),
            (short, _) => u64::from(short),
        };
        told.saturating_add(mask)
    }

    /// Whether nothing more is to pass.
    pub(crate) fn is_at_end(&self) -> bool {
        let is_between_frames = self.known == 0 && self.left == 0;
        self.over
            || is_between_frames
                && match self.end {
                    End::Theirs => false,
                    End::Said(_) => true,
                    End::Heard => self.closes,
                }
    }

    /// Ends it with a Close frame that says that the gateway goes away, between two frames, unless whoever sends has said
    /// goodbye already. `mask`: towards a service, which takes nothing unmasked (RFC 6455 §5.1).
    pub(crate) fn say_goodbye(&mut self, mask: Option<[u8; 4]>) {
        let [a, b] = GOING_AWAY;
        let frame = match mask {
            None => Bytes::copy_from_slice(&[0x80 | CLOSE, 2, a, b]),
            Some([w, x, y, z]) => Bytes::copy_from_slice(&[0x80 | CLOSE, 0x80 | 2, w, x, y, z, a ^ w, b ^ x]),
        };
        self.end = if self.closes { End::Heard } else { End::Said(frame) };
    }

    /// What the gateway says at the end, if it does; from then on it waits for their goodbye.
    pub(crate) fn goodbye(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.end, End::Heard) {
            End::Said(frame) => {
                self.over = false;
                Some(frame)
            }
            End::Theirs | End::Heard => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, masked: bool, len: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let bit = if masked { 0x80 } else { 0 };
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short < 126 => frame.push(bit | short),
            (_, Ok(len)) => {
                frame.push(bit | 126);
                frame.extend(len.to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0x88, len + if masked { 4 } else { 0 }));
        frame
    }

    #[test]
    fn goodbye_follows_a_whole_frame() {
        let mut track = Track::default();
        let text = frame(1, true, 5);
        assert_eq!(track.pass(&text[..7]), 7);
        track.say_goodbye(None);
        assert!(!track.is_at_end());
        let rest = [&text[7..], &frame(1, true, 1)].concat();
        assert_eq!(track.pass(&rest), text.len() - 7);
        assert!(track.is_at_end());
        assert_eq!(track.goodbye().unwrap().as_ref(), [0x88, 2, 3, 0xE9]);
        assert!(!track.is_at_end());
        let close = [frame(8, true, 2), vec![1]].concat();
        assert_eq!(track.pass(&close), close.len() - 1);
        assert!(track.is_at_end());
    }

    #[test]
    fn it_is_masked_towards_a_service() {
        let mut track = Track::default();
        track.say_goodbye(Some([1, 2, 3, 4]));
        assert!(track.is_at_end());
        assert_eq!(track.goodbye().unwrap().as_ref(), [0x88, 0x82, 1, 2, 3, 4, 3 ^ 1, 0xE9 ^ 2]);
    }

    #[test]
    fn nobody_says_goodbye_twice() {
        let mut track = Track::default();
        let close = frame(8, false, 2);
        assert_eq!(track.pass(&close[..3]), 3);
        track.say_goodbye(None);
        assert_eq!(track.pass(&[&close[3..], b"x"].concat()), 1);
        assert!(track.is_at_end());
        assert_eq!(track.goodbye(), None);
    }

    #[test]
    fn their_goodbye_may_stand_behind_ours_already() {
        let mut track = Track::default();
        track.say_goodbye(None);
        let (ping, close) = (frame(9, true, 3), frame(8, true, 2));
        assert_eq!(track.pass(&ping), 0);
        assert_eq!(track.pass(&close[..1]), 0);
        track.goodbye();
        assert!(!track.is_at_end());
        assert_eq!(track.pass(&close[1..]), close.len() - 1);
        assert!(track.is_at_end());
    }

    proptest! {
        /// However the bytes come, goodbye stands behind the frame in which it was asked for.
        #[test]
        fn ends_are_found(
            frames in prop::collection::vec((0u8..3, any::<bool>(), prop_oneof![0usize..200, 65_000usize..66_000]), 1..6),
            cut in any::<prop::sample::Index>(),
            piece in 1usize..3000,
        ) {
            let frames: Vec<Vec<u8>> = frames.into_iter().map(|(opcode, masked, len)| frame(opcode, masked, len)).collect();
            let all = frames.concat();
            let cut = cut.index(all.len());
            let mut ends = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) });
            let expected = if cut == 0 { 0 } else { ends.find(|end| *end >= cut).unwrap() };
            let mut track = Track::default();
            let (before, after) = all.split_at(cut);
            let mut passed: usize = before.chunks(piece).map(|piece| track.pass(piece)).sum();
            track.say_goodbye(None);
            prop_assert_eq!(track.is_at_end(), passed == expected);
            passed += after.chunks(piece).map(|piece| track.pass(piece)).sum::<usize>();
            prop_assert_eq!(passed, expected);
            prop_assert!(track.is_at_end());
        }

        #[test]
        fn nothing_that_comes_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut track = Track::default();
            prop_assert_eq!(track.pass(&bytes), bytes.len());
            track.say_goodbye(None);
            prop_assert!(track.pass(&bytes) <= bytes.len());
        }
    }
}
