//! Entries in the memory of this process: gone when it ends.
//!
//! Bounded: once it is full, and nothing in it has ended, what may be forgotten (`CacheStore::keep`) makes room, and then no further
//! entry is taken. To forget any other one instead would let what was good for once be used again, and end the session of somebody
//! else than whoever fills the store.

use std::collections::{BTreeSet, HashMap};
use std::future::ready;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tollgate_core::cache::{CacheStore, StoreError};
use tollgate_core::clock::Clock;
use tollgate_core::policy::BoxFuture;

/// Parts with a lock each.
const PARTS: usize = 16;
/// What an entry takes beside its key and its value, about: places in two collections, two counted references.
const OVERHEAD: usize = 160;

/// Entries in memory.
#[derive(Debug)]
pub struct Memory {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
    clock: Clock,
    /// Most bytes of all entries together.
    most: AtomicUsize,
    /// Bytes of all entries together.
    used: AtomicUsize,
}

#[derive(Debug, Default)]
struct Part {
    all: HashMap<Arc<[u8]>, Entry>,
    /// Those that stay until they end, and those that make room before.
    staying: BTreeSet<End>,
    spare: BTreeSet<End>,
}

/// When an entry ends.
type End = (Instant, Arc<[u8]>);

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends: Instant,
    is_spare: bool,
}

/// How an entry is put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Unless something is there.
    Add,
    Put,
    /// And it may be forgotten.
    Keep,
}

fn size(key: &[u8], value: &Bytes) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl Memory {
    /// For so many bytes of keys and values, with what the store itself needs for them.
    #[must_use]
    pub fn new(most: usize, clock: Clock) -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            clock,
            most: AtomicUsize::new(most),
            used: AtomicUsize::new(0),
        }
    }

    /// From now on for so many bytes; what is in it stays for its time.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn part(&self, key: &[u8]) -> MutexGuard<'_, Part> {
        let at = self.hasher.hash_one(key) as usize % PARTS;
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, key: &[u8]) -> Option<Bytes> {
        let now = self.clock.now();
        self.part(key).all.get(key).filter(|entry| entry.ends > now).map(|entry| entry.value.clone())
    }

    /// Whether it was put: not if something is there and it is only to be added.
    fn put_in(&self, key: &[u8], value: Bytes, lasts: Duration, how: How) -> Result<bool, StoreError> {
        let full = || StoreError("it is full (`state.memory`)".to_owned());
        let (now, wanted) = (self.clock.now(), size(key, &value));
        // Marks of what was used come as often as clients like. What ends a session must find room all the same.
        let all = self.most.load(Ordering::Relaxed);
        let most = if how == How::Add { all - all / 8 } else { all };
        if wanted > most {
            return Err(full());
        }
        let mut part = self.part(key);
        self.free(part.forget_ended(now));
        if how == How::Add && part.all.contains_key(key) {
            return Ok(false);
        }
        let before = part.all.get(key).map_or(0, |entry| size(key, &entry.value));
        let room = |used: usize| Some(used - before + wanted).filter(|after| *after <= most);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            drop(part);
            // What has ended elsewhere is in the way for nothing.
            if self.forget_all_ended(now) == 0 && self.make_room(wanted) == 0 {
                return Err(full());
            }
            return self.put_in(key, value, lasts, how);
        }
        // A year at most, as all times of a config: what cannot be said in time ends at once.
        let ends = now.checked_add(lasts).unwrap_or(now);
        part.insert(key.into(), Entry { value, ends, is_spare: how == How::Keep });
        Ok(true)
    }

    fn all_parts(&self) -> impl Iterator<Item = MutexGuard<'_, Part>> {
        self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn free(&self, freed: usize) -> usize {
        self.used.fetch_sub(freed, Ordering::Relaxed);
        freed
    }

    /// How many bytes that freed.
    fn forget_all_ended(&self, now: Instant) -> usize {
        self.free(self.all_parts().map(|mut part| part.forget_ended(now)).sum())
    }

    /// Forgets what may be, up to so many bytes (or a little more) of each part: what ends first goes first. How many that freed.
    fn make_room(&self, wanted: usize) -> usize {
        self.free(self.all_parts().map(|mut part| part.forget_spare(wanted.div_ceil(PARTS))).sum())
    }

    fn forget(&self, key: &[u8]) {
        self.free(self.part(key).forget(key));
    }
}

