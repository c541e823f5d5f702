//! How a connection stands: what its socket, its streams and whoever ends it tell each other.
//!
//! All of them are on one thread; the fields are atomics because their futures must be `Send`, and are never contended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is told.
#[derive(Debug)]
pub(super) struct Standing {
    began: Instant,
    /// The kind of frame that came too often, counted from 1; 0: none did.
    flood: AtomicU8,
    /// Streams that are served.
    open: AtomicUsize,
    /// Those of them that last as long as somebody listens: tunnels, and streams of events.
    lasting: AtomicUsize,
    /// Streams that were cut because their answers were read too slowly, since one came to its end.
    slow: AtomicU32,
    /// Bytes that the socket took.
    written: AtomicU64,
    /// It takes no more for now.
    blocked: AtomicBool,
    /// When a head began that is not complete, in microseconds from `began` on, and one more; 0: there is none.
    head: AtomicU64,
    /// The stream of a DATA frame that is not complete, and how much of it is there.
    data: (AtomicU32, AtomicU32),
}

impl Standing {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            began: now,
            flood: AtomicU8::default(),
            open: AtomicUsize::default(),
            lasting: AtomicUsize::default(),
            slow: AtomicU32::default(),
            written: AtomicU64::default(),
            blocked: AtomicBool::default(),
            head: AtomicU64::default(),
            data: Default::default(),
        })
    }

    /// A kind of frame came too often.
    pub(super) fn raise(&self, kind: usize) {
        self.flood.store(u8::try_from(kind + 1).unwrap_or(u8::MAX), Relaxed);
    }

    /// Which kind did, if one did.
    pub(super) fn flood(&self) -> Option<usize> {
        usize::from(self.flood.load(Relaxed)).checked_sub(1)
    }

    /// Streams that are served.
    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Whether one of them lasts as long as somebody listens.
    pub(super) fn has_lasting(&self) -> bool {
        self.lasting.load(Relaxed) > 0
    }

    /// A stream lasts from now on; see [`Standing::rests`].
    pub(super) fn lasts(&self) {
        self.lasting.fetch_add(1, Relaxed);
    }

    /// It is over.
    pub(super) fn rests(&self) {
        self.lasting.fetch_sub(1, Relaxed);
    }

    /// A stream was cut because its answer was read too slowly.
    pub(super) fn was_slow(&self) {
        self.slow.fetch_add(1, Relaxed);
    }

    /// One came to its end.
    pub(super) fn was_read(&self) {
        self.slow.store(0, Relaxed);
    }

    /// How many were cut since one came to its end.
    pub(super) fn slow(&self) -> u32 {
        self.slow.load(Relaxed)
    }

    /// The socket took so many bytes.
    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
        self.blocked.store(false, Relaxed);
    }

    /// It takes no more for now, or does again.
    pub(super) fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Bytes that it ever took.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Whether it takes no more for now.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// A head that is not complete began then, or none did.
    pub(super) fn awaits_head(&self, since: Option<Instant>) {
        let micros = since.map_or(0, |since| {
            u64::try_from(since.saturating_duration_since(self.began).as_micros())
                .map_or(u64::MAX, |n| n.saturating_add(1))
        });
        self.head.store(micros, Relaxed);
    }

    /// When a head began that is not complete.
    pub(super) fn head_since(&self) -> Option<Instant> {
        let micros = self.head.load(Relaxed).checked_sub(1)?;
        self.began.checked_add(Duration::from_micros(micros))
    }

    /// So many bytes are there of a DATA frame of this stream that is not complete; 0: of none.
    pub(super) fn awaits_data(&self, stream: u32, bytes: u32) {
        self.data.0.store(stream, Relaxed);
        self.data.1.store(bytes, Relaxed);
    }

    /// Bytes that are there of a frame that this stream cannot be given yet.
    pub(super) fn arriving(&self, stream: u32) -> u64 {
        if self.data.0.load(Relaxed) == stream { u64::from(self.data.1.load(Relaxed)) } else { 0 }
    }
}

/// Counts a stream while it is served.
pub(super) struct Open(Arc<Standing>);

impl Open {
    pub(super) fn new(standing: &Arc<Standing>) -> Self {
        standing.open.fetch_add(1, Relaxed);
        Self(Arc::clone(standing))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_complete_is_told_while_it_is_not() {
        let start = tollgate_core::clock::Clock::fake(std::time::UNIX_EPOCH).now();
        let standing = Standing::new(start);
        assert_eq!((standing.head_since(), standing.arriving(0)), (None, 0));
        for since in [start, start + Duration::from_secs(3)] {
            standing.awaits_head(Some(since));
            assert_eq!(standing.head_since(), Some(since));
        }
        standing.awaits_head(None);
        assert_eq!(standing.head_since(), None);
        standing.awaits_data(3, 700);
        assert_eq!((standing.arriving(1), standing.arriving(3)), (0, 700));
    }
}
