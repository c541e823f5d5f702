//! How this gateway stands to the store and to the others: whether it counts with them or alone, and what its share is then.
//!
//! Alone, a gateway gives its share of each limit: of a limit of 100 that four gateways know of, 25. So that all of them together never give
//! more than there is, however they come to be alone:
//! - A share begins empty, and once the others can tell that this gateway is silent, from when on they leave its share to it.
//! - Who comes back says from when on all count together again, a moment later, once the others will be back, too. Until then it goes on
//!   alone; and buckets, whose last tokens may have been given by shares, are empty at that moment.
//! - Of two numbers of gateways that may be right while one comes or goes, the smaller share counts until all know.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the others may be unheard before they count as silent.
pub(super) const SILENT: Duration = Duration::from_secs(1);
/// After how long without word a gateway is forgotten, and its share everybody's.
pub(super) const FORGET: Duration = Duration::from_secs(10);
/// How long all may take to find that the store is back.
pub(super) const BACK: Duration = Duration::from_millis(750);
/// How often a gateway gives a sign of life.
pub(super) const BEAT: Duration = Duration::from_millis(250);
/// How long a store may be silent before this gateway counts alone.
pub(super) const LOST: Duration = Duration::from_millis(1000);
/// From its last word to the store on, how long a gateway that counts alone waits with its share: all others have missed it by then.
pub(super) const BEFORE_SHARE: Duration = Duration::from_millis(1500);

/// Alone, and nobody knows for how long.
const WITHOUT_END: u64 = u64::MAX;

/// What a sign of life was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// How many gateways there are, and which of them this one is.
    pub(super) count: u32,
    pub(super) place: u32,
    /// The state of the list of gateways.
    pub(super) list: i64,
    /// Whether all know of that state.
    pub(super) all_know: bool,
    /// Since when these servers count, in milliseconds of Unix time; 0: since ever.
    pub(super) since: u64,
    /// Since when all count together again, after some gave shares, likewise.
    pub(super) shared: u64,
    /// Now, likewise.
    pub(super) now: u64,
    /// How many gateways are silent.
    pub(super) silent: u32,
}

/// How it stands. Times are ticks of [`crate::count::bucket::ticks`].
#[derive(Debug)]
pub(super) struct Standing {
    /// Until when this gateway counts alone: 0 if it does not.
    alone_until: AtomicU64,
    /// From when on it has its share.
    share_from: AtomicU64,
    /// Since when these servers count, and since when all count together again, as the store has it.
    since: AtomicU64,
    shared: AtomicU64,
    /// How many gateways there are, and how many of them are silent.
    count: AtomicU64,
    silent: AtomicU64,
    /// Whether it gave something of its share.
    spent: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// When the last sign of life that was answered was given.
    heard: Option<u64>,
    /// How many, and which of them, as of the last answer.
    told: (u32, u32),
    /// The same when all knew last.
    settled: (u32, u32),
    list: i64,
}

