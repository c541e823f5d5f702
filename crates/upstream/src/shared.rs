//! What a service's instances and connections share: settings, counters, the connection limit and its queue.
//!
//! The limit counts busy and idle connections over all workers in one atomic. Who finds it reached waits in one bounded,
//! timed queue for all workers; meanwhile idle connections of other workers are asked to close.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tollgate_core::clock::Clock;
use tollgate_net::proxy_protocol::Version;
use tollgate_net::tls::Client;
use tollgate_observe::metrics::ServiceMetrics;

use crate::adaptive;
use crate::admission::Smoothing;
use crate::breaker;
use crate::connection::Whole;
use crate::outlier::Compared;
use crate::session::SessionSettings;
use crate::watch::Watch;

/// Which version of HTTP is spoken with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN under TLS, else both sides know beforehand (RFC 9113 §3.3).
    Http2,
    /// Whichever the instance chooses by ALPN, HTTP/2 preferred.
    Alpn,
}

/// What the file says of a service, ready for use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most connections of this node to the service.
    pub connections: Option<u32>,
    /// Most connections of this node to one instance.
    pub each: Option<u32>,
    /// Most requests that wait for a connection.
    pub queue_size: u32,
    /// How long one waits.
    pub queue_timeout: Duration,
    /// Who says when a request may be sent, if they go evenly spaced.
    pub smooth: Option<Smoothing>,
    /// How it is found out how many requests it can do at a time, if it is.
    pub adaptive: Option<adaptive::Settings>,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// Most idle connections per worker and instance.
    pub idle_most: usize,
    /// How long a connection may rest.
    pub idle_for: Duration,
    /// How long after it was made a connection may still be put to rest or woken; without it, for ever.
    pub age: Option<Duration>,
    /// The address to connect from; without it, the one that the system chooses.
    pub source: Option<IpAddr>,
    /// How an instance is told whom a connection is for, if it is. A connection then serves one client connection only.
    pub proxy_protocol: Option<Version>,
    /// TLS to the instances, if it is spoken with them.
    pub tls: Option<Arc<Client>>,
    /// What is spoken with them.
    pub protocol: Protocol,
    /// Sizes of connections that speak HTTP/2.
    pub sessions: SessionSettings,
    /// How instances are found to be well or not.
    pub watch: Watch,
    /// When all of it is left alone, if ever.
    pub breaker: Option<breaker::Settings>,
}

/// Shared by the instances and connections of one service.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The service's name.
    pub(crate) name: Arc<str>,
    /// What the file says.
    pub(crate) settings: Settings,
    /// Its counters.
    pub(crate) metrics: Arc<ServiceMetrics>,
    /// Time.
    pub(crate) clock: Clock,
    /// When it was made: points in time that threads share are counted from here.
    pub(crate) began: Instant,
    /// Held while an instance is ejected, and never while a request is served as it should be.
    pub(crate) ejecting: Mutex<()>,
    /// When its instances were compared last.
    pub(crate) compared: Mutex<Compared>,
    /// Held while it is counted how instances stand, so that who counts last tells last.
    pub(crate) counting: Mutex<()>,
    /// Requests on all instances now, from this node, where that is counted.
    pub(crate) in_flight: Option<AtomicU32>,
    open: AtomicU32,
    waiting: AtomicU32,
    queue: Mutex<VecDeque<Waiter>>,
    /// How many idle connections each worker is asked to close.
    starving: Box<[AtomicU32]>,
    wake: Arc<[Notify]>,
}

#[derive(Debug)]
struct Waiter {
    worker: usize,
    since: Instant,
    grant: oneshot::Sender<Grant>,
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) granted: oneshot::Receiver<Grant>,
    pub(crate) is_first: bool,
}

/// What ends the waiting.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A connection of the same worker, just released.
    Connection(Box<Whole>),
    /// A place under the limit may be free: look again.
    Turn(Turn),
}

/// The right to look again. Unused, it goes to the next in the queue.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Option<Arc<Shared>>,
}

impl Turn {
    pub(crate) fn take(mut self) {
        self.shared = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.wake_next();
        }
    }
}

/// A place under the limits, for as long as the connection that fills it exists.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    instance_open: Arc<AtomicU32>,
    worker: usize,
    connected: bool,
}

impl Place {
    /// The connection is there.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
        self.shared.metrics.shard(self.worker).connected();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.connected {
            self.shared.metrics.shard(self.worker).disconnected();
        }
        // In this order for all threads: either the next in the queue sees the free place, or this one sees the queue.
        self.instance_open.fetch_sub(1, Ordering::SeqCst);
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
        if self.shared.has_queue() {
            self.shared.wake_next();
        }
    }
}

/// Requests of other workers should have the place that is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OthersWait;

/// How much longer another worker's request must have waited to be served before one's own. Handing a connection over
/// within a worker is free, across workers it costs a new connection.
const PATIENCE: Duration = Duration::from_millis(20);

impl Shared {
    pub(crate) fn new(
        name: &str,
        settings: Settings,
        metrics: Arc<ServiceMetrics>,
        wake: Arc<[Notify]>,
        clock: Clock,
    ) -> Self {
        Self {
            name: name.into(),
            settings,
            metrics,
            began: clock.now(),
            ejecting: Mutex::default(),
            compared: Mutex::new(Compared::new(clock.now())),
            clock,
            counting: Mutex::default(),
            in_flight: None,
            open: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            queue: Mutex::default(),
            starving: wake.iter().map(|_| AtomicU32::new(0)).collect(),
            wake,
        }
    }

