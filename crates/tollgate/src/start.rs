//! Starting and stopping: everything is built, bound and checked before the first request is taken.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tollgate_config::model::{Bind, Config, Listener};
use tollgate_config::{Loaded, Report};
use tollgate_core::control::Actor;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts::Address;
use tollgate_engine::{BindError, Drain, Listening};
use tollgate_observe::audit::{Event, What};

use crate::control::Place;
use crate::inherited::Inherited;
use crate::node::{Applied, Node, workers};
use crate::upgrade::{Started, TAKEN_OUT, upgrade};
use crate::watch::Watched;
use crate::wire::WireError;
use crate::{reload, systemd};

/// How long the access log may take to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(5);

/// How long connections may take to end once the process that has been replaced ends.
const GOODBYES: Duration = Duration::from_secs(6);

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
    started: Started,
    node: Arc<Node>,
    /// What worked, but probably not as meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Starts a gateway. `extra`: further listeners beside those of the config (the demo's sample services). `inherited`: sockets
/// that are open already.
pub(crate) fn start(
    name: &str,
    config: &Config,
    extra: Vec<Listening>,
    inherited: Inherited,
) -> Result<Running, StartError> {
    let started = Started::look().map_err(|e| other("it cannot be told how this process was started", &e))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|e| other("no runtime", &e))?;
    let signals = Signals::listen(&runtime).map_err(|e| other("signals cannot be received", &e))?;
    let is_out = inherited.replaces() && std::env::var_os(TAKEN_OUT).is_some();
    let node = Arc::new(Node::new(name, workers(config), runtime.handle().clone(), extra, inherited));
    if is_out {
        node.readiness().take_out(true);
        tracing::warn!("taken out, as it was before the upgrade: `tollgate undrain` puts it back");
    }
    let (applying, config) = (Arc::clone(&node), config.clone());
    let applied = runtime.block_on(runtime.spawn_blocking(move || applying.apply(&config)));
    let warnings = match applied.map_err(|e| other("the config was not applied", &e))?? {
        Applied::Now { warnings, .. } => warnings,
        Applied::Already => Vec::new(),
    };
    Ok(Running { runtime, signals, started, node, warnings })
}

impl Running {
    /// Says that everything is served: to the process that did so before, and to the service manager.
    ///
    /// # Errors
    /// The process before has given up waiting, and serves on.
    pub(crate) fn serves(&self) -> Result<(), StartError> {
        self.node.serves().map_err(|e| other("the process that was to be replaced does not wait any more", &e))?;
        systemd::ready(self.node.revision());
        Ok(())
    }

    /// The config is wrong, and the one that was last in force is served instead, which was kept there.
    pub(crate) fn refused(&self, report: &Report, kept: &Path) {
        let report = report.to_string();
        self.node.refused(report.trim_end());
        self.node.control.refused(Actor::Gateway, self.node.revision(), report.trim_end());
        tracing::error!(
            kept = %kept.display(),
            "THE CONFIG IS WRONG, and the one that was last in force is served instead, as `start: last-good` says; once the \
             config is mended it comes into force by itself. What is wrong:\n{}",
            report.trim_end()
        );
    }

    /// What the config in force says, for those who run the gateway.
    pub(crate) fn tell(&self, loaded: &Loaded) {
        self.node.control.started(self.node.revision(), loaded);
    }

    /// Stops it as a signal would, from another thread.
    pub(crate) fn drain(&self) -> Arc<Drain> {
        Arc::clone(self.node.gateway().drain())
    }

    /// Runs until SIGTERM or SIGINT, or until it is stopped otherwise, then drains; a further signal ends it at once. Whether
    /// it ended in good order. `files`: those that are read again whenever they change, or SIGHUP asks for it.
    pub(crate) fn until_stopped(self, files: Option<Watched>) -> bool {
        let Self { runtime, signals, started, node, .. } = self;
        let Signals { mut stop, mut reopen, mut hup, mut usr2 } = signals;
        let started = files.as_ref().map(|_| &started);
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = stopped(&node, &mut stop, &mut usr2, started) => ended,
                // While it drains too: requests in flight still bring lines.
                never = reopened(&mut reopen, &node) => match never {},
                never = reload::whenever_asked(files, &mut hup, &node) => match never {},
            }
        });
        if let Some(log) = node.access_log() {
            log.close(LAST_LINES);
        }
        node.leave();
        // Look-ups that are under way need not be waited for.
        runtime.shutdown_background();
        ended
    }
}

/// Waits until the gateway is asked to stop, or another process has taken its place; then until it has stopped. Whether it
/// ended in good order.
async fn stopped(node: &Arc<Node>, stop: &mut Stop, usr2: &mut Signal, started: Option<&Started>) -> bool {
    let drain = node.gateway().drain();
    tokio::select! {
        () = stop.asked() => leads(node, stop).await,
        () = drain.begun() => {}
        () = replaced(node, usr2, started) => return left(node, stop).await,
    }
    systemd::stopping();
    let by = if drain.is_begun() { Actor::Gateway } else { Actor::Signal("SIGTERM or SIGINT") };
    node.control.note(&Event { what: What::Stopping, by, revision: None, detail: None });
    tracing::info!("stopping: no new connections, requests in flight finish");
    let stopped = async {
        node.gateway().stop().await;
        joined(node).await
    };
    tokio::select! {
        joined = stopped => joined,
        () = stop.asked() => {
            tracing::warn!("stopped at once by a further signal");
            false
        }
    }
}

