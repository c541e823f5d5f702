//! Windows that slide: never more in any of them, wherever it begins.
//!
//! Each window is counted in 32 parts, and what was taken counts until the whole part is out of it. So nothing too much is ever given, and
//! what was taken comes back up to a 32nd of the window late.
//!
//! Behind a short lock of a 64th of the keys: this takes more than a word.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tollgate_core::counters::Taken;

/// Parts of a window, and the one that is running.
pub(crate) const PARTS: u64 = 33;
/// Locks.
const SHARDS: usize = 64;
/// How many are looked at for the one that is forgotten.
const LOOKED_AT: usize = 8;

/// What was taken, by the hash of the key.
#[derive(Debug)]
pub(crate) struct Windows {
    shards: [Mutex<HashMap<u64, Window>>; SHARDS],
    /// Most of a shard.
    most: AtomicUsize,
    /// How many were forgotten before their time.
    forgotten: Arc<AtomicU64>,
}

/// How much in which window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sliding {
    count: u64,
    /// Nanoseconds of a part.
    part: u64,
}

/// What was taken in the last parts.
#[derive(Clone, Debug)]
struct Window {
    /// The number of the running part.
    last: u64,
    /// When nothing of it counts any more: nanoseconds.
    over: u64,
    taken: [u32; PARTS as usize],
}

impl Sliding {
    pub(crate) fn new(count: u32, period: Duration) -> Self {
        // Rounded up: the parts together are no shorter than the window.
        let part = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).div_ceil(PARTS - 1).max(1);
        Self { count: u64::from(count), part }
    }

    fn take(self, window: &mut Window, now: u64, cost: u32) -> Taken {
        let taken = window.slide(now / self.part);
        let after = taken + u64::from(cost);
        let until = |gone: u64| Duration::from_nanos(((window.last + gone) * self.part).saturating_sub(now));
        if after > self.count {
            let (refused, whole) = (until(window.until_gone(after - self.count)), until(window.until_gone(taken)));
            return Taken { refused: Some(refused), left: self.count.saturating_sub(taken), whole };
        }
        let whole = until(if cost > 0 { PARTS } else { window.until_gone(taken) });
        *window.at(window.last) += cost;
        window.over = (window.last + PARTS) * self.part;
        Taken { refused: None, left: self.count - after, whole }
    }
}

impl Window {
    fn new(now: u64) -> Self {
        Self { last: now, over: 0, taken: [0; PARTS as usize] }
    }

    fn at(&mut self, part: u64) -> &mut u32 {
        &mut self.taken[(part % PARTS) as usize]
    }

    /// Forgets what is out of the window by the time of this part; how much was taken in it.
    fn slide(&mut self, now: u64) -> u64 {
        for ahead in 1..=now.saturating_sub(self.last).min(PARTS) {
            *self.at(self.last + ahead) = 0;
        }
        self.last = self.last.max(now);
        self.taken.iter().copied().map(u64::from).sum()
    }

    /// After how many parts so much is out of it. The oldest one is out as soon as the next one begins.
    fn until_gone(&self, much: u64) -> u64 {
        let mut gone = 0;
        let oldest_first = (1..=PARTS).find(|after| {
            gone += u64::from(self.taken[((self.last + after) % PARTS) as usize]);
            gone >= much
        });
        if much == 0 { 0 } else { oldest_first.unwrap_or(PARTS) }
    }
}

