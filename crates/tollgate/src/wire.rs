//! The one place that knows everybody: config to plan, services, deployment.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::Notify;
use tollgate_config::model::{self, Config, ProxyProtocol, RetryOn, SourceAddress};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::field::Known;
use tollgate_core::in_flight::InFlight;
use tollgate_core::node::Spanned;
use tollgate_core::pacer::Pacers;
use tollgate_core::policy::PolicyKind;
use tollgate_core::principal::Sources;
use tollgate_engine::{Backend, Correlation, Deployment, Retrying, Rules};
use tollgate_http1::HeadLimits;
use tollgate_identity::session;
use tollgate_lists::Access;
use tollgate_net::proxy_protocol::Version;
use tollgate_net::tls::Client;
use tollgate_observe::metrics::{self, Metrics};
use tollgate_plan::Compiled;
use tollgate_policies::ip;
use tollgate_registry::dns::{self, Dns};
use tollgate_store::{Memory, MemoryCounters};
use tollgate_upstream::{Balancing, Budget, Protocol, Service, SessionSettings, Settings, Smoothing, adaptive};

use crate::balancing;
use crate::discovery::{self, Discovery};
use crate::followed::Followed;
use crate::instances::Instances;
use crate::overload::{Looking, Watched};
use crate::sources::{Identity, named, vouching};
use crate::tls::{Tls, Watching};
use crate::watched;

/// All policies of this build.
pub(crate) fn policies() -> &'static [&'static PolicyKind] {
    tollgate_policies::ALL
}

/// What the world offers to whoever builds a deployment.
pub(crate) struct World {
    /// Time.
    pub(crate) clock: Clock,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// One bell per worker.
    pub(crate) bells: Arc<[Notify]>,
    /// The slow runtime.
    pub(crate) slow: Handle,
    /// The runtime of questions to others, made when it is first needed.
    pub(crate) asking: Own,
    /// That of questions to a store of counters, likewise.
    pub(crate) counting: Own,
    /// Marks and sessions. They outlive a config, as counters do.
    pub(crate) store: Arc<Memory>,
    /// What limits count.
    pub(crate) counters: MemoryCounters,
    /// Who goes when, where requests go evenly spaced.
    pub(crate) pacers: Arc<Pacers>,
    /// What is in flight, for limits of that.
    pub(crate) in_flight: InFlight,
}

impl World {
    /// The runtime of questions to identity providers: however many strangers make the gateway ask, health checks are not late.
    /// If there can be no further thread, the slow one.
    pub(crate) fn asking(&self) -> &Handle {
        self.asking.handle("asking", &self.slow)
    }

    /// The runtime of questions to a store of counters, which are in a hurry.
    pub(crate) fn counting(&self) -> &Handle {
        self.counting.handle("counting", &self.slow)
    }
}

/// A runtime with a thread of its own, once it is needed.
#[derive(Debug, Default)]
pub(crate) struct Own(OnceLock<Option<Runtime>>);

