//! Assertions that were used: each is good for once (SAML 2.0 Profiles §4.1.4.5).
//!
//! Bounded: when it is full, and none in it has ended, no further one is taken. To forget one instead would let it be used again.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tollgate_core::problem::Problem;

use super::assertion::Accepted;
use super::faults::{CROWDED, REPLAYED};
use crate::checks::{Check, on};
use crate::remembered::{Digest, digest};

/// An assertion that was used.
pub(crate) fn replayed() -> Problem {
    REPLAYED.problem()
}

/// What was used and has not ended, in the memory of this process alone.
#[derive(Debug)]
pub struct Replays {
    most: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    by_end: BTreeSet<(SystemTime, Digest)>,
    all: HashSet<Digest>,
}

impl Replays {
    /// For so many at a time.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, used: Mutex::default() }
    }

    /// Takes an assertion of this issuer, once.
    ///
    /// # Errors
    /// It was used before, or there are too many.
    pub fn take(&self, issuer: &str, accepted: &Accepted, now: SystemTime) -> Result<(), Problem> {
        // No name of an entity or an ID has this letter: XML does not.
        let digest = digest(&format!("{issuer}\0{}", accepted.id));
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((ends, ended)) = used.by_end.first().copied().filter(|(ends, _)| *ends <= now) {
            used.by_end.remove(&(ends, ended));
            used.all.remove(&ended);
        }
        if on(Check::SamlReplay) && used.all.contains(&digest) {
            return Err(REPLAYED.problem());
        }
        if used.all.len() >= self.most {
            return Err(CROWDED.problem().header("Retry-After", "5"));
        }
        used.by_end.insert((accepted.ends, digest));
        used.all.insert(digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::Map;

    use super::super::{NameId, Session};
    use super::*;

    fn accepted(id: &str, ends: u64) -> Accepted {
        let ends = UNIX_EPOCH + Duration::from_secs(ends);
        Accepted {
            id: id.to_owned(),
            ends,
            name_id: NameId::default(),
            session: Session::default(),
            claims: Map::new(),
        }
    }

    #[test]
    fn each_is_good_for_once_until_it_ends() {
        let replays = Replays::new(2);
        let take = |issuer: &str, id: &str, now: u64| {
            let taken = replays.take(issuer, &accepted(id, 10), UNIX_EPOCH + Duration::from_secs(now));
            taken.map_or_else(|problem| problem.fault.slug, |()| "")
        };
        assert_eq!(take("a", "1", 0), "");
        assert_eq!(take("a", "1", 9), "saml/replayed");
        assert_eq!(take("b", "1", 9), "", "another one's");
        assert_eq!(take("a", "2", 9), "saml/crowded", "none is forgotten before it ends");
        assert_eq!(take("a", "2", 10), "");
        assert_eq!(replays.used.lock().unwrap().all.len(), 1);
        assert_eq!(replays.used.lock().unwrap().by_end.len(), 1);
    }
}