impl Standing {
    /// Nothing was heard yet.
    pub(super) fn new() -> Self {
        Self {
            alone_until: AtomicU64::new(WITHOUT_END),
            share_from: AtomicU64::new(WITHOUT_END),
            since: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            count: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            spent: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    /// Whether this gateway counts alone.
    pub(super) fn is_alone(&self, now: u64) -> bool {
        now < self.alone_until.load(Ordering::Acquire)
    }

    /// Whether it does, as far as anybody knows, without end.
    pub(super) fn is_lost(&self) -> bool {
        self.alone_until.load(Ordering::Acquire) == WITHOUT_END
    }

    /// The state of the list of gateways that it knows, and whether it comes back, and with what.
    pub(super) fn knows(&self) -> i64 {
        self.known().list
    }

    /// Whether something of the share was given since it was last asked whether.
    pub(super) fn has_spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    /// Gateways, and those that are silent.
    pub(super) fn gateways(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.silent.load(Ordering::Relaxed))
    }

    /// Since when all count together: milliseconds of the store's Unix time, 0 for ever. What was given before, by shares, it does not know.
    pub(super) fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// The same, if the servers may not know the last of what they were told either.
    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed).max(self.shared())
    }

    /// What this gateway's share of so many is.
    pub(super) fn share(&self, of: u32) -> u32 {
        let known = self.known();
        part(of, known.told).min(part(of, known.settled))
    }

    /// From when on it has its share; `None`: it has none.
    pub(super) fn share_from(&self) -> Option<u64> {
        Some(self.share_from.load(Ordering::Acquire)).filter(|from| *from != WITHOUT_END)
    }

    /// Something of the share was given.
    pub(super) fn spend(&self) {
        self.spent.store(true, Ordering::Release);
    }

    /// The store answered a sign of life that was given at `at`, in which it was said whether something had been spent: once all are back,
    /// this gateway counts alone no more.
    pub(super) fn heard(&self, told: Told, at: u64, said_spent: bool, ticks: impl Fn(Duration) -> u64) {
        let mut known = self.known();
        known.heard = Some(at);
        (known.told, known.list) = ((told.count, told.place), told.list);
        if told.all_know {
            known.settled = known.told;
        }
        drop(known);
        self.since.store(told.since, Ordering::Relaxed);
        self.shared.store(told.shared, Ordering::Relaxed);
        self.count.store(told.count.into(), Ordering::Relaxed);
        self.silent.store(told.silent.into(), Ordering::Relaxed);
        if !self.is_lost() {
            return;
        }
        let wait =
            if said_spent { Duration::from_millis(told.shared.saturating_sub(told.now)) } else { Duration::ZERO };
        // What is spent from here on the store does not know of, but it counts nothing until then either.
        self.alone_until.store(at + ticks(wait), Ordering::Release);
        if !said_spent && self.has_spent() {
            // Something was spent while the store was told that nothing was: the next one tells it.
            self.alone_until.store(WITHOUT_END, Ordering::Release);
            return;
        }
        self.spent.store(false, Ordering::Release);
    }

    /// The store cannot be asked: from now on this gateway counts alone. Whether it did not before.
    pub(super) fn lose(&self, ticks: impl Fn(Duration) -> u64) -> bool {
        if self.is_lost() {
            return false;
        }
        let heard = self.known().heard;
        let from = heard.map_or(WITHOUT_END, |heard| heard + ticks(BEFORE_SHARE));
        // A share that was under way goes on.
        self.share_from.store(from, Ordering::Release);
        self.alone_until.store(WITHOUT_END, Ordering::Release);
        true
    }

    /// When the store was last heard.
    pub(super) fn last_heard(&self) -> Option<u64> {
        self.known().heard
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of one of so many: all parts together are the whole.
fn part(of: u32, (count, place): (u32, u32)) -> u32 {
    let (Some(each), Some(rest)) = (of.checked_div(count), of.checked_rem(count)) else { return 0 };
    each + u32::from(place < rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(time: Duration) -> u64 {
        u64::try_from(time.as_millis()).unwrap()
    }

    fn told(count: u32, place: u32, list: i64, all_know: bool) -> Told {
        Told { count, place, list, all_know, since: 0, shared: 0, now: 1000, silent: 0 }
    }

    #[test]
    fn parts_are_the_whole_together() {
        for (of, count) in [(100, 4), (7, 4), (1, 4), (3, 1), (0, 2)] {
            assert_eq!((0..count).map(|place| part(of, (count, place))).sum::<u32>(), of);
        }
        assert_eq!(part(5, (0, 0)), 0, "nobody knows how many there are");
    }

    #[test]
    fn nobody_has_a_share_before_the_store_was_heard() {
        let standing = Standing::new();
        assert!(standing.is_alone(0) && standing.share_from().is_none());
        assert!(!standing.lose(ticks));
        assert_eq!(standing.share(100), 0);
        standing.heard(told(1, 0, 1, true), 10, false, ticks);
        assert!(!standing.is_alone(10));
        assert_eq!(standing.share(100), 100);
    }

    #[test]
    fn a_share_begins_once_the_others_know_and_ends_once_all_are_back() {
        let standing = Standing::new();
        standing.heard(told(4, 1, 7, true), 10, false, ticks);
        assert!(standing.lose(ticks) && !standing.lose(ticks));
        assert_eq!((standing.share_from(), standing.share(100)), (Some(1510), 25));
        standing.spend();
        standing.heard(told(4, 1, 7, true), 5000, false, ticks);
        assert!(standing.is_alone(6000), "it has to be told what was spent");
        let back = Told { shared: 1500, now: 1000, ..told(4, 1, 7, true) };
        standing.heard(back, 5250, true, ticks);
        assert!(standing.is_alone(5749) && !standing.is_alone(5750));
        assert_eq!((standing.since(), standing.shared()), (1500, 1500));
    }

    #[test]
    fn while_one_joins_the_smaller_share_counts() {
        let standing = Standing::new();
        standing.heard(told(1, 0, 1, true), 10, false, ticks);
        standing.heard(told(2, 0, 2, false), 20, false, ticks);
        assert_eq!(standing.share(100), 50);
        standing.heard(told(1, 0, 3, false), 30, false, ticks);
        assert_eq!(standing.share(100), 100, "as it was when all knew, and as it is told now");
        let joined = Standing::new();
        joined.heard(told(2, 1, 2, false), 10, false, ticks);
        assert_eq!(joined.share(100), 0, "not all know of it yet");
        joined.heard(told(2, 1, 2, true), 20, false, ticks);
        assert_eq!(joined.share(100), 50);
    }
}
