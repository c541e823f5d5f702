//! A service: its instances, how one is chosen, and how a connection to it is had.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tollgate_core::clock::Clock;
use tollgate_core::criticality::Criticality;
use tollgate_core::facts::{Address, Conn};
use tollgate_core::policy::BoxFuture;
use tollgate_net::tls::NoHandshake;
use tollgate_observe::metrics::{Outcome, ServiceMetrics};
use tollgate_registry::{Endpoint, State};

use crate::adaptive::{Gate, Permit};
use crate::arranging::Balancing;
use crate::breaker::{Breaker, Open, Round};
use crate::budget::Budget;
use crate::connection::{Connection, Share};
use crate::instance::Instance;
use crate::opening::Opening;
use crate::pick::{Picked, Wants};
use crate::shared::{Place, Protocol, Settings, Shared};
use crate::sticky::Homes;
use crate::tiers::{Scene, Tiers};
use crate::watch::WhenAllFail;

/// A service of the file, or the addresses written in a route.
pub struct Service {
    pub(crate) shared: Arc<Shared>,
    budget: Budget,
    pub(crate) balancing: Balancing,
    pub(crate) instances: ArcSwap<Instances>,
    /// Held while others take the place of these.
    pub(crate) arranging: Mutex<()>,
    /// Instances that left the list and may still have connections at rest.
    pub(crate) retired: Mutex<Vec<Arc<Instance>>>,
    /// Who may be sent at a time, if that is found out.
    gate: Option<Arc<Gate>>,
    /// Whether all of it is left alone, if it may be.
    breaker: Option<Arc<Breaker>>,
    pub(crate) workers: usize,
    pub(crate) clock: Clock,
}

/// The instances at one moment.
#[derive(Clone)]
pub(crate) struct Instances {
    pub(crate) list: Vec<Arc<Instance>>,
    /// The same as their source says them.
    pub(crate) endpoints: Arc<[Endpoint]>,
    /// What each counts.
    pub(crate) weights: Arc<[u32]>,
    /// Who is asked first, and who chooses.
    pub(crate) tiers: Tiers,
    /// Whom clients stay with, if they do.
    pub(crate) homes: Option<Arc<Homes>>,
    pub(crate) state: State,
    /// Whether any of them has a weight: without one, none takes traffic.
    pub(crate) has_weight: bool,
}

/// Who asks for a connection.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The worker.
    pub worker: usize,
    /// What is hashed, for services that choose by hash; the cookie, for those whose clients stay.
    pub key: Option<&'a [u8]>,
    /// The client connection that it is for, where instances are told so ([`Service::tells_clients`]).
    pub client: Option<&'a Arc<Conn>>,
    /// Instances that failed this request already: others go first.
    pub tried: &'a [Address],
    /// Not a connection that was used before: one such just proved dead.
    pub fresh: bool,
    /// How much it matters.
    pub criticality: Criticality,
    /// The request cannot be sent twice: a connection that rested is looked at once more before it carries it.
    pub only_once: bool,
    /// The round of the breaker's trials that it is one of, if it is one. While it waits in a queue, another may be made.
    pub trial: Option<Round>,
    /// Now.
    pub now: Instant,
    /// When the request's time is over.
    pub deadline: Instant,
}

/// Why there is no connection. Cheap to copy: those who waited for the same connection all hear of it.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// The service has no instance.
    NoInstance,
    /// All its instances are unhealthy or ejected.
    AllOut,
    /// The instance cannot be reached.
    Connect(Address, Arc<std::io::Error>),
    /// It can be reached, but there is no TLS with it.
    Tls(Address, Arc<NoHandshake>),
    /// It can be reached, but does not speak the version of HTTP that it should.
    Protocol(Address, Arc<str>),
    /// The instance did not accept, or was not done with TLS, in time.
    ConnectTimeout(Address),
    /// The connection limit is reached and the queue full, or the time in it ran out.
    Limit,
    /// No moment to send it is free before its time is over, or too many wait for theirs. There is one after this time.
    Rate(Duration),
    /// The service has as many requests as it can do, and others that wait matter more, or did not have to wait so long.
    Overloaded,
    /// The service's breaker is open, or lets other trials through, now that the request need not wait any more.
    LeftAlone(Open),
    /// The request's time is over.
    Deadline,
    /// Somebody else's connection, which this request waited for, came to nothing.
    Joined(Box<Refusal>),
}

