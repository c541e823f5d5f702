//! Buffers that a worker lends to the exchanges it carries.
//!
//! An idle connection holds none. Each thread keeps a bounded stock; a buffer that is dropped goes back to the
//! stock of the thread that drops it. Nothing here grows with input: what does not fit is the caller's to refuse.

use std::cell::RefCell;
use std::ops::Range;

/// Size of a buffer in bytes: a head of up to 48 KiB always leaves room for body bytes, and a head with 64 KiB of
/// body arrives in one read.
pub const SIZE: usize = 72 * 1024;

/// How many unused buffers a thread keeps at most (18 MiB).
const STOCK: usize = 256;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes received, from 0 to [`Buffer::len`], and room for more.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
}

impl Buffer {
    /// Takes a buffer from the thread's stock, or a new one.
    #[must_use]
    pub fn lend() -> Self {
        let stocked = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        Self { bytes: stocked.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()), len: 0 }
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
        let n = bytes.len().min(SIZE);
        buffer.bytes[..n].copy_from_slice(&bytes[..n]);
        buffer.len = n;
        buffer
    }

    /// Gives the memory back but for the first `len` bytes, which move to a place of just their size: for what is kept
    /// while nothing more is to be received.
    pub fn shrink(&mut self, len: usize) {
        let kept = Box::from(&self.filled()[..len.min(self.len)]);
        *self = Self { len: len.min(self.len), bytes: kept };
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

    /// Room for more.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Notes that `n` more bytes were written into [`Buffer::spare`].
    pub fn advance(&mut self, n: usize) {
        self.len = (self.len + n).min(self.bytes.len());
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

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() != SIZE {
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
        assert_eq!(Buffer::lend().spare().len(), SIZE);
    }

    #[test]
    fn keep_moves_what_is_left_to_the_front() {
        let mut buffer = Buffer::holding(b"GET / next");
        buffer.keep(6..10);
        assert_eq!(buffer.filled(), b"next");
    }
}
