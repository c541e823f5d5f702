//! What runs in this process, and how it is brought from one config to the next: as a whole, or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tollgate_config::model::{self as config, Bind, Config, Listener, ListenerKind, LogTarget, LoggedQueries, Switch};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::in_flight::InFlight;
use tollgate_core::pacer::Pacers;
use tollgate_engine::{
    Admission, BindError, Bound, Change, Deployment, Drain, Gateway, Greeting, Listening, Parts, Port, Serves, bind,
};
use tollgate_observe::access_log::{self, AccessLog, Queries};
use tollgate_observe::metrics::Metrics;
use tollgate_store::{Memory, MemoryCounters};

use crate::admin;
use crate::control::Controls;
use crate::health::{self, Readiness};
use crate::inherited::Inherited;
use crate::redirect;
use crate::rehearsal;
use crate::scrape::Scrape;
use crate::start::{StartError, Trouble, cannot_listen, other, registry_unread, serves, shown, wire_error};
use crate::status::{Shown, Status};
use crate::tls::Tls;
use crate::upgrade::State;
use crate::wire::{self, Own, Wired, World};

/// How long the access log of a config that is no longer in force may take to be written.
const LAST_LINES: Duration = Duration::from_secs(5);
/// How long the disk may take to learn until when the registry was kept.
const LAST_STAMP: Duration = Duration::from_secs(2);
/// How long a port may take to become free that was listened on until just now.
const LEAVING: Duration = Duration::from_secs(2);

/// What runs.
pub(crate) struct Node {
    world: World,
    gateway: Gateway,
    readiness: Arc<Readiness>,
    pub(crate) status: Arc<Status>,
    pub(crate) control: Arc<Controls>,
    /// Listeners beside those of the config: the demo's sample services. Taken by the first config.
    extra: Mutex<Vec<Listening>>,
    /// Sockets that were open before this process was.
    inherited: Inherited,
    /// Held while a config is brought into force, which may take its time: nobody else may wait for it.
    force: Mutex<Option<InForce>>,
    /// What others ask for meanwhile.
    brief: Mutex<Brief>,
}

/// What is in force, in short.
#[derive(Default)]
struct Brief {
    revision: u64,
    drain: Option<config::Drain>,
    access_log: Option<Arc<AccessLog>>,
}

/// What is in force.
struct InForce {
    config: Config,
    revision: u64,
    wired: Wired,
    access_log: Option<Arc<AccessLog>>,
}

impl InForce {
    /// Whether files that policies were built from are others now.
    fn is_stale(&self) -> bool {
        let mut links = self.wired.deployment.plan.routes().flat_map(|route| &route.chain);
        links.any(|link| link.policy.is_stale())
    }
}

/// What came of a config.
#[derive(Debug)]
pub(crate) enum Applied {
    /// It is in force.
    Now {
        /// Its number.
        revision: u64,
        /// What works, but probably not as meant.
        warnings: Vec<Diagnostic>,
    },
    /// It says what is in force already.
    Already,
}

/// Files of sockets that were there before get the rights that the config says now.
fn modes(config: &Config) {
    for listener in &config.listen {
        let Bind::Unix(path) = &listener.address else { continue };
        let wanted = Permissions::from_mode(listener.mode.0);
        let is_other = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o777 != listener.mode.0);
        if is_other && let Err(error) = fs::set_permissions(path, wanted) {
            tracing::warn!(socket = %path.display(), %error, "the rights of a socket cannot be changed");
        }
    }
}