impl Refusal {
    /// Whether an instance is the reason, and not what the gateway itself has room or time for.
    #[must_use]
    pub fn is_of_an_instance(&self) -> bool {
        match self {
            Self::Joined(refusal) => refusal.is_of_an_instance(),
            refusal => refusal.address().is_some(),
        }
    }

    /// The instance that is the reason.
    pub(crate) fn address(&self) -> Option<&Address> {
        match self {
            Self::Connect(address, _)
            | Self::Tls(address, _)
            | Self::Protocol(address, _)
            | Self::ConnectTimeout(address) => Some(address),
            Self::NoInstance
            | Self::AllOut
            | Self::Limit
            | Self::Rate(_)
            | Self::Overloaded
            | Self::LeftAlone(_)
            | Self::Deadline
            | Self::Joined(_) => None,
        }
    }
}

/// Waits until a request may be sent.
pub type Admitting<'a> = BoxFuture<'a, Result<(Connection, Option<Permit>), Refusal>>;

pub(crate) enum Found {
    Connection(Connection),
    Place(Arc<Instance>, Place),
    /// Somebody else makes a connection that will be shared.
    Opening(Opening),
    Full,
}

impl Service {
    /// A service without instances yet; [`Service::update`] brings them. `wake` has one bell per worker, rung when that
    /// worker should [`Service::sweep`].
    #[must_use]
    pub fn new(
        name: &str,
        settings: Settings,
        budget: Budget,
        balancing: impl Into<Balancing>,
        metrics: Arc<ServiceMetrics>,
        wake: Arc<[Notify]>,
        clock: Clock,
    ) -> Arc<Self> {
        let workers = wake.len();
        let balancing = balancing.into();
        let empty = Instances::none(&balancing);
        let adaptive = settings.adaptive;
        let gate = adaptive.map(|adaptive| Gate::new(adaptive, Arc::clone(&metrics), clock.clone()));
        let breaker = settings.breaker.clone();
        let breaker = breaker.map(|breaker| Breaker::new(breaker, Arc::clone(&metrics), clock.now()));
        if breaker.is_none() {
            metrics.watch().no_breaker();
        }
        let mut shared = Shared::new(name, settings, metrics, wake, clock.clone());
        shared.in_flight = balancing.needs_total().then(AtomicU32::default);
        Arc::new(Self {
            gate,
            breaker,
            shared: Arc::new(shared),
            budget,
            balancing,
            instances: ArcSwap::from_pointee(empty),
            arranging: Mutex::default(),
            retired: Mutex::default(),
            workers,
            clock,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<ServiceMetrics> {
        &self.shared.metrics
    }

    /// Its connections that are open, on this node.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.shared.open()
    }

    /// Instances joined, or are used or not used from now on: whoever waits may find room.
    pub(crate) fn standing_changed(&self) {
        self.count_standing(self.clock.now());
        self.nudge();
    }

    /// Whether instances are told which client a connection is for: then [`Ask::client`] must name it.
    #[must_use]
    pub fn tells_clients(&self) -> bool {
        self.shared.settings.proxy_protocol.is_some()
    }

    /// What says whether all of it is left alone, if anything does.
    #[must_use]
    pub fn breaker(&self) -> Option<&Arc<Breaker>> {
        self.breaker.as_ref()
    }

    /// Whether it matters how long its answers take.
    #[must_use]
    pub fn times_answers(&self) -> bool {
        let by_instance = self.shared.settings.watch.outlier.as_ref().is_some_and(|outlier| outlier.latency.is_some());
        by_instance || self.breaker.as_ref().is_some_and(|breaker| breaker.times())
    }

    /// Whether an instance that takes part and is none of these could be asked.
    #[must_use]
    pub fn has_another(&self, tried: &[Address], now: Instant) -> bool {
        let instances = self.instances.load();
        let mut weighed = instances.list.iter().zip(&*instances.endpoints);
        weighed.any(|(instance, endpoint)| {
            endpoint.weight > 0 && !instance.stands.is_out(now) && !tried.contains(&instance.address)
        })
    }

    /// Whether one more retry is within the budget.
    pub fn may_retry(&self, now: Instant) -> bool {
        let attempts = self.shared.metrics.totals().attempts.iter().sum();
        self.budget.take(now, attempts)
    }

    /// Whether it may be sent requests at any time, by [`Service::connection`]; else [`Service::admitting`] says when.
    #[must_use]
    pub fn admits_all(&self) -> bool {
        self.shared.settings.smooth.is_none() && self.gate.is_none()
    }

    /// A connection to an instance, once the service may be sent a request; and the right to send it, if that is counted. Boxed: it is for
    /// few services, and every idle client connection would else keep room for it.
    ///
    /// # Errors
    /// See [`Refusal`]. The caller decides whether to ask again.
    #[must_use]
    pub fn admitting<'a>(&'a self, ask: &'a Ask<'a>) -> Admitting<'a> {
        Box::pin(self.admitted(self.shared.settings.smooth.as_ref(), self.gate.as_ref(), ask))
    }

