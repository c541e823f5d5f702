//! How many retries a service bears: a share of its requests, so that retries cannot multiply an outage.
//!
//! Requests cost nothing here: their number is read from the counters that exist anyway, once a second and when something
//! fails.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time over which the share is taken; it slides by [`STEP`].
const WINDOW: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_secs(1);

/// A retry budget.
#[derive(Debug)]
pub struct Budget {
    /// Retries per ten thousand requests.
    share: u32,
    /// Retries a second that are always allowed, for services with little traffic.
    floor: u32,
    steps: Mutex<Steps>,
}

/// The seconds of the window. Of a service that is not used there is only one: there may be ten thousands of them.
#[derive(Debug, Default)]
struct Steps {
    /// The oldest first: at most one more than fit into the window.
    past: VecDeque<Step>,
    now: Option<Step>,
}

/// About a second; longer while nothing is asked for.
#[derive(Debug)]
struct Step {
    began: Instant,
    /// Requests made before it.
    requests: u64,
    retries: u64,
}

impl Budget {
    /// Allows `share` retries per ten thousand requests, and `floor` a second in any case.
    #[must_use]
    pub fn new(share: u32, floor: u32) -> Self {
        Self { share, floor, steps: Mutex::default() }
    }

    /// To be told every second or so how many requests were made in all: what is not told cannot be counted as traffic of the
    /// last ten seconds.
    pub fn observe(&self, now: Instant, requests: u64) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.slide(now, requests);
    }

    /// Takes one retry out of the budget, if it has one. `requests` is the number of attempts made so far.
    pub fn take(&self, now: Instant, requests: u64) -> bool {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.slide(now, requests);
        let before = steps.all().next().map_or(requests, |step| step.requests);
        let share = requests.saturating_sub(before) * u64::from(self.share) / 10_000;
        let allowed = share + u64::from(self.floor) * WINDOW.as_secs();
        let within = steps.all().map(|step| step.retries).sum::<u64>() < allowed;
        if let Some(step) = &mut steps.now {
            step.retries += u64::from(within);
        }
        within
    }
}

impl Steps {
    fn all(&self) -> impl Iterator<Item = &Step> {
        self.past.iter().chain(&self.now)
    }

    /// Begins a new step if it is time, and forgets those that ended before the window.
    fn slide(&mut self, now: Instant, requests: u64) {
        let age = |step: &Step| now.saturating_duration_since(step.began);
        match &mut self.now {
            Some(step) if age(step) < STEP => {}
            // Nothing was asked for: it may as well begin now.
            Some(step) if step.requests == requests && step.retries == 0 => step.began = now,
            step => self.past.extend(step.replace(Step { began: now, requests, retries: 0 })),
        }
        while self.past.front().is_some_and(|step| age(step) >= WINDOW + STEP) {
            self.past.pop_front();
        }
        if self.past.is_empty() {
            self.past.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tollgate_core::clock::Clock;

    fn granted(budget: &Budget, now: Instant, requests: u64) -> usize {
        (0..1000).filter(|_| budget.take(now, requests)).count()
    }

    #[test]
    fn retries_stay_a_share_of_requests() {
        let budget = Budget::new(2000, 0);
        let start = Clock::real().now();
        assert!(!budget.take(start, 1000), "nothing is known to have been asked in this window");
        assert_eq!(granted(&budget, start, 1100), 20);
    }

    #[test]
    fn a_quiet_service_may_retry_all_the_same() {
        let budget = Budget::new(2000, 3);
        let start = Clock::real().now();
        assert_eq!(granted(&budget, start, 0), 30);
        assert_eq!(granted(&budget, start + WINDOW, 0), 0, "they were made in the last ten seconds or just before");
        assert_eq!(granted(&budget, start + WINDOW + STEP, 0), 30);
    }

    #[test]
    fn a_busy_service_may_retry_its_first_failures() {
        let budget = Budget::new(2000, 0);
        let start = Clock::real().now();
        (0..60).for_each(|second| budget.observe(start + STEP * second, u64::from(second) * 100));
        assert_eq!(granted(&budget, start + STEP * 59, 5900), 200, "a fifth of the thousand of ten seconds");
    }

    #[test]
    fn a_service_that_is_not_used_keeps_nothing() {
        let (budget, start) = (Budget::new(2000, 0), Clock::real().now());
        (0..30).for_each(|second| budget.observe(start + STEP * second, u64::from(second.min(15)) * 100));
        assert_eq!(budget.steps.lock().unwrap().past.capacity(), 0);
        assert_eq!(granted(&budget, start + STEP * 30, 1600), 20, "what is asked from now on counts");
    }

    #[test]
    fn no_ten_seconds_see_more_than_their_share() {
        let budget = Budget::new(2000, 0);
        let start = Clock::real().now();
        let mut of_second = Vec::new();
        for second in 0..60_u64 {
            let now = start + STEP * u32::try_from(second).unwrap();
            budget.observe(now, second * 100);
            of_second.push(if second % 7 < 3 { granted(&budget, now, second * 100 + 99) } else { 0 });
        }
        for ten in of_second.windows(10) {
            assert!(ten.iter().sum::<usize>() <= 220, "{of_second:?}");
        }
        assert!(of_second[20..].iter().sum::<usize>() > 400, "{of_second:?}");
    }

    /// What happens next: after so many milliseconds so many more requests were made, and so many retries are wanted.
    fn next() -> impl Strategy<Value = (u64, u64, u32)> {
        (prop_oneof![0..50_u64, 0..1500_u64, 0..15_000_u64], 0..40_u64, 0..8_u32)
    }

    proptest! {
        #[test]
        fn whatever_comes_retries_stay_within_their_share(all in vec(next(), 1..200), share in 0..10_000_u32, floor in 0..3_u32) {
            let (budget, start) = (Budget::new(share, floor), Clock::real().now());
            let (mut at, mut requests, mut made, mut granted) = (0, 0, vec![(0, 0)], Vec::new());
            for (millis, more, wanted) in all {
                (at, requests) = (at + millis, requests + more);
                made.push((at, requests));
                let now = start + Duration::from_millis(at);
                if wanted == 0 {
                    budget.observe(now, requests);
                }
                (0..wanted).filter(|_| budget.take(now, requests)).for_each(|_| granted.push(at));
                let retries = granted.iter().filter(|then| at - **then < 10_000).count() as u64;
                // What had been made eleven seconds ago, or just before.
                let before = made.iter().rev().find(|(then, _)| at - then >= 11_000).map_or(0, |(_, n)| *n);
                let allowed = (requests - before) * u64::from(share) / 10_000 + u64::from(floor) * 10;
                // A share is one of what was asked when a retry is granted; later there may be less.
                let is_granted = granted.last() == Some(&at);
                prop_assert!(!is_granted || retries <= allowed, "{retries} of {allowed}");
            }
        }
    }
}