    /// Whether requests wait for a connection: then a newcomer must wait behind them.
    pub(crate) fn has_queue(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Connections open to the whole service.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether the service's limit has a place for one more connection.
    pub(crate) fn has_place(&self) -> bool {
        self.settings.connections.is_none_or(|most| self.open() < most)
    }

    /// Connections that carry nothing, or may carry more: who waits for one of them takes up no room in the queue.
    pub(crate) fn spare(&self) -> u32 {
        let resting = u32::try_from(self.metrics.totals().idle).unwrap_or(u32::MAX);
        if self.settings.protocol == Protocol::Http1 { resting } else { resting.saturating_add(self.open()) }
    }

    /// A place for one more connection, if the limits have one.
    pub(crate) fn place(self: &Arc<Self>, instance_open: &Arc<AtomicU32>, worker: usize) -> Option<Place> {
        if !below(instance_open, self.settings.each) {
            return None;
        }
        if !below(&self.open, self.settings.connections) {
            instance_open.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Place { shared: Arc::clone(self), instance_open: Arc::clone(instance_open), worker, connected: false })
    }

    /// Joins the queue, which holds `more` than it is set to; `None`: it is full. Whoever is first must look once more before it waits: what became free in the
    /// meantime was offered to nobody.
    pub(crate) fn enqueue(&self, worker: usize, since: Instant, more: u32) -> Option<Ticket> {
        let mut queue = self.lock();
        queue.retain(|waiter| !waiter.grant.is_closed());
        if queue.len() >= self.settings.queue_size.saturating_add(more) as usize {
            self.count_waiting(&queue);
            return None;
        }
        let (grant, granted) = oneshot::channel();
        // Who comes back after a vain turn keeps the place that its first arrival gave it.
        let at = queue.partition_point(|waiter| waiter.since <= since);
        queue.insert(at, Waiter { worker, since, grant });
        self.count_waiting(&queue);
        Some(Ticket { granted, is_first: at == 0 })
    }

    /// Asks all workers to close their oldest idle connection to this service.
    pub(crate) fn starve(&self) {
        for (asked, wake) in self.starving.iter().zip(self.wake.iter()) {
            asked.fetch_add(1, Ordering::AcqRel);
            wake.notify_one();
        }
    }

    /// How many idle connections this worker is asked to close; asks only once.
    pub(crate) fn take_starving(&self, worker: usize) -> u32 {
        self.starving.get(worker).map_or(0, |asked| asked.swap(0, Ordering::AcqRel))
    }

    /// Offers a connection that was just released to whoever waits; gives it back if nobody of this worker should have it.
    pub(crate) fn offer(&self, connection: Whole, worker: usize) -> Option<Whole> {
        let mut connection = Box::new(connection);
        let mut queue = self.lock();
        loop {
            let own = match self.next_of(&queue, worker) {
                Ok(Some(own)) => own,
                Ok(None) => return Some(*connection),
                // Closing it, behind the lock, gives its place to them.
                Err(OthersWait) => {
                    drop(queue);
                    return None;
                }
            };
            let waiter = queue.remove(own)?;
            self.count_waiting(&queue);
            match waiter.grant.send(Grant::Connection(connection)) {
                Ok(()) => return None,
                Err(Grant::Connection(back)) => connection = back,
                Err(Grant::Turn(_)) => return None,
            }
        }
    }

    /// Room on a connection of this worker that carries many requests: lets the worker's first in the queue look again.
    ///
    /// # Errors
    /// Only others wait, or others for so much longer that the connection should make way for theirs.
    pub(crate) fn wake_own(self: &Arc<Self>, worker: usize) -> Result<(), OthersWait> {
        let mut queue = self.lock();
        while let Some(own) = self.next_of(&queue, worker)? {
            let Some(waiter) = queue.remove(own) else { break };
            self.count_waiting(&queue);
            match waiter.grant.send(Grant::Turn(Turn { shared: Some(Arc::clone(self)) })) {
                Err(Grant::Turn(turn)) => turn.take(),
                Ok(()) | Err(Grant::Connection(_)) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Who of this worker comes next in the queue, if it is empty or one of them.
    fn next_of(&self, queue: &VecDeque<Waiter>, worker: usize) -> Result<Option<usize>, OthersWait> {
        let Some(first) = queue.front() else { return Ok(None) };
        let own = queue.iter().position(|waiter| waiter.worker == worker).ok_or(OthersWait)?;
        let is_late = own > 0 && queue[own].since.saturating_duration_since(first.since) > PATIENCE;
        if is_late { Err(OthersWait) } else { Ok(Some(own)) }
    }

    /// Lets the first in the queue look again.
    pub(crate) fn wake_next(self: &Arc<Self>) {
        let mut queue = self.lock();
        while let Some(waiter) = queue.pop_front() {
            self.count_waiting(&queue);
            match waiter.grant.send(Grant::Turn(Turn { shared: Some(Arc::clone(self)) })) {
                Ok(()) => return,
                Err(Grant::Turn(turn)) => turn.take(),
                Err(Grant::Connection(_)) => return,
            }
        }
    }

    fn count_waiting(&self, queue: &VecDeque<Waiter>) {
        self.waiting.store(u32::try_from(queue.len()).unwrap_or(u32::MAX), Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiter>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one unless the limit is reached.
fn below(count: &AtomicU32, limit: Option<u32>) -> bool {
    match limit {
        None => {
            count.fetch_add(1, Ordering::AcqRel);
            true
        }
        Some(limit) => count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < limit).then_some(n + 1)).is_ok(),
    }
}