    /// A connection to an instance: one at rest, a new one, or the next that is released.
    ///
    /// # Errors
    /// See [`Refusal`]. The caller decides whether to ask again.
    pub async fn connection(&self, ask: &Ask<'_>) -> Result<Connection, Refusal> {
        if self.shared.has_queue() {
            // A stream of a connection of one's own takes nothing from those who wait.
            if let Some(share) = self.share(ask) {
                return Ok(Connection::Shared(share));
            }
        } else {
            match self.find(ask)? {
                Found::Connection(connection) => return Ok(connection),
                Found::Full => {}
                // What waits is boxed: it is rare, and every idle client connection would else keep room for it.
                found => {
                    if let Some(connection) = Box::pin(self.take(found, ask)).await? {
                        return Ok(connection);
                    }
                }
            }
        }
        Box::pin(self.wait(ask)).await
    }

    /// Room on a connection that is there and carries requests of this worker already.
    fn share(&self, ask: &Ask<'_>) -> Option<Share> {
        if self.shared.settings.protocol == Protocol::Http1 {
            return None;
        }
        let instances = self.instances.load();
        let picked = instances.pick(self, ask, self.wants(ask))?;
        let share = if picked.instance.shares() { picked.instance.share(ask)? } else { return None };
        picked.count(ask.worker);
        Some(share)
    }

    /// A resting connection of an instance that balancing chooses, else a place for a new one there.
    pub(crate) fn find(&self, ask: &Ask<'_>) -> Result<Found, Refusal> {
        let instances = self.instances.load();
        if !instances.has_weight {
            return Err(Refusal::NoInstance);
        }
        let Some(picked) = instances.pick(self, ask, self.wants(ask)) else {
            // All that take part are at their limit, or there is none that does.
            if !self.shared.settings.watch.is_on() || instances.pick(self, ask, &[Wants::InAtAll]).is_some() {
                return Ok(Found::Full);
            }
            return self.find_among_all(&instances, ask);
        };
        Ok(self.at(&instances, picked, ask))
    }

    /// When all instances are left out: what the file says.
    fn find_among_all(&self, instances: &Instances, ask: &Ask<'_>) -> Result<Found, Refusal> {
        if self.shared.settings.watch.when_all_fail == WhenAllFail::Refuse {
            return Err(Refusal::AllOut);
        }
        let found = instances.pick(self, ask, &[Wants::FreshOfAll, Wants::OfAll]);
        Ok(found.map_or(Found::Full, |picked| self.at(instances, picked, ask)))
    }

