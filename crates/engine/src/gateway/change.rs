//! From what is in force to what shall be.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tollgate_config::model::Bind;
use tollgate_core::facts::Route;
use tollgate_net::Listener;
use tollgate_observe::access_log::{AccessLog, LogBuffer};
use tollgate_observe::metrics::ListenerMetrics;

use super::{Assigned, Gateway, Held, Open, Seat, Serves, State};
use crate::bind::{BACKLOG, SocketFile};
use crate::crowd::{Admission, Crowd, Entrance};
use crate::deployment::Deployment;
use crate::drain::Drain;
use crate::http::connection::Greeting;
use crate::listener::{Door, Front, Post};

/// What shall be in force.
#[derive(Debug)]
pub struct Change {
    /// What is served.
    pub deployment: Deployment,
    /// All listeners.
    pub listeners: Vec<Listening>,
    /// How many workers there are; at least one, at most [`Gateway::most_workers`].
    pub workers: usize,
    /// Where requests are told; `None`: nowhere.
    pub access_log: Option<Arc<AccessLog>>,
    /// How long connections may go on once they are to end.
    pub drain_time: Duration,
}

/// A listener that shall be open.
#[derive(Debug)]
pub struct Listening {
    /// Its address: what it is known by.
    pub address: Bind,
    /// What is served there.
    pub serves: Serves,
    /// What a connection begins with, before HTTP.
    pub greeting: Greeting,
    /// Whom it lets in, and how many.
    pub admission: Admission,
    /// New sockets, beside those that are open there: there must be one for each worker in the end. They need not listen yet.
    pub sockets: Vec<Listener>,
    /// The file of a new Unix socket.
    pub file: Option<SocketFile>,
}

pub(super) fn apply(gateway: &Gateway, change: Change) -> io::Result<()> {
    let Change { deployment, listeners, workers, access_log, drain_time } = change;
    let mut state = gateway.state();
    if gateway.parts.drain.is_begun() {
        return Err(io::Error::other("it is ending"));
    }
    let buffer = || access_log.as_ref().map(|log| log.buffer());
    // What can fail comes first.
    let mut new = Vec::new();
    let made = seat(gateway, &mut state, &mut new, workers, &|| (deployment.clone(), buffer()));
    let made = made.and_then(|()| listen(&listeners));
    if let Err(error) = made {
        new.into_iter().for_each(Seat::dismiss);
        return Err(error);
    }
    *gateway.drain_time.lock().unwrap_or_else(PoisonError::into_inner) = drain_time;
    gateway.crowd.admit(usize::try_from(deployment.rules.limits.connections.get()).unwrap_or(usize::MAX));
    let is_other_log = access_log.as_ref().map(Arc::as_ptr) != state.access_log.as_ref().map(Arc::as_ptr);
    // Those that are too many, too: what rests there may still bring a request.
    for seat in state.seats.iter().chain(&state.retired) {
        seat.worker.deploy(deployment.clone());
        if is_other_log {
            seat.worker.log_to(buffer());
        }
    }
    recall(gateway, &mut state, &deployment, drain_time);
    state.access_log = access_log.clone();
    state.seats.extend(new);
    let stay = workers.clamp(1, state.seats.len());
    let gone = state.seats.split_off(stay);
    let leaving = put_up(gateway, &mut state, listeners);
    spread(&mut state);
    // Those whose sockets others have by now.
    retire_seats(&mut state, gone);
    take_down(gateway, &mut state, leaving, drain_time);
    Ok(())
}

/// From here on clients may connect to sockets that are new.
fn listen(listeners: &[Listening]) -> io::Result<()> {
    let new =
        listeners.iter().flat_map(|listening| listening.sockets.iter().map(|socket| (&listening.address, socket)));
    for (address, socket) in new {
        socket.listen(BACKLOG).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    }
    Ok(())
}

/// Starts the workers that are missing.
fn seat(
    gateway: &Gateway,
    state: &mut State,
    new: &mut Vec<Seat>,
    workers: usize,
    with: &dyn Fn() -> (Deployment, Option<LogBuffer>),
) -> io::Result<()> {
    state.retired.retain(|seat| !seat.has_ended());
    while state.seats.len() + new.len() < workers.max(1) {
        // Pools and counters go by the number: of those that end yet, none may be used.
        let taken: Vec<usize> =
            state.seats.iter().chain(&state.retired).chain(&*new).map(|seat| seat.worker.index).collect();
        let Some(index) = (0..gateway.most_workers()).find(|index| !taken.contains(index)) else {
            // Whoever was too many first has had the longest time.
            if state.retired.first().is_some_and(Seat::hurry) {
                state.retired.remove(0);
                continue;
            }
            return Err(io::Error::other("workers that were too many have not ended yet"));
        };
        let (deployment, log) = with();
        new.push(Seat::start(index, &gateway.parts, deployment, log, &gateway.drain_time)?);
    }
    Ok(())
}

/// Ends what is on its way on routes that are no more, once the drain time is over.
fn recall(gateway: &Gateway, state: &mut State, deployment: &Deployment, drain_time: Duration) {
    let stay: HashSet<&Route> = deployment.plan.routes().map(|route| &*route.meta).collect();
    state.before.retain(|(plan, recall)| {
        let Some(plan) = plan.upgrade() else { return false };
        let gone = plan.routes().map(|route| &route.meta).filter(|route| !stay.contains(&***route));
        if let Some(settled) = recall.settle(gone.cloned().collect()) {
            let recall = Arc::clone(recall);
            gateway.parts.slow.spawn(async move {
                tokio::time::sleep(drain_time).await;
                recall.end(settled);
            });
        }
        true
    });
    state.before.push((Arc::downgrade(&deployment.plan), Arc::clone(&deployment.recall)));
}

