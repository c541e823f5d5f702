//! Counters in the memory of this process: gone when it ends.
//!
//! Bounded: beyond about so many keys of a kind, those are forgotten that used least; who used much stays known.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use tollgate_core::clock::Clock;
use tollgate_core::counters::{Amount, Counter, Counters, Limit, Taken, Taking};

use crate::count::bucket::{Bucket, FullAt, ticks};
use crate::count::calendar::{Calendar, UntilEnd, quarter};
use crate::count::sliding::{Sliding, Windows};
use crate::count::table::Table;

/// Counters in memory. Cheap to copy.
#[derive(Clone, Debug)]
pub struct MemoryCounters(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// Times are counted from here.
    began: Instant,
    hasher: RandomState,
    buckets: Table<FullAt>,
    windows: Windows,
    calendar: Table<UntilEnd>,
}

/// Counts for one limit.
#[derive(Debug)]
struct OfLimit {
    all: MemoryCounters,
    id: Box<str>,
    how: How,
}

#[derive(Debug)]
enum How {
    Bucket(Bucket),
    Sliding(Sliding),
    Calendar(Calendar),
}

impl MemoryCounters {
    /// For about so many keys of each kind of limit; memory is taken as they come. Keys that are forgotten before their time, since there
    /// are more, are counted in `forgotten`.
    #[must_use]
    pub fn new(keys: usize, clock: Clock, forgotten: &Arc<AtomicU64>) -> Self {
        let (began, hasher) = (clock.now(), RandomState::new());
        let (buckets, calendar) = (Table::new(keys, forgotten), Table::new(keys, forgotten));
        let windows = Windows::new(keys, forgotten);
        Self(Arc::new(Inner { clock, began, hasher, buckets, windows, calendar }))
    }

    /// From now on for about so many; what is counted stays.
    pub fn resize(&self, keys: usize) {
        self.0.buckets.resize(keys);
        self.0.windows.resize(keys);
        self.0.calendar.resize(keys);
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.buckets.clear();
        self.0.windows.clear();
        self.0.calendar.clear();
    }
}

impl Counters for MemoryCounters {
    fn counter(&self, limit: &Limit) -> Arc<dyn Counter> {
        let how = match limit.amount.clone() {
            Amount::Bucket { count, period, burst } => How::Bucket(Bucket::new(count, period, burst)),
            Amount::Sliding { count, period } => How::Sliding(Sliding::new(count, period)),
            Amount::Calendar { count, each, zone } => How::Calendar(Calendar::new(count, each, zone)),
        };
        Arc::new(OfLimit { all: self.clone(), id: limit.id.as_str().into(), how })
    }
}

impl Counter for OfLimit {
    fn take(&self, key: &[u8], cost: u32) -> Taking {
        Taking::Now(self.taken(key, cost))
    }

    fn give_back(&self, key: &[u8], cost: u32) {
        let all = &*self.all.0;
        let hash = self.hash(key);
        match &self.how {
            How::Bucket(bucket) => {
                let now = all.ticks();
                all.buckets.change(hash, now, |word| (bucket.give_back(word, now, cost), ()));
            }
            How::Sliding(sliding) => all.windows.give_back(*sliding, hash, all.nanos(), cost),
            How::Calendar(calendar) => {
                let now = all.clock.unix();
                let end = calendar.end(now);
                all.calendar.change(hash, quarter(now), |word| (calendar.give_back(word, end, cost), ()));
            }
        }
    }
}

impl Inner {
    fn passed(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.began)
    }

    fn ticks(&self) -> u64 {
        ticks(self.passed())
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.passed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl OfLimit {
    fn hash(&self, key: &[u8]) -> u64 {
        self.all.0.hasher.hash_one((&*self.id, key))
    }

    fn taken(&self, key: &[u8], cost: u32) -> Taken {
        let all = &*self.all.0;
        let hash = self.hash(key);
        match &self.how {
            How::Bucket(bucket) => {
                let now = all.ticks();
                all.buckets.change(hash, now, |word| bucket.take(word, now, cost))
            }
            How::Sliding(sliding) => all.windows.take(*sliding, hash, all.nanos(), cost),
            How::Calendar(calendar) => {
                let now = all.clock.unix();
                let end = calendar.end(now);
                all.calendar.change(hash, quarter(now), |word| calendar.take(word, end, now, cost))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use jiff::tz::TimeZone;
    use tollgate_core::counters::{Each, WhenAlone};

    use super::*;

    fn taken(counter: &Arc<dyn Counter>, key: &str) -> bool {
        match counter.take(key.as_bytes(), 1) {
            Taking::Now(taken) => taken.refused.is_none(),
            Taking::Later(_) => panic!("memory need not wait"),
        }
    }

    #[test]
    fn keys_and_limits_are_counted_apart_and_the_same_id_together() {
        let counters = MemoryCounters::new(1000, Clock::fake(SystemTime::UNIX_EPOCH), &Arc::default());
        let period = Duration::from_secs(1);
        for amount in [
            Amount::Bucket { count: 2, period, burst: 2 },
            Amount::Sliding { count: 2, period },
            Amount::Calendar { count: 2, each: Each::Day, zone: TimeZone::UTC },
        ] {
            let make = |id: &str| {
                counters.counter(&Limit { id: id.to_owned(), amount: amount.clone(), alone: WhenAlone::Share })
            };
            let (one, same, other) = (make("one"), make("one"), make("other"));
            assert!(taken(&one, "a") && taken(&same, "a") && !taken(&one, "a"), "{amount:?}");
            assert!(taken(&one, "b") && taken(&other, "a"), "{amount:?}");
            one.give_back(b"a", 1);
            assert!(taken(&one, "a") && !taken(&one, "a"), "{amount:?}");
            one.give_back(b"c", 1);
            assert!(taken(&one, "c") && taken(&one, "c") && !taken(&one, "c"), "no more than there is: {amount:?}");
        }
    }

    #[test]
    fn threads_never_get_more_than_there_is() {
        let counters = MemoryCounters::new(1000, Clock::fake(SystemTime::UNIX_EPOCH), &Arc::default());
        let period = Duration::from_secs(1);
        for amount in [
            Amount::Bucket { count: 10, period, burst: 5000 },
            Amount::Sliding { count: 5000, period },
            Amount::Calendar { count: 5000, each: Each::Month, zone: TimeZone::UTC },
        ] {
            let counter = counters.counter(&Limit { id: "l".to_owned(), amount, alone: WhenAlone::Share });
            let given: usize = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| (0..5000).filter(|_| taken(&counter, "k")).count()));
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(given, 5000);
        }
    }
}
