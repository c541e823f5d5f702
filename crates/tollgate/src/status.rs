//! What the gateway says of itself: `GET /status` and `tollgate status`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use serde_json::{Value, json};
use tollgate_core::clock::Clock;
use tollgate_core::principal::{Sources, Standing};
use tollgate_engine::Deployment;
use tollgate_observe::metrics::{Metrics, Overload};
use tollgate_registry::State;
use tollgate_registry::registered::Registry;
use tollgate_upstream::{InstanceStatus, Service, Standing as InstanceStanding};

use crate::health::Readiness;

/// Knows where to look.
pub(crate) struct Status {
    clock: Clock,
    began: Instant,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    config: String,
    shown: RwLock<Shown>,
    /// How many upgrades failed, and why the last one did.
    upgrades: RwLock<(u64, String)>,
}

/// What changes with the config.
#[derive(Default)]
pub(crate) struct Shown {
    /// Addresses and what they serve.
    pub(crate) listeners: Vec<(String, &'static str)>,
    /// Worker threads.
    pub(crate) workers: usize,
    /// Who can tell who calls.
    pub(crate) sources: Sources,
    /// The registry of instances, if there is one.
    pub(crate) registry: Option<Arc<Registry>>,
    /// What is served; `None`: nothing yet.
    pub(crate) deployment: Option<Deployment>,
    /// Why the last config was refused, if it was, and when.
    pub(crate) refused: Option<(SystemTime, String)>,
}

impl Status {
    /// `config`: the config's name.
    pub(crate) fn new(config: &str, clock: Clock, readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (began, config) = (clock.now(), config.to_owned());
        Arc::new(Self {
            clock,
            began,
            readiness,
            metrics,
            config,
            shown: RwLock::default(),
            upgrades: RwLock::default(),
        })
    }

    /// The config's name.
    pub(crate) fn from(&self) -> &str {
        &self.config
    }

    /// A config is in force.
    pub(crate) fn show(&self, shown: Shown) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// A config was refused; what was before stays in force.
    pub(crate) fn refused(&self, why: &str) {
        let refused = Some((self.clock.unix(), why.to_owned()));
        self.shown.write().unwrap_or_else(PoisonError::into_inner).refused = refused;
    }

    /// Another binary was to take this one's place, and did not.
    pub(crate) fn not_upgraded(&self, why: &str) {
        let mut upgrades = self.upgrades.write().unwrap_or_else(PoisonError::into_inner);
        *upgrades = (upgrades.0 + 1, why.to_owned());
    }

    /// Nothing is refused any more.
    pub(crate) fn stands(&self) {
        self.shown.write().unwrap_or_else(PoisonError::into_inner).refused = None;
    }

    /// As it is now.
    pub(crate) fn now(&self) -> Value {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let totals = self.metrics.totals();
        let (revision, services) = match &shown.deployment {
            Some(d) => (d.plan.revision, d.backends.iter().map(|b| service(&b.service, &self.clock)).collect()),
            None => (0, Vec::new()),
        };
        let listener = |(address, serves): &(String, &str)| json!({ "address": address, "serves": serves });
        let listeners: Vec<Value> = shown.listeners.iter().map(listener).collect();
        let refused = shown.refused.as_ref().map(|(at, why)| json!({ "seconds": ago(*at, &self.clock), "why": why }));
        let (failed, why) = self.upgrades.read().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "upgrades": { "failed": failed, "why": (failed > 0).then_some(why) },
            "ready": self.readiness.is_ready(),
            "uptime_seconds": self.clock.now().saturating_duration_since(self.began).as_secs(),
            "config": { "from": self.config, "revision": revision, "refused": refused },
            "workers": shown.workers,
            "listeners": listeners,
            "connections": { "open": totals.connections, "accepted": totals.accepted },
            "requests": { "finished": totals.requests, "in_flight": totals.in_flight },
            "overload": overload(self.metrics.overload()),
            "access_log": { "written": totals.log_lines, "lost": totals.log_lines_lost },
            "identity": shown.sources.all.iter().map(|source| self.standing(source.name(), source.standing())).collect::<Vec<_>>(),
            "decisions": shown.sources.decisions.iter().map(|point| self.standing(point.name(), point.standing())).collect::<Vec<_>>(),
            "lists": shown.sources.lists.iter().map(|list| self.standing(&list.describe(), list.standing())).collect::<Vec<_>>(),
            "state": store(&self.metrics),
            "registry": shown.registry.as_ref().map(|registry| kept(registry, &self.clock)),
            "geo": shown.sources.countries.iter().map(|file| self.standing(&file.describe(), file.standing())).collect::<Vec<_>>(),
            "services": services,
        })
    }
}

