//! The running gateway: threads, each with its own runtime, sockets and connections; started whole or not at all.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::Notify;
use tollgate_core::clock::Clock;
use tollgate_net::Listener;
use tollgate_observe::access_log::AccessLog;
use tollgate_observe::metrics::Metrics;

use crate::crowd::Crowd;
use crate::deployment::{Backend, Deployment};
use crate::drain::Drain;
use crate::http::connection::{Deployed, Greeting};
use crate::listener::accept;
use crate::worker::Worker;

/// How often log lines are handed over.
const TICK: Duration = Duration::from_millis(100);
/// How often the pools of all services are swept.
const SWEEP: Duration = Duration::from_secs(1);

/// What the gateway is made of.
#[derive(Debug)]
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// Where requests are told, if anywhere.
    pub access_log: Option<AccessLog>,
    /// What is in force.
    pub deployment: Deployment,
    /// One bell per worker, which services ring.
    pub bells: Arc<[Notify]>,
    /// Tells everybody to stop.
    pub drain: Arc<Drain>,
}

/// The sockets of one listener: one per worker.
#[derive(Debug)]
pub struct Opened {
    /// What is served there.
    pub serves: Serves,
    /// The sockets.
    pub sockets: Vec<Listener>,
    /// What a connection begins with, before HTTP.
    pub greeting: Greeting,
}

/// What is served on a listener.
#[derive(Clone, Debug)]
pub enum Serves {
    /// The routes in force, to as many clients as the limits allow.
    Routes,
    /// Something that never changes, to the same clients: the redirect to https.
    Clients(Arc<Deployment>),
    /// Something that never changes and has a small crowd of its own: health and metrics, which must be reachable when
    /// clients are many.
    Fixed(Arc<Deployment>),
}

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    threads: Vec<JoinHandle<()>>,
    drain: Arc<Drain>,
}

impl Gateway {
    /// Starts one thread per bell.
    ///
    /// # Errors
    /// What the system says if a thread or its runtime cannot be made.
    pub fn start(parts: &Parts, listeners: Vec<Opened>, drain_time: Duration) -> io::Result<Self> {
        let most = parts.deployment.rules.limits.connections.get();
        let crowd = Crowd::new(usize::try_from(most).unwrap_or(usize::MAX));
        let small_crowd = Crowd::new(SMALL_CROWD);
        let mut sockets: Vec<Vec<Socket>> = parts.bells.iter().map(|_| Vec::new()).collect();
        for opened in listeners {
            let (source, crowd) = match opened.serves {
                Serves::Routes => (Deployed::Worker, &crowd),
                Serves::Clients(deployment) => (Deployed::Clients(deployment), &crowd),
                Serves::Fixed(deployment) => (Deployed::Fixed(deployment), &small_crowd),
            };
            for (own, socket) in sockets.iter_mut().zip(opened.sockets) {
                own.push(Socket {
                    socket,
                    greeting: opened.greeting.clone(),
                    source: source.clone(),
                    crowd: Arc::clone(crowd),
                });
            }
        }
        let mut threads = Vec::new();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let log = parts.access_log.as_ref().map(AccessLog::buffer);
            let (clock, metrics, drain) = (parts.clock.clone(), Arc::clone(&parts.metrics), Arc::clone(&parts.drain));
            let worker = Worker::new(index, clock, metrics, drain, log, parts.deployment.clone());
            let bells = Arc::clone(&parts.bells);
            let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                runtime.block_on(async {
                    for Socket { socket, greeting, source, crowd } in sockets {
                        tokio::spawn(accept(socket, greeting, Arc::clone(&worker), crowd, source));
                    }
                    tokio::spawn(housekeeping(Arc::clone(&worker), bells));
                    until_drained(&worker, drain_time).await;
                });
                // What was cut brings lines yet.
                drop(runtime);
                worker.with_log(|log| {
                    log.flush();
                });
            })?;
            threads.push(thread);
        }
        Ok(Self { threads, drain: Arc::clone(&parts.drain) })
    }

    /// Waits until every worker has stopped, after [`Drain::begin`]; whether all ended in good order.
    #[must_use]
    pub fn join(self) -> bool {
        self.threads.into_iter().map(JoinHandle::join).all(|ended| ended.is_ok())
    }

    /// Stops it, and tells when it was stopped.
    #[must_use]
    pub fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }
}

/// One worker's socket of a listener.
struct Socket {
    socket: Listener,
    greeting: Greeting,
    source: Deployed,
    crowd: Arc<Crowd>,
}

/// How long the last questions about health may take.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Most connections to listeners that do not serve the routes.
const SMALL_CROWD: usize = 256;

/// Log lines and pools: what has to be done now and then, and when a service rings.
async fn housekeeping(worker: Arc<Worker>, bells: Arc<[Notify]>) {
    let Some(bell) = bells.get(worker.index) else { return };
    let (mut flush_at, mut sweep_at) = (worker.now() + TICK, worker.now() + SWEEP);
    loop {
        let left = flush_at.saturating_duration_since(worker.now());
        let rung = tokio::time::timeout(left, bell.notified()).await.is_ok();
        let (now, deployment) = (worker.now(), worker.deployment());
        if now >= flush_at {
            flush_at = now + TICK;
            worker.with_log(|log| {
                log.flush();
            });
        }
        if now >= sweep_at {
            sweep_at = now + SWEEP;
            for Backend { service, .. } in deployment.backends.iter() {
                service.sweep(worker.index, now);
                service.nudge();
                // One of the workers for all of them.
                if worker.index == 0 {
                    service.observe(now);
                }
            }
        } else if rung {
            // A bell does not say which service rang; those that did not are passed by at the price of a look.
            deployment.backends.iter().for_each(|backend| backend.service.relieve(worker.index));
        }
    }
}

/// Returns when the gateway stops and the worker's last connection ended, or `most` after it began to stop.
async fn until_drained(worker: &Worker, most: Duration) {
    worker.drain.begun().await;
    if tokio::time::timeout(most, empty(worker)).await.is_err() {
        tracing::warn!(connections = worker.connections(), "drain time is over: connections are cut");
        return;
    }
    // Who asks for health or metrics now is answered yet, but not waited for as clients are.
    worker.ending.begin();
    let _ = tokio::time::timeout(LAST_CALL, empty(worker)).await;
}

/// Returns when no connection is left.
async fn empty(worker: &Worker) {
    // The acceptors run first, so that what was queued is counted.
    tokio::task::yield_now().await;
    loop {
        let mut bell = std::pin::pin!(worker.empty.notified());
        bell.as_mut().enable();
        if worker.connections() == 0 {
            return;
        }
        bell.await;
    }
}
