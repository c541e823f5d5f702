//! The exposition: `prometheus-client` writes OpenMetrics 1.0, the older text form differs in three kinds of lines.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet};
use prometheus_client::registry::Registry;
use tollgate_core::criticality::Criticality;

use super::families::{self, Family};
use super::route::{BUCKETS, CLASSES, RouteMetrics, RouteTotals};
use super::service::{OUTCOMES, SPILLED, ServiceMetrics, ServiceTotals};
use super::watch::{BREAKER_STATES, CHECKED, COPIED, EJECTED, HEDGED, STANDINGS, WatchTotals};
use super::worker::{REASONS, Refusal};
use super::{Format, Metrics, lock, process};

impl Metrics {
    /// Sums all shards and writes them. Takes no lock that a request waits for; on the slow runtime only.
    pub fn encode(self: &Arc<Self>, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape(self.clone())));
        let mut page = String::with_capacity(16 * 1024);
        // Writing to a String cannot fail, and the collector passes on that error only.
        let _ = encode(&mut page, &registry);
        match format {
            Format::OpenMetrics => page,
            Format::Text => to_text(&page),
        }
    }
}

/// Rewrites OpenMetrics 1.0 as text format 0.0.4: there `TYPE` and `HELP` carry the full name of the samples, and
/// `UNIT` and `EOF` do not exist. Samples are the same.
fn to_text(page: &str) -> String {
    let kinds: HashMap<String, (&str, &str)> = families::ALL.iter().map(|f| (f.name(), f.text_kind())).collect();
    let mut text = String::with_capacity(page.len());
    for line in page.split_inclusive('\n') {
        let Some(comment) = line.strip_prefix("# ") else {
            text.push_str(line);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        if let (Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) {
            let (kind, suffix) = kinds.get(name).copied().unwrap_or(("untyped", ""));
            let rest = if word == "TYPE" { kind } else { rest.trim_end() };
            text.extend(["# ", word, " ", name, suffix, " ", rest, "\n"]);
        }
    }
    text
}

struct Scrape(Arc<Metrics>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let metrics = &*self.0;
        build_and_config(metrics, &mut to)?;
        routes(metrics, &mut to)?;
        services(metrics, &mut to)?;
        connections(metrics, &mut to)?;
        tls(metrics, &mut to)?;
        log_and_names(metrics, &mut to)?;
        registry(metrics, &mut to)?;
        own_process(&mut to)
    }
}

type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

