//! When a second attempt is made beside a slow first one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tollgate_config::model::{self, HedgeAfter};

/// A further attempt while those before take long.
#[derive(Debug)]
pub struct Hedge {
    after: After,
    /// How many further attempts at most.
    pub most: u8,
}

#[derive(Debug)]
enum After {
    Time(Duration),
    Learned(Quantile),
}

impl Hedge {
    /// As the file says.
    #[must_use]
    pub fn new(written: &model::Hedge) -> Self {
        let after = match written.after.value {
            HedgeAfter::Time(time) => After::Time(time),
            HedgeAfter::Percentile(percent) => After::Learned(Quantile::new(f64::from(percent) / 100.0)),
        };
        Self { after, most: u8::try_from(written.most.get()).unwrap_or(u8::MAX) }
    }

    /// How long no answer came before the next attempt is made; `None`: that is not known yet.
    #[must_use]
    pub fn after(&self) -> Option<Duration> {
        match &self.after {
            After::Time(time) => Some(*time),
            After::Learned(quantile) => quantile.get(),
        }
    }

    /// So long it took until there was an answer, or until nobody waited any longer.
    pub fn took(&self, time: Duration) {
        if let After::Learned(quantile) = &self.after {
            quantile.saw(time);
        }
    }
}

impl fmt::Display for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            After::Time(time) => write!(f, "after {time:?} without an answer")?,
            After::Learned(quantile) => write!(f, "after the time of {:.0} of 100 answers", quantile.part * 100.0)?,
        }
        write!(f, ", {} more at most", self.most)
    }
}

/// How many answers must have come before anything is said of how long they take.
const ENOUGH: u64 = 100;
/// By which part of itself the estimate changes at most, at first and once it is settled.
const COARSE: f64 = 0.2;
const FINE: f64 = 0.02;

/// The time within which a part of all answers comes, followed step by step: up a little for each that took longer, down a
/// little for each that did not, in such proportion that it rests where the parts are right. One number, whatever comes.
#[derive(Debug)]
struct Quantile {
    part: f64,
    nanos: AtomicU64,
    seen: AtomicU64,
}

impl Quantile {
    fn new(part: f64) -> Self {
        Self { part, nanos: AtomicU64::new(0), seen: AtomicU64::new(0) }
    }

    fn get(&self) -> Option<Duration> {
        (self.seen.load(Relaxed) >= ENOUGH).then(|| Duration::from_nanos(self.nanos.load(Relaxed)))
    }

    /// Of two workers at the same time one may be lost: that does not matter.
    fn saw(&self, time: Duration) {
        let (time, now) = (u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1), self.nanos.load(Relaxed));
        let seen = self.seen.load(Relaxed);
        if seen < ENOUGH {
            self.seen.fetch_add(1, Relaxed);
        }
        let step = if seen < ENOUGH { COARSE } else { FINE };
        let next = match now {
            0 => time as f64,
            _ if time > now => now as f64 * (1.0 + step * self.part),
            _ => now as f64 * (1.0 - step * (1.0 - self.part)),
        };
        // Never nothing, of which no part would be more.
        self.nanos.store((next as u64).max(1000), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_before_enough_was_seen() {
        let quantile = Quantile::new(0.95);
        (0..99).for_each(|_| quantile.saw(Duration::from_millis(5)));
        assert_eq!(quantile.get(), None);
        quantile.saw(Duration::from_millis(5));
        assert!(quantile.get().is_some());
    }

    #[test]
    fn it_comes_to_rest_where_the_part_is_right_and_follows() {
        let (quantile, mut random) = (Quantile::new(0.95), fastrand::Rng::with_seed(7));
        let mut settle = |most: u64| {
            // Evenly spread up to `most`: 95 of 100 are below 0.95 of it.
            (0..5000).for_each(|_| quantile.saw(Duration::from_micros(random.u64(0..most))));
            quantile.get().unwrap().as_micros() as f64 / most as f64
        };
        assert!((0.88..1.02).contains(&settle(100_000)));
        assert!((0.88..1.02).contains(&settle(400_000)));
        assert!((0.88..1.02).contains(&settle(20_000)));
    }

    #[test]
    fn answers_that_were_not_waited_for_to_the_end_do_not_draw_it_down() {
        let (quantile, mut random) = (Quantile::new(0.95), fastrand::Rng::with_seed(7));
        for _ in 0..10_000 {
            let time = Duration::from_micros(random.u64(0..100_000));
            // A second attempt is made, and answers a millisecond later.
            let known = quantile.get().map(|after| after + Duration::from_millis(1));
            quantile.saw(known.map_or(time, |known| known.min(time)));
        }
        let rests_at = quantile.get().unwrap().as_micros();
        assert!((86_000..103_000).contains(&rests_at), "{rests_at}");
    }
}
