//! A service: its instances, how one is chosen, and how a connection to it is had.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tollgate_core::clock::Clock;
use tollgate_net::Stream;
use tollgate_net::tls::NoHandshake;
use tollgate_observe::metrics::{Outcome, ServiceMetrics, ServiceShard};
use tollgate_registry::{Endpoint, State, View};

use crate::balance::{Algorithm, Balance, PickCx};
use crate::budget::Budget;
use crate::connection::Connection;
use crate::instance::Instance;
use crate::shared::{Grant, Place, Settings, Shared, Ticket};

/// A service of the file, or the addresses written in a route.
pub struct Service {
    shared: Arc<Shared>,
    budget: Budget,
    algorithm: Algorithm,
    instances: ArcSwap<Instances>,
    /// Instances that left the list and may still have connections at rest.
    retired: Mutex<Vec<Arc<Instance>>>,
    workers: usize,
    clock: Clock,
}

/// The instances at one moment.
pub(crate) struct Instances {
    list: Vec<Arc<Instance>>,
    balance: Arc<dyn Balance>,
    state: State,
}

/// Who asks for a connection.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The worker.
    pub worker: usize,
    /// What is hashed, for services that choose by hash.
    pub key: Option<&'a [u8]>,
    /// Instances that failed this request already: others go first.
    pub tried: &'a [SocketAddr],
    /// Not a connection that was used before: one such just proved dead.
    pub fresh: bool,
    /// The request cannot be sent twice: a connection that rested is looked at once more before it carries it.
    pub only_once: bool,
    /// Now.
    pub now: Instant,
    /// When the request's time is over.
    pub deadline: Instant,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Refusal {
    /// The service has no instance.
    NoInstance,
    /// The instance cannot be reached.
    Connect(SocketAddr, std::io::Error),
    /// It can be reached, but there is no TLS with it.
    Tls(SocketAddr, NoHandshake),
    /// The instance did not accept, or was not done with TLS, in time.
    ConnectTimeout(SocketAddr),
    /// The connection limit is reached and the queue full, or the time in it ran out.
    Limit,
    /// The request's time is over.
    Deadline,
}

