//! One worker's thread: what it carries, how it begins, ends, and begins again should it panic.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, mpsc};
use tollgate_observe::access_log::LogBuffer;

use crate::deployment::{Backend, Deployment};
use crate::drain::{Drain, Stage};
use crate::gateway::Parts;
use crate::listener::{Post, accept};
use crate::worker::Worker;

/// How often log lines are handed over.
const TICK: Duration = Duration::from_millis(100);
/// How often the pools of all services are swept.
const SWEEP: Duration = Duration::from_secs(1);
/// How long the last questions about health may take.
const LAST_CALL: Duration = Duration::from_millis(500);
/// How long a worker that panicked rests before it begins again.
const REST: Duration = Duration::from_millis(100);

/// Most that a worker is told before it has taken it on: sockets of listeners, of which there are never so many.
const MOST_ASSIGNED: usize = 4096;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Assigned {
    /// To take the connections of this socket.
    Post(Post),
    /// To let go of sockets that are no longer its own.
    Tidy,
    /// To fail.
    #[cfg(test)]
    Panic,
}

/// A worker and its thread.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) worker: Arc<Worker>,
    assign: mpsc::Sender<Assigned>,
    thread: JoinHandle<bool>,
    /// Nothing comes from here; it is closed when the thread ends.
    ended: Receiver<()>,
}

impl Seat {
    /// Starts the thread of worker number `index`.
    ///
    /// # Errors
    /// What the system says if the thread or its runtime cannot be made.
    pub(super) fn start(
        index: usize,
        parts: &Parts,
        deployment: Deployment,
        log: Option<LogBuffer>,
        drain_time: &Arc<Mutex<Duration>>,
    ) -> io::Result<Self> {
        let worker = Worker::new(index, parts, log, deployment);
        let (assign, assigned) = mpsc::channel(MOST_ASSIGNED);
        let runtime = new_runtime()?;
        let (own, bells, drain_time) = (Arc::clone(&worker), Arc::clone(&parts.bells), Arc::clone(drain_time));
        let (gateway, (ends, ended)) = (Arc::clone(&parts.drain), sync_channel(1));
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let _ends = ends;
            work(runtime, &own, assigned, &bells, &gateway, &drain_time)
        })?;
        Ok(Self { worker, assign, thread, ended })
    }

    /// Tells the worker to do this. One that has ended does nothing any more.
    pub(super) fn assign(&self, assigned: Assigned) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.assign.try_send(assigned) {
            tracing::error!(worker = self.worker.index, "a worker does not take on what it is told to");
        }
    }

    /// How to tell it so later.
    pub(super) fn assigning(&self) -> mpsc::Sender<Assigned> {
        self.assign.clone()
    }

    /// Ends what it carries, politely but soon; whether it came to its end.
    pub(super) fn hurry(&self) -> bool {
        self.worker.drain.begin();
        matches!(self.ended.recv_timeout(LAST_CALL * 4), Err(RecvTimeoutError::Disconnected))
    }

    /// Ends a worker that has nothing yet.
    pub(super) fn dismiss(self) {
        self.worker.drain.end();
        self.join();
    }

    /// Whether the thread has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the thread has ended; whether it did so in good order.
    pub(super) fn join(self) -> bool {
        self.thread.join().unwrap_or(false)
    }
}

fn new_runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// The thread of a worker. A panic ends its connections, and it begins again: with the sockets that it has.
#[expect(clippy::disallowed_methods, reason = "a worker that failed has nobody to serve while it rests")]
fn work(
    mut runtime: Runtime,
    worker: &Arc<Worker>,
    mut assigned: mpsc::Receiver<Assigned>,
    bells: &Arc<[Notify]>,
    gateway: &Drain,
    drain_time: &Mutex<Duration>,
) -> bool {
    let mut posts: Vec<Post> = Vec::new();
    loop {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                posts
                    .iter()
                    .filter_map(|post| again(post, worker))
                    .for_each(|post| drop(tokio::spawn(accept(post, Arc::clone(worker)))));
                tokio::select! {
                    () = housekeeping(worker, bells) => {}
                    () = posted(worker, &mut assigned, &mut posts) => {}
                    () = until_drained(worker, gateway, drain_time) => {}
                }
            });
        }));
        // What was cut brings lines yet.
        drop(runtime);
        worker.with_log(|log| {
            log.flush();
        });
        worker.deployment().backends.iter().for_each(|backend| backend.service.abandon(worker.index));
        worker.clear_leaving();
        let Err(panicked) = ran else { return true };
        worker.counters().restarted();
        tracing::error!(
            worker = worker.index,
            panic = said(&*panicked),
            "a worker failed: its connections are closed, it begins again"
        );
        thread::sleep(REST);
        match new_runtime() {
            Ok(new) => runtime = new,
            Err(error) => {
                tracing::error!(worker = worker.index, %error, "the worker cannot begin again");
                return false;
            }
        }
    }
}