impl Node {
    /// A node on which nothing runs yet. `name`: the config's. `workers`: how many the first config asks for.
    pub(crate) fn new(name: &str, workers: usize, slow: Handle, extra: Vec<Listening>, inherited: Inherited) -> Self {
        let (clock, most) = (Clock::real(), most_workers(workers));
        let metrics = Metrics::new(most);
        let bells: Arc<[Notify]> = (0..most).map(|_| Notify::new()).collect();
        let drain = Arc::new(Drain::default());
        let readiness = Readiness::new(Arc::clone(&drain));
        let status = Status::new(name, clock.clone(), Arc::clone(&readiness), Arc::clone(&metrics));
        let control = Controls::new(clock.clone(), slow.clone(), Arc::clone(&status), Arc::clone(&readiness));
        let parts = Parts {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            bells: Arc::clone(&bells),
            drain,
            slow: slow.clone(),
        };
        // Of no size until a config is in force.
        let store = Arc::new(Memory::new(0, clock.clone()));
        let counters = MemoryCounters::new(0, clock.clone(), metrics.limits_forgotten());
        let pacers = Arc::new(Pacers::new(clock.clone()));
        let (asking, counting, in_flight) = (Own::default(), Own::default(), InFlight::default());
        let world = World { clock, metrics, bells, slow, asking, counting, store, counters, pacers, in_flight };
        let (gateway, extra) = (Gateway::new(parts), Mutex::new(extra));
        Self {
            world,
            gateway,
            readiness,
            status,
            control,
            extra,
            inherited,
            force: Mutex::default(),
            brief: Mutex::default(),
        }
    }

    /// The gateway.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Brings a config into force. Blocks: not to be called on a runtime.
    ///
    /// # Errors
    /// Everything that stands in the way. What was in force stays so, and is not disturbed.
    pub(crate) fn apply(&self, config: &Config) -> Result<Applied, StartError> {
        let mut force = self.force.lock().unwrap_or_else(PoisonError::into_inner);
        let before = force.as_ref();
        if before.is_some_and(|before| before.config == *config && !before.is_stale()) {
            return Ok(Applied::Already);
        }
        rehearsal::pass(config)?;
        let workers = workers(config);
        if workers > self.gateway.most_workers() {
            let message = format!("{workers} workers: this process can have {} at most", self.gateway.most_workers());
            let hint = Some("more take a restart".to_owned());
            return Err(StartError::Other(vec![Trouble { message, hint }]));
        }
        let revision = before.map_or(1, |before| before.revision + 1);
        let mut wired = wire::wire(config, revision, &self.world, before.map(|b| &b.wired)).map_err(wire_error)?;
        // Names are looked up before the first request, so that none is refused for want of an answer that is on its way; and
        // before ports are taken, so that nobody else finds them taken meanwhile and nobody listening.
        self.world.slow.block_on(wired.heard(config.dns.timeout.0 + Duration::from_millis(100)));
        if let Some(instances) = wired.instances.as_ref().filter(|_| before.is_none() && self.inherited.replaces()) {
            self.world.slow.block_on(instances.read()).map_err(|why| registry_unread(&why))?;
        }
        let listeners = self.listeners(config, &wired, workers)?;
        let access_log = match before {
            Some(before) if before.config.log.access == config.log.access => before.access_log.clone(),
            _ => self.start_access_log(config)?.map(Arc::new),
        };
        let change = Change {
            deployment: wired.deployment.clone(),
            listeners,
            workers,
            access_log: access_log.clone(),
            drain_time: config.drain.time.0,
        };
        // Whoever is answered from here on is answered by all of it; a process that is replaced took the same connections.
        self.readiness.started();
        self.gateway.apply(change).map_err(|e| other("cannot start workers and listeners", &e))?;
        let warnings = std::mem::take(&mut wired.warnings);
        // What kept the lists before up to date ends before those take its place.
        let old_log = force.take().and_then(|before| before.access_log);
        modes(config);
        wired.take_effect(config, &self.world);
        self.in_force(config, revision, &wired);
        let new = InForce { config: config.clone(), revision, wired, access_log };
        if let Some(log) = old_log.filter(|log| !new.logs_to(log)) {
            // All workers have handed their lines over.
            drop(thread::Builder::new().name("last-lines".to_owned()).spawn(move || log.close(LAST_LINES)));
        }
        *self.brief() = Brief { revision, drain: Some(config.drain.clone()), access_log: new.access_log.clone() };
        *force = Some(new);
        Ok(Applied::Now { revision, warnings })
    }

    /// A config was refused.
    pub(crate) fn refused(&self, why: &str) {
        self.world.metrics.config_refused();
        self.status.refused(why);
    }