impl Own {
    /// It, or another one if there can be no further thread.
    fn handle<'h>(&'h self, name: &str, other: &'h Handle) -> &'h Handle {
        let own = self.0.get_or_init(|| {
            let mut builder = runtime::Builder::new_multi_thread();
            builder.worker_threads(1).thread_name(name).enable_all().build().ok()
        });
        own.as_ref().map_or(other, Runtime::handle)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Questions that are under way need not be waited for.
        self.0.take().flatten().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// A deployment, and what keeps its services up to date.
pub(crate) struct Wired {
    /// What the engine serves.
    pub(crate) deployment: Deployment,
    /// Works, but probably not as meant.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The TLS of listeners.
    pub(crate) tls: Tls,
    /// Whom listeners let in, in the order of the config's.
    pub(crate) access: Vec<Option<Arc<Access>>>,
    /// Who can tell who calls.
    pub(crate) identity: Identity,
    /// The registry of instances, if there is one.
    pub(crate) instances: Option<Arc<Instances>>,
    resolver: (model::Dns, Arc<Dns>),
    discovery: Arc<Discovery>,
    /// The services, in the order of the deployment's.
    made: Vec<Made>,
    /// Looks at the files of certificates.
    watching: Option<Watching>,
    /// What the gateway itself may use.
    overload: Option<Watched>,
    looking: Option<Looking>,
}

/// A service that was made, and of what.
struct Made {
    written: model::Service,
    heads: HeadLimits,
    zone: Option<Arc<str>>,
    tls: Option<Arc<Client>>,
    service: Arc<Service>,
    followed: Arc<Followed>,
    is_new: bool,
}

/// What all services of a config are made by.
#[derive(Clone, Copy)]
struct Ruled<'r> {
    heads: HeadLimits,
    /// The zone of the gateway.
    zone: Option<&'r Arc<str>>,
    data: &'r Path,
    discovery: &'r Arc<Discovery>,
    instances: Option<&'r Arc<Instances>>,
}

/// Why there is no deployment.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The config is at fault.
    Config(Vec<Diagnostic>),
    /// The system's resolver cannot be set up.
    Resolver(dns::LookupError),
    /// The registry cannot be kept where the config says; in words.
    Registry(String),
}

impl Wired {
    /// Waits until every list of instances was heard of once, at most for `most`. Those of services that are new hold from
    /// here on.
    pub(crate) async fn heard(&self, most: Duration) {
        let all = async {
            for made in &self.made {
                made.followed.heard().await;
            }
            self.identity.heard().await;
        };
        let _ = tokio::time::timeout(most, all).await;
        self.made.iter().filter(|made| made.is_new).for_each(|made| made.followed.begin(&made.service));
    }

    /// It is in force: lists of instances hold, files are looked at, and the stores have the sizes that this config says.
    pub(crate) fn take_effect(&mut self, config: &Config, world: &World) {
        let most = |most| usize::try_from(most).unwrap_or(usize::MAX);
        world.store.resize(most(config.state.memory.get()));
        self.identity.take_effect(config, world);
        match &self.instances {
            Some(instances) => instances.take_effect(config),
            None => world.metrics.registry().end(),
        }
        self.made.iter().for_each(|made| made.followed.attach(&made.service, world));
        self.watching = Some(self.tls.watch(world));
        self.looking = self.overload.as_ref().map(|watched| watched.look(world));
        if self.overload.is_none() {
            world.metrics.uses(metrics::Overload::default());
        }
    }
}

/// Compiles a config and makes its services; what is made as it was `before` is the same, and knows what it knew.
pub(crate) fn wire(config: &Config, revision: u64, world: &World, before: Option<&Wired>) -> Result<Wired, WireError> {
    let Understood { compiled, mut tls, access, identity } =
        understand(config, revision, world, before).map_err(WireError::Config)?;
    sources(config).map_err(WireError::Config)?;
    let resolver = match before.map(|wired| &wired.resolver) {
        Some((written, resolver)) if *written == config.dns => Arc::clone(resolver),
        known => resolver(config, world, known.map(|(_, known)| known)).map_err(WireError::Resolver)?,
    };
    let known = before.and_then(|wired| wired.instances.as_ref());
    let instances = Instances::build(config, world, &tls, &resolver, known).map_err(WireError::Registry)?;
    identity.start(&tls, world, &resolver);
    let known = before.map(|wired| &wired.discovery);
    let discovery =
        Discovery::new(config, &tls, &resolver, world, known).map_err(|found| WireError::Config(vec![found]))?;
    let rules = Rules { owned: compiled.owned.into(), ..rules(config) };
    let wrong = |mistake| WireError::Config(vec![mistake]);
    let zone = balancing::zone(config).map_err(wrong)?;
    let (zone, instances_of) = (zone.as_ref(), instances.as_ref());
    let ruled =
        Ruled { heads: rules.heads, zone, data: &config.data.0, discovery: &discovery, instances: instances_of };
    let (mut backends, mut made) = (Vec::new(), Vec::new());
    for ((name, written), fallback) in compiled.services.iter().zip(compiled.fallbacks) {
        let known = before.and_then(|wired| wired.made.iter().find(|made| made.service.name() == name));
        let new = make(name, written, tls.client(name, written), &ruled, world, known).map_err(wrong)?;
        backends.push(Backend { fallback, ..backend(written, &new.service) });
        made.push(new);
    }
    let overload = Watched::new(config.overload.as_ref(), before.and_then(|wired| wired.overload.as_ref()));
    let limits = overload.as_ref().map(|watched| Arc::clone(&watched.overload));
    let deployment = Deployment::new(Arc::new(compiled.plan), backends.into(), Arc::new(rules));
    let deployment = Deployment { overload: limits, ..deployment };
    let mut warnings = compiled.warnings;
    warnings.append(&mut tls.warnings);
    let resolver = (config.dns.clone(), resolver);
    Ok(Wired {
        deployment,
        warnings,
        tls,
        access,
        identity,
        instances,
        resolver,
        discovery,
        made,
        watching: None,
        overload,
        looking: None,
    })
}