/// Waits until every worker has stopped; whether all did so in good order.
async fn joined(node: &Arc<Node>) -> bool {
    let joining = Arc::clone(node);
    tokio::task::spawn_blocking(move || joining.gateway().join()).await.unwrap_or(false)
}

/// Returns once another process serves in place of this one. `started`: how it is started; without it, nothing is replaced.
async fn replaced(node: &Node, usr2: &mut Signal, started: Option<&Started>) {
    loop {
        // No signal will come any more.
        let (Some(()), Some(started)) = (usr2.recv().await, started) else { return pending().await };
        let program = started.program().display();
        tracing::info!(%program, "upgrading: the binary is started, and given all sockets once it asks");
        // Whoever reloads, or takes the node out, does so before or after: the successor would not know.
        let mut change = node.control.change().await;
        match upgrade(started, node.gateway(), node.state()).await {
            Ok(pid) => {
                *change = Place::Taken;
                tracing::info!(pid, "upgraded: another process serves from now on");
                note(node, What::Upgraded, format!("process {pid}")).await;
                systemd::handed_over(pid);
                return;
            }
            Err(why) => {
                node.status.not_upgraded(&why);
                tracing::error!("not upgraded, this process goes on: {why}");
                note(node, What::NotUpgraded, why).await;
            }
        }
    }
}

/// Off the runtime: the log is waited for, and a disk may take its time.
async fn note(node: &Node, what: What, detail: String) {
    let control = Arc::clone(&node.control);
    let by = Actor::Signal("SIGUSR2");
    let noted = move || control.note(&Event { what, by, revision: None, detail: Some(&detail) });
    // It has happened even if it cannot be noted, which the log says.
    drop(tokio::task::spawn_blocking(noted).await);
}

/// Ends a process whose place another one has taken: nobody is told to go, since there is nowhere else to go to. Connections end
/// with their next answer; after the drain time, what is left is told to end, and cut.
async fn left(node: &Arc<Node>, stop: &mut Stop) -> bool {
    node.readiness().handed_over();
    node.gateway().hand_over();
    let own = Arc::clone(node);
    // The other process waits for it; if it cannot be done, the registry goes over when this process ends.
    drop(tokio::task::spawn_blocking(move || own.hands_registry_over()).await);
    let (drain, mut joined) = (node.gateway().drain(), std::pin::pin!(joined(node)));
    tokio::select! {
        joined = &mut joined => return joined,
        () = tokio::time::sleep(node.drain_time()) => {}
        () = stop.asked() => {}
    }
    drain.begin();
    tokio::select! {
        joined = &mut joined => return joined,
        () = tokio::time::sleep(GOODBYES) => {}
        () = stop.asked() => {}
    }
    drain.end();
    joined.await
}

/// Serves on for as long as balancers take to see that it is about to stop.
async fn leads(node: &Node, stop: &mut Stop) {
    let Some(lead) = node.lead() else { return };
    node.readiness().leads();
    tracing::info!(
        lead_ms = lead.as_millis(),
        "not ready any more: everything is served until balancers have seen that"
    );
    tokio::select! {
        () = tokio::time::sleep(lead) => {}
        () = stop.asked() => tracing::info!("not waited for any longer: a second signal"),
    }
}

/// Opens the access log anew whenever that is asked for: its file was moved away.
async fn reopened(reopen: &mut Signal, node: &Node) -> Infallible {
    loop {
        match reopen.recv().await {
            Some(()) => node.access_log().iter().for_each(|log| log.reopen()),
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
    /// SIGHUP.
    hup: Signal,
    /// SIGUSR2. Heard also where nothing can be upgraded.
    usr2: Signal,
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
        let (reopen, hup) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
        let usr2 = signal(SignalKind::user_defined2())?;
        Ok(Self { stop: Stop { terminate, interrupt }, reopen, hup, usr2 })
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

pub(crate) fn other(what: &str, error: &dyn std::fmt::Display) -> StartError {
    StartError::Other(vec![Trouble { message: format!("{what}: {error}"), hint: None }])
}

/// What a process says that is to take another one's place, and does not.
pub(crate) fn registry_unread(why: &str) -> StartError {
    let hint = "the process that runs knows its instances, and serves on: upgrade it once the registry can be read";
    StartError::Other(vec![Trouble {
        message: format!("the registry cannot be read: {why}"),
        hint: Some(hint.to_owned()),
    }])
}

pub(crate) fn wire_error(error: WireError) -> StartError {
    match error {
        WireError::Config(mistakes) => StartError::Config(mistakes),
        WireError::Registry(message) => {
            let hint = Some("the gateway's user must be able to write to the folder `data:`".to_owned());
            StartError::Other(vec![Trouble { message, hint }])
        }
        WireError::Resolver(error) => {
            let hint = Some("write the name servers in the config: `dns: { servers: [10.0.0.2] }`".to_owned());
            let message = format!("the system's resolver cannot be used: {error}");
            StartError::Other(vec![Trouble { message, hint }])
        }
    }
}