enum Found {
    Connection(Connection),
    Place(Arc<Instance>, Place),
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
        algorithm: Algorithm,
        metrics: Arc<ServiceMetrics>,
        wake: Arc<[Notify]>,
        clock: Clock,
    ) -> Arc<Self> {
        let workers = wake.len();
        let empty = Instances { list: Vec::new(), balance: algorithm.build(&[]), state: State::Pending };
        Arc::new(Self {
            shared: Arc::new(Shared::new(name, settings, metrics, wake)),
            budget,
            algorithm,
            instances: ArcSwap::from_pointee(empty),
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

    /// Its instances with the requests in flight and connections open on each, and how far the list can be trusted.
    #[must_use]
    pub fn status(&self) -> (Vec<(SocketAddr, u32, u32)>, State) {
        let now = self.instances.load();
        (now.list.iter().map(|i| (i.address, i.in_flight(), i.open())).collect(), now.state.clone())
    }

    /// Takes over what a source says. Instances that stay keep their connections.
    pub fn update(&self, view: &View) {
        let before = self.instances.load_full();
        let list: Vec<Arc<Instance>> = view.endpoints.iter().map(|e| self.instance(&before, e)).collect();
        for gone in before.list.iter().filter(|old| !list.iter().any(|new| Arc::ptr_eq(old, new))) {
            gone.retire();
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(gone));
        }
        let balance = self.algorithm.build(&view.endpoints);
        self.instances.store(Arc::new(Instances { list, balance, state: view.state.clone() }));
        // New instances may have room.
        self.nudge();
    }

    fn instance(&self, before: &Instances, endpoint: &Endpoint) -> Arc<Instance> {
        match before.list.iter().find(|i| i.address == endpoint.address && i.host == endpoint.host) {
            Some(kept) => Arc::clone(kept),
            None => Instance::new(endpoint, Arc::clone(&self.shared), self.workers),
        }
    }

    /// Whether one more retry is within the budget.
    pub fn may_retry(&self, now: Instant) -> bool {
        let attempts = self.shared.metrics.totals().attempts.iter().sum();
        self.budget.take(now, attempts)
    }

    /// A connection to an instance: one at rest, a new one, or the next that is released.
    ///
    /// # Errors
    /// See [`Refusal`]. The caller decides whether to ask again.
    pub async fn connection(&self, ask: &Ask<'_>) -> Result<Connection, Refusal> {
        if !self.shared.has_queue() {
            match self.find(ask)? {
                Found::Connection(connection) => return Ok(connection),
                // What waits is boxed: it is rare, and every idle client connection would else keep room for it.
                Found::Place(instance, place) => return Box::pin(self.open_one(instance, place, ask)).await,
                Found::Full => {}
            }
        }
        Box::pin(self.wait(ask)).await
    }

    /// A resting connection of an instance that balancing chooses, else a place for a new one there.
    fn find(&self, ask: &Ask<'_>) -> Result<Found, Refusal> {
        let instances = self.instances.load();
        if instances.list.is_empty() {
            return Err(Refusal::NoInstance);
        }
        let Some(instance) = instances.pick(ask, true).or_else(|| instances.pick(ask, false)) else {
            return Ok(Found::Full);
        };
        let rested = if ask.fresh { None } else { instance.take(ask) };
        if let Some(connection) = rested {
            return Ok(Found::Connection(connection));
        }
        Ok(match instance.place(ask.worker) {
            Some(place) => Found::Place(Arc::clone(instance), place),
            None => Found::Full,
        })
    }

    async fn open_one(&self, instance: Arc<Instance>, place: Place, ask: &Ask<'_>) -> Result<Connection, Refusal> {
        let address = instance.address;
        let left = ask.deadline.saturating_duration_since(self.clock.now());
        let most = self.shared.settings.connect_timeout.min(left);
        match timeout(most, self.stream(&instance)).await {
            Ok(Ok(stream)) => Ok(Connection::fresh(stream, instance, place)),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) if most < self.shared.settings.connect_timeout => Err(Refusal::Deadline),
            Err(_) => Err(Refusal::ConnectTimeout(address)),
        }
    }

    /// Connects, and settles TLS if it is spoken.
    async fn stream(&self, instance: &Instance) -> Result<Stream, Refusal> {
        let address = instance.address;
        let stream = TcpStream::connect(address).await.map_err(|e| Refusal::Connect(address, e))?;
        stream.set_nodelay(true).map_err(|e| Refusal::Connect(address, e))?;
        match &self.shared.settings.tls {
            None => Ok(stream.into()),
            Some(tls) => {
                let connecting = tls.connect(stream.into(), instance.host.as_deref(), address.ip());
                connecting.await.map_err(|e| Refusal::Tls(address, e))
            }
        }
    }

    /// In the queue until a connection or a turn is granted, the time in it is over, or the request's.
    async fn wait(&self, ask: &Ask<'_>) -> Result<Connection, Refusal> {
        let metrics = self.shared.metrics.shard(ask.worker);
        let queue_end = ask.now + self.shared.settings.queue_timeout;
        let end = queue_end.min(ask.deadline);
        loop {
            let Some(Ticket { granted, is_first }) = self.shared.enqueue(ask.worker, ask.now) else {
                metrics.queue_refused();
                return Err(Refusal::Limit);
            };
            // After joining, not before: what others close for us from now on comes back as a grant.
            self.shared.starve();
            if is_first {
                match self.find(ask)? {
                    Found::Connection(connection) => return Ok(connection),
                    Found::Place(instance, place) => return self.open_one(instance, place, ask).await,
                    Found::Full => {}
                }
            }
            let queued = Queued::new(metrics);
            let left: Duration = end.saturating_duration_since(self.clock.now());
            let grant = timeout(left, granted).await;
            drop(queued);
            match grant {
                Ok(Ok(Grant::Connection(connection))) => {
                    let mut connection = *connection;
                    connection.reused = true;
                    metrics.reused();
                    return Ok(connection);
                }
                Ok(Ok(Grant::Turn(turn))) => match self.find(ask)? {
                    // The place that the turn was about is still free: dropped unused, the turn goes to the next.
                    Found::Connection(connection) => return Ok(connection),
                    Found::Place(instance, place) => {
                        turn.take();
                        return self.open_one(instance, place, ask).await;
                    }
                    Found::Full => turn.take(),
                },
                Ok(Err(_)) => {}
                Err(_) if ask.deadline <= queue_end => return Err(Refusal::Deadline),
                Err(_) => {
                    metrics.queue_refused();
                    return Err(Refusal::Limit);
                }
            }
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
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|instance| !instance.clear(worker));
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

    /// What one of the workers does every second: lets the retry budget know how busy the service is.
    pub fn observe(&self, now: Instant) {
        self.budget.observe(now, self.shared.metrics.totals().attempts.iter().sum());
    }

    /// Counts how an attempt ended.
    pub fn attempted(&self, worker: usize, outcome: Outcome) {
        self.shared.metrics.shard(worker).attempt(outcome);
    }
}

/// Counts a request in the queue, also if its client leaves and it is dropped there.
struct Queued<'m>(&'m ServiceShard);

impl<'m> Queued<'m> {
    fn new(metrics: &'m ServiceShard) -> Self {
        metrics.queued();
        Self(metrics)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.left_queue();
    }
}

impl Instances {
    fn pick(&self, ask: &Ask<'_>, skip_tried: bool) -> Option<&Arc<Instance>> {
        let chosen = self.balance.pick(&Choice { list: &self.list, ask, skip_tried })?;
        self.list.get(chosen)
    }
}

/// What a balancer sees of the instances.
struct Choice<'a> {
    list: &'a [Arc<Instance>],
    ask: &'a Ask<'a>,
    skip_tried: bool,
}

impl PickCx for Choice<'_> {
    fn available(&self, endpoint: usize) -> bool {
        self.list.get(endpoint).is_some_and(|instance| {
            instance.has_room(self.ask.worker) && !(self.skip_tried && self.ask.tried.contains(&instance.address))
        })
    }

    fn in_flight(&self, endpoint: usize) -> u64 {
        self.list.get(endpoint).map_or(0, |instance| instance.in_flight().into())
    }

    fn is_retry(&self) -> bool {
        !self.ask.tried.is_empty()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn hash_key(&self) -> Option<&[u8]> {
        self.ask.key
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
