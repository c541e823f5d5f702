//! What is counted of a service beside its requests: its instances being watched, stand-ins, copies. Seldom, and by whoever notices: plain atomics will do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// How an instance stands: the values of the label `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Standing {
    /// Its checks succeed, or there are none.
    Healthy,
    /// It is to be checked, and was not yet: it counts as healthy.
    Unknown,
    /// Its checks fail.
    Unhealthy,
    /// It is left out for a while, because requests sent to it failed.
    Ejected,
}

/// The values of the label `state`, in the order of [`Standing`].
pub(super) const STANDINGS: [&str; 4] = ["healthy", "unknown", "unhealthy", "ejected"];

/// How a check ended: the values of the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Checked {
    /// Well.
    Ok,
    /// Not as it should.
    Failed,
}

/// The values of the label `result`, in the order of [`Checked`].
pub(super) const CHECKED: [&str; 2] = ["ok", "failed"];

/// What became of the copy of a request that a service should get: the values of the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Copied {
    /// It was answered, whatever the answer.
    Answered,
    /// It was sent, or should have been, and there was no whole answer in time.
    Failed,
    /// It was not made: there were as many as there may be at a time.
    Crowded,
    /// It was not made: the request's body is too large.
    TooLarge,
    /// It was not sent: the request's body did not come to its end.
    Incomplete,
}

/// The values of the label `result`, in the order of [`Copied`].
pub(super) const COPIED: [&str; 5] = ["answered", "failed", "crowded", "too_large", "incomplete"];

/// Why an instance was ejected: the values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Ejected {
    /// Failures in a row.
    InARow,
    /// A share of its requests failed.
    Share,
    /// It did worse than the others.
    SuccessRate,
    /// It was slower than the others.
    Latency,
}

/// The values of the label `reason`, in the order of [`Ejected`].
pub(super) const EJECTED: [&str; 4] = ["consecutive", "errors", "success_rate", "latency"];

/// How a circuit breaker stands: the values of the labels `state` and `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// None does.
    Open,
    /// A few pass, to see how it is.
    HalfOpen,
}

/// The values of the labels `state` and `to`, in the order of [`BreakerState`].
pub(super) const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

/// What became of a hedge: the values of the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Hedged {
    /// Its answer was used.
    Won,
    /// The attempt that it was beside was faster, or neither brought an answer.
    Lost,
    /// It was not sent: the retry budget was spent.
    Denied,
}

/// The values of the label `result`, in the order of [`Hedged`].
pub(super) const HEDGED: [&str; 3] = ["won", "lost", "denied"];

/// One service's numbers.
#[derive(Debug, Default)]
pub struct WatchMetrics {
    is_watched: AtomicBool,
    standing: [AtomicU64; STANDINGS.len()],
    checks: [AtomicU64; CHECKED.len()],
    ejections: [AtomicU64; EJECTED.len()],
    /// Its place in [`BREAKER_STATES`], and one; 0: there is no breaker.
    breaker: AtomicU64,
    breaker_changes: [AtomicU64; BREAKER_STATES.len()],
    breaker_refused: AtomicU64,
    hedges: [AtomicU64; HEDGED.len()],
    fallbacks: AtomicU64,
    copies: [AtomicU64; COPIED.len()],
}

/// A service's numbers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchTotals {
    /// Instances by how they stand: healthy, unknown, unhealthy, ejected; `None`: nobody looks.
    pub standing: Option<[u64; 4]>,
    /// Checks that succeeded, and that failed.
    pub checks: [u64; 2],
    /// Times that an instance was ejected, in the order of [`Ejected`].
    pub ejections: [u64; 4],
    /// How its circuit breaker stands; `None`: there is none.
    pub breaker: Option<BreakerState>,
    /// How often it came into each state, in the order of [`BreakerState`].
    pub breaker_changes: [u64; 3],
    /// Requests that it refused.
    pub breaker_refused: u64,
    /// Hedges, in the order of [`Hedged`].
    pub hedges: [u64; 3],
    /// Requests answered by a fallback.
    pub fallbacks: u64,
    /// Copies of requests, in the order of [`Copied`].
    pub copies: [u64; 5],
}