/// Compiles a config for a rehearsal: its services are there, but nobody looks their instances up, or after them.
pub(crate) fn rehearsed(config: &Config, world: &World) -> Result<Deployment, WireError> {
    let compiled = tollgate_plan::compile(config, policies(), &vouching(config, &world.counters), &world.metrics, 1);
    let compiled = compiled.map_err(WireError::Config)?;
    let rules = Rules { owned: compiled.owned.into(), ..rules(config) };
    let mut backends = Vec::new();
    for ((name, written), fallback) in compiled.services.iter().zip(compiled.fallbacks) {
        let mut quiet = written.clone();
        quiet.health = None;
        quiet.outlier = None;
        quiet.breaker = None;
        let balancing = balancing::unsigned(&quiet, None);
        let service = service(name, &quiet, None, rules.heads, balancing, world);
        backends.push(Backend { fallback, ..backend(written, &service) });
    }
    let deployment = Deployment::new(Arc::new(compiled.plan), backends.into(), Arc::new(rules));
    Ok(Deployment { stand_in: Some(Arc::default()), ..deployment })
}

/// What a config means.
struct Understood {
    compiled: Compiled,
    tls: Tls,
    access: Vec<Option<Arc<Access>>>,
    identity: Identity,
}

/// Compiles, and reads the files of certificates and keys; tells the mistakes of all.
fn understand(
    config: &Config,
    revision: u64,
    world: &World,
    before: Option<&Wired>,
) -> Result<Understood, Vec<Diagnostic>> {
    let identity = Identity::build(config, world, before.map(|wired| &wired.identity));
    let sources = identity.as_ref().map_or_else(|_| named(config), |identity| identity.sources(world));
    let compiled = tollgate_plan::compile(config, policies(), &sources, &world.metrics, revision);
    let tls = Tls::build(config, world.clock.unix(), before.map(|wired| &wired.tls), &world.metrics);
    let access = access(config, &sources);
    match (compiled, tls, access, identity, discovery::built_in(config)) {
        (Ok(compiled), Ok(tls), Ok(access), Ok(identity), Ok(())) => Ok(Understood { compiled, tls, access, identity }),
        (compiled, tls, access, identity, built_in) => {
            let found = compiled.err().into_iter().chain(tls.err()).chain(access.err()).chain(identity.err());
            Err(found.chain(built_in.err()).flatten().collect())
        }
    }
}

/// Whom the listeners of a config let in, in their order.
///
/// # Errors
/// What is no network and no list.
pub(crate) fn access(config: &Config, sources: &Sources) -> Result<Vec<Option<Arc<Access>>>, Vec<Diagnostic>> {
    let (mut all, mut mistakes) = (Vec::new(), Vec::new());
    for listener in &config.listen {
        let (allow, deny) = (listener.allow.as_deref(), listener.deny.as_deref());
        let access = (allow.is_some() || deny.is_some()).then(|| ip::access(allow, deny, sources)).transpose();
        match access {
            Ok(access) => all.push(access.map(Arc::new)),
            Err(mistake) => mistakes.push(mistake.at(&listener.span)),
        }
    }
    if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
}