impl Part {
    fn by_end(&mut self, is_spare: bool) -> &mut BTreeSet<End> {
        if is_spare { &mut self.spare } else { &mut self.staying }
    }

    fn insert(&mut self, key: Arc<[u8]>, entry: Entry) {
        let (ends, is_spare) = (entry.ends, entry.is_spare);
        if let Some(old) = self.all.insert(Arc::clone(&key), entry) {
            self.by_end(old.is_spare).remove(&(old.ends, Arc::clone(&key)));
        }
        self.by_end(is_spare).insert((ends, key));
    }

    /// How many bytes that freed, as with all that follow.
    fn forget(&mut self, key: &[u8]) -> usize {
        let Some((key, entry)) = self.all.remove_entry(key) else { return 0 };
        let freed = size(&key, &entry.value);
        self.by_end(entry.is_spare).remove(&(entry.ends, key));
        freed
    }

    fn forget_ended(&mut self, now: Instant) -> usize {
        let mut freed = 0;
        for is_spare in [false, true] {
            while let Some((_, key)) = self.by_end(is_spare).first().filter(|(ends, _)| *ends <= now).cloned() {
                freed += self.forget(&key);
            }
        }
        freed
    }

    fn forget_spare(&mut self, wanted: usize) -> usize {
        let mut freed = 0;
        while freed < wanted {
            let Some((_, key)) = self.spare.first().cloned() else { break };
            freed += self.forget(&key);
        }
        freed
    }
}

