//! How a service's requests are spread over its instances, and what changes that: other instances, other standings, reports of load.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tollgate_core::facts::Address;
use tollgate_registry::{Endpoint, State, View};

use crate::balance::Algorithm;
use crate::instance::Instance;
use crate::service::{Instances, Service};
use crate::sticky::Sticky;
use crate::tiers::{Scene, Tiers};

/// What a weight of 1 counts where weights are learnt.
const UNIT: f64 = 1000.0;
/// By how much a weight that is learnt may differ from the mean, either way.
const EXTREME: f64 = 20.0;

/// How a service's requests are spread over its instances.
#[derive(Clone, Debug, Default)]
pub struct Balancing {
    /// Who is chosen among those that are asked alike.
    pub algorithm: Algorithm,
    /// Clients stay with an instance, by a cookie; the others are chosen for.
    pub sticky: Option<Sticky>,
    /// For how long an instance that comes, or comes back, gets fewer requests.
    pub slow_start: Option<Duration>,
    /// When fewer instances per ten thousand are well, all are used.
    pub panic: u32,
    /// The gateway's zone.
    pub zone: Option<Arc<str>>,
}

impl From<Algorithm> for Balancing {
    fn from(algorithm: Algorithm) -> Self {
        Self { algorithm, ..Self::default() }
    }
}

impl Balancing {
    /// Whether it must be known how many requests are in flight on all instances together.
    pub(crate) fn needs_total(&self) -> bool {
        matches!(self.algorithm, Algorithm::ConsistentHash { bound: Some(_) })
    }
}

impl Service {
    /// Takes over what a source says. Instances that stay keep their connections, and what is known of them. A source that
    /// was never heard takes nothing away: until it is, the instances are those that another one gave.
    pub fn update(self: &Arc<Self>, view: &View) {
        let alone = self.arranging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.instances.load_full();
        if view.endpoints.is_empty() && matches!(view.state, State::Pending | State::Stale { .. }) {
            let before = Instances::clone(&before);
            self.instances.store(Arc::new(Instances { state: view.state.clone(), ..before }));
            return;
        }
        let endpoints: Arc<[Endpoint]> = view.endpoints.as_slice().into();
        if is_arranged_alike(&before.endpoints, &endpoints) {
            let before = Instances::clone(&before);
            let tiers = before.tiers.of(&endpoints);
            self.instances.store(Arc::new(Instances { state: view.state.clone(), endpoints, tiers, ..before }));
            return;
        }
        let list = self.kept(&before, &view.endpoints);
        let staying: HashSet<*const Instance> = list.iter().map(Arc::as_ptr).collect();
        for gone in before.list.iter().filter(|old| !staying.contains(&Arc::as_ptr(old))) {
            gone.retire();
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(gone));
        }
        let now = self.clock.now();
        let known: HashSet<*const Instance> = before.list.iter().map(Arc::as_ptr).collect();
        for new in list.iter().filter(|new| !known.contains(&Arc::as_ptr(new))) {
            // Where all are new, none of them is to be spared.
            if !known.is_empty() {
                new.learnt.starts(self.since_began(now));
            }
            self.check(new);
        }
        let weights = self.weights(&list, &endpoints, now);
        let homes = self.balancing.sticky.as_ref().map(|sticky| Arc::new(sticky.homes(self.name(), &endpoints)));
        let has_weight = endpoints.iter().any(|endpoint| endpoint.weight > 0);
        let tiers = self.tiers(&list, &endpoints, &weights, &before.tiers, now);
        let state = view.state.clone();
        self.instances.store(Arc::new(Instances { list, endpoints, weights, tiers, homes, state, has_weight }));
        drop(alone);
        // New instances may have room.
        self.standing_changed();
    }

    /// The instances of these endpoints: those that are there, and new ones.
    fn kept(self: &Arc<Self>, before: &Instances, endpoints: &[Endpoint]) -> Vec<Arc<Instance>> {
        let by_name =
            |instance: &Arc<Instance>| ((instance.address.clone(), instance.host.clone()), Arc::clone(instance));
        let known: HashMap<(Address, Option<Arc<str>>), Arc<Instance>> = before.list.iter().map(by_name).collect();
        let instance = |endpoint: &Endpoint| match known.get(&(endpoint.address.clone(), endpoint.host.clone())) {
            Some(kept) => Arc::clone(kept),
            None => Instance::new(endpoint, Arc::clone(&self.shared), self.workers),
        };
        endpoints.iter().map(instance).collect()
    }

    /// What each counts, going by what is known by now.
    fn weights(&self, list: &[Arc<Instance>], endpoints: &[Endpoint], now: Instant) -> Arc<[u32]> {
        let Some(reporting) = self.reporting() else {
            return endpoints.iter().map(|endpoint| endpoint.weight).collect();
        };
        let at = self.since_began(now);
        let known = list.iter().map(|instance| instance.learnt.known_capacity(at, reporting));
        learnt(endpoints, &known.collect::<Vec<_>>())
    }

    fn tiers(
        &self,
        list: &[Arc<Instance>],
        endpoints: &Arc<[Endpoint]>,
        weights: &Arc<[u32]>,
        before: &Tiers,
        now: Instant,
    ) -> Tiers {
        let is_in = |at: usize| list.get(at).is_some_and(|instance| !instance.stands.is_out(now));
        let scene = Scene { endpoints, weights, is_in: &is_in, balancing: &self.balancing };
        Tiers::new(&scene, Some(before))
    }

    /// Instances are left out, or used again: others may be asked first.
    pub(crate) fn rearrange(&self, now: Instant) {
        let _alone = self.arranging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.instances.load_full();
        let tiers = self.tiers(&before.list, &before.endpoints, &before.weights, &before.tiers, now);
        if !tiers.is_same(&before.tiers) {
            self.instances.store(Arc::new(Instances { tiers, ..Instances::clone(&before) }));
        }
    }

    /// What one of the workers does every second: where instances report how busy they are, finds out how many requests each can do.
    pub(crate) fn reweigh(&self, now: Instant) {
        let Some(reporting) = self.reporting() else { return };
        let _alone = self.arranging.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.instances.load_full();
        let at = self.since_began(now);
        // What they reported to their source holds for as long as that says so.
        for (endpoint, instance) in before.endpoints.iter().zip(&before.list) {
            if let Some(report) = endpoint.load.as_ref().and_then(|load| reporting.of.load(load)) {
                instance.learnt.reported(report);
            }
        }
        let capacities: Vec<Option<f64>> =
            before.list.iter().map(|instance| instance.learnt.capacity(at, reporting)).collect();
        let weights = learnt(&before.endpoints, &capacities);
        if weights == before.weights {
            return;
        }
        let tiers = self.tiers(&before.list, &before.endpoints, &weights, &before.tiers, now);
        self.instances.store(Arc::new(Instances { tiers, weights, ..Instances::clone(&before) }));
    }
}

