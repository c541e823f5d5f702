//! One shard per worker, made when the worker first needs it.

use std::sync::OnceLock;

/// A place for one `T` per worker. Idle, it is of one size for any number of workers: 10,000 routes nobody calls cost
/// next to nothing.
#[derive(Debug)]
pub(crate) struct Shards<T> {
    workers: usize,
    shards: OnceLock<Box<[OnceLock<Box<T>>]>>,
}

impl<T: Default> Shards<T> {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), shards: OnceLock::new() }
    }

    /// The shard of a worker. An index beyond the last worker wraps around, as there is no better answer.
    #[inline]
    pub(crate) fn get(&self, worker: usize) -> &T {
        let shards = self.shards.get_or_init(|| (0..self.workers).map(|_| OnceLock::new()).collect());
        shards[worker % shards.len()].get_or_init(Box::default)
    }

    /// The shards that were ever asked for.
    pub(crate) fn used(&self) -> impl Iterator<Item = &T> {
        self.shards.get().into_iter().flatten().filter_map(OnceLock::get).map(AsRef::as_ref)
    }

    /// Sums one number over all shards; wrapping, so that shards which went down on one worker and up on another fit.
    pub(crate) fn sum(&self, number: impl Fn(&T) -> u64) -> u64 {
        self.used().map(number).fold(0, u64::wrapping_add)
    }
}