impl CacheStore for Memory {
    fn get(&self, key: &[u8]) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(ready(Ok(self.found(key))))
    }

    fn put(&self, key: &[u8], value: Bytes, lasts: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(self.put_in(key, value, lasts, How::Put).map(drop)))
    }

    fn add(&self, key: &[u8], value: Bytes, lasts: Duration) -> BoxFuture<'static, Result<bool, StoreError>> {
        Box::pin(ready(self.put_in(key, value, lasts, How::Add)))
    }

    fn keep(&self, key: &[u8], value: Bytes, lasts: Duration) {
        // Where only what has to stay is in the way, it is not kept.
        let _ = self.put_in(key, value, lasts, How::Keep);
    }

    fn remove(&self, key: &[u8]) -> BoxFuture<'static, Result<(), StoreError>> {
        self.forget(key);
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Model;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn an_entry_is_there_until_it_ends() {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        let store = Memory::new(10_000, clock.clone());
        assert_eq!(store.get(b"a").await, Ok(None));
        assert_eq!(store.add(b"a", "1".into(), SECOND).await, Ok(true));
        assert_eq!(store.add(b"a", "2".into(), SECOND).await, Ok(false), "it is there");
        assert_eq!(store.get(b"a").await, Ok(Some("1".into())));
        store.put(b"a", "3".into(), SECOND * 2).await.unwrap();
        clock.advance(SECOND);
        assert_eq!(store.get(b"a").await, Ok(Some("3".into())), "it lasts as long as was said last");
        clock.advance(SECOND);
        assert_eq!(store.get(b"a").await, Ok(None));
        assert_eq!(store.add(b"a", "4".into(), SECOND).await, Ok(true));
        store.remove(b"a").await.unwrap();
        assert_eq!(store.get(b"a").await, Ok(None));
        assert_eq!(store.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_full_store_forgets_nothing_before_its_time() {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        let store = Memory::new((3 * (OVERHEAD + 2)).div_ceil(7) * 8, clock.clone());
        for key in [b"a", b"b", b"c"] {
            assert_eq!(store.add(key, "1".into(), SECOND).await, Ok(true));
        }
        assert!(store.add(b"d", "1".into(), SECOND).await.is_err());
        assert!(store.put(b"a", vec![0; 2 * OVERHEAD].into(), SECOND).await.is_err());
        assert_eq!(store.get(b"a").await, Ok(Some("1".into())));
        store.put(b"a", "2".into(), SECOND).await.expect("takes the place of what was there");
        clock.advance(SECOND);
        assert_eq!(store.add(b"d", "1".into(), SECOND).await, Ok(true));
        store.resize(0);
        assert!(store.add(b"e", "1".into(), SECOND).await.is_err());
    }

    #[tokio::test]
    async fn an_eighth_is_for_what_has_to_be_kept() {
        let store = Memory::new(16 * (OVERHEAD + 2), Clock::fake(SystemTime::UNIX_EPOCH));
        let marks = (b'a'..=b'z').map(|key| store.put_in(&[key], "1".into(), SECOND, How::Add).is_ok());
        assert_eq!(marks.filter(|added| *added).count(), 14);
        assert!(store.put(b"0", "1".into(), SECOND).await.is_ok() && store.put(b"1", "1".into(), SECOND).await.is_ok());
        assert!(store.put(b"2", "1".into(), SECOND).await.is_err());
    }

    #[tokio::test]
    async fn what_may_be_forgotten_makes_room_for_what_may_not() {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        let store = Memory::new((3 * (OVERHEAD + 2)).div_ceil(7) * 8, clock.clone());
        store.keep(b"a", "1".into(), SECOND * 3);
        store.keep(b"b", "1".into(), SECOND * 2);
        store.keep(b"b", "2".into(), SECOND * 9);
        assert_eq!(store.get(b"b").await, Ok(Some("2".into())));
        for key in [b"c", b"d", b"e"] {
            assert_eq!(store.add(key, "1".into(), SECOND).await, Ok(true));
        }
        assert_eq!((store.get(b"a").await, store.get(b"b").await), (Ok(None), Ok(None)));
        store.keep(b"f", "1".into(), SECOND);
        assert_eq!(store.get(b"f").await, Ok(None), "not in place of one that stays");
        assert!(store.add(b"g", "1".into(), SECOND).await.is_err());
        clock.advance(SECOND);
        store.keep(b"f", "1".into(), SECOND);
        store.keep(b"h", Bytes::from(vec![0; 9 * OVERHEAD]), SECOND);
        assert_eq!(store.get(b"f").await, Ok(Some("1".into())), "nothing goes for one that can never be kept");
        for key in 0..100_u8 {
            store.keep(&[key], "1".into(), SECOND);
        }
        assert!(store.used.load(Ordering::Relaxed) <= 4 * (OVERHEAD + 2));
        assert_eq!(store.get(&[99]).await, Ok(Some("1".into())), "the last one is there");
        store.remove(&[99]).await.unwrap();
        clock.advance(SECOND);
        store.forget_all_ended(clock.now());
        assert_eq!(store.used.load(Ordering::Relaxed), 0);
    }

    proptest! {
        /// Whatever is done, it holds what a map would hold, and knows how much that is.
        #[test]
        fn as_a_map_would(steps in prop::collection::vec((0..5_u8, 0..6_u8, 0..40_usize, 1..4_u32), 1..80)) {
            let clock = Clock::fake(SystemTime::UNIX_EPOCH);
            let store = Memory::new(usize::MAX / 2, clock.clone());
            let mut model: Model<u8, (usize, u32)> = Model::new();
            let mut now = 0;
            for (what, key, length, lasts) in steps {
                let value = Bytes::from(vec![0; length]);
                model.retain(|_, (_, ends)| *ends > now);
                match what {
                    0 => {
                        let new = !model.contains_key(&key);
                        prop_assert_eq!(store.put_in(&[key], value, SECOND * lasts, How::Add), Ok(new));
                        model.entry(key).or_insert((length, now + lasts));
                    }
                    1 | 4 => {
                        let how = if what == 1 { How::Put } else { How::Keep };
                        prop_assert_eq!(store.put_in(&[key], value, SECOND * lasts, how), Ok(true));
                        model.insert(key, (length, now + lasts));
                    }
                    2 => {
                        store.forget(&[key]);
                        model.remove(&key);
                    }
                    _ => {
                        clock.advance(SECOND);
                        now += 1;
                    }
                }
                model.retain(|_, (_, ends)| *ends > now);
                for key in 0..6 {
                    prop_assert_eq!(store.found(&[key]).map(|v| v.len()), model.get(&key).map(|(length, _)| *length));
                }
                store.forget_all_ended(clock.now());
                let used: usize = model.values().map(|(length, _)| length + 1 + OVERHEAD).sum();
                prop_assert_eq!(store.used.load(Ordering::Relaxed), used);
            }
        }
    }
}