impl Status {
    fn standing(&self, name: &str, standing: Standing) -> Value {
        let (state, since, error) = match standing {
            Standing::Good => ("good", None, None),
            Standing::Stale { since, error } => ("stale", Some(since), Some(error)),
            Standing::Down { since, error } => ("down", since, Some(error)),
        };
        let since = since.map(|since| ago(since, &self.clock));
        json!({ "name": name, "state": state, "seconds": since, "error": error })
    }
}

/// The store in which several gateways count, if there is one.
fn store(metrics: &Metrics) -> Option<Value> {
    let facts = metrics.store();
    let state = if facts.is_up.load(Relaxed) { "shared" } else { "alone" };
    facts.is_used.load(Relaxed).then(|| json!({ "counters": state, "gateways": facts.gateways.load(Relaxed) }))
}

/// The registry of instances.
fn kept(registry: &Registry, clock: &Clock) -> Value {
    let standing = registry.standing();
    let (since, error) = standing.stale.unzip();
    json!({
        "revision": standing.revision,
        "age_seconds": standing.age.map(|age| age.as_secs()),
        "instances": standing.instances,
        "services": standing.services,
        "lapsed": standing.lapsed,
        "stale_seconds": since.map(|since| ago(since, clock)),
        "error": error,
        "hold_seconds": standing.hold.as_secs(),
    })
}

/// What the gateway itself uses of what it may; of what nobody looks at, nothing.
fn overload(used: Overload) -> Value {
    let part = |level: Option<u32>| level.map(|level| f64::from(level) / 1000.0);
    json!({ "memory": part(used.memory), "files": part(used.files), "lag": part(used.lag) })
}

fn service(service: &Service, clock: &Clock) -> Value {
    let (instances, state) = service.status();
    let instances: Vec<Value> = instances.into_iter().map(instance).collect();
    let mut told = json!({
        "name": &**service.name(),
        "state": match &state {
            State::Pending => "pending",
            State::Fresh => "fresh",
            State::Stale { .. } => "stale",
            State::Lapsed { .. } => "lapsed",
        },
        "instances": instances,
    });
    let concurrency = service.metrics().concurrency().totals();
    if let (Some(limit), Some(object)) = (concurrency.limit, told.as_object_mut()) {
        let in_flight = service.metrics().totals().admitted;
        let told = json!({ "limit": limit, "in_flight": in_flight, "waiting": concurrency.waiting, "shed": concurrency.shed.iter().sum::<u64>() });
        object.insert("concurrency".into(), told);
    }
    if let (Some(breaker), Some(object)) = (service.breaker(), told.as_object_mut()) {
        let (totals, left) = (service.metrics().watch().totals(), breaker.left(clock.now()));
        let told = json!({ "state": breaker.stands().as_str(), "seconds": left.as_secs_f64().ceil(), "refused": totals.breaker_refused });
        object.insert("breaker".into(), told);
    }
    if let (State::Stale { since, error } | State::Lapsed { since, error }, Some(object)) =
        (state, told.as_object_mut())
    {
        object.insert("error".into(), error.into());
        object.insert("stale_seconds".into(), ago(since, clock).into());
    }
    told
}

