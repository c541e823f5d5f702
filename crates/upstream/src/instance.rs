//! One address of a service, with the connections that rest there: one pool per worker.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tollgate_registry::Endpoint;

use crate::connection::{Connection, Idle};
use crate::health::Checking;
use crate::outlier::Record;
use crate::service::Ask;
use crate::shared::{Place, Shared};
use crate::standing::Stands;

/// One address of a service. Kept over changes of the list, so that what rests there is not disturbed.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Where it is reached.
    pub(crate) address: SocketAddr,
    /// The name by which it was found.
    pub(crate) host: Option<Arc<str>>,
    /// Whether it takes part.
    pub(crate) stands: Stands,
    /// What became of its requests, where that is of interest.
    pub(crate) record: Record,
    /// Its checks, if there are any.
    pub(crate) checking: Checking,
    shared: Arc<Shared>,
    in_flight: AtomicU32,
    open: Arc<AtomicU32>,
    retired: AtomicBool,
    /// A pool is touched by its own worker only; the lock is never contended.
    pools: Box<[Pool]>,
}

/// On a cache line of its own, so that workers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Pool(Mutex<VecDeque<Idle>>);

impl Instance {
    pub(crate) fn new(endpoint: &Endpoint, shared: Arc<Shared>, workers: usize) -> Arc<Self> {
        let pools = (0..workers.max(1)).map(|_| Pool::default()).collect();
        let (in_flight, open) = (AtomicU32::new(0), Arc::default());
        let (address, host) = (endpoint.address, endpoint.host.clone());
        let (stands, record, checking) = (Stands::new(shared.began), Record::default(), Checking::default());
        let retired = AtomicBool::new(false);
        Arc::new(Self { address, host, stands, record, checking, shared, in_flight, open, retired, pools })
    }

    /// The same on another port, to be asked there; never in a list.
    pub(crate) fn at_port(&self, port: u16) -> Arc<Self> {
        let mut endpoint = Endpoint::new(self.address, 0);
        endpoint.address.set_port(port);
        endpoint.host.clone_from(&self.host);
        Self::new(&endpoint, Arc::clone(&self.shared), 1)
    }

    /// Requests on it now, from this node.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Connections open to it, idle ones included.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether one more request would find or get a connection on this worker.
    pub(crate) fn has_room(&self, worker: usize) -> bool {
        match self.shared.settings.each {
            None => true,
            Some(each) => self.open() < each || !self.pool(worker).is_empty(),
        }
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A place for a new connection, if the limits have one.
    pub(crate) fn place(&self, worker: usize) -> Option<Place> {
        self.shared.place(&self.open, worker)
    }

    /// A resting connection that is fit for use: the one used last, whose path is warmest.
    pub(crate) fn take(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Connection> {
        let metrics = self.shared.metrics.shard(ask.worker);
        loop {
            let mut idle = self.pool(ask.worker).pop_back()?;
            metrics.woke();
            if !idle.is_stale(ask.now, self.shared.settings.idle_for) && idle.is_quiet(ask.only_once) {
                metrics.reused();
                return Some(Connection::wake(idle, Arc::clone(self)));
            }
        }
    }

    /// Puts a connection to rest, unless there are enough or the instance is gone.
    pub(crate) fn rest(&self, idle: Idle) {
        let worker = idle.place.worker();
        if self.retired.load(Ordering::Acquire) {
            return;
        }
        let mut pool = self.pool(worker);
        if pool.len() < self.shared.settings.idle_most {
            self.shared.metrics.shard(worker).rested();
            pool.push_back(idle);
        }
    }

    /// Closes what rested too long on this worker, or broke.
    pub(crate) fn sweep(&self, worker: usize, now: Instant) {
        let most = self.shared.settings.idle_for;
        let mut gone = Vec::new();
        {
            let mut pool = self.pool(worker);
            let everything = std::mem::take(&mut *pool);
            for mut idle in everything {
                if idle.is_stale(now, most) || !idle.is_quiet(false) { gone.push(idle) } else { pool.push_back(idle) }
            }
        }
        // Closed behind the lock: closing may wake a waiter, which takes other locks.
        self.close(worker, gone);
    }

    /// Closes the connection of this worker that rested longest; whether there was one.
    pub(crate) fn close_oldest(&self, worker: usize) -> bool {
        let oldest = self.pool(worker).pop_front();
        let found = oldest.is_some();
        self.close(worker, oldest);
        found
    }

    /// The instance left the list: its connections are not used again, and it is not checked any more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.checking.stop();
    }

    /// Closes all that rests on this worker; whether nothing rests on any worker any more.
    pub(crate) fn clear(&self, worker: usize) -> bool {
        let all = std::mem::take(&mut *self.pool(worker));
        self.close(worker, all);
        (0..self.pools.len()).all(|worker| self.pool(worker).is_empty())
    }

    fn close(&self, worker: usize, idle: impl IntoIterator<Item = Idle>) {
        for connection in idle {
            self.shared.metrics.shard(worker).woke();
            drop(connection);
        }
    }

    fn pool(&self, worker: usize) -> MutexGuard<'_, VecDeque<Idle>> {
        self.pools[worker % self.pools.len()].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