    /// A connection of this instance that is there, else a place for a new one.
    fn at(&self, instances: &Instances, picked: Picked<'_>, ask: &Ask<'_>) -> Found {
        let found = self.found_at(instances, picked.instance, ask);
        // Else it is chosen once more before anything is sent.
        if matches!(found, Found::Connection(_) | Found::Place(..)) {
            picked.count(ask.worker);
        }
        found
    }

    fn found_at(&self, instances: &Instances, instance: &Arc<Instance>, ask: &Ask<'_>) -> Found {
        if instance.shares() {
            if let Some(share) = instance.share(ask) {
                return Found::Connection(Connection::Shared(share));
            }
            if let Some(opening) = instance.opening(ask.worker) {
                return Found::Opening(opening);
            }
        }
        let rested = if ask.fresh { None } else { instance.take(ask) };
        if let Some(whole) = rested {
            return Found::Connection(Connection::Whole(whole));
        }
        match instance.place(ask).or_else(|| instances.make_room(instance, ask)) {
            Some(place) => Found::Place(Arc::clone(instance), place),
            None => Found::Full,
        }
    }

    /// What a worker does now and then, and when its bell rings: closes what rested too long, and what others starve for.
    pub fn sweep(&self, worker: usize, now: Instant) {
        let instances = self.instances.load_full();
        for _ in 0..self.shared.take_starving(worker) {
            if !instances.list.iter().any(|i| i.close_oldest(worker)) {
                break;
            }
        }
        for instance in &instances.list {
            instance.sweep(worker, now);
        }
        if worker == 0 {
            self.count_standing(now);
        }
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|instance| !instance.clear(worker));
    }

    /// Closes all that rests on this worker: it has ended, or the service is of no more use to it.
    pub fn abandon(&self, worker: usize) {
        self.instances.load_full().list.iter().for_each(|instance| {
            instance.clear(worker);
        });
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).retain(|instance| !instance.clear(worker));
    }

    /// What a worker does now and then: whatever was missed, nobody waits for longer than that while there is room.
    pub fn nudge(&self) {
        if self.shared.has_queue() {
            self.shared.wake_next();
        }
    }

    /// What a worker does when its bell rings: closes idle connections for requests that wait for their places.
    pub fn relieve(&self, worker: usize) {
        let asked = self.shared.take_starving(worker);
        if asked > 0 {
            // Those of instances that left the list are of no more use, and hold places too.
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            retired.retain(|instance| !instance.clear(worker));
            drop(retired);
            let instances = self.instances.load();
            let _ = (0..asked).all(|_| instances.list.iter().any(|instance| instance.close_oldest(worker)));
        }
    }

    /// What one of the workers does every second: lets the retry budget know how busy the service is, compares instances, and has balancing
    /// know what they report.
    pub fn observe(&self, now: Instant) {
        self.compare(now);
        self.budget.observe(now, self.shared.metrics.totals().attempts.iter().sum());
        self.reweigh(now);
    }

    /// Counts how an attempt ended.
    pub fn attempted(&self, worker: usize, outcome: Outcome) {
        self.shared.metrics.shard(worker).attempt(outcome);
    }
}

impl Instances {
    /// Before a source was heard.
    fn none(balancing: &Balancing) -> Self {
        let (endpoints, weights): (Arc<[Endpoint]>, Arc<[u32]>) = (Arc::default(), Arc::default());
        let scene = Scene { endpoints: &endpoints, weights: &weights, is_in: &|_| false, balancing };
        let tiers = Tiers::new(&scene, None);
        let (list, homes) = (Vec::new(), None);
        Self { list, endpoints, weights, tiers, homes, state: State::Pending, has_weight: false }
    }

    /// A place at this instance for that of a connection that rests, on this worker, at another.
    fn make_room(&self, instance: &Arc<Instance>, ask: &Ask<'_>) -> Option<Place> {
        if !instance.has_room(ask.worker) || !self.list.iter().any(|other| other.close_oldest(ask.worker)) {
            return None;
        }
        instance.place(ask)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
