//! Counters in Redis, which several gateways share: together they never give more than a limit.
//!
//! - What is small is asked for each time, and exact. Of what is large, a gateway takes a lease: some of it beforehand, for a moment, so that
//!   few requests wait for Redis. [`lease`] says how large; in [`counter`] it is made sure that in no time more passes than the limit.
//! - A request waits for Redis for a few milliseconds at most. While Redis cannot be reached, each gateway gives its share: [`standing`].
//! - What is written there are hashes of keys and numbers; nobody can read from them who called.
//!
//! Not for entries (marks, sessions, answers): they are in memory.

mod beat;
mod counter;
mod lease;
mod link;
mod scripts;
mod standing;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tollgate_core::clock::Clock;
use tollgate_core::counters::{Counter, Counters, Limit, StoreFacts};

use self::counter::Of;
use self::lease::Leased;
use self::link::Connected;
pub use self::link::{Credentials, RedisAt, RedisError, RedisSettings, RedisTls};
use self::standing::Standing;
use crate::count::bucket::{FullAt, ticks};
use crate::count::table::Table;

/// Bells of those who wait for a lease.
const BELLS: usize = 64;

/// Counters in Redis. Cheap to copy.
#[derive(Clone, Debug)]
pub struct RedisCounters(Arc<Inner>);

struct Inner {
    settings: RedisSettings,
    /// Tells this gateway from all others.
    id: String,
    clock: Clock,
    /// Times are counted from here.
    began: Instant,
    hasher: RandomState,
    /// Where what takes its time is done.
    runtime: Handle,
    facts: Arc<StoreFacts>,
    standing: Standing,
    connected: Mutex<Option<Connected>>,
    /// Whether what is written is copied.
    has_replicas: AtomicBool,
    /// By how many milliseconds the clock of Redis is ahead.
    ahead: AtomicI64,
    leases: Table<Leased>,
    /// When buckets are full, as far as is known.
    known: Table<FullAt>,
    /// Until when there is nothing to be had: it need not be asked for.
    used_up: Table<FullAt>,
    shares: Table<FullAt>,
    /// Rung when an answer came.
    bells: [Notify; BELLS],
    is_started: AtomicBool,
    /// Whether Redis was asked once.
    tried: watch::Sender<bool>,
}

impl RedisCounters {
    /// Nothing is asked yet. Beside what is in Redis, about so many keys are known here; keys that are forgotten before their time are counted
    /// in `forgotten`.
    #[must_use]
    pub fn new(
        settings: RedisSettings,
        keys: usize,
        clock: Clock,
        runtime: &Handle,
        forgotten: &Arc<AtomicU64>,
        facts: &Arc<StoreFacts>,
    ) -> Self {
        let (began, hasher) = (clock.now(), RandomState::new());
        Self(Arc::new(Inner {
            id: format!("{:016x}", RandomState::new().hash_one(&settings.prefix)),
            settings,
            clock,
            began,
            hasher,
            runtime: runtime.clone(),
            facts: Arc::clone(facts),
            standing: Standing::new(),
            connected: Mutex::default(),
            has_replicas: AtomicBool::new(false),
            ahead: AtomicI64::new(0),
            leases: Table::new(keys, forgotten),
            known: Table::new(keys, &Arc::default()),
            used_up: Table::new(keys, &Arc::default()),
            shares: Table::new(keys, forgotten),
            bells: [const { Notify::const_new() }; BELLS],
            is_started: AtomicBool::new(false),
            tried: watch::Sender::new(false),
        }))
    }

    /// Gives signs of life from now on, for as long as somebody counts here.
    pub fn start(&self) {
        if !self.0.is_started.swap(true, Ordering::Relaxed) {
            self.0.runtime.spawn(beat::forever(Arc::downgrade(&self.0)));
        }
    }

    /// Waits until Redis was asked once, whatever came of it.
    pub async fn heard(&self) {
        // An error would mean that nobody asks any more.
        let _ = self.0.tried.subscribe().wait_for(|tried| *tried).await;
    }

    /// From now on for about so many keys; what is known stays.
    pub fn resize(&self, keys: usize) {
        self.0.leases.resize(keys);
        self.0.known.resize(keys);
        self.0.used_up.resize(keys);
        self.0.shares.resize(keys);
    }

    /// Says that this gateway stops: the others need not wait for it. At most for a moment.
    pub fn leave(&self) {
        let leaving = beat::leave(Arc::clone(&self.0));
        let _ = self.0.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(500), leaving).await });
    }
}

impl Counters for RedisCounters {
    fn counter(&self, limit: &Limit) -> Arc<dyn Counter> {
        Arc::new(Of::new(Arc::clone(&self.0), limit))
    }
}

impl Inner {
    fn passed(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.began)
    }

    fn now(&self) -> u64 {
        ticks(self.passed())
    }

    fn connected(&self) -> Option<Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn connect(&self, connected: Option<Connected>) {
        *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = connected;
    }

    /// How long a request waits for a replica; `None`: there is none. Half of its time, so that one that is behind does not use up all of it.
    fn waits_for_replicas(&self) -> Option<Duration> {
        self.has_replicas.load(Ordering::Relaxed).then_some(self.settings.timeout / 2)
    }

    fn bell(&self, hash: u64) -> &Notify {
        &self.bells[hash as usize % BELLS]
    }

    /// A key of Redis for what all gateways agree on.
    fn common(&self, what: &str) -> String {
        // In braces: in a Cluster, both are at the same server.
        format!("{{{}}}:{what}", self.settings.prefix)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisCounters")
            .field("at", &self.settings.at)
            .field("standing", &self.standing)
            .finish_non_exhaustive()
    }
}