    /// Tells everybody what is in force.
    fn in_force(&self, config: &Config, revision: u64, wired: &Wired) {
        let since_epoch = self.world.clock.unix().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.world.metrics.config_applied(revision, since_epoch);
        self.status.show(Shown {
            listeners: config.listen.iter().map(|l| (shown(&l.address), serves(l))).collect(),
            workers: workers(config),
            sources: wired.identity.sources(&self.world),
            registry: wired.instances.as_ref().map(|instances| Arc::clone(&instances.registry)),
            deployment: Some(wired.deployment.clone()),
            refused: None,
        });
        self.control.audits(config);
    }

    /// All listeners of a config, with the sockets that they lack yet.
    fn listeners(&self, config: &Config, wired: &Wired, workers: usize) -> Result<Vec<Listening>, StartError> {
        let rules = &wired.deployment.rules;
        let scrape = Scrape::new(&self.world.metrics, &self.world.slow, &self.world.clock);
        let health = health::deployment(&self.readiness, scrape, &self.world.metrics, &self.status, rules);
        let health = Arc::new(health.map_err(StartError::Config)?);
        let redirect = redirect::deployment(config, &wired.tls, &self.world.metrics, rules);
        let redirect = Arc::new(redirect.map_err(StartError::Config)?);
        let mut listeners = Vec::new();
        // All of them: who frees one port only to be told of the next has to start as often as there are ports.
        let mut troubles = Vec::new();
        for (listener, access) in config.listen.iter().zip(&wired.access) {
            let serves = match listener.kind {
                ListenerKind::Http => Serves::Routes,
                ListenerKind::Health => Serves::Fixed(Arc::clone(&health)),
                ListenerKind::Redirect => Serves::Clients(Arc::clone(&redirect)),
                ListenerKind::Admin => {
                    let registry = (wired.instances.as_deref(), self.gateway.drain());
                    let admin = admin::deployment(listener, config, &self.control, &self.world, rules, registry)?;
                    Serves::Fixed(Arc::new(admin))
                }
            };
            match self.sockets(listener, workers) {
                Ok(Bound { listeners: sockets, file }) => {
                    let (address, greeting) = (listener.address.clone(), greeting(listener, &wired.tls));
                    let admission = Admission {
                        connections: listener.connections,
                        connections_per_address: listener.connections_per_address,
                        access: access.clone(),
                    };
                    listeners.push(Listening { address, serves, greeting, admission, sockets, file });
                }
                Err(error) => troubles.push(cannot_listen(&error)),
            }
        }
        if !troubles.is_empty() {
            return Err(StartError::Other(troubles));
        }
        listeners.append(&mut self.extra.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(listeners)
    }

    /// The sockets that a listener lacks.
    fn sockets(&self, listener: &Listener, workers: usize) -> Result<Bound, BindError> {
        if let Some(bound) = self.inherited.of(listener, workers) {
            return bound;
        }
        let open = self.gateway.open();
        let there = open.iter().find(|(address, _)| *address == listener.address).map_or(0, |(_, sockets)| *sockets);
        let is_ours = open.iter().any(|(address, _)| address.port() == listener.address.port());
        match &listener.address {
            _ if there >= workers => Ok(Bound { listeners: Vec::new(), file: None }),
            // They share one, of which the gateway has copies.
            Bind::Unix(_) if there > 0 => self.gateway.more(&listener.address, workers - there),
            address if is_ours && address.port().is_some() => bind(address, listener.mode, workers - there, Port::Ours),
            address => {
                let gone = async {
                    while self.gateway.is_leaving(address) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                // If it is not by then, the system says so.
                let _ = self.world.slow.block_on(async { tokio::time::timeout(LEAVING, gone).await });
                bind(address, listener.mode, workers, Port::Free)
            }
        }
    }

    fn start_access_log(&self, config: &Config) -> Result<Option<AccessLog>, StartError> {
        let access = &config.log.access;
        let target = match &access.to {
            LogTarget::Off => return Ok(None),
            LogTarget::Stdout => access_log::Target::Stdout,
            LogTarget::Stderr => access_log::Target::Stderr,
            LogTarget::File(path) => access_log::Target::File(PathBuf::from(path)),
        };
        let queue = usize::try_from(access.queue.get()).unwrap_or(usize::MAX);
        let queries = match access.query {
            LoggedQueries::Redacted => Queries::Redacted,
            LoggedQueries::Full => Queries::Full,
            LoggedQueries::Names => Queries::Names,
            LoggedQueries::Off => Queries::Off,
        };
        let settings = access_log::Settings { target, queue, queries };
        let log = AccessLog::start(&settings, Arc::clone(self.world.metrics.log_lines()), self.world.clock.clone());
        log.map(Some).map_err(|e| other("cannot open the access log", &e))
    }

    /// How long it serves on once it is told to stop.
    pub(crate) fn lead(&self) -> Option<Duration> {
        self.brief().drain.as_ref().and_then(|drain| drain.lead).map(|lead| lead.0)
    }

    /// The number of the config in force.
    pub(crate) fn revision(&self) -> u64 {
        self.brief().revision
    }

    /// Whether new traffic is welcome.
    pub(crate) fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// How long connections may go on once they are to end.
    pub(crate) fn drain_time(&self) -> Duration {
        self.brief().drain.as_ref().map_or(Duration::ZERO, |drain| drain.time.0)
    }

    /// What a process that takes this one's place is to know.
    pub(crate) fn state(&self) -> State {
        State { is_out: self.readiness.is_out(), is_activated: self.inherited.are_activated() }
    }

    /// Everything is served: whoever served before this process need not any more.
    ///
    /// # Errors
    /// It has given up waiting, and serves on.
    pub(crate) fn serves(&self) -> std::io::Result<()> {
        self.inherited.serves()
    }

    fn brief(&self) -> std::sync::MutexGuard<'_, Brief> {
        self.brief.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The config says again what is in force: nothing is refused any more.
    pub(crate) fn stands(&self) {
        self.world.metrics.config_stands();
        self.status.stands();
        self.control.stands();
    }

    /// Says to whoever counts with it that this gateway stops. Blocks, for a moment.
    pub(crate) fn leave(&self) {
        if let Some(in_force) = &*self.force.lock().unwrap_or_else(PoisonError::into_inner) {
            in_force.wired.identity.leave();
            in_force.wired.instances.iter().for_each(|instances| instances.hand_over(LAST_STAMP));
        }
    }

    /// Another process keeps the registry from now on; this one reads along. Blocks, for a moment.
    pub(crate) fn hands_registry_over(&self) {
        if let Some(in_force) = &*self.force.lock().unwrap_or_else(PoisonError::into_inner) {
            in_force.wired.instances.iter().for_each(|instances| instances.hand_over(LAST_STAMP));
        }
    }

    /// The access log in force.
    pub(crate) fn access_log(&self) -> Option<Arc<AccessLog>> {
        self.brief().access_log.clone()
    }
}

impl InForce {
    fn logs_to(&self, log: &Arc<AccessLog>) -> bool {
        self.access_log.as_ref().is_some_and(|own| Arc::ptr_eq(own, log))
    }
}

fn greeting(listener: &Listener, tls: &Tls) -> Greeting {
    Greeting { is_proxied: listener.proxy_protocol == Switch::On, tls: tls.server(&listener.address) }
}

/// How many workers a config asks for.
pub(crate) fn workers(config: &Config) -> usize {
    config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
}

/// How many workers a process can have that begins with so many: room for them is made at the start.
fn most_workers(first: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    first.max(cores).saturating_mul(4).max(16)
}

/// The parts of a deployment for listeners of the gateway's own.
pub(crate) fn fixed(address: Bind, deployment: Deployment, sockets: Vec<tollgate_net::Listener>) -> Listening {
    let (serves, greeting) = (Serves::Fixed(Arc::new(deployment)), Greeting::default());
    Listening { address, serves, greeting, admission: Admission::default(), sockets, file: None }
}
