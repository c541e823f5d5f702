//! A word of state for each key, without locks for those that are known.
//!
//! Levels, each made once the ones before are too full, and eight times as large. In each one a key may stand in the eight places of one
//! set, which its hash picks. A place is free once its word says nothing any more (a bucket that is full again, a day that is over), so
//! that nothing has to be swept. If all places where a key may stand are taken, the word that would be missed least is forgotten: that of
//! who has used least.
//!
//! A place has a tag, which is the key's hash, and a word, whose upper eight bits are of that hash, too: a word that is changed by who found
//! another key there a moment ago does not fit any more.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Places of a set. Their tags are a line of the processor's cache, their words another.
const PLACES: usize = 8;
/// Sets of the first level.
const FIRST: usize = 512;
/// How many times larger the next level is.
const GROWS: usize = 8;
/// Most levels.
const LEVELS: usize = 8;
/// Locks for keys that are new.
const STRIPES: usize = 64;
/// The largest value of a word: 56 bits.
pub(crate) const MOST: u64 = (1 << 56) - 1;

/// What words mean. 0 is the word of a key that has none.
pub(crate) trait Meaning {
    /// Whether a word says nothing any more.
    fn is_over(word: u64, now: u64) -> bool;

    /// How much a word that is not over would be missed: the least goes first.
    fn weight(word: u64, now: u64) -> u64;
}

/// Words by key.
#[derive(Debug)]
pub(crate) struct Table<M> {
    levels: [OnceLock<Level>; LEVELS],
    /// Most sets of all levels together.
    most: AtomicUsize,
    /// New keys: those with the same stripe one after the other, so that none gets two places.
    stripes: [Mutex<()>; STRIPES],
    /// How many words were forgotten before their time.
    forgotten: Arc<AtomicU64>,
    meaning: PhantomData<fn() -> M>,
}

/// Sets one after the other, a power of two: each its tags, and then its words.
type Level = Box<[AtomicU64]>;

/// A set of a level.
struct Set<'t> {
    tags: &'t [AtomicU64],
    words: &'t [AtomicU64],
}

/// Where a key stands, or may: its tag and its word.
#[derive(Clone, Copy)]
struct Place<'t> {
    tag: &'t AtomicU64,
    word: &'t AtomicU64,
}

fn level(sets: usize) -> Level {
    // The memory of zeros is the system's until somebody writes there; what follows is done to nothing.
    vec![0_u64; sets * PLACES * 2].into_iter().map(AtomicU64::new).collect()
}

fn sets(level: &Level) -> usize {
    level.len() / (PLACES * 2)
}

fn set(level: &Level, hash: u64) -> Set<'_> {
    let at = (hash as usize & (sets(level) - 1)) * PLACES * 2;
    let (tags, words) = level[at..at + PLACES * 2].split_at(PLACES);
    Set { tags, words }
}

fn packed(hash: u64, word: u64) -> u64 {
    (hash & !MOST) | word.min(MOST)
}

impl<'t> Set<'t> {
    fn places(self) -> impl Iterator<Item = Place<'t>> {
        self.tags.iter().zip(self.words).map(|(tag, word)| Place { tag, word })
    }
}

impl<M: Meaning> Table<M> {
    /// For about so many keys; memory is taken as they come. What is forgotten before its time is counted there.
    pub(crate) fn new(keys: usize, forgotten: &Arc<AtomicU64>) -> Self {
        let table = Self {
            levels: [const { OnceLock::new() }; LEVELS],
            most: AtomicUsize::new(0),
            stripes: [const { Mutex::new(()) }; STRIPES],
            forgotten: Arc::clone(forgotten),
            meaning: PhantomData,
        };
        table.resize(keys);
        table
    }

    /// From now on for about so many keys; what is there stays.
    pub(crate) fn resize(&self, keys: usize) {
        // Half of the places are free then, and each key has those of several levels to choose from.
        self.most.store(keys.saturating_mul(2).div_ceil(PLACES).max(1), Ordering::Relaxed);
    }

