//! How fast an endpoint answers: a moving average that believes every bad sample at once, and good ones with time (peak EWMA, as Finagle
//! has it). Without samples it fades, so that one that was slow is tried again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What an attempt that failed counts at least, if nothing is known yet.
const FIRST_FAILURE: f64 = 1.0;
/// The highest average, in seconds.
const HIGHEST: f64 = 60.0;
/// What is not told apart from nothing.
const LEAST: f64 = 1e-6;
/// Nanoseconds of a tick, as a power of two: a quarter of a millisecond. After 2³² of them, some thirteen days, they begin anew.
const TICK: u32 = 18;

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// It was answered after this time.
    Answered(Duration),
    /// It failed after this time: in whatever time, that is not fast.
    Failed(Duration),
    /// Nobody waited for longer than this time.
    AtLeast(Duration),
}

/// The average. Shared by threads without a lock: value and time in one word.
#[derive(Debug, Default)]
pub struct PeakEwma(
    /// Seconds as `f32` above, ticks since the service began below. 0: there was no sample.
    AtomicU64,
);

impl PeakEwma {
    /// Takes a sample, `at` so long after the service began; what is older counts less by half in 0.7 × `decay`.
    pub fn take(&self, took: Took, at: Duration, decay: Duration) {
        let sample = |known: Option<f64>| match took {
            Took::Answered(took) => Some(took.as_secs_f64()),
            // Not the time that it took: one that fails at once would look like the fastest, and draw all requests.
            Took::Failed(took) => Some(took.as_secs_f64().max(known.map_or(FIRST_FAILURE, |known| known * 2.0))),
            Took::AtLeast(took) => Some(took.as_secs_f64()).filter(|took| known.is_none_or(|known| *took > known)),
        };
        // What loses the race is taken with the next value; only for as long as others store theirs.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| {
            let (known, faded) = (value(word), faded(word, at, decay));
            let sample = sample(known)?.clamp(LEAST, HIGHEST);
            let value = match (known, faded) {
                (Some(known), Some(faded)) if sample < faded => {
                    // What it faded by is the sample's part.
                    let part = 1.0 - faded / known;
                    faded + sample * part
                }
                _ => sample,
            };
            Some(word_of(value.min(HIGHEST), at))
        });
    }

    /// The average in seconds, as it is now; `None`: there was no sample.
    pub fn now(&self, at: Duration, decay: Duration) -> Option<f64> {
        faded(self.0.load(Relaxed), at, decay)
    }
}

fn ticks(at: Duration) -> u32 {
    (at.as_nanos() >> TICK) as u32
}

fn word_of(value: f64, at: Duration) -> u64 {
    u64::from((value as f32).to_bits()) << 32 | u64::from(ticks(at))
}

fn value(word: u64) -> Option<f64> {
    Some(f64::from(f32::from_bits((word >> 32) as u32))).filter(|value| *value > 0.0)
}

/// What is left of the value.
fn faded(word: u64, at: Duration, decay: Duration) -> Option<f64> {
    let known = value(word)?;
    let passed = ticks(at).wrapping_sub(word as u32);
    // Another thread may have looked at the clock a little later.
    let passed = if passed > u32::MAX / 2 { 0 } else { passed };
    if passed == 0 {
        return Some(known);
    }
    let passed = f64::from(passed) * f64::from(1_u32 << TICK) / 1e9;
    Some((known * (-passed / decay.as_secs_f64()).exp()).max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    fn near(ewma: &PeakEwma, at: f64, value: f64) -> bool {
        let now = ewma.now(seconds(at), DECAY).unwrap();
        (now - value).abs() <= value * 0.002
    }

    #[test]
    fn a_bad_sample_counts_at_once_and_a_good_one_with_time() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.now(seconds(1.0), DECAY), None);
        ewma.take(Took::Answered(seconds(0.01)), seconds(1.0), DECAY);
        assert!(near(&ewma, 1.0, 0.01));
        ewma.take(Took::Answered(seconds(0.5)), seconds(1.0), DECAY);
        assert!(near(&ewma, 1.0, 0.5), "a peak");
        ewma.take(Took::Answered(seconds(0.01)), seconds(1.0), DECAY);
        assert!(near(&ewma, 1.0, 0.5), "no time has passed");
        ewma.take(Took::Answered(seconds(0.01)), seconds(11.0), DECAY);
        assert!(near(&ewma, 11.0, 0.5 / 1f64.exp() + 0.01 * (1.0 - 1.0 / 1f64.exp())));
    }

    #[test]
    fn what_is_not_used_fades_and_is_tried_again() {
        let ewma = PeakEwma::default();
        ewma.take(Took::Answered(seconds(0.06)), seconds(1.0), DECAY);
        assert!(near(&ewma, 26.0, 0.06 * (-2.5f64).exp()));
        assert!(ewma.now(seconds(10_000.0), DECAY).unwrap() > 0.0);
    }

    #[test]
    fn who_fails_fast_is_slow() {
        let ewma = PeakEwma::default();
        for _ in 0..5 {
            ewma.take(Took::Failed(seconds(0.000_1)), seconds(1.0), DECAY);
        }
        assert!(near(&ewma, 1.0, 16.0), "twice as slow each time");
        (0..5).for_each(|_| ewma.take(Took::Failed(seconds(0.000_1)), seconds(1.0), DECAY));
        assert!(near(&ewma, 1.0, 60.0), "and no slower than that");
    }

    #[test]
    fn who_was_not_waited_for_is_at_least_that_slow() {
        let ewma = PeakEwma::default();
        ewma.take(Took::Answered(seconds(0.2)), seconds(1.0), DECAY);
        ewma.take(Took::AtLeast(seconds(0.1)), seconds(5.0), DECAY);
        assert!(near(&ewma, 5.0, 0.2 * (-0.4f64).exp()), "that says nothing");
        ewma.take(Took::AtLeast(seconds(3.0)), seconds(5.0), DECAY);
        assert!(near(&ewma, 5.0, 3.0));
    }

    #[test]
    fn clocks_of_threads_may_differ_a_little_and_ticks_begin_anew() {
        let ewma = PeakEwma::default();
        ewma.take(Took::Answered(seconds(0.2)), seconds(5.0), DECAY);
        assert!(near(&ewma, 4.9, 0.2));
        let late = Duration::from_nanos((u64::from(u32::MAX) - 4000) << TICK);
        ewma.take(Took::Answered(seconds(0.2)), late, DECAY);
        ewma.take(Took::Answered(seconds(0.5)), late, DECAY);
        let later = late + seconds(10.0);
        assert!((ewma.now(later, DECAY).unwrap() - 0.5 / 1f64.exp()).abs() < 0.001);
    }
}
