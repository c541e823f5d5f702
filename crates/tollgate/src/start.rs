//! Starting and stopping: everything is built, bound and checked before the first request is taken.

use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tollgate_config::model::{Bind, Config, Listener, ListenerKind, LogTarget, LoggedQueries, Switch};
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts::Address;
use tollgate_engine::{
    BindError, Bound, Deployment, Drain, Gateway, Greeting, Opened, Parts, Serves, SocketFile, bind,
};
use tollgate_observe::access_log::{self, AccessLog, Queries};
use tollgate_observe::metrics::Metrics;

use crate::health::{self, Readiness};
use crate::redirect;
use crate::scrape::Scrape;
use crate::status::{self, Status};
use crate::tls::Tls;
use crate::wire::{self, WireError, World};

/// How long the access log may take to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Why the gateway does not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The config is at fault: exit code 2.
    Config(Vec<Diagnostic>),
    /// Something else is: all of it.
    Other(Vec<Trouble>),
}

/// One thing that stands in the way.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// What.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

/// A gateway that runs.
pub(crate) struct Running {
    runtime: Runtime,
    signals: Signals,
    gateway: Gateway,
    access_log: Option<AccessLog>,
    /// Keeps the services' lists up to date.
    _wired: wire::Wired,
    /// Removed at the end.
    _files: Vec<SocketFile>,
    /// What worked, but probably not as meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Starts a gateway. `extra`: further listeners beside those of the config (the demo's sample services).
pub(crate) fn start(name: &str, config: &Config, extra: Vec<Opened>) -> Result<Running, StartError> {
    let (clock, workers) = (Clock::real(), workers(config));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|e| other("no runtime", &e))?;
    let signals = Signals::listen(&runtime).map_err(|e| other("signals cannot be received", &e))?;
    let metrics = Metrics::new(workers);
    let bells: Arc<[Notify]> = (0..workers).map(|_| Notify::new()).collect();
    let slow = runtime.handle().clone();
    let world = World { clock: clock.clone(), metrics: Arc::clone(&metrics), bells: Arc::clone(&bells), slow };
    let mut wired = wire::wire(config, 1, &world).map_err(wire_error)?;
    let drain = Arc::new(Drain::default());
    let readiness = Readiness::new(Arc::clone(&drain));
    let listeners = config.listen.iter().map(|l| (shown(&l.address), serves(l))).collect();
    let fixed = status::Fixed { config: name.to_owned(), listeners, workers };
    let deployment = wired.deployment.clone();
    let status = Status::new(fixed, clock.clone(), Arc::clone(&readiness), Arc::clone(&metrics), deployment.clone());
    let scrape = Scrape::new(&metrics, runtime.handle(), &clock);
    let health = health::deployment(&readiness, scrape, &metrics, &status, &deployment.rules);
    let health = health.map_err(StartError::Config)?;
    let redirect = redirect::deployment(config, &wired.tls, &metrics, &deployment.rules).map_err(StartError::Config)?;
    let (mut opened, files) = open(config, workers, &Arc::new(health), &Arc::new(redirect), &wired.tls)?;
    opened.extend(extra);
    let access_log = start_access_log(config, &metrics, &clock)?;
    // Names are looked up before the first request, so that none is refused for want of an answer that is on its way.
    runtime.block_on(wired.heard(config.dns.timeout.0 + Duration::from_millis(100)));
    let parts = Parts { clock: clock.clone(), metrics: Arc::clone(&metrics), access_log, deployment, bells, drain };
    let gateway = Gateway::start(&parts, opened, config.drain).map_err(|e| other("cannot start a worker", &e))?;
    let since_epoch = clock.unix().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    metrics.config_applied(1, since_epoch);
    readiness.started();
    let warnings = std::mem::take(&mut wired.warnings);
    Ok(Running { runtime, signals, gateway, access_log: parts.access_log, _wired: wired, _files: files, warnings })
}

impl Running {
    /// Stops it as a signal would, from another thread.
    pub(crate) fn drain(&self) -> Arc<Drain> {
        Arc::clone(self.gateway.drain())
    }

    /// Runs until SIGTERM or SIGINT, or until it is stopped otherwise, then drains; a second signal ends it at once. Whether it ended in good order.
    pub(crate) fn until_stopped(self) -> bool {
        let Self { runtime, signals, gateway, access_log, _wired, _files, .. } = self;
        let Signals { mut stop, mut reopen } = signals;
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = stopped(gateway, &mut stop) => ended,
                // While it drains too: requests in flight still bring lines.
                never = reopened(&mut reopen, access_log.as_ref()) => match never {},
            }
        });
        if let Some(log) = access_log {
            log.close(LAST_LINES);
        }
        // Look-ups that are under way need not be waited for.
        runtime.shutdown_background();
        ended
    }
}

/// Waits until the gateway is asked to stop, then until it has. Whether it ended in good order.
async fn stopped(gateway: Gateway, stop: &mut Stop) -> bool {
    tokio::select! {
        () = stop.asked() => {}
        () = gateway.drain().begun() => {}
    }
    tracing::info!("stopping: no new connections, requests in flight finish");
    gateway.drain().begin();
    let joined = tokio::task::spawn_blocking(|| gateway.join());
    tokio::select! {
        joined = joined => joined.unwrap_or(false),
        () = stop.asked() => {
            tracing::warn!("stopped at once by a second signal");
            false
        }
    }
}

