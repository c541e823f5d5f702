//! Counting without locks: each worker has its own shard of slots, a slot has one writer, and a scrape sums them.
//!
//! [`Metrics`] lives as long as the process. Handles ([`RouteMetrics`], [`ServiceMetrics`]) are asked for by name when
//! a plan is compiled and kept in it, so that the hot path neither hashes nor locks. The same name gives the same
//! handle after a reload, so counters never jump back.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate_core::counters::StoreFacts;
use tollgate_core::facts::Route;

mod concurrency;
mod encode;
mod families;
mod followed;
mod format;
mod listener;
mod process;
mod registry;
mod route;
mod service;
mod shards;
mod slot;
mod table;
mod tls;
mod watch;
mod worker;

pub use concurrency::{ConcurrencyMetrics, ConcurrencyTotals};
pub use families::metrics_reference;
pub use followed::Followed;
pub use format::Format;
pub use listener::ListenerMetrics;
pub use registry::RegistryFacts;
pub use route::{RouteMetrics, RouteShard, RouteTotals};
pub use service::{Outcome, ServiceMetrics, ServiceShard, ServiceTotals, Spilled};
pub use tls::TlsFiles;
pub use watch::{BreakerState, Checked, Copied, Ejected, Hedged, Standing, WatchMetrics, WatchTotals};
pub use worker::{Closed, WorkerMetrics};

pub use process::{open_files, resident};

use table::{OTHER, Table, lock};

/// Most routes with counters of their own; further ones share the labels `(other)`.
const MOST_ROUTES: usize = 20_000;
/// Most services with counters of their own.
const MOST_SERVICES: usize = 5_000;
/// Most listeners with counters of their own.
const MOST_LISTENERS: usize = 256;
/// Most host names, and most services at other sources, that are counted one by one.
const MOST_NAMES: usize = 2_000;

/// All counters of the process.
#[derive(Debug)]
pub struct Metrics {
    workers: Box<[WorkerMetrics]>,
    routes: Table<Arc<Route>, RouteMetrics>,
    services: Table<Box<str>, ServiceMetrics>,
    listeners: Table<Box<str>, ListenerMetrics>,
    log_lines: Arc<LogLines>,
    limits_forgotten: Arc<AtomicU64>,
    store: Arc<StoreFacts>,
    registry: RegistryFacts,
    names: Followed,
    sources: Followed,
    config: Mutex<Config>,
    tls: TlsFiles,
    overload: Mutex<Overload>,
}

/// Lines of the access log. Shared by all who write one: they come in batches, so plain atomics will do.
#[derive(Debug, Default)]
pub struct LogLines {
    /// Handed to the operating system.
    pub written: AtomicU64,
    /// Dropped, because the queue was full or writing failed.
    pub lost: AtomicU64,
}

/// Numbers of the whole process, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests finished.
    pub requests: u64,
    /// Requests begun and not finished.
    pub in_flight: u64,
    /// Client connections accepted.
    pub accepted: u64,
    /// Client connections open now.
    pub connections: u64,
    /// Access log lines written.
    pub log_lines: u64,
    /// Access log lines lost.
    pub log_lines_lost: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Config {
    revision: u64,
    applied: f64,
    ok: bool,
}

/// What the gateway itself uses, in thousandths of what it may; `None`: nobody looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overload {
    /// Memory.
    pub memory: Option<u32>,
    /// File descriptors.
    pub files: Option<u32>,
    /// The time of the worker that is latest.
    pub lag: Option<u32>,
}

impl Metrics {
    /// Counters for `workers` workers, numbered from 0; at least one.
    pub fn new(workers: usize) -> Arc<Self> {
        let workers = workers.max(1);
        Arc::new(Self {
            workers: (0..workers).map(WorkerMetrics::new).collect(),
            routes: Table::new(MOST_ROUTES, RouteMetrics::new(Arc::new(Route::new(OTHER, OTHER)), workers)),
            services: Table::new(MOST_SERVICES, ServiceMetrics::new(OTHER, workers)),
            listeners: Table::new(MOST_LISTENERS, ListenerMetrics::new(OTHER)),
            log_lines: Arc::default(),
            limits_forgotten: Arc::default(),
            store: Arc::default(),
            registry: RegistryFacts::default(),
            names: Followed::default(),
            sources: Followed::default(),
            config: Mutex::default(),
            tls: TlsFiles::default(),
            overload: Mutex::default(),
        })
    }

    /// The counters of a route; the same for the same names. Called when a plan is compiled, never per request.
    pub fn route(&self, route: &Arc<Route>) -> Arc<RouteMetrics> {
        self.routes.get(route, || RouteMetrics::new(Arc::clone(route), self.workers.len()))
    }

