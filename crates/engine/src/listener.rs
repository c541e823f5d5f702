//! Taking connections: each worker its own, as many as the limits allow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tollgate_core::facts::{Conn, Ends};
use tollgate_net::{Acceptor, Listener, Socket};
use tollgate_observe::metrics::Closed;

use crate::crowd::{Admission, Entrance, Member};
use crate::drain::Drain;
use crate::gateway::Serves;
use crate::http::connection::{self, Deployed, Greeting};
use crate::security;
use crate::worker::Worker;

/// How long accepting rests after an error that concerns the whole process, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener, as all its sockets see it.
#[derive(Debug)]
pub(crate) struct Door {
    /// What becomes of those who come now.
    pub(crate) front: ArcSwap<Front>,
    /// Those that there may be.
    pub(crate) entrance: Arc<Entrance>,
    /// Goes on when the listener is taken away.
    pub(crate) drain: Arc<Drain>,
}

/// What becomes of those who come.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// What is served.
    pub(crate) serves: Serves,
    /// What a connection begins with, before HTTP.
    pub(crate) greeting: Greeting,
    /// Whom it lets in, and how many.
    pub(crate) admission: Admission,
}

impl Front {
    /// Whether it is served until the very end, and to a crowd of its own.
    pub(crate) fn serves_on(&self) -> bool {
        matches!(self.serves, Serves::Fixed(_))
    }
}

/// One socket of a listener, with a worker.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) listener: Listener,
    pub(crate) door: Arc<Door>,
    /// Goes on when another worker takes the socket over.
    pub(crate) left: Arc<Drain>,
}

impl Post {
    /// The same once more.
    ///
    /// # Errors
    /// Whatever the system says.
    pub(crate) fn again(&self) -> io::Result<Self> {
        let listener = self.listener.try_clone()?;
        Ok(Self { listener, door: Arc::clone(&self.door), left: Arc::clone(&self.left) })
    }
}

/// Accepts until the gateway, the worker or the listener stops; then takes what is queued already and closes.
pub(crate) async fn accept(post: Post, worker: Arc<Worker>) {
    let Post { listener, door, left } = post;
    let listener = match Acceptor::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listening socket cannot be used");
            return;
        }
    };
    let drain = Drain::below(&[&worker.drain, &door.drain]);
    let place = Place { door, worker, drain };
    // What is served until the very end is taken until then, too.
    let serves_on = place.door.front.load().serves_on();
    let stops = match serves_on {
        true => Drain::below(&[&place.worker.ending, &place.door.drain, &left]),
        false => Drain::below(&[&place.drain, &left]),
    };
    // The worker does not end while it may still have connections to take.
    let _accepting = Accepting::begin(&place.worker, serves_on);
    loop {
        tokio::select! {
            () = stops.begun() => break,
            () = place.door.entrance.crowd.room() => {}
        }
        tokio::select! {
            () = stops.begun() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, ends)) if serves_on => place.start(socket, ends, place.door.entrance.join()),
                Ok((socket, ends)) => {
                    // Workers wait for room side by side and may have found the same one.
                    let member = tokio::select! {
                        () = stops.begun() => place.door.entrance.join(),
                        member = place.door.entrance.join_in_turn() => member,
                    };
                    place.start(socket, ends, member);
                }
                Err(error) => failed(error).await,
            },
        }
    }
    if !left.is_begun() {
        place.take_queue(listener);
    }
}

/// Where connections begin.
struct Place {
    door: Arc<Door>,
    worker: Arc<Worker>,
    /// When they are to end.
    drain: Arc<Drain>,
}

impl Place {
    /// Closing a socket resets what is queued on it: takes that first. The event loop may not know of it yet, so the system is
    /// asked.
    fn take_queue(&self, listener: Acceptor) {
        let Ok(listener) = listener.into_listener() else { return };
        loop {
            match listener.accept() {
                Ok((socket, ends)) => self.start(socket, ends, self.door.entrance.join()),
                // One that was reset while it waited; others wait behind it.
                Err(error) if concerns_one(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn start(&self, socket: Socket, ends: Ends, mut member: Member) {
        let worker = &self.worker;
        let source = Deployed { door: Arc::clone(&self.door), drain: Arc::clone(&self.drain) };
        let conn = match ends {
            Ends::Sockets { peer, local } => Conn::new(peer, local, worker.index),
            Ends::Unix => Conn::by_unix_socket(worker.index),
        };
        let front = self.door.front.load_full();
        if let Err(why) = self.admit(&mut member, &front, &conn, &source) {
            // Before anything is spent on it: no task, no handshake, no answer.
            worker.counters().accepted();
            worker.counters().closed(why);
            if why == Closed::Denied {
                security::not_let_in(conn.peer(), worker.now(), &worker.refusals);
            }
            socket.reset_on_close();
            return;
        }
        connection::start(socket, conn, &front, worker, member, source);
    }

    /// Whether the listener lets it in, as far as that can be told before a proxy says for whom it speaks.
    fn admit(&self, member: &mut Member, front: &Front, conn: &Conn, source: &Deployed) -> Result<(), Closed> {
        member.enter(&front.admission)?;
        let rules = &source.now(&self.worker).rules;
        if front.greeting.is_proxied && rules.trust.is_proxy(conn.peer()) {
            return Ok(());
        }
        // Balancers and scrapers have a listener of their own, and may come as often as they like, unless that says otherwise.
        let limits = (!front.serves_on()).then_some(&rules.limits);
        member.is_of(conn.peer(), &front.admission, &rules.trust, limits)
    }
}

/// Whether an error of accepting is about one connection (it was reset in the queue), not about the process or the socket.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Keeps the worker from ending while it may still have connections to take.
struct Accepting {
    worker: Arc<Worker>,
    asks: bool,
}

impl Accepting {
    fn begin(worker: &Arc<Worker>, asks: bool) -> Self {
        worker.open(asks);
        Self { worker: Arc::clone(worker), asks }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.worker.close(self.asks);
    }
}

/// An error of one connection is nothing; one of the process is told, and not spun on.
async fn failed(error: io::Error) {
    if !concerns_one(&error) && error.kind() != io::ErrorKind::WouldBlock {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(PAUSE).await;
    }
}
