//! Buckets that are refilled evenly: the generic cell rate algorithm (ITU-T I.371), by which one time tells all of a bucket, that when it
//! will be full again.

use std::time::Duration;

use tollgate_core::counters::Taken;

use super::table::Meaning;

/// What one tick of time is: 16 nanoseconds, so that a word holds 36 years of them.
const TICK: u64 = 16;

/// A word is the tick at which its bucket is full again.
#[derive(Debug)]
pub(crate) struct FullAt;

impl Meaning for FullAt {
    fn is_over(word: u64, now: u64) -> bool {
        word <= now
    }

    fn weight(word: u64, now: u64) -> u64 {
        word - now
    }
}

/// A bucket's size, and how fast it is refilled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Ticks until one more is there, rounded up: never faster than was asked for.
    each: u64,
    burst: u64,
}

/// Ticks of a time; the first one is 1, since 0 is no word.
pub(crate) fn ticks(since: Duration) -> u64 {
    since.as_secs() * (1_000_000_000 / TICK) + u64::from(since.subsec_nanos()) / TICK + 1
}

fn time(ticks: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(TICK))
}

impl Bucket {
    /// Of this size, refilled with `count` in each `period`.
    pub(crate) fn new(count: u32, period: Duration, burst: u32) -> Self {
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Self { each: nanos.div_ceil(u64::from(count.max(1)) * TICK).max(1), burst: u64::from(burst) }
    }

    /// A part of it: a bucket of `burst`, which is refilled as much slower as it is smaller.
    pub(crate) fn part(self, burst: u32) -> Self {
        let burst = u64::from(burst.max(1));
        Self { each: self.each.saturating_mul(self.burst).div_ceil(burst), burst }
    }

    /// The word of a bucket that is empty at this tick.
    pub(crate) fn empty_at(self, tick: u64) -> u64 {
        tick.saturating_add(self.burst * self.each)
    }

    /// Takes so much from a bucket with this word; its new word, if that was there.
    pub(crate) fn take(self, word: u64, now: u64, cost: u32) -> (Option<u64>, Taken) {
        let holds = self.burst * self.each;
        let owed = word.saturating_sub(now);
        let after = owed + u64::from(cost) * self.each;
        if after > holds {
            let taken = Taken {
                refused: Some(time(after - holds)),
                left: holds.saturating_sub(owed) / self.each,
                whole: time(owed),
            };
            return (None, taken);
        }
        (Some(now + after), Taken { refused: None, left: (holds - after) / self.each, whole: time(after) })
    }

    /// The word of a bucket that gets so much back; `None`: it is full.
    pub(crate) fn give_back(self, word: u64, now: u64, cost: u32) -> Option<u64> {
        (word > now).then(|| word.saturating_sub(u64::from(cost) * self.each).max(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_what_is_in_it_and_then_what_comes_in() {
        let bucket = Bucket::new(10, SECOND, 3);
        let mut word = 0;
        let mut take = |at_millis, cost| {
            let (new, taken) = bucket.take(word, ticks(Duration::from_millis(at_millis)), cost);
            word = new.unwrap_or(word);
            (taken.refused.map(|wait| wait.as_millis()), taken.left)
        };
        assert_eq!((take(0, 1), take(0, 1), take(0, 1)), ((None, 2), (None, 1), (None, 0)));
        assert_eq!(take(0, 1), (Some(100), 0));
        assert_eq!(take(50, 1), (Some(50), 0));
        assert_eq!((take(100, 1), take(199, 1)), ((None, 0), (Some(1), 0)));
        assert_eq!((take(300, 3), take(400, 3)), ((Some(100), 2), (None, 0)), "all of it or nothing");
        assert_eq!(take(9000, 4), (Some(100), 3), "more than it holds");
    }

    #[test]
    fn fast_and_slow_limits_are_kept_as_they_are_written() {
        for (count, period, most) in [(1_000_000, SECOND, 1_000_000), (300_000, SECOND, 300_000), (1, SECOND * 3600, 1)]
        {
            let bucket = Bucket::new(count, period, 1);
            let per_period = period.as_nanos() / u128::from(bucket.each * TICK);
            assert!(per_period <= most && per_period * 100 >= most * 98, "{count}: {per_period}");
        }
    }

    proptest! {
        /// In any time t no more is taken than burst + t × rate.
        #[test]
        fn never_more_than_the_limit(
            (count, period_ms, burst) in (1..500_u32, 1..5000_u64, 1..50_u32),
            steps in prop::collection::vec((0..2000_u64, 1..5_u32), 1..200),
        ) {
            let (bucket, period) = (Bucket::new(count, Duration::from_millis(period_ms), burst), period_ms * 1000);
            let (mut word, mut at, mut taken) = (0, 0_u64, Vec::new());
            for (later, cost) in steps {
                at += later;
                let (new, outcome) = bucket.take(word, ticks(Duration::from_micros(at)), cost);
                prop_assert_eq!(new.is_some(), outcome.refused.is_none());
                if let Some(new) = new {
                    word = new;
                    taken.push((at, u64::from(cost)));
                }
                if let Some(wait) = outcome.refused.filter(|_| cost <= burst) {
                    let then = ticks(Duration::from_micros(at) + wait);
                    prop_assert!(bucket.take(word, then, cost).0.is_some(), "it is there when it was promised");
                }
            }
            for (i, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (to, cost) in &taken[i..] {
                    sum += cost;
                    let may = u64::from(burst) * period + (to - from) * u64::from(count);
                    // To the microsecond in which it was.
                    prop_assert!(sum * period <= may + u64::from(count), "{} in {} µs", sum, to - from);
                }
            }
        }
    }
}
