//! Backends for the load client: they log the id of every request, and can be killed and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::fate::{Arrivals, Log};
use super::runner::Runner;
use super::service;
use crate::deadline::wait_until;
use crate::port::free_port;

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    /// By prior knowledge.
    Http2,
}

/// Backends of one log. Each echoes a request's id and body. Those of HTTP/1.1 also serve WebSockets that echo at paths
/// that end with `/ws`, an endless download at `/slow`, and half a MiB at `/much`; that of HTTP/2, streams that echo at `/stream`.
#[derive(Debug)]
pub struct Backends {
    runner: Runner,
    log: Log,
    delay: Duration,
    all: Vec<Backend>,
}

#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    protocol: Protocol,
    running: Mutex<Option<JoinHandle<()>>>,
    arrivals: Arrivals,
}

impl Backends {
    /// So many of HTTP/1.1, and one of HTTP/2, which answer at once.
    ///
    /// # Panics
    /// When there is no port for one.
    #[must_use]
    pub fn start(count: usize) -> Self {
        Self::slow(count, Duration::ZERO)
    }

    /// The same, and they take so long for each answer.
    ///
    /// # Panics
    /// When there is no port for one.
    #[must_use]
    pub fn slow(count: usize, delay: Duration) -> Self {
        let backend = |protocol| Backend {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            protocol,
            running: Mutex::default(),
            arrivals: Arrivals::default(),
        };
        let mut all: Vec<Backend> = (0..count).map(|_| backend(Protocol::Http1)).collect();
        all.push(backend(Protocol::Http2));
        let backends = Self { runner: Runner::start("backends"), log: Log::default(), delay, all };
        (0..=count).for_each(|number| backends.revive(number));
        backends
    }

    /// Where one is.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn address(&self, number: usize) -> SocketAddr {
        self.all[number].address
    }

    /// Where the one of HTTP/2 is.
    #[must_use]
    pub fn http2_address(&self) -> SocketAddr {
        self.address(self.all.len() - 1)
    }

    /// Ends one and all its connections, as the end of its process would.
    ///
    /// # Panics
    /// When there are not so many, or its end does not come.
    pub fn kill(&self, number: usize) {
        let running = self.running(number).take();
        if let Some(running) = running {
            running.abort();
            wait_until("the end of a backend", || running.is_finished());
        }
    }

    /// Lets it begin again where it was.
    ///
    /// # Panics
    /// When there are not so many, or its port was taken meanwhile.
    pub fn revive(&self, number: usize) {
        let _context = self.runner.handle().enter();
        let backend = &self.all[number];
        let listener = std::net::TcpListener::bind(backend.address).expect("its port");
        listener.set_nonblocking(true).expect("its mode");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let (protocol, log, delay) = (backend.protocol, self.log.of_one(&backend.arrivals), self.delay);
        *self.running(number) = Some(self.runner.spawn(accept(listener, protocol, log, delay)));
    }

    /// Which requests, by their ids, have come to one since it was last asked, and when each did; from the first time on.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn arrivals(&self, number: usize) -> Vec<(u64, Instant)> {
        let mut arrivals = self.all[number].arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.replace(Vec::new()).unwrap_or_default()
    }

    pub(super) fn log(&self) -> Log {
        self.log.clone()
    }

    fn running(&self, number: usize) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.all[number].running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, protocol: Protocol, log: Log, delay: Duration) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let log = log.clone();
        match protocol {
            Protocol::Http1 => connections.spawn(service::http1(stream, log, delay)),
            Protocol::Http2 => connections.spawn(service::http2(stream, log, delay)),
        };
        while connections.try_join_next().is_some() {}
    }
}
