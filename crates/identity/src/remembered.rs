//! Tokens that were checked: a second use costs one digest and one look-up.
//!
//! Each thread has a part of its own, so that workers which see the same token again and again do not wait for each other; what
//! another thread has found out is looked for once.
//!
//! Bounded: there are two generations, and once the younger one is full, the older one is forgotten. What is in use moves to the
//! younger one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;

/// Parts with a lock each. Where there are more threads than parts, some share one.
const PARTS: usize = 16;

thread_local! {
    /// The part of this thread.
    static OWN: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % PARTS
    };
}

/// The digest of a token: nobody finds another one that has it.
pub(crate) type Digest = [u8; 32];

/// The digest of a token.
pub(crate) fn digest(token: &str) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

/// What was found out about tokens.
#[derive(Debug)]
pub(crate) struct Remembered<V> {
    parts: Vec<Mutex<Part<V>>>,
    /// Most of a generation of a part.
    most: usize,
}

type Generation<V> = HashMap<Digest, V, BuildHasherDefault<First>>;

#[derive(Debug)]
struct Part<V> {
    young: Generation<V>,
    old: Generation<V>,
}

impl<V: Clone> Remembered<V> {
    /// For about so many; 0: none.
    pub(crate) fn new(most: usize) -> Self {
        let part = || Mutex::new(Part { young: HashMap::default(), old: HashMap::default() });
        Self { parts: (0..PARTS).map(|_| part()).collect(), most: most.div_ceil(PARTS * 2) }
    }

    /// What is known of this token, if that `holds`; what does not is forgotten.
    pub(crate) fn get(&self, digest: &Digest, holds: impl FnOnce(&V) -> bool) -> Option<V> {
        let own = OWN.with(|own| *own);
        let mut part = self.part(own);
        let known = match part.find(digest, self.most) {
            Some(known) => known,
            None => {
                drop(part);
                let known = (0..PARTS).filter(|part| *part != own).find_map(|other| self.part(other).look(digest))?;
                part = self.part(own);
                part.add(*digest, known.clone(), self.most);
                known
            }
        };
        if holds(&known) {
            return Some(known);
        }
        drop(part);
        (0..PARTS).for_each(|part| self.part(part).forget(digest));
        None
    }

    pub(crate) fn add(&self, digest: Digest, known: V) {
        if self.most > 0 {
            self.part(OWN.with(|own| *own)).add(digest, known, self.most);
        }
    }

    fn part(&self, number: usize) -> MutexGuard<'_, Part<V>> {
        self.parts[number % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> Part<V> {
    /// What is known; if it is old, it is young again.
    fn find(&mut self, digest: &Digest, most: usize) -> Option<V> {
        if let Some(known) = self.young.get(digest) {
            return Some(known.clone());
        }
        let known = self.old.remove(digest)?;
        self.add(*digest, known.clone(), most);
        Some(known)
    }

    fn look(&self, digest: &Digest) -> Option<V> {
        self.young.get(digest).or_else(|| self.old.get(digest)).cloned()
    }

    fn forget(&mut self, digest: &Digest) {
        self.young.remove(digest);
        self.old.remove(digest);
    }

    fn add(&mut self, digest: Digest, known: V, most: usize) {
        if self.young.len() >= most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, known);
    }
}

/// A digest is as good as random: its first bytes are hash enough.
#[derive(Default)]
struct First(u64);

impl Hasher for First {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_any_more_is_forgotten() {
        let remembered = Remembered::new(100);
        remembered.add(digest("a"), 1);
        assert_eq!(remembered.get(&digest("a"), |_| true), Some(1));
        assert_eq!(remembered.get(&digest("b"), |_| true), None);
        assert_eq!(remembered.get(&digest("a"), |_| false), None);
        assert_eq!(remembered.get(&digest("a"), |_| true), None);
    }

    #[test]
    fn what_one_thread_found_out_all_know_until_it_does_not_hold() {
        let remembered = std::sync::Arc::new(Remembered::new(320));
        let elsewhere = |what: fn(&Remembered<u32>) -> Option<u32>| {
            let remembered = std::sync::Arc::clone(&remembered);
            std::thread::spawn(move || what(&remembered)).join().unwrap()
        };
        remembered.add(digest("a"), 1);
        assert_eq!(elsewhere(|all| all.get(&digest("a"), |_| true)), Some(1));
        assert_eq!(elsewhere(|all| all.get(&digest("a"), |_| false)), None);
        assert_eq!(remembered.get(&digest("a"), |_| true), None);
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_in_use() {
        let remembered = Remembered::new(320);
        remembered.add(digest("kept"), 0);
        for n in 0..10_000 {
            remembered.add(digest(&n.to_string()), n);
            assert!(remembered.get(&digest("kept"), |_| true).is_some(), "after {n}");
        }
        let held: usize =
            remembered.parts.iter().map(|part| part.lock().unwrap()).map(|p| p.young.len() + p.old.len()).sum();
        assert!(held <= 320 + PARTS, "{held}");
        let none = Remembered::new(0);
        none.add(digest("a"), 1);
        assert!(none.get(&digest("a"), |_| true).is_none());
    }
}
