//! Entries in the memory of this process: gone when it ends.
//!
//! Bounded: once it is full, and nothing in it has ended, no further entry is taken. To forget one instead would let what was
//! good for once be used again, and end the session of somebody else than whoever fills the store.

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
    by_end: BTreeSet<(Instant, Arc<[u8]>)>,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    ends: Instant,
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

    /// Whether it was put: not if something is there that is to stay.
    fn put_in(&self, key: &[u8], value: Bytes, lasts: Duration, replace: bool) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut part = self.part(key);
        self.forget_ended(&mut part, now);
        if !replace && part.all.contains_key(key) {
            return Ok(false);
        }
        let before = part.all.get(key).map_or(0, |entry| size(key, &entry.value));
        let wanted = size(key, &value);
        let room =
            |used: usize| Some(used - before + wanted).filter(|after| *after <= self.most.load(Ordering::Relaxed));
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            drop(part);
            // What has ended elsewhere is in the way for nothing.
            if self.forget_all_ended(now) == 0 {
                return Err(StoreError("it is full (`store.memory`)".to_owned()));
            }
            return self.put_in(key, value, lasts, replace);
        }
        // A year at most, as all times of a config: what cannot be said in time ends at once.
        let ends = now.checked_add(lasts).unwrap_or(now);
        let own: Arc<[u8]> = key.into();
        if let Some(old) = part.all.insert(Arc::clone(&own), Entry { value, ends }) {
            part.by_end.remove(&(old.ends, Arc::clone(&own)));
        }
        part.by_end.insert((ends, own));
        Ok(true)
    }

    /// How many bytes that freed.
    fn forget_ended(&self, part: &mut Part, now: Instant) -> usize {
        let mut freed = 0;
        while part.by_end.first().is_some_and(|(ends, _)| *ends <= now) {
            let Some((_, key)) = part.by_end.pop_first() else { break };
            freed += part.all.remove(&key).map_or(0, |entry| size(&key, &entry.value));
        }
        self.used.fetch_sub(freed, Ordering::Relaxed);
        freed
    }

    fn forget_all_ended(&self, now: Instant) -> usize {
        let parts = self.parts.iter().map(|part| part.lock().unwrap_or_else(PoisonError::into_inner));
        parts.map(|mut part| self.forget_ended(&mut part, now)).sum()
    }

    fn forget(&self, key: &[u8]) {
        let mut part = self.part(key);
        if let Some((key, entry)) = part.all.remove_entry(key) {
            self.used.fetch_sub(size(&key, &entry.value), Ordering::Relaxed);
            part.by_end.remove(&(entry.ends, key));
        }
    }
}

impl CacheStore for Memory {
    fn get(&self, key: &[u8]) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(ready(Ok(self.found(key))))
    }

    fn put(&self, key: &[u8], value: Bytes, lasts: Duration) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(ready(self.put_in(key, value, lasts, true).map(drop)))
    }

    fn add(&self, key: &[u8], value: Bytes, lasts: Duration) -> BoxFuture<'static, Result<bool, StoreError>> {
        Box::pin(ready(self.put_in(key, value, lasts, false)))
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
        let store = Memory::new(3 * (OVERHEAD + 2), clock.clone());
        for key in [b"a", b"b", b"c"] {
            assert_eq!(store.add(key, "1".into(), SECOND).await, Ok(true));
        }
        assert!(store.add(b"d", "1".into(), SECOND).await.is_err());
        assert!(store.put(b"a", "longer".into(), SECOND).await.is_err());
        assert_eq!(store.get(b"a").await, Ok(Some("1".into())));
        store.put(b"a", "2".into(), SECOND).await.expect("takes the place of what was there");
        clock.advance(SECOND);
        assert_eq!(store.add(b"d", "1".into(), SECOND).await, Ok(true));
        store.resize(0);
        assert!(store.add(b"e", "1".into(), SECOND).await.is_err());
    }

    proptest! {
        /// Whatever is done, it holds what a map would hold, and knows how much that is.
        #[test]
        fn as_a_map_would(steps in prop::collection::vec((0..4_u8, 0..6_u8, 0..40_usize, 1..4_u32), 1..80)) {
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
                        prop_assert_eq!(store.put_in(&[key], value, SECOND * lasts, false), Ok(new));
                        model.entry(key).or_insert((length, now + lasts));
                    }
                    1 => {
                        prop_assert_eq!(store.put_in(&[key], value, SECOND * lasts, true), Ok(true));
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
