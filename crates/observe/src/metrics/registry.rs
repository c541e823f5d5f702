//! What is counted of the registry of instances.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::table::{OTHER, lock};

/// Most services whose instances are counted one by one.
const MOST_SERVICES: usize = 2_000;

/// What is told of the registry; nothing, where there is none.
#[derive(Debug, Default)]
pub struct RegistryFacts(Mutex<Option<Facts>>);

#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) revision: u64,
    /// When its store last vouched for it, in seconds of Unix time.
    pub(super) vouched: f64,
    pub(super) is_stale: bool,
    pub(super) put: u64,
    pub(super) gone: u64,
    pub(super) lapsed: u64,
    /// Of each service: those that get requests, and those that drain.
    services: BTreeMap<Box<str>, [u64; 2]>,
}

impl RegistryFacts {
    /// The store vouches for this revision; `at`: in time since the Unix epoch.
    pub fn vouched(&self, revision: u64, at: Duration) {
        self.change(|facts| (facts.revision, facts.vouched, facts.is_stale) = (revision, at.as_secs_f64(), false));
    }

    /// The store cannot be asked.
    pub fn stale(&self) {
        self.change(|facts| facts.is_stale = true);
    }

    /// An instance registered, or changed.
    pub fn put(&self) {
        self.change(|facts| facts.put += 1);
    }

    /// An instance is gone.
    pub fn gone(&self) {
        self.change(|facts| facts.gone += 1);
    }

    /// So many instances are not used any more because nobody vouches for them.
    pub fn lapsed(&self, number: u64) {
        self.change(|facts| facts.lapsed += number);
    }

    /// A service has so many instances.
    pub fn instances(&self, service: &str, up: usize, draining: usize) {
        let counts = [up, draining].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        self.change(|facts| match counts {
            [0, 0] => drop(facts.services.remove(service)),
            _ => drop(facts.services.insert(service.into(), counts)),
        });
    }

    /// There is no registry any more.
    pub fn end(&self) {
        *lock(&self.0) = None;
    }

    pub(super) fn now(&self) -> Option<Facts> {
        lock(&self.0).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(lock(&self.0).get_or_insert_default());
    }
}

impl Facts {
    /// How many instances there are, by service; those of services that find no place, together.
    pub(super) fn services(&self) -> Vec<(&str, [u64; 2])> {
        let mut shown: Vec<(&str, [u64; 2])> =
            self.services.iter().take(MOST_SERVICES).map(|(service, counts)| (&**service, *counts)).collect();
        let others = self.services.values().skip(MOST_SERVICES);
        let sum = others.fold([0, 0], |sum, counts| [sum[0] + counts[0], sum[1] + counts[1]]);
        if sum != [0, 0] {
            shown.push((OTHER, sum));
        }
        shown
    }
}