    /// The counters of a service; the same for the same name. Called when a plan is compiled, never per request.
    pub fn service(&self, name: &str) -> Arc<ServiceMetrics> {
        self.services.get(&Box::from(name), || ServiceMetrics::new(name, self.workers.len()))
    }

    /// The counters of a listener; the same for the same address. Called when it is opened, never per connection.
    pub fn listener(&self, address: &str) -> Arc<ListenerMetrics> {
        self.listeners.get(&Box::from(address), || ListenerMetrics::new(address))
    }

    /// The listeners that there are or were, in the order of their addresses; not that of all which found no place, if nobody needs it.
    fn listeners(&self) -> Vec<Arc<ListenerMetrics>> {
        let all = self.listeners.all().into_iter();
        all.filter(|one| one.name() != OTHER || one.open() > 0 || one.refusals().any(|(_, count)| count > 0)).collect()
    }

    /// The counters of worker number `index`; an index beyond the last wraps around.
    #[inline]
    pub fn worker(&self, index: usize) -> &WorkerMetrics {
        &self.workers[index % self.workers.len()]
    }

    /// What the access log counts its lines in.
    pub fn log_lines(&self) -> &Arc<LogLines> {
        &self.log_lines
    }

    /// What counts the callers of limits that were forgotten before their time.
    pub fn limits_forgotten(&self) -> &Arc<AtomicU64> {
        &self.limits_forgotten
    }

    /// What is told of a store in which several gateways count.
    pub fn store(&self) -> &Arc<StoreFacts> {
        &self.store
    }

    /// What is told of the registry of instances.
    pub fn registry(&self) -> &RegistryFacts {
        &self.registry
    }

    /// So much is used. The lag is the workers' own affair: of it, only whether somebody looks counts.
    pub fn uses(&self, used: Overload) {
        *lock(&self.overload) = used;
    }

    /// What the gateway itself uses.
    pub fn overload(&self) -> Overload {
        let used = *lock(&self.overload);
        let latest = || self.workers.iter().map(|worker| worker.lateness().1).max().unwrap_or_default();
        Overload { lag: used.lag.map(|_| latest()), ..used }
    }

    /// What is counted of TLS files.
    pub fn tls(&self) -> &TlsFiles {
        &self.tls
    }

    /// Host names that are looked up.
    pub fn names(&self) -> &Followed {
        &self.names
    }

    /// Services that are asked of other sources than DNS: `consul orders`.
    pub fn sources(&self) -> &Followed {
        &self.sources
    }

    /// A configuration was applied at `at`, in time since the Unix epoch.
    pub fn config_applied(&self, revision: u64, at: Duration) {
        *lock(&self.config) = Config { revision, applied: at.as_secs_f64(), ok: true };
    }

    /// A configuration was refused; the one before stays in force.
    pub fn config_refused(&self) {
        lock(&self.config).ok = false;
    }

    /// The configuration says again what is in force.
    pub fn config_stands(&self) {
        lock(&self.config).ok = true;
    }

    /// The routes that had traffic, in the order of their names.
    pub fn routes(&self) -> Vec<Arc<RouteMetrics>> {
        self.routes.all().into_iter().filter(|r| r.is_used()).collect()
    }

    /// The services that had traffic, in the order of their names.
    pub fn services(&self) -> Vec<Arc<ServiceMetrics>> {
        self.services.all().into_iter().filter(|s| s.is_used()).collect()
    }

    /// Numbers of the whole process as they are now.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            accepted: self.workers.iter().map(WorkerMetrics::accepted_total).sum(),
            connections: self.workers.iter().map(WorkerMetrics::open).sum(),
            log_lines: self.log_lines.written.load(Relaxed),
            log_lines_lost: self.log_lines.lost.load(Relaxed),
            ..Totals::default()
        };
        for route in self.routes() {
            let route = route.totals();
            totals.requests += route.requests();
            totals.in_flight += route.in_flight;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> Arc<Route> {
        Arc::new(Route::new("api", name))
    }

    #[test]
    fn handles_survive_a_reload() {
        let metrics = Metrics::new(2);
        metrics.route(&route("orders")).shard(1).begin();
        assert_eq!(metrics.route(&route("orders")).totals().in_flight, 1);
        assert!(Arc::ptr_eq(&metrics.service("a"), &metrics.service("a")));
    }

    #[test]
    fn totals_add_up_the_process() {
        let metrics = Metrics::new(2);
        for (worker, name) in [(0, "a"), (1, "b")] {
            metrics.worker(worker).accepted();
            metrics.route(&route(name)).shard(worker).begin();
            metrics.route(&route(name)).shard(worker).finish(200, Duration::ZERO, 0, 0);
        }
        metrics.route(&route("a")).shard(1).begin();
        metrics.worker(1).closed(Closed::Client);
        let totals = Totals { requests: 2, in_flight: 1, accepted: 2, connections: 1, ..Totals::default() };
        assert_eq!(metrics.totals(), totals);
    }
}
