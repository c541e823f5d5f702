//! The running gateway: threads, each with its own runtime, sockets and connections. What it serves, where, and on how many
//! threads, changes as a whole ([`Gateway::apply`]), and disturbs nothing that stays.

mod change;
mod seat;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tollgate_config::model::{Bind, FEW_CONNECTIONS};
use tollgate_core::clock::Clock;
use tollgate_net::Listener;
use tollgate_observe::access_log::AccessLog;
use tollgate_observe::metrics::Metrics;
use tollgate_plan::Plan;

pub use self::change::{Change, Listening};
use self::seat::{Assigned, Seat};
use crate::bind::{self, BindError, Bound, SocketFile};
use crate::crowd::Crowd;
use crate::deployment::Deployment;
use crate::drain::Drain;
use crate::listener::Door;
use crate::recall::Recall;

/// What the gateway is made of, for as long as the process lives.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// All counters.
    pub metrics: Arc<Metrics>,
    /// One bell for each worker that there may be, which services ring.
    pub bells: Arc<[Notify]>,
    /// Tells everybody to stop.
    pub drain: Arc<Drain>,
    /// Where waiting is done that is no worker's.
    pub slow: Handle,
}

/// What is served on a listener.
#[derive(Clone, Debug)]
pub enum Serves {
    /// The routes in force, to as many clients as the limits allow.
    Routes,
    /// Something of the gateway's own, to the same clients: the redirect to https.
    Clients(Arc<Deployment>),
    /// Something of the gateway's own that has a small crowd of its own: health and metrics, which must be reachable when
    /// clients are many, and until the very end.
    Fixed(Arc<Deployment>),
}

impl Serves {
    /// Whether connections of one kind may go on where the other is served.
    fn is_like(&self, other: &Self) -> bool {
        matches!(self, Self::Fixed(_)) == matches!(other, Self::Fixed(_))
    }
}

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    parts: Parts,
    /// How long connections may go on once they are to end.
    drain_time: Arc<Mutex<Duration>>,
    crowd: Arc<Crowd>,
    small_crowd: Arc<Crowd>,
    state: Mutex<State>,
}

/// What changes.
#[derive(Debug, Default)]
struct State {
    seats: Vec<Seat>,
    /// Workers that were too many and may still have connections.
    retired: Vec<Seat>,
    open: Vec<Open>,
    /// Listeners that were taken away and may still have sockets.
    leaving: Vec<(Bind, std::sync::Weak<Door>)>,
    /// What was in force, and may still have requests on their way.
    before: Vec<(std::sync::Weak<Plan>, Arc<Recall>)>,
    access_log: Option<Arc<AccessLog>>,
}

/// A listener that is open.
#[derive(Debug)]
struct Open {
    address: Bind,
    door: Arc<Door>,
    sockets: Vec<Held>,
    /// The file of a Unix socket, removed with it.
    file: Option<SocketFile>,
}

impl Open {
    /// Whether it is not one of those that are served until the very end.
    fn is_for_clients(&self) -> bool {
        !matches!(self.door.front.load().serves, Serves::Fixed(_))
    }
}

/// One of its sockets. It is held here, too: so it stays open while it goes from one worker to another.
#[derive(Debug)]
struct Held {
    listener: Listener,
    owner: usize,
    left: Arc<Drain>,
}

impl Gateway {
    /// A gateway without workers and listeners yet: the first [`Gateway::apply`] brings them.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            drain_time: Arc::default(),
            crowd: Crowd::new(usize::MAX),
            small_crowd: Crowd::new(usize::try_from(FEW_CONNECTIONS).unwrap_or(usize::MAX)),
            state: Mutex::default(),
        }
    }

    /// Where it listens, and on how many sockets.
    #[must_use]
    pub fn open(&self) -> Vec<(Bind, usize)> {
        let state = self.state();
        state.open.iter().map(|open| (open.address.clone(), open.sockets.len())).collect()
    }

    /// More copies of the one socket of a listener that has no others: of a Unix socket.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn more(&self, address: &Bind, count: usize) -> Result<Bound, BindError> {
        let state = self.state();
        let held = state.open.iter().filter(|open| open.address == *address).find_map(|open| open.sockets.first());
        let listeners =
            (0..count).filter_map(|_| held.map(|held| held.listener.try_clone())).collect::<io::Result<_>>();
        let listeners = listeners.map_err(|error| BindError { address: bind::address(address), error })?;
        Ok(Bound { listeners, file: None })
    }

    /// Whether a listener of this address was taken away and has sockets yet.
    #[must_use]
    pub fn is_leaving(&self, address: &Bind) -> bool {
        self.state().leaving.iter().any(|(of, door)| of == address && door.strong_count() > 0)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.state().seats.len()
    }

    /// How many there may be: more take a new process.
    #[must_use]
    pub fn most_workers(&self) -> usize {
        self.parts.bells.len()
    }

    /// Brings it from what is in force to what shall be: workers, listeners, what they serve. Connections and what is on
    /// its way stay, but for those on listeners and workers that go: these end within the drain time.
    ///
    /// # Errors
    /// A thread cannot be made, or the gateway is ending. Nothing has changed then.
    pub fn apply(&self, change: Change) -> io::Result<()> {
        change::apply(self, change)
    }

    /// All sockets of all listeners once more, for another process.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn sockets(&self) -> io::Result<Vec<Listener>> {
        let state = self.state();
        let held = state.open.iter().flat_map(|open| &open.sockets);
        held.map(|held| held.listener.try_clone()).collect()
    }

    /// Another process serves on all sockets from now on: nothing new is taken, and connections end with their next answer.
    /// What is on its way goes on until it ends, or [`Drain::begin`] is called.
    pub fn hand_over(&self) {
        let mut state = self.state();
        for open in state.open.drain(..) {
            open.door.drain.leave();
            open.file.into_iter().for_each(SocketFile::give);
        }
        // Before another config could bring listeners back.
        self.parts.drain.leave();
    }

    /// Begins to stop, as [`Drain::begin`] does, once everybody who is about to connect has got through: nobody else begins
    /// to. Cut short, it goes on serving those that are connected.
    pub async fn stop(&self) {
        for open in self.state().open.iter().filter(|open| open.is_for_clients()) {
            open.sockets.iter().for_each(|held| change::turn_away(&held.listener));
        }
        tokio::time::sleep(change::LAST_HANDSHAKES).await;
        let mut state = self.state();
        // Held here, they would outlive the last look into their queues.
        state.open.iter_mut().filter(|open| open.is_for_clients()).for_each(|open| open.sockets.clear());
        // Before another config could bring more.
        self.parts.drain.begin();
    }

    /// Waits until every worker has stopped, after [`Gateway::stop`] or [`Drain::begin`]; whether all ended in good order.
    #[must_use]
    pub fn join(&self) -> bool {
        let seats = {
            let mut state = self.state();
            // Held here, they would stay open.
            state.open.iter_mut().for_each(|open| open.sockets.clear());
            let retired = std::mem::take(&mut state.retired);
            std::mem::take(&mut state.seats).into_iter().chain(retired)
        };
        // All of them, whatever became of the first.
        let ended: Vec<bool> = seats.map(Seat::join).collect();
        ended.into_iter().all(|ended| ended)
    }

    /// Stops it, and tells when it was stopped.
    #[must_use]
    pub fn drain(&self) -> &Arc<Drain> {
        &self.parts.drain
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Whoever panicked while it held this left a list that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
