//! Tokens that were checked: a second use costs one digest and one look-up.
//!
//! Bounded: there are two generations, and once the younger one is full, the older one is forgotten. What is in use moves to the
//! younger one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::digest;
use tollgate_core::principal::Principal;

use crate::jwk::Key;

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

/// What was found out about a token.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) principal: Arc<Principal>,
    /// Made its signature.
    pub(crate) key: Arc<Key>,
    /// When it ends.
    pub(crate) until: SystemTime,
}

/// Tokens that were checked.
#[derive(Debug)]
pub(crate) struct Remembered {
    parts: Vec<Mutex<Part>>,
    /// Most of a generation of a part.
    most: usize,
}

type Generation = HashMap<Digest, Known, BuildHasherDefault<First>>;

#[derive(Debug, Default)]
struct Part {
    young: Generation,
    old: Generation,
}

impl Remembered {
    /// For about so many; 0: none.
    pub(crate) fn new(most: usize) -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect(), most: most.div_ceil(PARTS * 2) }
    }

    /// What is known of this token, if that holds.
    pub(crate) fn get(&self, digest: &Digest, now: SystemTime) -> Option<Arc<Principal>> {
        let mut part = self.part(digest);
        let known = match part.young.get(digest) {
            Some(known) => known.clone(),
            None => {
                let known = part.old.remove(digest)?;
                part.add(*digest, known.clone(), self.most);
                known
            }
        };
        if known.until <= now || known.key.is_gone() {
            part.young.remove(digest);
            return None;
        }
        Some(known.principal)
    }

    pub(crate) fn add(&self, digest: Digest, known: Known) {
        if self.most > 0 {
            self.part(&digest).add(digest, known, self.most);
        }
    }

    fn part(&self, digest: &Digest) -> std::sync::MutexGuard<'_, Part> {
        let part = usize::from(digest[31]) % PARTS;
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn add(&mut self, digest: Digest, known: Known, most: usize) {
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
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    fn key() -> Arc<Key> {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        Arc::new(Key::read(key.as_object().unwrap()).unwrap())
    }

    fn known(key: &Arc<Key>, until: u64) -> Known {
        let principal = Principal {
            source: "idp".into(),
            subject: "alice".into(),
            consumer: None,
            scopes: Vec::new(),
            claims: serde_json::Map::new(),
            expires: None,
        };
        Known { principal: Arc::new(principal), key: Arc::clone(key), until: UNIX_EPOCH + Duration::from_secs(until) }
    }

    const START: SystemTime = UNIX_EPOCH;

    #[test]
    fn what_is_known_holds_until_it_ends_or_its_key_goes() {
        let (remembered, key) = (Remembered::new(100), key());
        remembered.add(digest("a"), known(&key, 10));
        assert!(remembered.get(&digest("a"), START).is_some());
        assert!(remembered.get(&digest("b"), START).is_none());
        assert!(remembered.get(&digest("a"), START + Duration::from_secs(10)).is_none());
        remembered.add(digest("a"), known(&key, 10));
        key.retire();
        assert!(remembered.get(&digest("a"), START).is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_in_use() {
        let (remembered, key) = (Remembered::new(320), key());
        remembered.add(digest("kept"), known(&key, 10));
        for n in 0..10_000 {
            remembered.add(digest(&n.to_string()), known(&key, 10));
            assert!(remembered.get(&digest("kept"), START).is_some(), "after {n}");
        }
        let held: usize =
            remembered.parts.iter().map(|part| part.lock().unwrap()).map(|p| p.young.len() + p.old.len()).sum();
        assert!(held <= 320 + PARTS, "{held}");
        let none = Remembered::new(0);
        none.add(digest("a"), known(&key, 10));
        assert!(none.get(&digest("a"), START).is_none());
    }
}
