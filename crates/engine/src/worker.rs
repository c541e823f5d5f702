//! What one worker thread has: its part of everything, so that workers do not meet on the way of a request.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tollgate_core::clock::Clock;
use tollgate_observe::access_log::LogBuffer;
use tollgate_observe::metrics::{Metrics, WorkerMetrics};
use tollgate_upstream::Service;

use crate::deployment::{Backend, Deployment};
use crate::drain::Drain;
use crate::gateway::Parts;
use crate::rarely::Rarely;
use crate::security;

thread_local! {
    static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// One worker, as its connections see it.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number, from 0.
    pub(crate) index: usize,
    /// Time.
    pub(crate) clock: Clock,
    /// All counters; this worker writes to its own shards.
    pub(crate) metrics: Arc<Metrics>,
    /// Whether the gateway is stopping, or this worker.
    pub(crate) drain: Arc<Drain>,
    /// Whether this worker ends: even what is served while the gateway stops takes its last connections.
    pub(crate) ending: Arc<Drain>,
    /// Floods that are told of.
    pub(crate) floods: Rarely,
    /// Clients that are told of because they were too slow.
    pub(crate) slow: [Rarely; security::SLOW.len()],
    /// Refusals that are told of.
    pub(crate) refusals: Rarely,
    /// Connections from proxies without a PROXY header that are told of.
    pub(crate) headerless: Rarely,
    /// Lines of the access log that were not handed over yet.
    log: Mutex<Option<LogBuffer>>,
    /// Services that are no longer in force and may have connections at rest here.
    leaving: Mutex<Vec<Leaving>>,
    /// An own reference to what is in force: its count is this worker's alone.
    deployment: ArcSwap<Deployment>,
    connections: AtomicUsize,
    /// Connections of those who ask how the gateway is: a gateway that stops does not wait for them.
    asking: AtomicUsize,
    /// How much of what may be is used, in thousandths: by the lag of this worker, and by all.
    levels: [AtomicU32; 2],
    /// Rung when the last of either ends.
    pub(crate) empty: Notify,
}

/// A service that is no longer in force.
#[derive(Debug)]
struct Leaving {
    service: Arc<Service>,
    /// Where requests that began before may still be at work with it.
    among: Weak<[Backend]>,
}

impl Worker {
    pub(crate) fn new(index: usize, parts: &Parts, log: Option<LogBuffer>, deployment: Deployment) -> Arc<Self> {
        parts.metrics.worker(index).seated();
        Arc::new(Self {
            index,
            clock: parts.clock.clone(),
            metrics: Arc::clone(&parts.metrics),
            drain: Drain::below(&[&parts.drain]),
            ending: Arc::default(),
            floods: Rarely::default(),
            slow: Default::default(),
            refusals: security::rarely(),
            headerless: Rarely::default(),
            log: Mutex::new(log),
            leaving: Mutex::default(),
            deployment: ArcSwap::from_pointee(deployment),
            connections: AtomicUsize::new(0),
            asking: AtomicUsize::new(0),
            levels: Default::default(),
            empty: Notify::new(),
        })
    }

    /// What is in force now; kept for the whole request.
    pub(crate) fn deployment(&self) -> Arc<Deployment> {
        self.deployment.load_full()
    }

    /// Puts this in force; what is on its way goes on with what was.
    pub(crate) fn deploy(&self, deployment: Deployment) {
        let stays = |service: &Arc<Service>| deployment.backends.iter().any(|new| Arc::ptr_eq(&new.service, service));
        let before = self.deployment();
        let gone = before.backends.iter().map(|backend| &backend.service).filter(|service| !stays(service));
        let leaving = |service| Leaving { service: Arc::clone(service), among: Arc::downgrade(&before.backends) };
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).extend(gone.map(leaving));
        self.deployment.store(Arc::new(deployment));
    }

    /// Lets those go on who wait for a connection to a service that is no longer in force.
    pub(crate) fn relieve_leaving(&self) {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.iter().for_each(|leaving| leaving.service.relieve(self.index));
    }

    /// Closes what rests at services that are no longer in force.
    pub(crate) fn clear_leaving(&self) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|Leaving { service, among }| {
            service.abandon(self.index);
            among.strong_count() > 0
        });
    }

    /// Writes to this access log from now on.
    pub(crate) fn log_to(&self, log: Option<LogBuffer>) {
        let mut current = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = current.as_mut() {
            before.flush();
        }
        *current = log;
    }

    /// It came so late to what it should do.
    pub(crate) fn was_late(&self, late: Duration) {
        self.counters().lag(late);
        let [own, all] = &self.levels;
        let levels = match &self.deployment().overload {
            Some(overload) => overload.level(late, own.load(Ordering::Relaxed)),
            None => (0, 0),
        };
        own.store(levels.0, Ordering::Relaxed);
        all.store(levels.1, Ordering::Relaxed);
        self.counters().lag_level(levels.0);
    }

    /// How much of what may be is used, in thousandths.
    pub(crate) fn level(&self) -> u32 {
        self.levels[1].load(Ordering::Relaxed)
    }

    /// This worker's own counters.
    pub(crate) fn counters(&self) -> &WorkerMetrics {
        self.metrics.worker(self.index)
    }

    /// Now.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// A connection begins, or a task that takes new ones. `asks`: of those that a gateway which stops does not wait for.
    pub(crate) fn open(&self, asks: bool) {
        self.count(asks).fetch_add(1, Ordering::AcqRel);
    }

    /// One of them ended.
    pub(crate) fn close(&self, asks: bool) {
        if self.count(asks).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
    }

    fn count(&self, asks: bool) -> &AtomicUsize {
        if asks { &self.asking } else { &self.connections }
    }

    /// How many of them there are, but for those who ask.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// Whether there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections() == 0 && self.asking.load(Ordering::Acquire) == 0
    }

    /// Writes to the worker's log buffer, if there is an access log.
    pub(crate) fn with_log(&self, write: impl FnOnce(&mut LogBuffer)) {
        // Only this worker's thread takes it, but when a config is applied: never contended.
        if let Some(log) = self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            write(log);
        }
    }

    /// Appends the value of a `Date` field (RFC 9110 §5.6.7), formatted once a second.
    pub(crate) fn write_date(&self, out: &mut Vec<u8>) {
        let now = self.clock.unix();
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        DATE.with_borrow_mut(|(second, text)| {
            if *second != seconds || text.is_empty() {
                *second = seconds;
                *text = imf_fixdate(now);
            }
            out.extend_from_slice(text.as_bytes());
        });
    }
}

fn imf_fixdate(time: SystemTime) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let text = jiff::Timestamp::try_from(time).ok().and_then(|t| printer.timestamp_to_rfc9110_string(&t).ok());
    text.unwrap_or_else(|| "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())
}
