//! A number with one writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that **one thread** changes and any thread may read. Written by a plain load and a plain store: no
/// read-modify-write, so no bus lock on the hot path. A second writer would lose counts, and nothing worse.
#[derive(Debug, Default)]
pub(crate) struct Slot(AtomicU64);

impl Slot {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What has begun and not ended yet. The two are read one after the other while they change, so never below zero.
pub(crate) fn open(begun: u64, ended: u64) -> u64 {
    begun.saturating_sub(ended)
}