/// The same post once more, if it is still this worker's.
fn again(post: &Post, worker: &Worker) -> Option<Post> {
    if post.left.is_begun() || post.door.drain.is_begun() {
        return None;
    }
    match post.again() {
        Ok(post) => Some(post),
        Err(error) => {
            tracing::error!(worker = worker.index, %error, "a listening socket cannot be taken up again");
            None
        }
    }
}

fn said(panicked: &(dyn Any + Send)) -> &str {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Takes on what is assigned, and remembers it until the worker stops.
async fn posted(worker: &Arc<Worker>, assigned: &mut mpsc::Receiver<Assigned>, posts: &mut Vec<Post>) {
    loop {
        let assigned = tokio::select! {
            assigned = assigned.recv() => assigned,
            () = worker.drain.begun() => break,
        };
        // It holds them, too: they would never be closed.
        posts.retain(|post| !post.left.is_begun() && !post.door.drain.is_begun());
        match assigned {
            Some(Assigned::Post(post)) => {
                if let Some(own) = again(&post, worker) {
                    tokio::spawn(accept(own, Arc::clone(worker)));
                }
                posts.push(post);
            }
            Some(Assigned::Tidy) => {}
            #[cfg(test)]
            Some(Assigned::Panic) => panic!("as asked"),
            None => break,
        }
    }
    posts.clear();
    std::future::pending().await
}

/// Log lines and pools: what has to be done now and then, and when a service rings.
async fn housekeeping(worker: &Worker, bells: &[Notify]) {
    let Some(bell) = bells.get(worker.index) else { return std::future::pending().await };
    let (mut flush_at, mut sweep_at) = (worker.now() + TICK, worker.now() + SWEEP);
    loop {
        let left = flush_at.saturating_duration_since(worker.now());
        let rung = tokio::time::timeout(left, bell.notified()).await.is_ok();
        let (now, deployment) = (worker.now(), worker.deployment());
        if now >= flush_at {
            worker.was_late(now.saturating_duration_since(flush_at));
            flush_at = now + TICK;
            worker.with_log(|log| {
                log.flush();
            });
        }
        if now >= sweep_at {
            sweep_at = now + SWEEP;
            worker.clear_leaving();
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
            worker.relieve_leaving();
        }
    }
}

/// Returns when the worker stops and its last connection ended, or the drain time after the gateway began to stop. One that
/// is too many is in nobody's way: what it carries comes to its own end, unless its place is needed.
async fn until_drained(worker: &Worker, gateway: &Drain, drain_time: &Mutex<Duration>) {
    worker.drain.begun().await;
    tokio::select! {
        () = empty(worker, Worker::is_empty) => {}
        () = worker.drain.reached(Stage::Draining) => {}
    }
    let (most, why) = match gateway.is_begun() {
        true => (*drain_time.lock().unwrap_or_else(PoisonError::into_inner), "drain time is over"),
        false => (LAST_CALL, "another worker needs the place of this one"),
    };
    if tokio::time::timeout(most, empty(worker, |worker| worker.connections() == 0)).await.is_err() {
        tracing::warn!(connections = worker.connections(), why, "connections are cut");
        return;
    }
    // Who asks for health or metrics now is answered yet, but not waited for as clients are.
    worker.ending.begin();
    let _ = tokio::time::timeout(LAST_CALL, empty(worker, Worker::is_empty)).await;
}

/// Returns when no connection is left that counts.
async fn empty(worker: &Worker, is_empty: impl Fn(&Worker) -> bool) {
    // The acceptors run first, so that what was queued is counted.
    tokio::task::yield_now().await;
    loop {
        let mut bell = std::pin::pin!(worker.empty.notified());
        bell.as_mut().enable();
        if is_empty(worker) {
            return;
        }
        bell.await;
    }
}
