//! The one place that knows everybody: config to plan, services, deployment.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tollgate_config::model::{self, Address, Balance, Config, ProxyProtocol, SourceAddress};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts;
use tollgate_core::field::Known;
use tollgate_core::node::Spanned;
use tollgate_core::policy::PolicyKind;
use tollgate_engine::{Backend, Correlation, Deployment, Rules};
use tollgate_http1::HeadLimits;
use tollgate_net::proxy_protocol::Version;
use tollgate_net::tls::Client;
use tollgate_observe::metrics::Metrics;
use tollgate_plan::Compiled;
use tollgate_registry::dns::{self, Dns};
use tollgate_registry::{Endpoint, Fixed, Merged, Source, State, View};
use tollgate_upstream::balance::Algorithm;
use tollgate_upstream::{Budget, Protocol, Service, SessionSettings, Settings};

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
}

/// A deployment, and what keeps its services up to date.
pub(crate) struct Wired {
    /// What the engine serves.
    pub(crate) deployment: Deployment,
    /// Works, but probably not as meant.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The TLS of listeners.
    pub(crate) tls: Tls,
    /// The lists of instances, as they come; dropped, they stand still.
    followed: Vec<Followed>,
    /// Looks at the files of certificates.
    _watching: Watching,
}

/// One service's list of instances.
struct Followed {
    _source: Arc<dyn Source>,
    /// What each source alone says: all of them together may have addresses while one was not heard of yet.
    alone: Vec<watch::Receiver<Arc<View>>>,
}

/// Why there is no deployment.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The config is at fault.
    Config(Vec<Diagnostic>),
    /// The system's resolver cannot be set up.
    Resolver(dns::LookupError),
}

impl Wired {
    /// Waits until every list of instances was heard of once, at most for `most`.
    pub(crate) async fn heard(&self, most: Duration) {
        let all = async {
            for views in self.followed.iter().flat_map(|followed| &followed.alone) {
                let mut views = views.clone();
                // An error means that the source is gone: nothing more will be heard.
                let _ = views.wait_for(|view| view.state != State::Pending).await;
            }
        };
        let _ = tokio::time::timeout(most, all).await;
    }
}

/// Compiles a config and makes its services.
pub(crate) fn wire(config: &Config, revision: u64, world: &World) -> Result<Wired, WireError> {
    let (compiled, mut tls) = understand(config, revision, world).map_err(WireError::Config)?;
    sources(config).map_err(WireError::Config)?;
    let resolver = resolver(config, world).map_err(WireError::Resolver)?;
    let rules = rules(config);
    let (mut backends, mut followed) = (Vec::new(), Vec::new());
    for ((name, service), fallback) in compiled.services.iter().zip(compiled.fallbacks) {
        let backend = backend(name, service, tls.client(name, service), rules.heads, world);
        let backend = Backend { fallback, ..backend };
        followed.push(follow(&backend.service, service, &resolver, world));
        backends.push(backend);
    }
    let deployment = Deployment { plan: Arc::new(compiled.plan), backends: backends.into(), rules: Arc::new(rules) };
    let mut warnings = compiled.warnings;
    warnings.append(&mut tls.warnings);
    let watching = tls.watch(world);
    Ok(Wired { deployment, warnings, tls, followed, _watching: watching })
}

/// Compiles, and reads the files of certificates; tells the mistakes of both.
fn understand(config: &Config, revision: u64, world: &World) -> Result<(Compiled, Tls), Vec<Diagnostic>> {
    let compiled = tollgate_plan::compile(config, policies(), &world.metrics, revision);
    let tls = Tls::build(config, world.clock.unix());
    match (compiled, tls) {
        (Ok(compiled), Ok(tls)) => Ok((compiled, tls)),
        (compiled, tls) => Err(compiled.err().into_iter().chain(tls.err()).flatten().collect()),
    }
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
    }
}

fn resolver(config: &Config, world: &World) -> Result<Arc<Dns>, dns::LookupError> {
    let dns = &config.dns;
    let settings = dns::Settings {
        servers: dns.servers.iter().flatten().map(|server| server.0).collect(),
        timeout: dns.timeout.0,
        min_ttl: dns.min_ttl.value.0,
        max_ttl: dns.max_ttl.value.0,
    };
    Dns::new(&settings, world.slow.clone(), world.clock.clone(), Arc::clone(&world.metrics))
}

fn backend(
    name: &str,
    service: &model::Service,
    tls: Option<Arc<Client>>,
    heads: HeadLimits,
    world: &World,
) -> Backend {
    let to32 = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let settings = Settings {
        connections: service.connections.as_ref().map(|n| to32(n.get())),
        each: service.each.as_ref().map(|n| to32(n.get())),
        queue_size: to32(service.queue.size.get()),
        queue_timeout: service.queue.timeout.0,
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
    };
    let (algorithm, hash) = match &service.balance {
        Balance::RoundRobin => (Algorithm::RoundRobin, None),
        Balance::LeastRequests => (Algorithm::LeastRequests, None),
        Balance::Hash(key) => (Algorithm::ConsistentHash, Some(key.clone())),
    };
    let retry = &service.retry;
    let budget = Budget::new(retry.budget.hundredths().into(), to32(retry.min.get()));
    let metrics = world.metrics.service(name);
    let (bells, clock) = (Arc::clone(&world.bells), world.clock.clone());
    Backend {
        service: Service::new(name, settings, budget, algorithm, metrics, bells, clock),
        host: service.host.as_ref().map(|host| Bytes::copy_from_slice(host.as_str().as_bytes())),
        hash,
        retries: u8::try_from(retry.retries.get()).unwrap_or(u8::MAX),
        try_timeout: service.try_timeout.map(|most| most.0),
        fallback: None,
    }
}

/// Keeps a service's list of instances up to date, for as long as the service exists.
fn follow(service: &Arc<Service>, written: &model::Service, resolver: &Arc<Dns>, world: &World) -> Followed {
    let mut fixed = Vec::new();
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    // A target without a weight is nobody's instance, not even if it is the only one whose name is found.
    for target in written.to.0.iter().filter(|target| target.weight.get() > 0) {
        let weight = u32::try_from(target.weight.get()).unwrap_or(u32::MAX);
        match &target.address.value {
            Address::Socket(address) => fixed.push(Endpoint::new(*address, weight)),
            Address::Unix(path) => fixed.push(Endpoint::new(facts::Address::Unix(Arc::clone(path)), weight)),
            Address::Name { name, port } => sources.push(resolver.source(name, *port, weight)),
        }
    }
    if !fixed.is_empty() {
        sources.push(Arc::new(Fixed::new(fixed)));
    }
    let alone = sources.iter().map(|source| source.watch()).collect();
    let source: Arc<dyn Source> = match <[_; 1]>::try_from(sources) {
        Ok([only]) => only,
        Err(many) => Arc::new(Merged::new(many, &world.slow)),
    };
    let views = source.watch();
    service.update(&views.borrow());
    let (service, mut changes) = (Arc::downgrade(service), views.clone());
    world.slow.spawn(async move {
        while changes.changed().await.is_ok() {
            let Some(service) = service.upgrade() else { break };
            service.update(&changes.borrow_and_update());
        }
    });
    Followed { _source: source, alone }
}