/// Opens the access log anew whenever that is asked for: its file was moved away.
async fn reopened(reopen: &mut Signal, access_log: Option<&AccessLog>) -> Infallible {
    loop {
        match reopen.recv().await {
            Some(()) => access_log.into_iter().for_each(AccessLog::reopen),
            // No signal will come any more.
            None => pending().await,
        }
    }
}

/// The signals that mean something to the gateway, heard from before the first request on.
struct Signals {
    stop: Stop,
    /// SIGUSR1. Heard also where there is no file to be opened anew: unheard it would end the process.
    reopen: Signal,
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen(runtime: &Runtime) -> std::io::Result<Self> {
        let _inside = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { stop: Stop { terminate, interrupt }, reopen: signal(SignalKind::user_defined1())? })
    }
}

impl Stop {
    /// Waits until the gateway is asked to stop.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(crate) fn workers(config: &Config) -> usize {
    config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
}

fn open(
    config: &Config,
    workers: usize,
    health: &Arc<Deployment>,
    redirect: &Arc<Deployment>,
    tls: &Tls,
) -> Result<(Vec<Opened>, Vec<SocketFile>), StartError> {
    let (mut opened, mut files) = (Vec::new(), Vec::new());
    // All of them: who frees one port only to be told of the next has to start as often as there are ports.
    let mut troubles = Vec::new();
    for listener in &config.listen {
        let serves = match listener.kind {
            ListenerKind::Http => Serves::Routes,
            ListenerKind::Health => Serves::Fixed(Arc::clone(health)),
            ListenerKind::Redirect => Serves::Clients(Arc::clone(redirect)),
        };
        match bind(&listener.address, listener.mode, workers) {
            Ok(Bound { listeners: sockets, file }) => {
                let (is_proxied, tls) = (listener.proxy_protocol == Switch::On, tls.server(&listener.address));
                opened.push(Opened { serves, sockets, greeting: Greeting { is_proxied, tls } });
                files.extend(file);
            }
            Err(error) => troubles.push(cannot_listen(&error)),
        }
    }
    if troubles.is_empty() { Ok((opened, files)) } else { Err(StartError::Other(troubles)) }
}

/// What to do about an address that cannot be listened on.
pub(crate) fn cannot_listen(failed: &BindError) -> Trouble {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, AlreadyExists, NotFound, PermissionDenied};
    let hint = match (&failed.address, failed.error.kind()) {
        (Address::Socket(address), AddrInUse) => format!(
            "another program listens there (`ss -ltnp 'sport = :{}'` shows which): stop it, or change `listen`",
            address.port()
        ),
        (Address::Unix(path), AddrInUse) => format!(
            "another program listens there (`ss -lxp src {}` shows which): stop it, or change `listen`",
            path.display()
        ),
        (Address::Socket(address), PermissionDenied) => format!(
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or listen above (port {} was asked for)",
            address.port()
        ),
        (Address::Unix(_), PermissionDenied) => "the gateway's user may not make a file in that folder".to_owned(),
        (Address::Unix(_), NotFound) => "the folder must be there beforehand".to_owned(),
        (Address::Unix(_), AlreadyExists) => {
            "that file is no socket, and stays untouched: choose another path".to_owned()
        }
        (_, AddrNotAvailable) => "no interface of this machine has that address".to_owned(),
        _ => "look at the address under `listen`".to_owned(),
    };
    Trouble { message: format!("cannot listen on {}: {}", failed.address, failed.error), hint: Some(hint) }
}

fn start_access_log(config: &Config, metrics: &Metrics, clock: &Clock) -> Result<Option<AccessLog>, StartError> {
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
    let log = AccessLog::start(&settings, Arc::clone(metrics.log_lines()), clock.clone());
    log.map(Some).map_err(|e| other("cannot open the access log", &e))
}

/// What a listener speaks or is for, in a word.
pub(crate) fn serves(listener: &Listener) -> &'static str {
    if listener.tls.is_some() { "https" } else { listener.kind.as_str() }
}

/// An address as a person reads it.
pub(crate) fn shown(address: &Bind) -> String {
    match address {
        Bind::AllAddresses(port) => format!("[::]:{port}"),
        Bind::Socket(_) | Bind::Unix(_) => address.to_string(),
    }
}

fn other(what: &str, error: &dyn std::fmt::Display) -> StartError {
    StartError::Other(vec![Trouble { message: format!("{what}: {error}"), hint: None }])
}

fn wire_error(error: WireError) -> StartError {
    match error {
        WireError::Config(mistakes) => StartError::Config(mistakes),
        WireError::Resolver(error) => {
            let hint = Some("write the name servers in the config: `dns: { servers: [10.0.0.2] }`".to_owned());
            let message = format!("the system's resolver cannot be used: {error}");
            StartError::Other(vec![Trouble { message, hint }])
        }
    }
}
