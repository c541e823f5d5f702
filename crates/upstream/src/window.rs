//! How many attempts there were of late, and how many of them failed: counted in steps that are forgotten one by one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::outlier::{ErrorShare, Verdict};

/// How many steps make the window.
const STEPS: u64 = 10;
/// Where the numbers stand in a slot: the step that it counts, all attempts, those that failed.
const STEP_AT: u32 = 40;
const ALL_AT: u32 = 20;
const COUNT: u64 = (1 << ALL_AT) - 1;
const STEP: u64 = (1 << (64 - STEP_AT)) - 1;

/// Attempts of the last while. Each slot holds a step and its counts in one word, so that counting is one exchange of it.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: [AtomicU64; STEPS as usize],
}

impl Window {
    /// Counts an attempt; whether it was a failure, and the share of them is reached.
    pub(crate) fn is_share(&self, errors: &ErrorShare, verdict: Verdict, at: Duration) -> bool {
        self.count(errors.within, verdict, at);
        if verdict == Verdict::Well {
            return false;
        }
        let (all, failed) = self.sums(errors.within, at);
        all >= errors.of.into() && failed * 10_000 >= u64::from(errors.share) * all
    }

    fn count(&self, within: Duration, verdict: Verdict, at: Duration) {
        let now = number(within, at);
        let failed = u64::from(verdict == Verdict::Failed);
        let Some(slot) = self.slots.get(usize::try_from(now % STEPS).unwrap_or(0)) else { return };
        let _ = slot.fetch_update(Relaxed, Relaxed, |word| {
            let word = if word >> STEP_AT == now & STEP { word } else { (now & STEP) << STEP_AT };
            // Over a million of them in a step: what is known will do.
            ((word >> ALL_AT) & COUNT < COUNT).then(|| word + (1 << ALL_AT) + failed)
        });
    }

    /// All attempts of the window, and those that failed.
    fn sums(&self, within: Duration, at: Duration) -> (u64, u64) {
        let now = number(within, at) & STEP;
        let words = self.slots.iter().map(|slot| slot.load(Relaxed));
        let recent = words.filter(|word| now.wrapping_sub(word >> STEP_AT) & STEP < STEPS);
        recent.fold((0, 0), |(all, failed), word| (all + ((word >> ALL_AT) & COUNT), failed + (word & COUNT)))
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(0, Relaxed));
    }
}

/// In which step that is, of as many as make the time. The first is number one: a slot that was never used counts none.
fn number(within: Duration, at: Duration) -> u64 {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    nanos(at) / (nanos(within) / STEPS).max(1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let (window, second) = (Window::default(), Duration::from_secs(1));
        (0..10).for_each(|n| window.count(TEN, if n < 5 { Verdict::Failed } else { Verdict::Well }, second * n));
        assert_eq!(window.sums(TEN, second * 9), (10, 5));
        assert_eq!(window.sums(TEN, second * 12), (7, 2));
        window.count(TEN, Verdict::Failed, second * 12);
        assert_eq!(window.sums(TEN, second * 12), (8, 3));
        assert_eq!(window.sums(TEN, second * 40), (0, 0));
    }

    #[test]
    fn counts_never_run_over() {
        let window = Window::default();
        window.slots[1].store((1 << STEP_AT) | (COUNT << ALL_AT) | 7, Relaxed);
        window.count(TEN, Verdict::Failed, Duration::ZERO);
        assert_eq!(window.sums(TEN, Duration::ZERO), (COUNT, 7));
    }
}
