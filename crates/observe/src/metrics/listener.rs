//! What is counted of a listener: once per connection, by whoever accepts it; plain atomics will do.

use std::sync::atomic::{AtomicU64, Ordering};

use super::worker::Closed;

/// Why a listener closes a connection before anything is spent on it: the values of the label `reason`, as those of closed connections.
pub(super) const REFUSED: [(Closed, &str); 3] =
    [(Closed::ListenerLimit, "listener_limit"), (Closed::AddressLimit, "address_limit"), (Closed::Denied, "denied")];

/// One listener's numbers.
#[derive(Debug)]
pub struct ListenerMetrics {
    name: Box<str>,
    open: AtomicU64,
    refused: [AtomicU64; REFUSED.len()],
}

impl ListenerMetrics {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), open: AtomicU64::new(0), refused: Default::default() }
    }

    /// One more connection, unless there are `most` already; whether there was room.
    #[must_use]
    pub fn enter(&self, most: u64) -> bool {
        let one_more = |open| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// One of them ended.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// A connection was closed at once for this reason.
    pub fn refused(&self, why: Closed) {
        if let Some(at) = REFUSED.iter().position(|(reason, _)| *reason == why) {
            self.refused[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were closed at once, by reason.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REFUSED.iter().zip(&self.refused).map(|((_, label), count)| (*label, count.load(Ordering::Relaxed)))
    }
}