fn counters<'a, const N: usize, V: EncodeCounterValue>(
    to: &mut DescriptorEncoder,
    family: &'static Family,
    series: impl IntoIterator<Item = (Labels<'a, N>, V)>,
) -> fmt::Result {
    let mut metric = family.describe(to)?;
    for (labels, value) in series {
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

fn gauges<'a, const N: usize, V: EncodeGaugeValue>(
    to: &mut DescriptorEncoder,
    family: &'static Family,
    series: impl IntoIterator<Item = (Labels<'a, N>, V)>,
) -> fmt::Result {
    let mut metric = family.describe(to)?;
    for (labels, value) in series {
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn gauge(to: &mut DescriptorEncoder, family: &'static Family, value: impl EncodeGaugeValue) -> fmt::Result {
    family.describe(to)?.encode_gauge(&value)
}

fn build_and_config(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    families::BUILD.describe(to)?.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
    let config = *lock(&metrics.config);
    gauge(to, &families::CONFIG_REVISION, config.revision)?;
    gauge(to, &families::CONFIG_APPLIED, config.applied)?;
    gauge(to, &families::CONFIG_OK, u64::from(config.ok))
}

fn routes(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let routes: Vec<(Arc<RouteMetrics>, RouteTotals)> = metrics.routes().into_iter().map(totals_of_route).collect();
    let by_class = routes.iter().flat_map(|(route, totals)| {
        let series = |(class, count)| {
            let [api, route] = of(route);
            ([api, route, ("status", class)], count)
        };
        CLASSES.into_iter().zip(totals.by_class).map(series)
    });
    counters(to, &families::REQUESTS, by_class)?;
    let mut metric = families::DURATION.describe(to)?;
    for (route, totals) in &routes {
        let ends = BUCKETS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<_> = ends.zip(totals.by_duration).collect();
        let count = totals.by_duration.iter().sum();
        metric.encode_family(&of(route))?.encode_histogram::<NoLabelSet>(
            totals.micros as f64 / 1e6,
            count,
            &buckets,
            None,
        )?;
    }
    gauges(to, &families::IN_FLIGHT, routes.iter().map(|(route, totals)| (of(route), totals.in_flight)))?;
    counters(to, &families::RECEIVED, routes.iter().map(|(route, totals)| (of(route), totals.bytes_in)))?;
    counters(to, &families::SENT, routes.iter().map(|(route, totals)| (of(route), totals.bytes_out)))?;
    let mut problems = BTreeMap::new();
    metrics.workers.iter().for_each(|worker| worker.add_problems(&mut problems));
    counters(to, &families::PROBLEMS, problems.iter().map(refused))?;
    let mut shadows = BTreeMap::new();
    metrics.workers.iter().for_each(|worker| worker.add_shadows(&mut shadows));
    counters(to, &families::SHADOWED, shadows.iter().map(refused))?;
    let forgotten = metrics.limits_forgotten.load(Relaxed);
    families::LIMITS_FORGOTTEN.describe(to)?.encode_counter::<NoLabelSet, _, u64>(&forgotten, None)?;
    store(metrics, to)?;
    let mut floods = BTreeMap::new();
    metrics.workers.iter().for_each(|worker| worker.add_floods(&mut floods));
    counters(to, &families::FLOODS, floods.into_iter().map(|(kind, count)| ([("frame", kind)], count)))
}

/// The store in which several gateways count, where there is one.
fn store(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let facts = &*metrics.store;
    if !facts.is_used.load(Relaxed) {
        let families =
            [&families::STORE_UP, &families::STORE_GATEWAYS, &families::STORE_REQUESTS, &families::STORE_ALONE];
        return families.into_iter().try_for_each(|family| family.describe(to).map(drop));
    }
    gauge(to, &families::STORE_UP, u64::from(facts.is_up.load(Relaxed)))?;
    gauge(to, &families::STORE_GATEWAYS, facts.gateways.load(Relaxed))?;
    let outcome = |(outcome, count): (&'static str, &AtomicU64)| ([("outcome", outcome)], count.load(Relaxed));
    let asked = [("answered", &facts.answered), ("late", &facts.late), ("failed", &facts.failed)];
    counters(to, &families::STORE_REQUESTS, asked.into_iter().map(outcome))?;
    let alone = [("shared", &facts.shared), ("allowed", &facts.allowed), ("refused", &facts.refused)];
    counters(to, &families::STORE_ALONE, alone.into_iter().map(outcome))
}

fn refused<'r>(((api, slug), count): (&'r Refusal, &u64)) -> (Labels<'r, 2>, u64) {
    ([("api", api), ("slug", slug)], *count)
}

fn totals_of_route(route: Arc<RouteMetrics>) -> (Arc<RouteMetrics>, RouteTotals) {
    let totals = route.totals();
    (route, totals)
}

fn of(route: &RouteMetrics) -> Labels<'_, 2> {
    let route = route.route();
    [("api", &route.api), ("route", &route.name)]
}

fn services(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let services: Vec<(Arc<ServiceMetrics>, ServiceTotals)> =
        metrics.services().into_iter().map(|service| (service.clone(), service.totals())).collect();
    let each = |number: fn(&ServiceTotals) -> u64| {
        services.iter().map(move |(service, totals)| ([("service", service.name())], number(totals)))
    };
    let outcomes = services.iter().flat_map(|(service, totals)| {
        let series = |(outcome, count)| ([("service", service.name()), ("outcome", outcome)], count);
        OUTCOMES.into_iter().zip(totals.attempts).map(series)
    });
    counters(to, &families::ATTEMPTS, outcomes)?;
    counters(to, &families::RETRIES, each(|t| t.retries))?;
    counters(to, &families::CONNECTS, each(|t| t.connects))?;
    counters(to, &families::REUSES, each(|t| t.reuses))?;
    let states = services.iter().flat_map(|(service, totals)| {
        let busy = totals.open.saturating_sub(totals.idle);
        [("busy", busy), ("idle", totals.idle)]
            .map(|(state, count)| ([("service", service.name()), ("state", state)], count))
    });
    gauges(to, &families::SERVICE_CONNECTIONS, states)?;
    gauges(to, &families::QUEUE_WAITING, each(|t| t.waiting))?;
    counters(to, &families::QUEUE_REFUSED, each(|t| t.queue_refused))?;
    gauges(to, &families::SMOOTH_WAITING, each(|t| t.smoothing))?;
    counters(to, &families::SMOOTH_REFUSED, each(|t| t.smooth_refused))?;
    adaptive(&services, to)?;
    let spilled = services.iter().filter(|(_, totals)| totals.spilled != [0; 3]).flat_map(|(service, totals)| {
        let of = |(to, count)| ([("service", service.name()), ("to", to)], count);
        SPILLED.into_iter().zip(totals.spilled).map(of)
    });
    counters(to, &families::SPILLED, spilled)?;
    watched(services.iter().map(|(service, _)| &**service), to)
}

/// What is known of services whose concurrency is adaptive.
fn adaptive(services: &[(Arc<ServiceMetrics>, ServiceTotals)], to: &mut DescriptorEncoder) -> fmt::Result {
    let totals = services.iter().map(|(service, totals)| (service.name(), totals, service.concurrency().totals()));
    let adaptive: Vec<_> = totals.filter_map(|(name, totals, own)| Some((name, totals, own.limit?, own))).collect();
    let of = |name| [("service", name)];
    gauges(to, &families::CONCURRENCY_LIMIT, adaptive.iter().map(|(name, _, limit, _)| (of(*name), *limit)))?;
    gauges(to, &families::CONCURRENCY_IN_FLIGHT, adaptive.iter().map(|(name, all, ..)| (of(*name), all.admitted)))?;
    gauges(to, &families::CONCURRENCY_WAITING, adaptive.iter().map(|(name, .., own)| (of(*name), own.waiting)))?;
    let shed = adaptive.iter().flat_map(|(name, .., own)| {
        let words = Criticality::ALL.map(Criticality::as_str).into_iter();
        words.zip(own.shed).map(|(word, count)| ([("service", *name), ("criticality", word)], count))
    });
    counters(to, &families::SERVICE_SHED, shed)
}

/// What is known of services by checks and by what became of requests; only of those that are watched.
fn watched<'a>(services: impl Iterator<Item = &'a ServiceMetrics>, to: &mut DescriptorEncoder) -> fmt::Result {
    let services: Vec<(&str, WatchTotals)> = services.map(|s| (s.name(), s.watch().totals())).collect();
    let of = |name| ("service", name);
    let instances = services.iter().flat_map(|(name, totals)| {
        let counts = totals.standing.into_iter().flatten();
        STANDINGS.into_iter().zip(counts).map(move |(state, count)| ([of(*name), ("state", state)], count))
    });
    gauges(to, &families::INSTANCES, instances)?;
    let watched = || services.iter().filter(|(_, totals)| totals.standing.is_some());
    let checks = watched().flat_map(|(name, totals)| {
        CHECKED.into_iter().zip(totals.checks).map(move |(result, count)| ([of(*name), ("result", result)], count))
    });
    counters(to, &families::CHECKS, checks)?;
    let ejections = watched().flat_map(|(name, totals)| {
        EJECTED.into_iter().zip(totals.ejections).map(move |(reason, count)| ([of(*name), ("reason", reason)], count))
    });
    counters(to, &families::EJECTIONS, ejections)?;
    breakers(&services, to)?;
    let hedges = services.iter().filter(|(_, totals)| totals.hedges != [0; 3]).flat_map(|(name, totals)| {
        HEDGED.into_iter().zip(totals.hedges).map(move |(result, count)| ([of(*name), ("result", result)], count))
    });
    counters(to, &families::HEDGES, hedges)?;
    counters(to, &families::FALLBACKS, services.iter().map(|(name, totals)| ([of(*name)], totals.fallbacks)))?;
    let copies = services.iter().filter(|(_, totals)| totals.copies != [0; 5]).flat_map(|(name, totals)| {
        COPIED.into_iter().zip(totals.copies).map(move |(result, count)| ([of(*name), ("result", result)], count))
    });
    counters(to, &families::COPIES, copies)
}

/// How circuit breakers stand, of services that have one.
fn breakers(services: &[(&str, WatchTotals)], to: &mut DescriptorEncoder) -> fmt::Result {
    let of = |name| ("service", name);
    let with = || services.iter().filter_map(|(name, totals)| Some((*name, totals, totals.breaker?)));
    let states = with().flat_map(|(name, _, stands)| {
        BREAKER_STATES.map(|state| ([of(name), ("state", state)], u64::from(state == stands.as_str())))
    });
    gauges(to, &families::BREAKER_STATE, states)?;
    let changes = with().flat_map(|(name, totals, _)| {
        BREAKER_STATES.into_iter().zip(totals.breaker_changes).map(move |(to, n)| ([of(name), ("to", to)], n))
    });
    counters(to, &families::BREAKER_CHANGES, changes)?;
    counters(to, &families::BREAKER_REFUSED, with().map(|(name, totals, _)| ([of(name)], totals.breaker_refused)))
}

fn connections(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let workers = || metrics.workers.iter().filter(|worker| worker.is_seated());
    counters(to, &families::ACCEPTED, workers().map(|w| ([("worker", &*w.label)], w.accepted_total())))?;
    gauges(to, &families::CONNECTIONS, workers().map(|w| ([("worker", &*w.label)], w.open())))?;
    let closed = REASONS.into_iter().enumerate().map(|(index, reason)| {
        let count: u64 = workers().map(|w| w.closed_total(index)).sum();
        ([("reason", reason)], count)
    });
    counters(to, &families::CLOSED, closed)?;
    let listeners = metrics.listeners();
    gauges(to, &families::LISTENER_CONNECTIONS, listeners.iter().map(|l| ([("listener", l.name())], l.open())))?;
    let refused = listeners.iter().flat_map(|listener| {
        listener.refusals().map(|(reason, count)| ([("listener", listener.name()), ("reason", reason)], count))
    });
    counters(to, &families::LISTENER_REFUSED, refused)?;
    gauges(to, &families::WORKER_LAG, workers().map(|w| ([("worker", &*w.label)], w.lateness().0)))?;
    let used = metrics.overload();
    let levels = [("memory", used.memory), ("files", used.files), ("lag", used.lag)];
    let levels = levels.into_iter().filter_map(|(of, level)| Some((of, level?)));
    gauges(to, &families::OVERLOAD_LEVEL, levels.map(|(of, level)| ([("resource", of)], f64::from(level) / 1000.0)))?;
    let shed = Criticality::ALL.map(|one| (one, workers().map(|worker| worker.shed_total(one)).sum::<u64>()));
    counters(to, &families::GATEWAY_SHED, shed.map(|(one, count)| ([("criticality", one.as_str())], count)))?;
    counters(to, &families::RESTARTS, workers().map(|w| ([("worker", &*w.label)], w.restarts())))
}

fn tls(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let mut outcomes = BTreeMap::new();
    metrics.workers.iter().for_each(|worker| worker.add_handshakes(&mut outcomes));
    counters(to, &families::HANDSHAKES, outcomes.into_iter().map(|(outcome, count)| ([("outcome", outcome)], count)))?;
    let owners = metrics.tls.owners();
    let reloads = owners.iter().flat_map(|(of, owner)| {
        let results = [("ok", owner.renewed), ("failed", owner.failed)];
        results.map(|(result, count)| ([("of", &**of), ("result", result)], count))
    });
    counters(to, &families::TLS_RELOADS, reloads)?;
    gauges(to, &families::TLS_STALE, owners.iter().map(|(of, owner)| ([("of", &**of)], u64::from(owner.is_stale))))?;
    gauges(to, &families::TLS_EXPIRY, metrics.tls.expiries().iter().map(|(file, at)| ([("file", &**file)], *at)))
}

fn log_and_names(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let (written, lost) = (&metrics.log_lines.written, &metrics.log_lines.lost);
    let lines = [([("result", "written")], written.load(Relaxed)), ([("result", "lost")], lost.load(Relaxed))];
    counters(to, &families::LOG_LINES, lines)?;
    let names = metrics.names.all();
    counters(to, &families::DNS_FAILURES, names.iter().map(|(name, n)| ([("name", &**name)], n.failures)))?;
    gauges(to, &families::DNS_STALE, names.iter().map(|(name, n)| ([("name", &**name)], u64::from(n.is_stale))))?;
    let sources = metrics.sources.all();
    counters(to, &families::SOURCE_FAILURES, sources.iter().map(|(name, n)| ([("source", &**name)], n.failures)))?;
    gauges(to, &families::SOURCE_STALE, sources.iter().map(|(name, n)| ([("source", &**name)], u64::from(n.is_stale))))
}

fn registry(metrics: &Metrics, to: &mut DescriptorEncoder) -> fmt::Result {
    let Some(facts) = metrics.registry.now() else { return Ok(()) };
    gauge(to, &families::REGISTRY_REVISION, facts.revision)?;
    gauge(to, &families::REGISTRY_VOUCHED, facts.vouched)?;
    gauge(to, &families::REGISTRY_STALE, u64::from(facts.is_stale))?;
    let services = facts.services();
    let instances = services.iter().flat_map(|(service, counts)| {
        ["up", "draining"]
            .into_iter()
            .zip(*counts)
            .map(move |(state, count)| ([("service", *service), ("state", state)], count))
    });
    gauges(to, &families::REGISTRY_INSTANCES, instances)?;
    let changes = [("put", facts.put), ("gone", facts.gone), ("lapsed", facts.lapsed)];
    counters(to, &families::REGISTRY_CHANGES, changes.into_iter().map(|(kind, count)| ([("kind", kind)], count)))
}

fn own_process(to: &mut DescriptorEncoder) -> fmt::Result {
    let Some(own) = process::read() else { return Ok(()) };
    families::CPU.describe(to)?.encode_counter::<NoLabelSet, _, u64>(&own.cpu_seconds, None)?;
    gauge(to, &families::RESIDENT, own.resident_bytes)?;
    gauge(to, &families::VIRTUAL, own.virtual_bytes)?;
    gauge(to, &families::OPEN_FDS, own.open_fds)?;
    if let Some(most) = own.max_fds {
        gauge(to, &families::MAX_FDS, most)?;
    }
    gauge(to, &families::THREADS, own.threads)?;
    gauge(to, &families::STARTED, own.started)
}

#[cfg(test)]
mod tests;