impl Standing {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        STANDINGS[self as usize]
    }
}

impl BreakerState {
    const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        BREAKER_STATES[self as usize]
    }
}

impl WatchMetrics {
    /// So many instances stand so, in the order of [`Standing`].
    pub fn stand(&self, counts: [u64; 4]) {
        self.is_watched.store(true, Relaxed);
        self.standing.iter().zip(counts).for_each(|(slot, count)| slot.store(count, Relaxed));
    }

    /// A check ended.
    pub fn checked(&self, how: Checked) {
        self.checks[how as usize].fetch_add(1, Relaxed);
    }

    /// An instance was ejected.
    pub fn ejected(&self, why: Ejected) {
        self.ejections[why as usize].fetch_add(1, Relaxed);
    }

    /// The circuit breaker stands so from now on.
    pub fn breaker(&self, state: BreakerState) {
        let before = self.breaker.swap(state as u64 + 1, Relaxed);
        // A new one is closed; nothing has changed by that.
        if before != 0 && before != state as u64 + 1 {
            self.breaker_changes[state as usize].fetch_add(1, Relaxed);
        }
    }

    /// There is no circuit breaker any more.
    pub fn no_breaker(&self) {
        self.breaker.store(0, Relaxed);
    }

    /// The circuit breaker refused a request.
    pub fn breaker_refused(&self) {
        self.breaker_refused.fetch_add(1, Relaxed);
    }

    /// That became of a hedge.
    pub fn hedged(&self, how: Hedged) {
        self.hedges[how as usize].fetch_add(1, Relaxed);
    }

    /// A request is answered by a fallback.
    pub fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Relaxed);
    }

    /// That became of a copy for this service.
    pub fn copied(&self, how: Copied) {
        self.copies[how as usize].fetch_add(1, Relaxed);
    }

    /// The numbers as they are now.
    #[must_use]
    pub fn totals(&self) -> WatchTotals {
        let get = |slot: &AtomicU64| slot.load(Relaxed);
        let standing = self.is_watched.load(Relaxed).then(|| self.standing.each_ref().map(get));
        WatchTotals {
            standing,
            checks: self.checks.each_ref().map(get),
            ejections: self.ejections.each_ref().map(get),
            breaker: BreakerState::ALL.into_iter().find(|state| get(&self.breaker) == *state as u64 + 1),
            breaker_changes: self.breaker_changes.each_ref().map(get),
            breaker_refused: get(&self.breaker_refused),
            hedges: self.hedges.each_ref().map(get),
            fallbacks: get(&self.fallbacks),
            copies: self.copies.each_ref().map(get),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_watched_has_no_standing() {
        let metrics = WatchMetrics::default();
        metrics.fell_back();
        assert_eq!(metrics.totals(), WatchTotals { fallbacks: 1, ..WatchTotals::default() });
        metrics.stand([2, 0, 1, 0]);
        metrics.checked(Checked::Failed);
        metrics.ejected(Ejected::Latency);
        metrics.breaker(BreakerState::Closed);
        metrics.breaker(BreakerState::Open);
        metrics.hedged(Hedged::Lost);
        metrics.copied(Copied::Crowded);
        let copies = [0, 0, 1, 0, 0];
        let totals = WatchTotals {
            standing: Some([2, 0, 1, 0]),
            checks: [0, 1],
            ejections: [0, 0, 0, 1],
            breaker: Some(BreakerState::Open),
            breaker_changes: [0, 1, 0],
            breaker_refused: 0,
            hedges: [0, 1, 0],
            fallbacks: 1,
            copies,
        };
        assert_eq!(metrics.totals(), totals);
        assert_eq!((Standing::Unhealthy.as_str(), CHECKED[Checked::Failed as usize]), ("unhealthy", "failed"));
    }
}
