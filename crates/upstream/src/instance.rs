//! One address of a service, with the connections that rest or are shared there: one pool per worker.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tollgate_core::facts::Address;
use tollgate_registry::Endpoint;

use crate::connection::{Idle, Share, Whole};
use crate::health::Checking;
use crate::learnt::Learnt;
use crate::opening::{Begun, Opening};
use crate::outlier::Record;
use crate::service::Ask;
use crate::session::Session;
use crate::shared::{Place, Protocol, Shared};
use crate::standing::Stands;

/// One address of a service. Kept over changes of the list, so that what rests there is not disturbed.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Where it is reached.
    pub(crate) address: Address,
    /// The name by which it was found.
    pub(crate) host: Option<Arc<str>>,
    /// Whether it takes part.
    pub(crate) stands: Stands,
    /// What became of its requests, where that is of interest.
    pub(crate) record: Record,
    /// Its checks, if there are any.
    pub(crate) checking: Checking,
    /// What is learnt of it for balancing.
    pub(crate) learnt: Learnt,
    shared: Arc<Shared>,
    in_flight: AtomicU32,
    open: Arc<AtomicU32>,
    retired: AtomicBool,
    /// It was asked by ALPN and chose HTTP/1.1.
    declined: AtomicBool,
    /// A pool is touched by its own worker only; the lock is never contended.
    pools: Box<[Pool]>,
}

/// On a cache line of its own, so that workers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Pool(Mutex<Held>);

/// The connections of one worker that are not one exchange's alone.
#[derive(Debug, Default)]
struct Held {
    /// At rest.
    idle: VecDeque<Idle>,
    /// Shared by many exchanges.
    sessions: Vec<Arc<Session>>,
    /// The one that is being made, to be shared.
    opening: Option<Opening>,
}

impl Instance {
    pub(crate) fn new(endpoint: &Endpoint, shared: Arc<Shared>, workers: usize) -> Arc<Self> {
        let pools = (0..workers.max(1)).map(|_| Pool::default()).collect();
        let (in_flight, open) = (AtomicU32::new(0), Arc::default());
        let (address, host) = (endpoint.address.clone(), endpoint.host.clone());
        let (stands, record, checking) = (Stands::new(shared.began), Record::default(), Checking::default());
        let (retired, declined) = (AtomicBool::new(false), AtomicBool::new(false));
        let learnt = Learnt::default();
        Arc::new(Self {
            address,
            host,
            stands,
            record,
            checking,
            learnt,
            shared,
            in_flight,
            open,
            retired,
            declined,
            pools,
        })
    }

