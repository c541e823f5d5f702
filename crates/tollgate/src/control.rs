//! The process as the admin API sees it: what is in force and what was tried before, reloading, being taken out; and the audit
//! log of all that.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tollgate_config::Loaded;
use tollgate_config::model::{Config, ListenerKind};
use tollgate_core::clock::Clock;
use tollgate_core::control::{Actor, Control, NotReloaded, Reloaded, View, Welcome};
use tollgate_core::policy::BoxFuture;
use tollgate_observe::audit::{AuditLog, Event, What};

use crate::health::Readiness;
use crate::shown;
use crate::status::Status;

/// How many attempts are remembered.
const HISTORY: usize = 50;
/// How many may wait for a reload at the same time.
const WAITING: usize = 16;

/// Somebody waits for a reload.
pub(crate) struct Ask {
    /// Who.
    pub(crate) by: Actor,
    /// Where the answer goes.
    pub(crate) answer: oneshot::Sender<Result<Reloaded, String>>,
}

/// What runs, for those who run it.
pub(crate) struct Controls {
    clock: Clock,
    slow: Handle,
    status: Arc<Status>,
    readiness: Arc<Readiness>,
    ask: mpsc::Sender<Ask>,
    /// Taken by whoever reloads.
    asks: Mutex<Option<mpsc::Receiver<Ask>>>,
    memory: Mutex<Memory>,
    audit: Mutex<Option<Arc<AuditLog>>>,
    change: tokio::sync::Mutex<Place>,
}

/// What is remembered of configs.
#[derive(Default)]
struct Memory {
    running: Option<Running>,
    refused: Option<Refused>,
    history: VecDeque<Value>,
}

#[derive(Clone)]
struct Running {
    revision: u64,
    since: SystemTime,
    /// What it says; kept only where somebody can ask for it.
    loaded: Option<Arc<Loaded>>,
}

#[derive(Clone)]
struct Refused {
    at: SystemTime,
    by: Actor,
    report: String,
}

/// Whether this process is still the one that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is.
    Own,
    /// Another one has taken its place.
    Taken,
}

impl Controls {
    pub(crate) fn new(clock: Clock, slow: Handle, status: Arc<Status>, readiness: Arc<Readiness>) -> Arc<Self> {
        let (ask, asks) = mpsc::channel(WAITING);
        let (asks, memory, audit) = (Mutex::new(Some(asks)), Mutex::default(), Mutex::default());
        let change = tokio::sync::Mutex::new(Place::Own);
        Arc::new(Self { clock, slow, status, readiness, ask, asks, memory, audit, change })
    }

