//! How many attempts there were of late, and how many of them failed: counted in steps that are forgotten one by one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::outlier::Verdict;

/// How many steps make the window.
const STEPS: u64 = 10;
/// Where the numbers stand in a slot: the step that it counts, all attempts, those that failed.
const STEP_AT: u32 = 40;
const ALL_AT: u32 = 20;
const COUNT: u64 = (1 << ALL_AT) - 1;
const STEP: u64 = (1 << (64 - STEP_AT)) - 1;

/// Attempts of the last while. Each slot holds a step and its counts in one word, so that counting is one exchange of it.
#[derive(Debug)]
pub(super) struct Window {
    step: u64,
    slots: [AtomicU64; STEPS as usize],
}

impl Window {
    /// Of so long a time.
    pub(super) fn new(within: Duration) -> Self {
        let nanos = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        Self { step: (nanos / STEPS).max(1), slots: Default::default() }
    }

    /// Counts an attempt.
    pub(super) fn count(&self, verdict: Verdict, at: Duration) {
        let now = self.number(at);
        let failed = u64::from(verdict == Verdict::Failed);
        let Some(slot) = self.slots.get(usize::try_from(now % STEPS).unwrap_or(0)) else { return };
        let _ = slot.fetch_update(Relaxed, Relaxed, |word| {
            let word = if word >> STEP_AT == now & STEP { word } else { (now & STEP) << STEP_AT };
            // Over a million of them in a step: what is known will do.
            ((word >> ALL_AT) & COUNT < COUNT).then(|| word + (1 << ALL_AT) + failed)
        });
    }

    /// All attempts of the window, and those that failed.
    pub(super) fn sums(&self, at: Duration) -> (u64, u64) {
        let now = self.number(at) & STEP;
        let words = self.slots.iter().map(|slot| slot.load(Relaxed));
        let recent = words.filter(|word| now.wrapping_sub(word >> STEP_AT) & STEP < STEPS);
        recent.fold((0, 0), |(all, failed), word| (all + ((word >> ALL_AT) & COUNT), failed + (word & COUNT)))
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(0, Relaxed));
    }

    /// The first step is number one: a slot that was never used counts none.
    fn number(&self, at: Duration) -> u64 {
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX) / self.step + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (window, second) = (Window::new(Duration::from_secs(10)), Duration::from_secs(1));
        (0..10).for_each(|n| window.count(if n < 5 { Verdict::Failed } else { Verdict::Well }, second * n));
        assert_eq!(window.sums(second * 9), (10, 5));
        assert_eq!(window.sums(second * 12), (7, 2));
        window.count(Verdict::Failed, second * 12);
        assert_eq!(window.sums(second * 12), (8, 3));
        assert_eq!(window.sums(second * 40), (0, 0));
    }

    #[test]
    fn counts_never_run_over() {
        let window = Window::new(Duration::from_secs(10));
        window.slots[1].store((1 << STEP_AT) | (COUNT << ALL_AT) | 7, Relaxed);
        window.count(Verdict::Failed, Duration::ZERO);
        assert_eq!(window.sums(Duration::ZERO), (COUNT, 7));
    }
}
