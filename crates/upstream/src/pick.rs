//! Which instance takes an attempt: the service's way of balancing, over those that take part and have room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tollgate_observe::metrics::Spilled;
use twox_hash::XxHash3_64;

use crate::balance::{Algorithm, PickCx};
use crate::instance::Instance;
use crate::service::{Ask, Instances, Service};
use crate::tiers::{Place, Takes, Tier};

impl Service {
    /// Whom this request wants, from what it would like most to what will do.
    pub(crate) fn wants(&self, ask: &Ask<'_>) -> &'static [Wants] {
        match (self.balancing.slow_start.is_some(), ask.tried.is_empty()) {
            (false, true) => &[Wants::In],
            (false, false) => &[Wants::Fresh, Wants::In],
            (true, true) => &[Wants::Warm, Wants::In],
            (true, false) => &[Wants::Warm, Wants::Fresh, Wants::In],
        }
    }
}

/// An instance that was chosen.
#[derive(Clone, Copy)]
pub(crate) struct Picked<'i> {
    pub(crate) instance: &'i Arc<Instance>,
    /// From which tier; `None`: the client stays with it.
    tier: Option<&'i Tier>,
}

impl Picked<'_> {
    /// Counts an attempt that goes to others than it would if all were well.
    pub(crate) fn count(self, worker: usize) {
        let Some(tier) = self.tier else { return };
        let metrics = || self.instance.shared().metrics.shard(worker);
        match tier.place {
            Place::First => {}
            Place::OtherZone => metrics().spilled(Spilled::Zone),
            Place::LaterGroup => metrics().spilled(Spilled::Group),
        }
        if tier.takes == Takes::All {
            metrics().spilled(Spilled::Panic);
        }
    }
}

impl Instances {
    /// The first that can be had of these.
    pub(crate) fn pick(&self, service: &Service, ask: &Ask<'_>, wants: &[Wants]) -> Option<Picked<'_>> {
        let home = |wants| self.home_as(service, ask, wants).map(|instance| Picked { instance, tier: None });
        wants.iter().find_map(|wants| home(*wants).or_else(|| self.pick_as(service, ask, *wants)))
    }

    /// The one that the client stays with.
    fn home_as(&self, service: &Service, ask: &Ask<'_>, wants: Wants) -> Option<&Arc<Instance>> {
        self.homes.as_ref()?;
        // It knew the instance before, however cold that is.
        let wants = if wants == Wants::Warm { Wants::Fresh } else { wants };
        self.home(ask).filter(|home| will_do(home, service, ask, wants, Takes::Well))
    }

    fn pick_as(&self, service: &Service, ask: &Ask<'_>, wants: Wants) -> Option<Picked<'_>> {
        // A key begins in the same tier each time.
        let random = || match ask.key.filter(|_| service.balancing.algorithm.is_by_key()) {
            Some(key) => XxHash3_64::oneshot_with_seed(u64::MAX, key),
            None => fastrand::u64(..),
        };
        // Whoever would only like a warm one looks no further than where it begins.
        let most = if wants == Wants::Warm { 1 } else { usize::MAX };
        self.tiers.drawn(random).take(most).find_map(|tier| {
            let at = tier.balance.pick(&Choice { list: &self.list, tier, service, ask, wants })?;
            let instance = self.list.get(*tier.members.get(at)? as usize)?;
            Some(Picked { instance, tier: Some(tier) })
        })
    }
}

/// Which instances will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// One like [`Wants::Fresh`]; one that starts slowly only as often as it should.
    Warm,
    /// One that takes part and did not fail this request before, with room.
    Fresh,
    /// One that takes part, with room.
    In,
    /// One that takes part, with room or without.
    InAtAll,
    /// Any that did not fail this request before, with room.
    FreshOfAll,
    /// Any with room.
    OfAll,
}

fn will_do(instance: &Instance, service: &Service, ask: &Ask<'_>, wants: Wants, takes: Takes) -> bool {
    let is_in = || takes == Takes::All || !instance.stands.is_out(ask.now);
    let is_fresh = || !ask.tried.contains(&instance.address);
    let has_room = || instance.has_room(ask.worker);
    match wants {
        Wants::Warm => is_in() && has_room() && is_fresh() && is_its_time(instance, service, ask),
        Wants::Fresh => is_in() && has_room() && is_fresh(),
        Wants::In => is_in() && has_room(),
        Wants::InAtAll => is_in(),
        Wants::FreshOfAll => has_room() && is_fresh(),
        Wants::OfAll => has_room(),
    }
}

/// Draws whether an instance in its slow start takes this one.
fn is_its_time(instance: &Instance, service: &Service, ask: &Ask<'_>) -> bool {
    let Some(slow_start) = service.balancing.slow_start else { return true };
    let warmth = instance.learnt.warmth(service.since_began(ask.now), slow_start);
    warmth >= 1000 || fastrand::u64(..1000) < warmth
}

/// What a balancer sees of the instances.
struct Choice<'a> {
    list: &'a [Arc<Instance>],
    tier: &'a Tier,
    service: &'a Service,
    ask: &'a Ask<'a>,
    wants: Wants,
}

impl Choice<'_> {
    fn instance(&self, endpoint: usize) -> Option<&Instance> {
        let at = *self.tier.members.get(endpoint)?;
        self.list.get(at as usize).map(|instance| &**instance)
    }
}

impl PickCx for Choice<'_> {
    fn available(&self, endpoint: usize) -> bool {
        let will_do = |instance| will_do(instance, self.service, self.ask, self.wants, self.tier.takes);
        self.instance(endpoint).is_some_and(will_do)
    }

    fn in_flight(&self, endpoint: usize) -> u64 {
        self.instance(endpoint).map_or(0, |instance| instance.in_flight().into())
    }

    fn total_in_flight(&self) -> u64 {
        self.service.shared.in_flight.as_ref().map_or(0, |all| all.load(Ordering::Relaxed).into())
    }

    fn latency(&self, endpoint: usize) -> Option<f64> {
        let Algorithm::Latency { decay } = self.service.balancing.algorithm else { return None };
        self.instance(endpoint)?.learnt.latency.now(self.service.since_began(self.ask.now), decay)
    }

    fn is_retry(&self) -> bool {
        // Nor does merely looking take a turn.
        !self.ask.tried.is_empty() || self.wants == Wants::InAtAll
    }

    fn is_choosy(&self) -> bool {
        self.wants == Wants::Warm
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn hash_key(&self) -> Option<&[u8]> {
        self.ask.key
    }
}
