//! What is counted of a service whose concurrency is adaptive: its limit, who waits, and who is refused.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use tollgate_core::criticality::Criticality;

/// One service's numbers. Seldom written, and by whoever notices: plain atomics will do.
#[derive(Debug, Default)]
pub struct ConcurrencyMetrics {
    /// 0: there is none.
    limit: AtomicU32,
    waiting: AtomicU32,
    shed: [AtomicU64; Criticality::ALL.len()],
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConcurrencyTotals {
    /// How many requests may be under way; `None`: any number.
    pub limit: Option<u32>,
    /// How many wait until there are fewer.
    pub waiting: u32,
    /// How many were refused, in the order of [`Criticality::ALL`].
    pub shed: [u64; 4],
}

impl ConcurrencyMetrics {
    /// So many may be under way from now on.
    pub fn limit(&self, limit: u32) {
        self.limit.store(limit, Relaxed);
    }

    /// So many wait.
    pub fn waiting(&self, waiting: u32) {
        self.waiting.store(waiting, Relaxed);
    }

    /// One was refused.
    pub fn shed(&self, criticality: Criticality) {
        self.shed[criticality.index()].fetch_add(1, Relaxed);
    }

    /// The numbers as they are now.
    #[must_use]
    pub fn totals(&self) -> ConcurrencyTotals {
        let limit = Some(self.limit.load(Relaxed)).filter(|limit| *limit > 0);
        let shed = self.shed.each_ref().map(|count| count.load(Relaxed));
        ConcurrencyTotals { limit, waiting: self.waiting.load(Relaxed), shed }
    }
}
