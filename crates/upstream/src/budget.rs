//! How many retries a service bears: a share of its requests, so that retries cannot multiply an outage.
//!
//! Costs nothing until something fails: the number of requests is read from the counters that exist anyway.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time over which the share is taken.
const WINDOW: Duration = Duration::from_secs(10);

/// A retry budget.
#[derive(Debug)]
pub struct Budget {
    /// Retries per ten thousand requests.
    share: u32,
    /// Retries a second that are always allowed, for services with little traffic.
    floor: u32,
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    requests: u64,
    retries: u64,
}

impl Budget {
    /// Allows `share` retries per ten thousand requests, and `floor` a second in any case.
    #[must_use]
    pub fn new(share: u32, floor: u32) -> Self {
        Self { share, floor, window: Mutex::default() }
    }

    /// Takes one retry out of the budget, if it has one. `requests` is the number of attempts made so far.
    pub fn take(&self, now: Instant, requests: u64) -> bool {
        let mut slot = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = slot.as_ref().is_none_or(|w| now.saturating_duration_since(w.began) >= WINDOW);
        if expired {
            *slot = Some(Window { began: now, requests, retries: 0 });
        }
        let Some(window) = slot.as_mut() else { return false };
        let share = requests.saturating_sub(window.requests) * u64::from(self.share) / 10_000;
        let allowed = share + u64::from(self.floor) * WINDOW.as_secs();
        let within = window.retries < allowed;
        window.retries += u64::from(within);
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::clock::Clock;

    #[test]
    fn retries_stay_a_share_of_requests() {
        let budget = Budget::new(2000, 0);
        let start = Clock::real().now();
        assert!(!budget.take(start, 1000), "nothing was asked in this window yet");
        let granted = (0..100).filter(|_| budget.take(start, 1100)).count();
        assert_eq!(granted, 20);
    }

    #[test]
    fn a_quiet_service_may_retry_all_the_same() {
        let budget = Budget::new(2000, 3);
        let start = Clock::real().now();
        let granted = (0..100).filter(|_| budget.take(start, 0)).count();
        assert_eq!(granted, 30);
        assert!(budget.take(start + WINDOW, 0), "the next window starts afresh");
    }
}