    /// One change at a time: held while the config is read again, the node is taken out, or another process takes its place.
    pub(crate) async fn change(&self) -> tokio::sync::MutexGuard<'_, Place> {
        self.change.lock().await
    }

    /// Those who ask for a reload. Once that is dropped, nobody can any more.
    pub(crate) fn asks(&self) -> Option<mpsc::Receiver<Ask>> {
        lock(&self.asks).take()
    }

    /// Writes the audit log where this config wants it, from now on. Without an admin listener none is begun; one that there is
    /// goes on, since that the listener was taken away belongs into it.
    pub(crate) fn audits(&self, config: &Config) {
        if !has_admin(config) {
            return;
        }
        match AuditLog::open(&config.data.0, self.clock.clone()) {
            Ok(log) => *lock(&self.audit) = Some(Arc::new(log)),
            Err(error) => {
                tracing::error!(%error, folder = %config.data.0.display(), "the audit log cannot be opened");
            }
        }
    }

    /// The first config is in force.
    pub(crate) fn started(&self, revision: u64, loaded: &Loaded) {
        self.in_force(revision, loaded);
        self.remember(Actor::Gateway, "started", revision, None);
        self.note(&Event { what: What::Started, by: Actor::Gateway, revision: Some(revision), detail: None });
    }

    /// Another config is in force.
    pub(crate) fn reloaded(&self, by: Actor, revision: u64, loaded: &Loaded) {
        self.in_force(revision, loaded);
        self.remember(by, "applied", revision, None);
        self.note(&Event { what: What::Reloaded, by, revision: Some(revision), detail: None });
    }

    /// A config was refused.
    pub(crate) fn refused(&self, by: Actor, revision: u64, report: &str) {
        lock(&self.memory).refused = Some(Refused { at: self.clock.unix(), by, report: report.to_owned() });
        self.remember(by, "refused", revision, Some(report));
        self.note(&Event { what: What::Refused, by, revision: Some(revision), detail: Some(report) });
    }

    /// The config says again what is in force.
    pub(crate) fn stands(&self) {
        lock(&self.memory).refused = None;
    }

    /// Writes an event into the audit log. Blocks: not to be called on a worker.
    pub(crate) fn note(&self, event: &Event<'_>) {
        let Some(log) = lock(&self.audit).clone() else { return };
        if let Err(error) = log.record(event) {
            tracing::error!(%error, file = %log.path().display(), what = event.what.as_str(), "the audit log lacks a line");
        }
    }

    fn in_force(&self, revision: u64, loaded: &Loaded) {
        let kept = has_admin(&loaded.config).then(|| Arc::new(loaded.clone()));
        let mut memory = lock(&self.memory);
        memory.running = Some(Running { revision, since: self.clock.unix(), loaded: kept });
        memory.refused = None;
    }

    fn remember(&self, by: Actor, what: &str, revision: u64, report: Option<&str>) {
        let at = shown::time(self.clock.unix());
        // All of the report is there for the last one; of those before, what it begins with says enough.
        let report = report.map(|report| report.lines().next().unwrap_or_default());
        let mut memory = lock(&self.memory);
        memory.history.truncate(HISTORY - 1);
        let event = json!({ "at": at, "what": what, "by": by.to_string(), "revision": revision, "report": report });
        memory.history.push_front(event);
    }

    /// A view as JSON. Takes its time.
    fn view(&self, view: View) -> Value {
        let (running, refused, history) = {
            let memory = lock(&self.memory);
            (memory.running.clone(), memory.refused.clone(), memory.history.clone())
        };
        let refused = refused.map(
            |refused| json!({ "at": shown::time(refused.at), "by": refused.by.to_string(), "report": refused.report }),
        );
        let head = running.as_ref().map(|running| {
            json!({ "revision": running.revision, "since": shown::time(running.since), "from": self.status.from() })
        });
        let loaded = running.and_then(|running| running.loaded);
        match view {
            View::Config => json!({ "running": head, "refused": refused, "history": history }),
            View::Running => {
                let mut head = head.unwrap_or_else(|| json!({}));
                head["config"] = loaded.map_or(Value::Null, |loaded| shown::without_secrets(&loaded.tree));
                head
            }
            View::Refused => json!(refused),
            View::Routes => json!({ "routes": loaded.map(|loaded| shown::routes(&loaded.tree)).unwrap_or_default() }),
            View::Status => self.status.now(),
            View::Services => json!({ "services": self.status.now()["services"] }),
            View::Connections => {
                let now = self.status.now();
                json!({ "connections": now["connections"], "requests": now["requests"], "workers": now["workers"] })
            }
        }
    }
}

/// The same, as the admin API knows it.
#[derive(Debug)]
pub(crate) struct Port(pub(crate) Arc<Controls>);

impl Control for Port {
    fn show(&self, view: View) -> BoxFuture<'_, Option<String>> {
        let own = Arc::clone(&self.0);
        let made = self.0.slow.spawn_blocking(move || own.view(view).to_string());
        Box::pin(async move { made.await.ok() })
    }

    fn reload(&self, by: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.0.ask.send(Ask { by, answer }).await.map_err(|_| NotReloaded::Unavailable)?;
            match answered.await {
                Ok(done) => done.map_err(NotReloaded::Refused),
                Err(_) => Err(NotReloaded::Unavailable),
            }
        })
    }

    fn welcome(&self, welcome: Welcome, by: Actor) -> BoxFuture<'_, Option<()>> {
        let own = Arc::clone(&self.0);
        // Done also if whoever asked for it has left.
        let done = self.0.slow.spawn(async move {
            let change = own.change().await;
            if *change == Place::Taken {
                return None;
            }
            own.readiness.take_out(welcome == Welcome::Off);
            let what = if welcome == Welcome::Off { What::Drained } else { What::Undrained };
            tracing::info!(%by, "{}", what.as_str());
            let notes = Arc::clone(&own);
            let noted = move || notes.note(&Event { what, by, revision: None, detail: None });
            // It is done even if it cannot be noted, which the log says.
            drop(tokio::task::spawn_blocking(noted).await);
            Some(())
        });
        Box::pin(async move { done.await.ok().flatten() })
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls").finish_non_exhaustive()
    }
}

fn has_admin(config: &Config) -> bool {
    config.listen.iter().any(|listener| listener.kind == ListenerKind::Admin)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