fn instance(instance: InstanceStatus) -> Value {
    let mut told = json!({
        "address": instance.address.to_string(),
        "in_flight": instance.in_flight,
        "connections": instance.open,
        "weight": instance.weight,
        "group": instance.group,
    });
    if let Some(object) = told.as_object_mut() {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let zone = instance.zone.map(|zone| ("zone", Value::from(&*zone)));
        let latency = instance.latency.map(|seconds| ("latency_ms", rounded(seconds * 1000.0).into()));
        let load = instance.utilization.map(|load| ("load", rounded(load).into()));
        object.extend([zone, latency, load].into_iter().flatten().map(|(key, value)| (key.to_owned(), value)));
    }
    if let (Some(standing), Some(object)) = (instance.standing, told.as_object_mut()) {
        object.insert("standing".into(), standing.as_str().into());
        if standing == InstanceStanding::Ejected {
            object.insert("ejected_seconds".into(), instance.ejected_for.as_secs_f64().ceil().into());
        }
        if let Some(why) = instance.why {
            object.insert("check_failed".into(), why.into());
        }
    }
    told
}

fn ago(since: SystemTime, clock: &Clock) -> u64 {
    clock.unix().duration_since(since).map_or(0, |d| d.as_secs())
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What there is to say of the registry; nothing, where there is none.
fn registry_as_text(registry: &Value) -> String {
    let number = |key: &str| registry[key].as_u64();
    let Some(revision) = number("revision") else { return String::new() };
    let count = |key: &str| number(key).unwrap_or_default();
    let mut out = format!(
        "registry     {} instances of {} services (revision {revision})\n",
        count("instances"),
        count("services")
    );
    if let Some(stale) = number("stale_seconds") {
        let age =
            number("age_seconds").map_or_else(|| "never vouched for".to_owned(), |age| format!("{} old", span(age)));
        let why = registry["error"].as_str().unwrap_or("?");
        out.push_str(&format!(
            "  STALE for {}, what is known is {age}; {} instances lapsed, hold {}: {why}\n",
            span(stale),
            count("lapsed"),
            span(count("hold_seconds"))
        ));
    }
    out
}

/// The same for a terminal.
pub(crate) fn as_text(status: &Value) -> String {
    use std::fmt::Write;
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let word = |path: &str| status.pointer(path).and_then(Value::as_str).unwrap_or("?").to_owned();
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    let mut out = String::new();
    // Writing to memory does not fail.
    let _ = writeln!(out, "tollgate {} · {ready} · up {}", word("/version"), span(number("/uptime_seconds")));
    let _ = writeln!(out, "config       {} (revision {})", word("/config/from"), number("/config/revision"));
    if let Some(why) = status.pointer("/config/refused/why").and_then(Value::as_str) {
        let since = span(number("/config/refused/seconds"));
        let _ = writeln!(out, "  refused {since} ago, the one before stays in force:");
        why.lines().for_each(|line| {
            let _ = writeln!(out, "    {line}");
        });
    }
    if let Some(why) = status.pointer("/upgrades/why").and_then(Value::as_str) {
        let _ = writeln!(out, "  not upgraded: {why}");
    }
    out.push_str(&registry_as_text(&status["registry"]));
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let text = |key: &str| listener[key].as_str().unwrap_or("?").to_owned();
        let _ = writeln!(out, "listener     {} {}", text("address"), text("serves"));
    }
    let (open, accepted) = (number("/connections/open"), number("/connections/accepted"));
    let _ = writeln!(out, "connections  {open} open, {accepted} accepted, on {} workers", number("/workers"));
    let (finished, in_flight) = (number("/requests/finished"), number("/requests/in_flight"));
    let _ = writeln!(out, "requests     {finished} finished, {in_flight} in flight");
    let used = ["memory", "files", "lag"].into_iter().filter_map(|of| Some((of, status["overload"][of].as_f64()?)));
    let used: Vec<String> = used.map(|(of, part)| format!("{of} {:.0} %", part * 100.0)).collect();
    if !used.is_empty() {
        let _ = writeln!(out, "uses         {} of what it may", used.join(", "));
    }
    let lost = number("/access_log/lost");
    let _ = writeln!(out, "access log   {} lines written, {lost} lost", number("/access_log/written"));
    for (of, word) in [("identity", "identity"), ("decisions", "decision"), ("lists", "list"), ("geo", "countries")] {
        for one in status[of].as_array().into_iter().flatten() {
            let text = |key: &str| one[key].as_str().unwrap_or("?");
            let since = one["seconds"].as_u64().map_or_else(String::new, |seconds| format!(" for {}", span(seconds)));
            let note = match text("state") {
                "good" => String::new(),
                state => format!(" · {state}{since}: {}", text("error")),
            };
            let _ = writeln!(out, "{word:<12} {}{note}", text("name"));
        }
    }
    let services = status["services"].as_array().map_or(&[][..], Vec::as_slice);
    if services.is_empty() {
        let _ = writeln!(out, "services     none");
    }
    for service in services {
        service_lines(service, &mut out);
    }
    out
}