/// What each counts, going by what it can do; one of which that is not known, as much as the others on average.
pub(crate) fn learnt(endpoints: &[Endpoint], capacities: &[Option<f64>]) -> Arc<[u32]> {
    let known: Vec<f64> = capacities.iter().flatten().copied().filter(|capacity| capacity.is_finite()).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let weight = |(endpoint, capacity): (&Endpoint, &Option<f64>)| {
        let part = capacity
            .filter(|capacity| capacity.is_finite())
            .map_or(1.0, |capacity| (capacity / mean).clamp(1.0 / EXTREME, EXTREME));
        (f64::from(endpoint.weight) * part * UNIT) as u32
    };
    endpoints.iter().zip(capacities).map(weight).collect()
}

/// Whether both lead to the same instances, and as many requests to each: only what they report may differ.
fn is_arranged_alike(one: &[Endpoint], other: &[Endpoint]) -> bool {
    let is_alike = |(one, other): (&Endpoint, &Endpoint)| {
        let Endpoint { address, weight, host, zone, group, load: _ } = one;
        (address, weight, host, zone, group) == (&other.address, &other.weight, &other.host, &other.zone, &other.group)
    };
    one.len() == other.len() && one.iter().zip(other).all(is_alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_that_is_no_number_takes_nothing_from_the_others() {
        let endpoint = |port: u16| Endpoint::new(Address::Socket(([127, 0, 0, 1], port).into()), 1);
        let endpoints = [endpoint(1), endpoint(2), endpoint(3)];
        let even = learnt(&endpoints, &[Some(100.0), Some(100.0), None]);
        for odd in [f64::INFINITY, f64::NAN] {
            assert_eq!(learnt(&endpoints, &[Some(100.0), Some(100.0), Some(odd)]), even, "{odd}");
        }
    }
}
