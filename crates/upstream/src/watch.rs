//! Which of a service's instances are left out, why, and what becomes of requests when all of them are.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tollgate_core::facts::Address;
use tollgate_observe::metrics::Standing;
use tollgate_registry::{Endpoint, State};

use crate::balance::Algorithm;
use crate::health::Health;
use crate::instance::Instance;
use crate::outlier::Outlier;
use crate::service::Service;

/// How a service's instances are watched. By default nobody is.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// How they are asked whether they are well, if they are.
    pub health: Option<Health>,
    /// When one is left out because requests sent to it failed, if ever.
    pub outlier: Option<Outlier>,
    /// What becomes of requests when all are left out.
    pub when_all_fail: WhenAllFail,
}

/// What becomes of requests when all instances are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAllFail {
    /// All are used, as if nothing were known of them: a wrong check must not take a service down.
    #[default]
    Serve,
    /// They are refused.
    Refuse,
}

impl Watch {
    /// Whether instances can be left out at all.
    pub(crate) fn is_on(&self) -> bool {
        self.health.is_some() || self.outlier.is_some()
    }
}

/// An instance at one moment.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    /// Where it is reached.
    pub address: Address,
    /// Requests on it now, from this node.
    pub in_flight: u32,
    /// Connections open to it, idle ones included.
    pub open: u32,
    /// How it stands; `None`: nobody looks.
    pub standing: Option<Standing>,
    /// For how long it stays ejected; zero: it is not.
    pub ejected_for: Duration,
    /// Why its last check failed, if it did.
    pub why: Option<String>,
    /// Its share relative to the others'.
    pub weight: u32,
    /// The zone it runs in, if that is said.
    pub zone: Option<Arc<str>>,
    /// Its priority group.
    pub group: u8,
    /// How fast it answers, in seconds, where that is looked at and known.
    pub latency: Option<f64>,
    /// How busy it says it is, where that is looked at and known.
    pub utilization: Option<f64>,
}

impl Service {
    /// Its instances, and how far the list can be trusted.
    #[must_use]
    pub fn status(&self) -> (Vec<InstanceStatus>, State) {
        let (instances, now, watch) = (self.instances.load(), self.clock.now(), &self.shared.settings.watch);
        let at = self.since_began(now);
        let decay = match self.balancing.algorithm {
            Algorithm::Latency { decay } => Some(decay),
            _ => None,
        };
        let status = |(instance, endpoint): (&Arc<Instance>, &Endpoint)| InstanceStatus {
            address: instance.address.clone(),
            in_flight: instance.in_flight(),
            open: instance.open(),
            standing: watch.is_on().then(|| instance.stands.standing(now, watch.health.is_some())),
            ejected_for: instance.stands.ejected_for(now),
            why: instance.stands.why(),
            weight: endpoint.weight,
            zone: endpoint.zone.clone(),
            group: endpoint.group,
            latency: decay.and_then(|decay| instance.learnt.latency.now(at, decay)),
            utilization: instance.learnt.utilization(),
        };
        (instances.list.iter().zip(instances.endpoints.iter()).map(status).collect(), instances.state.clone())
    }

    /// Counts how its instances stand, for metrics, and tells which come back.
    pub(crate) fn count_standing(&self, now: Instant) {
        let watch = &self.shared.settings.watch;
        if !watch.is_on() {
            return;
        }
        let alone = self.shared.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = [0; 4];
        for instance in &self.instances.load().list {
            if instance.stands.readmit(now) {
                tracing::info!(service = %self.name(), instance = %instance.address, "an ejected instance is used again");
            }
            counts[instance.stands.standing(now, watch.health.is_some()) as usize] += 1;
        }
        self.metrics().watch().stand(counts);
        drop(alone);
        self.rearrange(now);
    }
}
