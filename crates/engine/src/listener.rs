//! Taking connections: each worker its own, as many as the limits allow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::facts::{Conn, Ends};
use tollgate_net::{Acceptor, Listener, Socket};
use tollgate_observe::metrics::Closed;

use crate::crowd::{Crowd, Member};
use crate::http::connection::{self, Deployed, Greeting};
use crate::worker::Worker;

/// How long accepting rests after an error that concerns the whole process, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the gateway stops; then takes what is queued already and closes.
pub(crate) async fn accept(
    listener: Listener,
    greeting: Greeting,
    worker: Arc<Worker>,
    crowd: Arc<Crowd>,
    source: Deployed,
) {
    let listener = match Acceptor::new(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listening socket cannot be used");
            return;
        }
    };
    if source.serves_on() {
        return accept_to_the_end(listener, &greeting, &worker, &crowd, &source).await;
    }
    let _accepting = Accepting::begin(&worker);
    loop {
        tokio::select! {
            () = worker.drain.begun() => break,
            () = crowd.room() => {}
        }
        tokio::select! {
            () = worker.drain.begun() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, ends)) => {
                    // Workers wait for room side by side and may have found the same one.
                    let member = tokio::select! {
                        () = worker.drain.begun() => crowd.join(),
                        member = crowd.join_in_turn() => member,
                    };
                    start(socket, ends, &greeting, &worker, member, &source);
                }
                Err(error) => failed(error).await,
            },
        }
    }
    take_queue(listener, &greeting, &worker, &crowd, &source);
}

/// Accepts until the worker ends; then takes what is queued already and closes.
async fn accept_to_the_end(
    listener: Acceptor,
    greeting: &Greeting,
    worker: &Arc<Worker>,
    crowd: &Arc<Crowd>,
    source: &Deployed,
) {
    loop {
        tokio::select! {
            () = worker.ending.begun() => break,
            () = crowd.room() => {}
        }
        tokio::select! {
            () = worker.ending.begun() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, ends)) => start(socket, ends, greeting, worker, crowd.join(), source),
                Err(error) => failed(error).await,
            },
        }
    }
    let _accepting = Accepting::begin(worker);
    take_queue(listener, greeting, worker, crowd, source);
}

/// Closing a socket resets what is queued on it: takes that first. The event loop may not know of it yet, so the system is
/// asked.
fn take_queue(listener: Acceptor, greeting: &Greeting, worker: &Arc<Worker>, crowd: &Arc<Crowd>, source: &Deployed) {
    let Ok(listener) = listener.into_listener() else { return };
    loop {
        match listener.accept() {
            Ok((socket, ends)) => start(socket, ends, greeting, worker, crowd.join(), source),
            // One that was reset while it waited; others wait behind it.
            Err(error) if concerns_one(&error) => {}
            Err(_) => return,
        }
    }
}

/// Whether an error of accepting is about one connection (it was reset in the queue), not about the process or the socket.
fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Keeps the worker from ending while it may still have connections to take.
struct Accepting(Arc<Worker>);

impl Accepting {
    fn begin(worker: &Arc<Worker>) -> Self {
        worker.open();
        Self(Arc::clone(worker))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An error of one connection is nothing; one of the process is told, and not spun on.
async fn failed(error: io::Error) {
    if !concerns_one(&error) && error.kind() != io::ErrorKind::WouldBlock {
        tracing::warn!(%error, "cannot accept a connection");
        tokio::time::sleep(PAUSE).await;
    }
}

fn start(socket: Socket, ends: Ends, greeting: &Greeting, worker: &Arc<Worker>, mut member: Member, source: &Deployed) {
    let conn = match ends {
        Ends::Sockets { peer, local } => Conn::new(peer, local, worker.index),
        Ends::Unix => Conn::by_unix_socket(worker.index),
    };
    // Balancers and scrapers have a listener of their own, and may come as often as they like.
    if !source.serves_on() && member.count_for(conn.peer(), &source.now(worker).rules).is_err() {
        // Before anything is spent on it: no task, no handshake, no answer.
        worker.counters().accepted();
        worker.counters().closed(Closed::AddressLimit);
        socket.reset_on_close();
        return;
    }
    connection::start(socket, conn, greeting, worker, member, source.clone());
}