    /// Requests on it now, from this node.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What its service shares.
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Connections open to it, idle ones included.
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether one more request would find or get a connection on this worker.
    pub(crate) fn has_room(&self, worker: usize) -> bool {
        match self.shared.settings.each {
            // What rests elsewhere can make way for a connection of one's own, at once.
            None if !self.shares() => true,
            None => self.shared.has_place() || self.pool(worker).has_room(),
            Some(each) => self.open() < each || self.pool(worker).has_room(),
        }
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(all) = &self.shared.in_flight {
            all.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(all) = &self.shared.in_flight {
            all.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A place for a new connection, if the limits have one or one that rests for another client can make room.
    pub(crate) fn place(&self, ask: &Ask<'_>) -> Option<Place> {
        let place = || self.shared.place(&self.open, ask.worker);
        place().or_else(|| (ask.client.is_some() && self.close_oldest(ask.worker)).then(place).flatten())
    }

    /// A resting connection that is fit for use: the one used last, whose path is warmest.
    pub(crate) fn take(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Whole> {
        let metrics = self.shared.metrics.shard(ask.worker);
        loop {
            let mut idle = self.last_used(ask)?;
            metrics.woke();
            if !idle.is_stale(ask.now, &self.shared.settings) && idle.is_quiet(ask.only_once) {
                metrics.reused();
                return Some(Whole::wake(idle, Arc::clone(self)));
            }
        }
    }

    fn last_used(&self, ask: &Ask<'_>) -> Option<Idle> {
        let mut pool = self.pool(ask.worker);
        if self.shared.settings.proxy_protocol.is_none() {
            return pool.idle.pop_back();
        }
        let own = pool.idle.iter().rposition(|idle| idle.is_for(ask.client))?;
        pool.idle.remove(own)
    }

    /// Puts a connection to rest, unless there are enough or the instance is gone.
    pub(crate) fn rest(&self, idle: Idle) {
        let worker = idle.place.worker();
        if self.retired.load(Ordering::Acquire) {
            return;
        }
        let mut pool = self.pool(worker);
        // One that rests for a client whose next request may never come makes room for one whose last has just been.
        let most = self.shared.settings.idle_most;
        let oldest = if idle.is_for(None) || pool.idle.len() < most { None } else { pool.idle.pop_front() };
        if pool.idle.len() < most {
            self.shared.metrics.shard(worker).rested();
            pool.idle.push_back(idle);
        }
        drop(pool);
        self.close(worker, Held { idle: oldest.into_iter().collect(), ..Held::default() });
    }

    /// Whether requests share connections here, as far as is known.
    pub(crate) fn shares(&self) -> bool {
        match self.shared.settings.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Alpn => !self.declined.load(Ordering::Relaxed),
        }
    }

    /// It was given the choice, and took HTTP/1.1 or HTTP/2.
    pub(crate) fn chose(&self, protocol: Protocol) {
        self.declined.store(protocol == Protocol::Http1, Ordering::Relaxed);
    }

    /// A share of a connection that is there.
    pub(crate) fn share(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Share> {
        let (lease, before) = {
            let mut pool = self.pool(ask.worker);
            pool.sessions.retain(|session| session.is_alive());
            pool.sessions.iter().find_map(Session::lease)?
        };
        self.shared.metrics.shard(ask.worker).reused();
        Some(Share::new(lease, Arc::clone(self), before))
    }

    /// The connection that somebody is making already, to be shared.
    pub(crate) fn opening(&self, worker: usize) -> Option<Opening> {
        self.pool(worker).opening.clone()
    }

    /// From now on a connection is being made that others may wait for, until what is returned is dropped.
    pub(crate) fn begin_opening(self: &Arc<Self>, worker: usize) -> Begun {
        let (begun, opening) = Begun::new(Arc::clone(self), worker);
        self.pool(worker).opening = Some(opening);
        begun
    }

    pub(crate) fn end_opening(&self, worker: usize) {
        self.pool(worker).opening = None;
    }

    /// Shares a new connection with whoever comes.
    pub(crate) fn offer(&self, session: &Arc<Session>, worker: usize) {
        match self.retired.load(Ordering::Acquire) {
            true => session.retire(),
            false => self.pool(worker).sessions.push(Arc::clone(session)),
        }
    }

    /// Closes what rested too long on this worker, or broke.
    pub(crate) fn sweep(&self, worker: usize, now: Instant) {
        let settings = &self.shared.settings;
        let mut gone = Held::default();
        {
            let mut pool = self.pool(worker);
            for mut idle in std::mem::take(&mut pool.idle) {
                let to = if idle.is_stale(now, settings) || !idle.is_quiet(false) { &mut gone } else { &mut *pool };
                to.idle.push_back(idle);
            }
            gone.sessions = pool.sessions.extract_if(.., |s| s.is_over(now, settings) || !s.is_alive()).collect();
        }
        // Closed behind the lock: closing may wake a waiter, which takes other locks.
        self.close(worker, gone);
    }

    /// Closes the connection of this worker that rested longest; whether there was one.
    pub(crate) fn close_oldest(&self, worker: usize) -> bool {
        let mut oldest = Held::default();
        {
            let mut pool = self.pool(worker);
            match pool.idle.pop_front() {
                Some(idle) => oldest.idle.push_back(idle),
                None => oldest
                    .sessions
                    .extend(pool.sessions.iter().position(|s| s.is_idle()).map(|i| pool.sessions.remove(i))),
            }
        }
        let found = !oldest.is_empty();
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

    fn close(&self, worker: usize, held: Held) {
        for connection in held.idle {
            self.shared.metrics.shard(worker).woke();
            drop(connection);
        }
        // Those that carry something end with their last request.
        for session in held.sessions.iter().filter(|session| !session.close_idle()) {
            session.retire();
        }
    }

    fn pool(&self, worker: usize) -> MutexGuard<'_, Held> {
        self.pools[worker % self.pools.len()].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.sessions.is_empty()
    }

    /// Whether one more request would find a connection here.
    fn has_room(&self) -> bool {
        !self.idle.is_empty() || self.sessions.iter().any(|session| session.has_room())
    }
}
