//! Tokens that were checked: a second use costs one digest and one look-up.
//!
//! Bounded: there are two generations, and once the younger one is full, the older one is forgotten. What is in use moves to the
//! younger one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;

/// Parts with a lock each: workers seldom meet.
const PARTS: usize = 16;

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
        let mut part = self.part(digest);
        let known = match part.young.get(digest) {
            Some(known) => known.clone(),
            None => {
                let known = part.old.remove(digest)?;
                part.add(*digest, known.clone(), self.most);
                known
            }
        };
        if !holds(&known) {
            part.young.remove(digest);
            return None;
        }
        Some(known)
    }

    pub(crate) fn add(&self, digest: Digest, known: V) {
        if self.most > 0 {
            self.part(&digest).add(digest, known, self.most);
        }
    }

    fn part(&self, digest: &Digest) -> std::sync::MutexGuard<'_, Part<V>> {
        let part = usize::from(digest[31]) % PARTS;
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Part<V> {
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
