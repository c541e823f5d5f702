//! One client connection from its first byte to its last, whatever it speaks.

use std::sync::Arc;

use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Conn;
use tollgate_net::tls::Server;
use tollgate_net::{Socket, Stream};
use tollgate_observe::metrics::Closed;

use crate::deployment::Deployment;
use crate::http::h1::{self, Ended};
use crate::http::h2;
use crate::http::handshake::greet;
use crate::worker::Worker;

/// Carries a connection to its end.
pub(crate) async fn run(socket: Socket, conn: Conn, greeting: Greeting, worker: Arc<Worker>, source: Deployed) {
    let mut counted = Counted::begin(&worker, !source.serves_on() || worker.ending.is_begun());
    let (mut stream, conn) = match greeting {
        Greeting { is_proxied: false, tls: None } => (Stream::Plain(socket), conn),
        greeting => {
            let rules = Arc::clone(&source.now(&worker).rules);
            // Boxed: few connections are in their handshake, and every other would keep room for it.
            match Box::pin(greet(socket, conn, &greeting, &worker, &rules)).await {
                Ok(settled) => settled,
                Err(reason) => {
                    counted.reason = reason;
                    return;
                }
            }
        }
    };
    let conn = Arc::new(conn);
    if conn.tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some(b"h2")) {
        counted.reason = Box::pin(h2::run(stream, Buffer::none(), conn, worker, source)).await;
        return;
    }
    counted.reason = match h1::run(&mut stream, Arc::clone(&conn), &worker, &source).await {
        Ended::Closed(reason) => reason,
        // Boxed: what HTTP/1.1 keeps for an idle connection stays small.
        Ended::Http2(read) => Box::pin(h2::run(stream, read, conn, worker, source)).await,
    };
}

/// What a connection begins with, before HTTP.
#[derive(Clone, Debug, Default)]
pub struct Greeting {
    /// Proxies that are believed say first for whom they speak (PROXY protocol).
    pub is_proxied: bool,
    /// TLS, if it is spoken.
    pub tls: Option<Arc<Server>>,
}

/// Counts a connection, also if its task panics.
struct Counted {
    worker: Arc<Worker>,
    /// The worker does not end before this connection.
    holds: bool,
    reason: Closed,
}

impl Counted {
    fn begin(worker: &Arc<Worker>, holds: bool) -> Self {
        worker.counters().accepted();
        if holds {
            worker.open();
        }
        Self { worker: Arc::clone(worker), holds, reason: Closed::Error }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.counters().closed(self.reason);
        if self.holds {
            self.worker.close();
        }
    }
}

/// Where a listener's connections find what is in force.
#[derive(Clone, Debug)]
pub(crate) enum Deployed {
    /// The worker's own, which changes.
    Worker,
    /// One that never changes: health and metrics.
    Fixed(Arc<Deployment>),
    /// One that never changes, for clients: the redirect to https.
    Clients(Arc<Deployment>),
}

impl Deployed {
    /// Whether it is served until the very end, also while the gateway stops: balancers must be able to see that it does.
    pub(crate) fn serves_on(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    /// What is in force now.
    pub(crate) fn now(&self, worker: &Worker) -> Arc<Deployment> {
        match self {
            Self::Worker => worker.deployment(),
            Self::Fixed(deployment) | Self::Clients(deployment) => Arc::clone(deployment),
        }
    }
}