fn service_lines(service: &Value, out: &mut String) {
    use std::fmt::Write;
    let text = |key: &str| service[key].as_str().unwrap_or("?");
    let note = match text("state") {
        "fresh" => String::new(),
        state @ ("stale" | "lapsed") => {
            format!(" · {state} for {}: {}", span(service["stale_seconds"].as_u64().unwrap_or(0)), text("error"))
        }
        state => format!(" · {state}"),
    };
    let _ = writeln!(out, "service      {}{note}", text("name"));
    let instances = service["instances"].as_array().map_or(&[][..], Vec::as_slice);
    if instances.is_empty() {
        let _ = writeln!(out, "  no instance");
    }
    if let Some(own) = service.get("concurrency") {
        let number = |key: &str| own[key].as_u64().unwrap_or(0);
        let (in_flight, limit, waiting, shed) =
            (number("in_flight"), number("limit"), number("waiting"), number("shed"));
        let _ = writeln!(out, "  {in_flight} of {limit} at a time, {waiting} wait, {shed} shed");
    }
    if let Some(breaker) = service.get("breaker") {
        let state = breaker["state"].as_str().unwrap_or("?").replace('_', " ");
        let left = breaker["seconds"].as_f64().filter(|left| *left > 0.0);
        let left = left.map_or_else(String::new, |left| format!(" for {}", span(left as u64)));
        let _ = writeln!(out, "  breaker {state}{left}, {} refused", breaker["refused"].as_u64().unwrap_or(0));
    }
    for instance in instances {
        let number = |key: &str| instance[key].as_u64().unwrap_or(0);
        let address = instance["address"].as_str().unwrap_or("?");
        let (in_flight, connections) = (number("in_flight"), number("connections"));
        let (standing, balance) = (standing_words(instance), balance_words(instance));
        let _ = writeln!(out, "  {address:<24} {in_flight} in flight, {connections} connections{balance}{standing}");
    }
}

/// What counts for balancing, where it is not as with every other instance.
fn balance_words(instance: &Value) -> String {
    let weight = instance["weight"].as_u64().filter(|weight| *weight != 1).map(|weight| format!(", weight {weight}"));
    let zone = instance["zone"].as_str().map(|zone| format!(", zone {zone}"));
    let group = instance["group"].as_u64().filter(|group| *group > 0).map(|group| format!(", group {group}"));
    let latency = instance["latency_ms"].as_f64().map(|ms| format!(", answers in {ms:.1} ms"));
    let load = instance["load"].as_f64().map(|load| format!(", load {:.0} %", load * 100.0));
    [weight, zone, group, latency, load].into_iter().flatten().collect()
}

/// How an instance stands, if somebody looks, and why.
fn standing_words(instance: &Value) -> String {
    let why = instance["check_failed"].as_str().map_or_else(String::new, |why| format!(": {why}"));
    match instance["standing"].as_str() {
        None => String::new(),
        Some("unknown") => format!(" · not checked yet{why}"),
        Some("ejected") => {
            let left = instance["ejected_seconds"].as_f64().unwrap_or(0.0);
            format!(" · ejected for {}{why}", span(left as u64))
        }
        Some(standing) => format!(" · {standing}{why}"),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}