/// Looks whether every `source_address` is one of this machine's. At the start only: a file may be checked elsewhere.
fn sources(config: &Config) -> Result<(), Vec<Diagnostic>> {
    let mistake = |source: &Spanned<SourceAddress>| {
        let error = UdpSocket::bind((source.value.0, 0)).err()?;
        let mistake = Diagnostic::error(format!("cannot connect from `{}`: {error}", source.value.0)).at(&source.span);
        Some(mistake.hint("`source_address` must be an address of this machine; `ip address` lists them"))
    };
    let sources = config.services.iter().filter_map(|(_, service)| service.source_address.as_ref());
    let mistakes: Vec<Diagnostic> = sources.filter_map(mistake).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// What holds for all routes.
pub(crate) fn rules(config: &Config) -> Rules {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let limits = &config.limits;
    Rules {
        heads: HeadLimits {
            target: size(limits.target.value.get()),
            head: size(limits.head.value.get()),
            fields: size(limits.fields.get()),
        },
        limits: limits.clone(),
        trust: config.trust.clone(),
        correlation: Correlation {
            header: Bytes::copy_from_slice(config.correlation.header.as_str().as_bytes()),
            known: Known::of(config.correlation.header.as_str().as_bytes()),
            accept: config.correlation.accept,
            echo: config.correlation.echo,
        },
        owned: Arc::default(),
        sessions: config.auth.iter().filter_map(|(_, source)| source.session()).flat_map(cookies).collect(),
    }
}

/// What the names of a session's cookies begin with, under https and without.
fn cookies(session: &model::Session) -> [String; 2] {
    let own = &session.cookie.value.0;
    [own.clone(), session::cookie_name(own, true)]
}

fn resolver(config: &Config, world: &World, before: Option<&Arc<Dns>>) -> Result<Arc<Dns>, dns::LookupError> {
    let dns = &config.dns;
    let settings = dns::Settings {
        servers: dns.servers.iter().flatten().map(|server| server.0).collect(),
        timeout: dns.timeout.0,
        min_ttl: dns.min_ttl.value.0,
        max_ttl: dns.max_ttl.value.0,
    };
    Dns::new(&settings, world.slow.clone(), world.clock.clone(), Arc::clone(&world.metrics), before)
}

/// A service, or the one that was there if it would be made in the same way; and its list of instances, likewise.
fn make(
    name: &str,
    written: &model::Service,
    tls: Option<Arc<Client>>,
    rules: &Ruled<'_>,
    world: &World,
    known: Option<&Made>,
) -> Result<Made, Diagnostic> {
    let Ruled { heads, zone, data, discovery, instances } = *rules;
    let is_same_tls = |made: &Made| made.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr);
    let is_ruled_alike = |made: &Made| made.heads == heads && made.zone.as_ref() == zone;
    let is_alike = |made: &&Made| is_ruled_alike(made) && is_same_tls(made) && is_made_alike(&made.written, written);
    let kept = known.filter(is_alike);
    let service = match kept {
        Some(made) => Arc::clone(&made.service),
        None => service(name, written, tls.clone(), heads, balancing::balancing(written, zone, data)?, world),
    };
    let is_followed = |made: &&Made| {
        let (one, other) = (&made.written, written);
        one.to == other.to
            && one.registry == other.registry
            && one.consul == other.consul
            && one.kubernetes == other.kubernetes
            && made.followed.is_alike(discovery, instances)
    };
    let followed = match kept.filter(is_followed) {
        Some(made) => Arc::clone(&made.followed),
        None => Arc::new(Followed::new(written, discovery, instances, world)),
    };
    let (zone, is_new) = (zone.cloned(), kept.is_none());
    Ok(Made { written: written.clone(), heads, zone, tls, service, followed, is_new })
}

