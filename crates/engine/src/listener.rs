//! Sockets: one per worker and listener, all opened before any accepts.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener as Acceptor, TcpStream};
use tokio::sync::Notify;
use tollgate_config::model::Bind;
use tollgate_core::facts::Conn;

use crate::http::connection::{self, Deployed, Greeting};
use crate::worker::Worker;

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;
/// How long accepting rests after an error that concerns the whole process, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub error: io::Error,
}

/// Opens one socket per worker. The port is probed without `SO_REUSEPORT` first, so that a port that somebody else
/// listens on is an error and not silently shared.
///
/// # Errors
/// The address, and what the system says of it.
pub fn bind(bind: Bind, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    match bind {
        Bind::Socket(address) => sockets(address, workers),
        Bind::AllAddresses(port) => match sockets((Ipv6Addr::UNSPECIFIED, port).into(), workers) {
            // A machine without IPv6.
            Err(e) if matches!(e.error.raw_os_error(), Some(97 | 99)) => {
                sockets((Ipv4Addr::UNSPECIFIED, port).into(), workers)
            }
            bound => bound,
        },
    }
}

fn sockets(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let open = |share: bool| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for old connections to time out.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(share)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    // Bound only: what connected to a probe that listens would be reset with it.
    let probe: io::Result<Socket> = open(false);
    drop(probe.map_err(|error| BindError { address, error })?);
    let listen = |_| {
        let socket: Socket = open(true)?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    (0..workers).map(listen).collect::<io::Result<_>>().map_err(|error| BindError { address, error })
}

/// The connections of all workers together, and their limit.
#[derive(Debug)]
pub(crate) struct Crowd {
    open: AtomicUsize,
    most: usize,
    left: Notify,
}

/// One of the crowd, for as long as it lives.
struct Member(Arc<Crowd>);

impl Crowd {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(0), most, left: Notify::new() })
    }

    /// Joins, whether there is room or not.
    fn join(self: &Arc<Self>) -> Member {
        self.open.fetch_add(1, Ordering::AcqRel);
        Member(Arc::clone(self))
    }

    /// Joins once there is room.
    async fn join_in_turn(self: &Arc<Self>) -> Member {
        loop {
            let joined = |open| (open < self.most).then_some(open + 1);
            if self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, joined).is_ok() {
                return Member(Arc::clone(self));
            }
            self.room().await;
        }
    }

    /// Waits until there is room for one more.
    async fn room(&self) {
        while self.open.load(Ordering::Acquire) >= self.most {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.open.load(Ordering::Acquire) >= self.most {
                left.await;
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
    }
}

/// Accepts until the gateway stops; then takes what is queued already and closes.
pub(crate) async fn accept(
    listener: TcpListener,
    greeting: Greeting,
    worker: Arc<Worker>,
    crowd: Arc<Crowd>,
    source: Deployed,
) {
    let listener = match Acceptor::from_std(listener) {
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
                Ok((stream, peer)) => {
                    // Workers wait for room side by side and may have found the same one.
                    let member = tokio::select! {
                        () = worker.drain.begun() => crowd.join(),
                        member = crowd.join_in_turn() => member,
                    };
                    start((stream, peer), &greeting, &worker, member, &source);
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
                Ok((stream, peer)) => start((stream, peer), greeting, worker, crowd.join(), source),
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
    let Ok(listener) = listener.into_std() else { return };
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    start((stream, peer), greeting, worker, crowd.join(), source);
                }
            }
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

fn start(
    (stream, peer): (TcpStream, SocketAddr),
    greeting: &Greeting,
    worker: &Arc<Worker>,
    member: Member,
    source: &Deployed,
) {
    let Ok(local) = stream.local_addr() else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let conn = Conn::new(peer, local, worker.index);
    let (greeting, worker, source) = (greeting.clone(), Arc::clone(worker), source.clone());
    tokio::spawn(async move {
        connection::run(stream.into(), conn, greeting, worker, source).await;
        drop(member);
    });
}
