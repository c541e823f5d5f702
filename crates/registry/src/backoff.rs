//! How long to wait before somebody who did not answer is asked again.

use std::time::{Duration, Instant};

/// How long to wait after the first failure; twice as long after each further one, up to [`SLOWEST`].
const FIRST: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// One more failure: how long to wait now.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.0.min(16)).min(SLOWEST);
        self.0 = self.0.saturating_add(1);
        wait
    }

    /// It went well.
    pub(crate) fn succeeded(&mut self) {
        self.0 = 0;
    }
}

/// Up to a tenth longer: not everybody asks at the same time.
pub(crate) fn spread(wait: Duration) -> Duration {
    wait + wait.mul_f64(fastrand::f64() / 10.0)
}

/// So many questions may follow each other at once, and one a second on average.
const AT_ONCE: f64 = 10.0;

/// Keeps a source that answers at once from being asked without end.
#[derive(Debug)]
pub(crate) struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, at: now }
    }

    /// One more question: how long it must wait.
    pub(crate) fn ask(&mut self, now: Instant) -> Duration {
        self.left = (self.left + now.saturating_duration_since(self.at).as_secs_f64()).min(AT_ONCE) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.left).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::Clock;

    use super::*;

    #[test]
    fn nobody_is_asked_more_than_once_a_second_for_long() {
        let (now, second) = (Clock::fake(std::time::UNIX_EPOCH).now(), Duration::from_secs(1));
        let mut pace = Pace::new(now);
        assert!((0..10).all(|_| pace.ask(now).is_zero()), "some changes at a time are no trouble");
        assert_eq!(pace.ask(now), second);
        assert_eq!(pace.ask(now + second), second);
        assert!(pace.ask(now + 3 * second).is_zero());
    }
}
