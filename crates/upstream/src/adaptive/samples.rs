//! What requests took in some time: counted by steps of an eighth of each power of two, so that all workers can count without a lock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Steps of each power of two.
const STEPS: usize = 8;
/// What takes less than 2^12 ns counts as that.
const FIRST: u32 = 12;
/// What takes more than 2^40 ns (18 minutes) counts as that.
const POWERS: usize = 28;

#[derive(Debug)]
pub(super) struct Samples([AtomicU32; STEPS * POWERS]);

impl Default for Samples {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl Samples {
    pub(super) fn add(&self, took: Duration) {
        self.0[step(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are, and what half of them took at most; forgets them if there are `enough`.
    pub(super) fn take(&self, enough: u32) -> (u32, Duration) {
        let all: u32 = self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        if all < enough || all == 0 {
            return (all, Duration::ZERO);
        }
        let counts: Vec<u32> = self.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect();
        let all: u32 = counts.iter().sum();
        let (mut sum, half) = (0, all.div_ceil(2));
        for (step, count) in counts.iter().enumerate() {
            if *count > 0 && sum + count >= half {
                // Where in the step it is, as if they were spread evenly.
                let part = f64::from(half - sum) / f64::from(*count);
                let (low, high) = (low(step), low(step + 1));
                return (all, Duration::from_nanos((low + (high - low) * part) as u64));
            }
            sum += count;
        }
        (all, Duration::ZERO)
    }
}

fn step(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1 << FIRST);
    let power = nanos.ilog2();
    let within = (nanos >> (power - 3)) as usize & (STEPS - 1);
    ((power - FIRST) as usize * STEPS + within).min(STEPS * POWERS - 1)
}

/// Where a step begins, in nanoseconds.
fn low(step: usize) -> f64 {
    let power = u32::try_from(step / STEPS).unwrap_or(0) + FIRST;
    (1_u64 << power) as f64 * (1.0 + (step % STEPS) as f64 / STEPS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_near() {
        for micros in [5_u64, 70, 900, 50_000, 3_000_000] {
            let samples = Samples::default();
            (1..=101).for_each(|n| samples.add(Duration::from_micros(micros * n / 51)));
            let (all, median) = samples.take(1);
            assert_eq!(all, 101);
            let off = median.as_secs_f64() / Duration::from_micros(micros).as_secs_f64();
            assert!((0.9..1.1).contains(&off), "{micros}: {median:?}");
            assert_eq!(samples.take(1).0, 0, "forgotten");
        }
    }

    #[test]
    fn too_few_are_kept() {
        let samples = Samples::default();
        samples.add(Duration::ZERO);
        samples.add(Duration::MAX);
        assert_eq!(samples.take(3).0, 2);
        assert_eq!(samples.take(2).0, 2);
    }
}