    /// Changes the word of a key: `change` is told the old one and gives the new one, or `None` to leave it. It is asked again if somebody
    /// else was faster.
    pub(crate) fn change<T>(&self, hash: u64, now: u64, change: impl Fn(u64) -> (Option<u64>, T)) -> T {
        // 0 is the tag of nobody.
        let hash = hash.max(1);
        if let Some(done) = self.change_known(hash, &change) {
            return done;
        }
        let stripe = &self.stripes[(hash >> 32) as usize % STRIPES];
        let _one_by_one = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(done) = self.change_known(hash, &change) {
                return done;
            }
            let (word, done) = change(0);
            let (Some(word), Some((place, seen))) = (word, self.room(hash, now)) else { return done };
            if place.word.compare_exchange(seen, packed(hash, word), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                if seen != 0 && !M::is_over(seen & MOST, now) {
                    self.forgotten.fetch_add(1, Ordering::Relaxed);
                }
                place.tag.store(hash, Ordering::Release);
                return done;
            }
        }
    }

    /// Forgets all words.
    pub(crate) fn clear(&self) {
        let all = self.levels().flat_map(|level| level.chunks_exact(PLACES * 2)).flat_map(|set| &set[PLACES..]);
        all.for_each(|word| word.store(0, Ordering::Release));
    }

    /// `None`: the key has no place, or lost it to another one just now.
    fn change_known<T>(&self, hash: u64, change: &impl Fn(u64) -> (Option<u64>, T)) -> Option<T> {
        let place = self.find(hash)?;
        let mut seen = place.word.load(Ordering::Acquire);
        loop {
            if seen != 0 && seen & !MOST != hash & !MOST {
                return None;
            }
            let (word, done) = change(seen & MOST);
            let Some(word) = word else { return Some(done) };
            match place.word.compare_exchange_weak(seen, packed(hash, word), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(done),
                Err(other) => seen = other,
            }
        }
    }

    fn find(&self, hash: u64) -> Option<Place<'_>> {
        self.levels().find_map(|level| {
            let set = set(level, hash);
            let at = set.tags.iter().position(|tag| tag.load(Ordering::Acquire) == hash)?;
            Some(Place { tag: set.tags.get(at)?, word: set.words.get(at)? })
        })
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        self.levels.iter().map_while(OnceLock::get)
    }

    /// A place for a key that has none, and the word there, which may be forgotten.
    fn room(&self, hash: u64, now: u64) -> Option<(Place<'_>, u64)> {
        let mut least: Option<(u64, Place<'_>, u64)> = None;
        let mut there = 0;
        for number in 0..LEVELS {
            let Some(level) = self.levels[number].get().or_else(|| self.grow(number, there)) else { break };
            there += sets(level);
            for place in set(level, hash).places() {
                let seen = place.word.load(Ordering::Acquire);
                if seen == 0 || M::is_over(seen & MOST, now) {
                    return Some((place, seen));
                }
                let weight = M::weight(seen & MOST, now);
                if least.is_none_or(|(than, ..)| weight < than) {
                    least = Some((weight, place, seen));
                }
            }
        }
        least.map(|(_, place, seen)| (place, seen))
    }

    /// One more level, if that is allowed beside so many sets.
    fn grow(&self, number: usize, there: usize) -> Option<&Level> {
        let left = self.most.load(Ordering::Relaxed).checked_sub(there).filter(|left| *left > 0)?;
        let usual = FIRST * GROWS.pow(u32::try_from(number).ok()?);
        Some(self.levels[number].get_or_init(|| level(usual.min(left.next_power_of_two()))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A word is the time until which it says something.
    #[derive(Debug)]
    struct Until;

    impl Meaning for Until {
        fn is_over(word: u64, now: u64) -> bool {
            word <= now
        }

        fn weight(word: u64, now: u64) -> u64 {
            word - now
        }
    }

    fn scattered(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number << 40)
    }

    fn table(keys: usize) -> Table<Until> {
        Table::new(keys, &Arc::default())
    }

    fn forgotten(table: &Table<Until>) -> u64 {
        table.forgotten.load(Ordering::Relaxed)
    }

    fn word(table: &Table<Until>, hash: u64) -> u64 {
        table.change(hash, 0, |word| (None, word))
    }

    #[test]
    fn a_million_keys_have_their_words_and_take_less_than_they_may() {
        let table = table(1_000_000);
        for key in 0..1_000_000 {
            table.change(scattered(key), 1, |_| (Some(key + 2), ()));
        }
        assert_eq!(forgotten(&table), 0);
        assert!((0..1_000_000).all(|key| word(&table, scattered(key)) == key + 2));
        let bytes: usize = table.levels().map(|level| level.len() * 8).sum();
        assert!(bytes < 128 << 20, "{bytes}");
    }

    #[test]
    fn a_flood_of_new_keys_forgets_those_that_used_least() {
        let table = table(1000);
        for key in 0..100 {
            table.change(scattered(key), 1, |_| (Some(1_000_000), ()));
        }
        for key in 100..1_000_000 {
            table.change(scattered(key), 1, |_| (Some(2), ()));
        }
        assert!(forgotten(&table) > 900_000);
        assert!((0..100).all(|key| word(&table, scattered(key)) == 1_000_000), "who used much is known");
        let places: usize = table.levels().map(|level| level.len() / 2).sum();
        assert!(places <= 4096, "{places}");
    }

    #[test]
    fn what_is_over_makes_room_and_a_larger_bound_holds_at_once() {
        let table = table(1);
        let of_one_set: Vec<u64> = (1..=20).map(|key| key << 57 | 1 << 12).collect();
        for hash in &of_one_set[..8] {
            table.change(*hash, 1, |_| (Some(5), ()));
        }
        table.change(of_one_set[8], 5, |_| (Some(9), ()));
        assert_eq!(forgotten(&table), 0);
        table.resize(1000);
        for hash in &of_one_set[9..17] {
            table.change(*hash, 1, |_| (Some(9), ()));
        }
        assert_eq!((forgotten(&table), word(&table, of_one_set[8])), (0, 9));
    }

    #[test]
    fn threads_that_bring_the_same_new_keys_share_their_words() {
        let table = table(100_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..20_000 {
                        table.change(scattered(key), 1, |word| (Some(word.max(1000) + 1), ()));
                    }
                });
            }
        });
        assert!((0..20_000).all(|key| word(&table, scattered(key)) == 1004));
    }

    proptest! {
        #[test]
        fn as_a_map_would(steps in prop::collection::vec((0..50_u64, 1..100_u64, 0..3_u64), 1..200)) {
            let (table, mut model, mut now) = (table(1000), HashMap::<u64, u64>::new(), 0);
            for (key, lasts, later) in steps {
                now += later;
                let before = table.change(scattered(key), now, |word| (Some(now + lasts), word));
                let known = model.insert(key, now + lasts).unwrap_or(0);
                // What is over may be forgotten, or not.
                prop_assert!(before == known || (before == 0 && known <= now));
            }
            prop_assert_eq!(forgotten(&table), 0);
        }
    }
}