impl Windows {
    /// For so many keys. What is forgotten before its time is counted there.
    pub(crate) fn new(keys: usize, forgotten: &Arc<AtomicU64>) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, most: AtomicUsize::new(keys.div_ceil(SHARDS)), forgotten: Arc::clone(forgotten) }
    }

    /// Gives so much back, of what was taken last.
    pub(crate) fn give_back(&self, of: Sliding, hash: u64, now: u64, cost: u32) {
        let mut shard = self.shards[hash as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(window) = shard.get_mut(&hash) else { return };
        window.slide(now / of.part);
        let (last, mut rest) = (window.last, cost);
        for before in 0..PARTS {
            let taken = window.at(last + PARTS - before);
            let back = rest.min(*taken);
            *taken -= back;
            rest -= back;
        }
    }

    /// From now on for so many keys; what is there stays.
    pub(crate) fn resize(&self, keys: usize) {
        self.most.store(keys.div_ceil(SHARDS), Ordering::Relaxed);
    }

    /// Takes so much of what this key has left. `now`: nanoseconds.
    pub(crate) fn take(&self, of: Sliding, hash: u64, now: u64, cost: u32) -> Taken {
        let shard = &self.shards[hash as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.contains_key(&hash) && shard.len() >= self.most.load(Ordering::Relaxed) {
            self.make_room(&mut shard, now);
        }
        of.take(shard.entry(hash).or_insert_with(|| Window::new(now / of.part)), now, cost)
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).clear());
    }

    /// Forgets what is over, of some; if nothing is, that in which the least was taken.
    fn make_room(&self, shard: &mut HashMap<u64, Window>, now: u64) {
        let some = || shard.iter().take(LOOKED_AT);
        let over: Vec<u64> = some().filter(|(_, window)| window.over <= now).map(|(hash, _)| *hash).collect();
        let sum = |window: &Window| window.taken.iter().copied().map(u64::from).sum::<u64>();
        match some().min_by_key(|(_, window)| sum(window)).map(|(hash, _)| *hash) {
            Some(least) if over.is_empty() => {
                shard.remove(&least);
                self.forgotten.fetch_add(1, Ordering::Relaxed);
            }
            _ => over.iter().for_each(|hash| {
                shard.remove(hash);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: u64 = 1_000_000;

    #[test]
    fn what_was_taken_comes_back_a_window_later() {
        let (windows, of) = (Windows::new(100, &Arc::default()), Sliding::new(3, Duration::from_millis(320)));
        let take = |at, cost| {
            let taken = windows.take(of, 7, at * MILLI, cost);
            (taken.refused.map(|wait| wait.as_millis()), taken.left, taken.whole.as_millis())
        };
        assert_eq!((take(1000, 1), take(1100, 2)), ((None, 2, 330), (None, 0, 330)));
        assert_eq!(take(1200, 1), (Some(130), 0, 230));
        assert_eq!(take(1329, 1), (Some(1), 0, 101));
        assert_eq!(take(1330, 1), (None, 0, 330), "a 32nd late");
        assert_eq!(take(1330, 4), (Some(330), 0, 330), "never");
        assert_eq!(take(9000, 4), (Some(330), 3, 0), "more than there is");
    }

    #[test]
    fn memory_is_bounded_and_who_took_most_is_known() {
        let (windows, of) = (Windows::new(16 * SHARDS, &Arc::default()), Sliding::new(100, Duration::from_secs(1)));
        windows.take(of, 0, MILLI, 90);
        for key in 1..10_000 {
            windows.take(of, key * SHARDS as u64, MILLI, 1);
        }
        assert_eq!(
            (windows.forgotten.load(Ordering::Relaxed), windows.shards[0].lock().unwrap().len()),
            (10_000 - 16, 16)
        );
        assert_eq!(windows.take(of, 0, MILLI, 0).left, 10);
        windows.take(of, 1_000_000 * SHARDS as u64, 2000 * MILLI, 1);
        assert_eq!(windows.forgotten.load(Ordering::Relaxed), 10_000 - 16, "what is over goes first");
    }

    proptest! {
        /// Never more in any window, and what fits into the window and a 32nd before it is given.
        #[test]
        fn never_more_in_any_window(
            (count, period_ms) in (1..20_u32, 1..2000_u64),
            steps in prop::collection::vec((0..300_u64, 1..4_u32), 1..200),
        ) {
            let (of, length) = (Sliding::new(count, Duration::from_millis(period_ms)), period_ms * MILLI);
            let mut at = 2 * length;
            let (mut window, mut given) = (Window::new(at / of.part), Vec::new());
            for (later, cost) in steps {
                at += later * MILLI;
                let taken = of.take(&mut window, at, cost);
                let since = |from: u64| given.iter().filter(|(at, _)| *at > from).map(|(_, cost)| cost).sum::<u32>();
                if let Some(wait) = taken.refused {
                    prop_assert!(since(at - length - of.part) + cost > count, "refused without need");
                    let then = at + u64::try_from(wait.as_nanos()).unwrap();
                    let again = of.take(&mut window.clone(), then, cost);
                    prop_assert!(cost > count || again.refused.is_none(), "it is there when it was promised");
                    continue;
                }
                given.push((at, cost));
                let since = |from: u64| given.iter().filter(|(at, _)| *at > from).map(|(_, cost)| cost).sum::<u32>();
                prop_assert!(since(at - length) <= count);
            }
        }
    }
}