/// Whether both are made in the same way: what only its list of instances or requests depend on does not count.
fn is_made_alike(one: &model::Service, other: &model::Service) -> bool {
    let making = |service: &model::Service| {
        let mut made = service.clone();
        made.to = model::Targets(Vec::new());
        made.registry = None;
        made.consul = None;
        made.kubernetes = None;
        made.try_timeout = None;
        made.fallback = None;
        let (budget, min) = (service.retry.budget, service.retry.min);
        made.retry = model::Retry { budget, min, ..other.retry.clone() };
        // Checks ask for it, too.
        made.host = made.host.filter(|_| service.health.is_some());
        made
    };
    making(one) == making(other)
}

fn service(
    name: &str,
    service: &model::Service,
    tls: Option<Arc<Client>>,
    heads: HeadLimits,
    balancing: Balancing,
    world: &World,
) -> Arc<Service> {
    let to32 = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let settings = Settings {
        connections: service.connections.as_ref().map(|n| to32(n.get())),
        each: service.each.as_ref().map(|n| to32(n.get())),
        queue_size: to32(service.queue.size.get()),
        queue_timeout: service.queue.timeout.0,
        smooth: service.smooth.as_ref().map(|smooth| Smoothing {
            pacer: world.pacers.pacer(&format!("service {name}"), smooth.spacing()),
            wait: smooth.wait.map(|most| most.0),
        }),
        adaptive: service.adaptive_concurrency.as_ref().map(|own| adaptive::Settings {
            limits: adaptive::Limits {
                min: to32(own.min.get()),
                max: to32(own.max.get()),
                initial: to32(own.initial.get()),
            },
            queue: usize::try_from(own.queue.get()).unwrap_or(usize::MAX),
            wait: own.wait.0,
        }),
        connect_timeout: service.connect_timeout.0,
        idle_most: usize::try_from(service.keep_alive.idle.get()).unwrap_or(usize::MAX),
        idle_for: service.keep_alive.rest.0,
        age: service.keep_alive.age.as_ref().map(|age| age.0),
        source: service.source_address.as_ref().map(|address| address.value.0),
        proxy_protocol: service.proxy_protocol.map(|version| match version {
            ProxyProtocol::V1 => Version::V1,
            ProxyProtocol::V2 => Version::V2,
        }),
        tls,
        protocol: match service.protocol.value {
            model::Protocol::Http1 => Protocol::Http1,
            model::Protocol::Http2 => Protocol::Http2,
            model::Protocol::Alpn => Protocol::Alpn,
        },
        sessions: SessionSettings {
            streams: to32(service.streams.get()),
            head: u32::try_from(heads.for_http2()).unwrap_or(u32::MAX),
        },
        watch: watched::watch(service, &world.slow),
        breaker: service.breaker.as_ref().map(watched::breaker),
    };
    let budget = Budget::new(service.retry.budget.hundredths().into(), to32(service.retry.min.get()));
    let metrics = world.metrics.service(name);
    let (bells, clock) = (Arc::clone(&world.bells), world.clock.clone());
    Service::new(name, settings, budget, balancing, metrics, bells, clock)
}

/// What of a service is tried again, and when.
fn retrying(written: &model::Retry) -> Retrying {
    let usual = || [RetryOn::Connect, RetryOn::Reset, RetryOn::Timeout].into();
    Retrying {
        on: written.on.as_ref().map_or_else(usual, |on| on.as_slice().into()),
        backoff: written.backoff.value.0,
        longest: written.longest.0,
        knows_keys: written.idempotency_key,
    }
}

/// What requests need to know of a service.
fn backend(written: &model::Service, service: &Arc<Service>) -> Backend {
    Backend {
        service: Arc::clone(service),
        scheme: if written.tls.is_some() { "https" } else { "http" },
        host: written.host.as_ref().map(|host| Bytes::copy_from_slice(host.as_str().as_bytes())),
        hash: balancing::hash(&written.balance),
        sticky: balancing::cookie(&written.balance),
        reports: balancing::reports(&written.balance),
        retries: u8::try_from(written.retry.retries.get()).unwrap_or(u8::MAX),
        retrying: retrying(&written.retry),
        try_timeout: written.try_timeout.map(|most| most.0),
        fallback: None,
    }
}
