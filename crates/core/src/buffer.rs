//! Buffers that a worker lends to the exchanges it carries.
//!
//! An idle connection holds none. Each thread keeps a bounded stock; a buffer that is dropped goes back to the
//! stock of the thread that drops it. Nothing here grows beyond [`SIZE`]: what does not fit is the caller's to refuse.

use std::cell::RefCell;
use std::ops::Range;

/// Size of a buffer in bytes: a head of up to 48 KiB always leaves room for body bytes, and a head with 64 KiB of
/// body arrives in one read.
pub const SIZE: usize = 72 * 1024;

/// How much of it is used at first. Most messages need no more, and what is never touched takes no memory: neither to hold
/// it nor to clear it.
const START: usize = SIZE / 16;

/// How many times more is used each time that was not enough. Within the memory that the buffer has, so nothing moves; and
/// for good, so that a buffer which carried a large body once takes the next in one read.
const GROWTH: usize = 4;

/// How much room a buffer has at least, unless it is full.
const ROOM: usize = 512;

/// How many unused buffers a thread keeps at most (18 MiB).
const STOCK: usize = 256;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes received, from 0 to [`Buffer::len`], and room for more.
#[derive(Debug, Default)]
pub struct Buffer {
    /// The part that is used; its capacity is [`SIZE`], unless it was shrunk.
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// Takes a buffer from the thread's stock, or a new one.
    #[must_use]
    pub fn lend() -> Self {
        let stocked = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        Self { bytes: stocked.unwrap_or_else(fresh), len: 0 }
    }

    /// A buffer that holds nothing and has room for nothing: what an idle connection keeps.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A buffer filled with `bytes`, of which at most [`SIZE`] are taken: for tests and built messages.
    #[must_use]
    pub fn holding(bytes: &[u8]) -> Self {
        let mut buffer = Self::lend();
        // It fits: so much is the room of an empty one.
        let _ = buffer.append(&bytes[..bytes.len().min(SIZE)]);
        buffer
    }

    /// Gives the memory back but for the first `len` bytes, which move to a place of just their size: for what is kept
    /// while nothing more is to be received.
    pub fn shrink(&mut self, len: usize) {
        let kept = self.filled()[..len.min(self.len)].to_vec();
        *self = Self { len: kept.len(), bytes: kept };
    }

    /// Whether there is memory behind it.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// How many bytes were received and not dropped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All that was received.
    #[must_use]
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The same, to decode in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// Room for more: all that is left, or at first less; none only if [`SIZE`] bytes are there.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Notes that `n` more bytes were written into [`Buffer::spare`].
    pub fn advance(&mut self, n: usize) {
        self.len = (self.len + n).min(self.bytes.len());
        self.make_room(ROOM);
    }

    /// Adds bytes of the caller's; false: they do not fit, and nothing was added.
    #[must_use]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        self.make_room(bytes.len());
        let Some(room) = self.spare().get_mut(..bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.advance(bytes.len());
        true
    }

    /// Uses more of the memory, until there is so much room or all of it is used. One that was shrunk stays as it is.
    fn make_room(&mut self, room: usize) {
        while self.spare().len() < room && self.bytes.len() < SIZE && self.is_whole() {
            self.bytes.resize((self.bytes.len() * GROWTH).clamp(START, SIZE), 0);
        }
    }

    /// Whether it has the memory of a lent buffer, and is neither [`Buffer::none`] nor shrunk.
    fn is_whole(&self) -> bool {
        self.bytes.capacity() >= SIZE
    }

    /// Forgets all bytes from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Keeps only the bytes in `range`, moved to the front.
    pub fn keep(&mut self, range: Range<usize>) {
        let range = range.start.min(self.len)..range.end.min(self.len);
        self.len = range.len();
        if range.start > 0 {
            self.bytes.copy_within(range, 0);
        }
    }
}

fn fresh() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.resize(START, 0);
    bytes
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.is_whole() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        // The stock is gone while the thread ends: then the buffer just ends too.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < STOCK {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_lent_again() {
        let buffer = Buffer::holding(b"x");
        let address = buffer.filled().as_ptr();
        drop(buffer);
        let again = Buffer::lend();
        assert!(again.is_empty());
        assert_eq!(again.bytes.as_ptr(), address);
    }

    #[test]
    fn a_shrunk_buffer_keeps_what_it_must_and_is_lent_to_nobody() {
        let mut buffer = Buffer::holding(b"head and body");
        buffer.shrink(4);
        assert_eq!(buffer.filled(), b"head");
        assert!(buffer.spare().is_empty());
        drop(buffer);
        assert!(Buffer::lend().spare().len() >= ROOM);
    }

    #[test]
    fn a_buffer_uses_more_of_its_memory_as_it_fills_and_keeps_it() {
        let mut buffer = Buffer { bytes: fresh(), len: 0 };
        let address = buffer.bytes.as_ptr();
        let mut reads = 0;
        while !buffer.spare().is_empty() {
            assert!(buffer.spare().len() >= ROOM.min(SIZE - buffer.len()));
            let room = buffer.spare().len();
            buffer.advance(room);
            reads += 1;
        }
        assert_eq!((buffer.len(), reads), (SIZE, 3));
        buffer.truncate(100);
        assert_eq!(buffer.spare().len(), SIZE - 100);
        assert_eq!(buffer.bytes.as_ptr(), address);
    }

    #[test]
    fn a_buffer_that_is_nearly_full_has_room_for_a_little_more() {
        for filled in [START - 1, START, START + 1, SIZE / 4 - 1, SIZE - ROOM] {
            assert!(Buffer::holding(&vec![b'x'; filled]).spare().len() >= ROOM, "{filled}");
        }
        assert!(Buffer::holding(&[b'x'; SIZE + 1]).spare().is_empty());
    }

    #[test]
    fn what_is_appended_may_fill_the_buffer_to_its_end() {
        let mut buffer = Buffer { bytes: fresh(), len: 0 };
        assert!(buffer.append(b"head"));
        assert!(buffer.append(&[b'x'; SIZE - 6]));
        assert!(!buffer.append(b"end"));
        assert!(buffer.append(b"en"));
        assert_eq!(buffer.len(), SIZE);
        assert!(buffer.filled().starts_with(b"headx") && buffer.filled().ends_with(b"xen"));
    }

    #[test]
    fn a_buffer_that_has_no_memory_or_was_shrunk_takes_nothing_more() {
        let mut shrunk = Buffer::holding(b"kept and not");
        shrunk.shrink(4);
        for (mut buffer, kept) in [(Buffer::none(), &b""[..]), (shrunk, b"kept")] {
            buffer.advance(0);
            assert!(buffer.spare().is_empty() && !buffer.append(b"x"));
            assert_eq!(buffer.filled(), kept);
        }
    }

    #[test]
    fn keep_moves_what_is_left_to_the_front() {
        let mut buffer = Buffer::holding(b"GET / next");
        buffer.keep(6..10);
        assert_eq!(buffer.filled(), b"next");
    }
}
