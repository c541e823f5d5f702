//! How many requests are in flight for limits that count them: on this node, over all its workers.
//!
//! A place is taken with [`Counter::enter`] and given back when what was got for it is dropped: whatever becomes of a request, its exchange
//! goes, and its places with it. Nothing is kept of keys that have none in flight.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Parts of the table of keys, each with a lock of its own.
const PARTS: usize = 64;
/// Keys for which a part keeps room when they are gone.
const ROOM: usize = 64;

/// What all limits of a process count. Cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Chosen anew by each process, so that nobody can choose keys that meet.
    hasher: RandomState,
    /// By the hash of limit and key. Only keys that have some in flight are in it.
    parts: [Mutex<Part>; PARTS],
    /// Those that count without a key, by their ids: they outlive the plan that they were made for.
    known: Mutex<HashMap<Box<str>, Weak<Counter>>>,
}

/// The keys are hashes already.
type Part = HashMap<u64, u32, BuildHasherDefault<AsItIs>>;

#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Default for Inner {
    fn default() -> Self {
        let parts = std::array::from_fn(|_| Mutex::default());
        Self { hasher: RandomState::new(), parts, known: Mutex::default() }
    }
}

/// Counts for one limit.
#[derive(Debug)]
pub struct Counter {
    id: Box<str>,
    all: Arc<Inner>,
    /// Those without a key.
    alone: AtomicU32,
}

/// One of those in flight, for as long as this lives.
pub struct Held {
    counter: Arc<Counter>,
    /// The hash of limit and key; `None`: it has none.
    key: Option<u64>,
}

impl InFlight {
    /// The counter of this limit. What was counted under its id before goes on, also by a counter that was made for an older plan.
    #[must_use]
    pub fn counter(&self, id: &str) -> Arc<Counter> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(id).and_then(Weak::upgrade) {
            return counter;
        }
        known.retain(|_, counter| counter.strong_count() > 0);
        let counter = Arc::new(Counter { id: id.into(), all: Arc::clone(&self.0), alone: AtomicU32::new(0) });
        known.insert(id.into(), Arc::downgrade(&counter));
        counter
    }
}

impl Counter {
    /// One more, unless there are `most` already. Takes no lock.
    pub fn enter(self: &Arc<Self>, most: u32) -> Option<Held> {
        let one_more = |count| (count < most).then_some(count + 1);
        self.alone.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Held { counter: Arc::clone(self), key: None })
    }

    /// One more of this key, unless it has `most` already.
    pub fn enter_as(self: &Arc<Self>, key: &[u8], most: u32) -> Option<Held> {
        let hash = self.all.hasher.hash_one((&*self.id, key));
        let mut part = self.all.part(hash);
        let count = part.get(&hash).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        part.insert(hash, count + 1);
        Some(Held { counter: Arc::clone(self), key: Some(hash) })
    }
}

impl Inner {
    fn part(&self, hash: u64) -> MutexGuard<'_, Part> {
        // Another end of the hash than the one by which a part finds its keys.
        self.parts[(hash >> 32) as usize % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, hash: u64) {
        let mut part = self.part(hash);
        let Some(count) = part.get_mut(&hash) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        part.remove(&hash);
        // What a flood needed is given back, a half at a time.
        let room = part.capacity();
        if room > ROOM && part.len() < room / 8 {
            part.shrink_to((room / 4).max(ROOM / 2));
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.key {
            None => drop(self.counter.alone.fetch_sub(1, Ordering::AcqRel)),
            Some(hash) => self.counter.all.leave(hash),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("of", &self.counter.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(all: &InFlight) -> (usize, usize) {
        let parts = || all.0.parts.iter().map(|part| part.lock().unwrap());
        (parts().map(|part| part.len()).sum(), parts().map(|part| part.capacity()).sum())
    }

    #[test]
    fn so_many_and_no_more_and_what_ends_makes_room() {
        let counter = InFlight::default().counter("a");
        let first = counter.enter(2);
        let second = counter.enter(2);
        assert!(first.is_some() && second.is_some() && counter.enter(2).is_none());
        drop(first);
        let third = counter.enter(2);
        assert!(third.is_some() && counter.enter(2).is_none());
        assert!(counter.enter_as(b"x", 1).is_some(), "keys are counted by themselves");
    }

    #[test]
    fn keys_and_limits_do_not_meet_and_reloads_forget_nothing() {
        let all = InFlight::default();
        let (one, other) = (all.counter("one"), all.counter("other"));
        let held = (one.enter_as(b"x", 1), one.enter_as(b"y", 1), other.enter_as(b"x", 1), one.enter(1));
        assert!(held.0.is_some() && held.1.is_some() && held.2.is_some() && held.3.is_some());
        drop(one);
        let again = all.counter("one");
        assert!(again.enter_as(b"x", 1).is_none() && again.enter(1).is_none());
        assert!(again.enter_as(b"x", 2).is_some(), "another number holds at once");
        drop(held);
        drop(again);
        assert!(all.counter("one").enter(1).is_some());
    }

    #[test]
    fn what_is_over_takes_no_room() {
        let (all, most) = (InFlight::default(), 100_000_u32);
        let counter = all.counter("a");
        let mut held: Vec<_> = (0..most).map(|n| counter.enter_as(&n.to_be_bytes(), 1).unwrap()).collect();
        assert_eq!(keys(&all).0, most as usize);
        held.truncate(10);
        assert!(keys(&all).1 <= PARTS * ROOM * 2, "{:?}", keys(&all));
        held.clear();
        assert_eq!(keys(&all).0, 0);
        (0..100).for_each(|n| drop(all.counter(&format!("of a plan that is gone {n}"))));
        assert!(all.0.known.lock().unwrap().len() <= 2);
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_behind() {
        let all = InFlight::default();
        let (keyed, alone) = (all.counter("keyed"), all.counter("alone"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..20_000_u32 {
                        let held = (keyed.enter_as(&[(n % 3) as u8], 3), alone.enter(3));
                        assert!(alone.alone.load(Ordering::Acquire) <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!((keys(&all).0, alone.alone.load(Ordering::Acquire)), (0, 0));
    }
}
