//! What is counted per worker: its client connections and the answers the gateway made itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate_core::criticality::Criticality;

use super::slot::{Slot, open};
use super::table::lock;

/// Why a client's connection ended: the values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Closed {
    /// The client closed it, or asked for that.
    Client,
    /// The keep-alive time ran out.
    Idle,
    /// The gateway closed it after an answer: a refused request, or a protocol without keep-alive.
    Gateway,
    /// A head, a body or an answer took too long to come or to go.
    Timeout,
    /// The socket reported an error: reset by the peer, broken pipe.
    Error,
    /// The backend's answer broke off, so the client's connection was cut to show it.
    Upstream,
    /// The gateway stops.
    Drain,
    /// Its address has as many connections as the limits allow.
    AddressLimit,
    /// The client sent a body, or read an answer, more slowly than it must (`limits.pace`).
    Slow,
    /// It sent frames of HTTP/2 of a kind that costs others more than itself.
    Flood,
    /// Its listener has as many connections as it may.
    ListenerLimit,
    /// Its listener lets nobody in from its address.
    Denied,
}

/// The values of the label `reason`, in the order of [`Closed`].
pub(crate) const REASONS: [&str; 12] = [
    "client",
    "idle",
    "gateway",
    "timeout",
    "error",
    "upstream",
    "drain",
    "address_limit",
    "slow",
    "flood",
    "listener_limit",
    "denied",
];

/// An api, and the slug of a fault.
pub(crate) type Refusal = (Arc<str>, &'static str);

fn add(counted: &Mutex<BTreeMap<Refusal, u64>>, to: &mut BTreeMap<Refusal, u64>) {
    for (refusal, count) in lock(counted).iter() {
        *to.entry(refusal.clone()).or_default() += count;
    }
}

/// One worker's own counters. Only that worker's thread may write to them.
#[derive(Debug)]
#[repr(align(64))]
pub struct WorkerMetrics {
    pub(crate) label: String,
    accepted: Slot,
    closed: [Slot; REASONS.len()],
    floods: Mutex<BTreeMap<&'static str, u64>>,
    /// Locked by the worker itself and, a few times a minute, by a scrape.
    problems: Mutex<BTreeMap<Refusal, u64>>,
    /// The same of what would have been one.
    shadows: Mutex<BTreeMap<Refusal, u64>>,
    handshakes: Mutex<BTreeMap<&'static str, u64>>,
    restarts: Slot,
    is_seated: AtomicBool,
    lag_micros: AtomicU64,
    lag_level: AtomicU32,
    shed: [Slot; Criticality::ALL.len()],
}

impl WorkerMetrics {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            label: index.to_string(),
            accepted: Slot::default(),
            closed: Default::default(),
            floods: Mutex::default(),
            problems: Mutex::default(),
            shadows: Mutex::default(),
            handshakes: Mutex::default(),
            restarts: Slot::default(),
            is_seated: AtomicBool::new(false),
            lag_micros: AtomicU64::new(0),
            lag_level: AtomicU32::new(0),
            shed: Default::default(),
        }
    }

    /// The worker begins its work. Of those that there might be, but never were, nothing is told.
    pub fn seated(&self) {
        self.is_seated.store(true, Relaxed);
    }

    pub(crate) fn is_seated(&self) -> bool {
        self.is_seated.load(Relaxed)
    }

    /// The worker failed and begins again.
    pub fn restarted(&self) {
        self.restarts.add(1);
    }

    /// How often it did.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.get()
    }

    /// The worker came so late to what it should do.
    pub fn lag(&self, late: Duration) {
        self.lag_micros.store(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// That is so much of what may be, in thousandths.
    pub fn lag_level(&self, level: u32) {
        self.lag_level.store(level, Relaxed);
    }

    /// A request was refused because the gateway has too much to do.
    pub fn shed(&self, criticality: Criticality) {
        self.shed[criticality.index()].add(1);
    }

    /// How late it was when it last looked, in seconds, and how much of what may be that is, in thousandths.
    pub(crate) fn lateness(&self) -> (f64, u32) {
        (self.lag_micros.load(Relaxed) as f64 / 1e6, self.lag_level.load(Relaxed))
    }

    /// How many requests it refused because the gateway has too much to do.
    pub(crate) fn shed_total(&self, criticality: Criticality) -> u64 {
        self.shed[criticality.index()].get()
    }

    /// A connection was accepted. Followed by one [`closed`](Self::closed).
    #[inline]
    pub fn accepted(&self) {
        self.accepted.add(1);
    }

    /// A connection ended.
    #[inline]
    pub fn closed(&self, reason: Closed) {
        self.closed[reason as usize].add(1);
    }

    /// The gateway answered a request of this api with a problem of its own; `slug` is the fault's.
    pub fn problem(&self, api: &Arc<str>, slug: &'static str) {
        *lock(&self.problems).entry((Arc::clone(api), slug)).or_default() += 1;
    }

    /// Something that only looks on would have had it answered so.
    pub fn shadow(&self, api: &Arc<str>, slug: &'static str) {
        *lock(&self.shadows).entry((Arc::clone(api), slug)).or_default() += 1;
    }

    /// A client's TLS handshake ended like this.
    pub fn handshake(&self, outcome: &'static str) {
        *lock(&self.handshakes).entry(outcome).or_default() += 1;
    }

    /// A connection was closed because frames of this kind came too often.
    pub fn flooded(&self, kind: &'static str) {
        *lock(&self.floods).entry(kind).or_default() += 1;
    }

    pub(crate) fn add_floods(&self, to: &mut BTreeMap<&'static str, u64>) {
        for (kind, count) in lock(&self.floods).iter() {
            *to.entry(kind).or_default() += count;
        }
    }

    pub(crate) fn accepted_total(&self) -> u64 {
        self.accepted.get()
    }

    pub(crate) fn closed_total(&self, reason: usize) -> u64 {
        self.closed[reason].get()
    }

    pub(crate) fn open(&self) -> u64 {
        let closed = self.closed.iter().map(Slot::get).sum();
        open(self.accepted.get(), closed)
    }

    pub(crate) fn add_problems(&self, to: &mut BTreeMap<Refusal, u64>) {
        add(&self.problems, to);
    }

    pub(crate) fn add_shadows(&self, to: &mut BTreeMap<Refusal, u64>) {
        add(&self.shadows, to);
    }

    pub(crate) fn add_handshakes(&self, to: &mut BTreeMap<&'static str, u64>) {
        for (outcome, count) in lock(&self.handshakes).iter() {
            *to.entry(outcome).or_default() += count;
        }
    }
}