/// Opens what is new and changes what stays; gives what is to go.
fn put_up(gateway: &Gateway, state: &mut State, listeners: Vec<Listening>) -> Vec<Open> {
    let mut before = std::mem::take(&mut state.open);
    let mut leaving = Vec::new();
    for Listening { address, serves, greeting, admission, sockets, file } in listeners {
        let known = before.iter().position(|open| open.address == address).map(|at| before.swap_remove(at));
        let crowd = match serves {
            Serves::Fixed(_) => &gateway.small_crowd,
            Serves::Routes | Serves::Clients(_) => &gateway.crowd,
        };
        let is_like = known.as_ref().is_some_and(|open| open.door.front.load().serves.is_like(&serves));
        let front = Front { serves, greeting, admission };
        let door = |front| door(front, crowd, gateway.parts.metrics.listener(&address.to_string()));
        let mut open = match known {
            Some(open) if is_like => {
                open.door.front.store(Arc::new(front));
                open
            }
            // The sockets go over to another door, and the connections of the old one end.
            Some(mut open) => {
                let mut old =
                    Open { address: open.address.clone(), door: door(front), sockets: Vec::new(), file: None };
                std::mem::swap(&mut open.door, &mut old.door);
                open.sockets.iter_mut().for_each(Held::leave);
                leaving.push(old);
                open
            }
            None => Open { address: address.clone(), door: door(front), sockets: Vec::new(), file },
        };
        open.sockets.extend(sockets.into_iter().map(Held::new));
        state.open.push(open);
    }
    leaving.extend(before);
    leaving
}

fn door(front: Front, crowd: &Arc<Crowd>, metrics: Arc<ListenerMetrics>) -> Arc<Door> {
    let entrance = Entrance::new(crowd, metrics);
    Arc::new(Door { front: ArcSwap::from_pointee(front), entrance, drain: Arc::default() })
}

impl Held {
    /// A socket that nobody has yet.
    fn new(listener: Listener) -> Self {
        Self { listener, owner: usize::MAX, left: Arc::default() }
    }

    /// Takes it from whoever has it.
    fn leave(&mut self) {
        self.left.begin();
        self.left = Arc::default();
        self.owner = usize::MAX;
    }
}

/// Gives every socket a worker, all about as many; those that have the right one stay with it.
fn spread(state: &mut State) {
    let workers = state.seats.len();
    for open in &mut state.open {
        for (at, held) in open.sockets.iter_mut().enumerate() {
            let owner = at % workers;
            if held.owner == owner {
                continue;
            }
            match held.listener.try_clone() {
                Ok(listener) => {
                    // The new one listens before the old one stops.
                    let (left, door) = (Arc::<Drain>::default(), Arc::clone(&open.door));
                    if let Some(seat) = state.seats.get(owner) {
                        seat.assign(Assigned::Post(Post { listener, door, left: Arc::clone(&left) }));
                    }
                    std::mem::replace(&mut held.left, left).begin();
                    if let Some(before) = state.seats.get(held.owner) {
                        before.assign(Assigned::Tidy);
                    }
                    held.owner = owner;
                }
                Err(error) => tracing::error!(%error, "a listening socket cannot be handed over"),
            }
        }
    }
}

/// Ends workers that are too many: once what they carry has come to its end, or their places are needed.
fn retire_seats(state: &mut State, gone: Vec<Seat>) {
    gone.iter().for_each(|seat| seat.worker.drain.leave());
    state.retired.extend(gone);
}

/// For how long connections that are being made may come to their end before a socket is closed.
pub(super) const LAST_HANDSHAKES: Duration = Duration::from_millis(50);

/// For how long connections that are told to close may take to do so.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Closes listeners: nobody begins to connect any more, who has begun is served, and what is left after the drain time is
/// cut.
fn take_down(gateway: &Gateway, state: &mut State, leaving: Vec<Open>, drain_time: Duration) {
    state.leaving.retain(|(_, door)| door.strong_count() > 0);
    state.leaving.extend(leaving.iter().map(|open| (open.address.clone(), Arc::downgrade(&open.door))));
    if leaving.is_empty() {
        return;
    }
    leaving.iter().flat_map(|open| &open.sockets).for_each(|held| turn_away(&held.listener));
    let seats: Vec<_> = state.seats.iter().map(Seat::assigning).collect();
    let drains: Vec<Arc<Drain>> = leaving.iter().map(|open| Arc::clone(&open.door.drain)).collect();
    gateway.parts.slow.spawn(async move {
        tokio::time::sleep(LAST_HANDSHAKES).await;
        // Held here no longer: whoever takes what is queued closes it.
        drop(leaving);
        drains.iter().for_each(|drain| drain.leave());
        // One that has ended holds nothing.
        seats.iter().for_each(|seat| drop(seat.try_send(Assigned::Tidy)));
        tokio::time::sleep(drain_time).await;
        drains.iter().for_each(|drain| drain.begin());
        tokio::time::sleep(LAST_ANSWERS).await;
        drains.iter().for_each(|drain| drain.end());
    });
}

/// Nobody who begins to connect from now on gets through: not answered is better than queued and reset.
pub(super) fn turn_away(listener: &Listener) {
    if let Err(error) = listener.turn_away() {
        tracing::debug!(%error, "those who connect while a listener is closed may be reset");
    }
}
