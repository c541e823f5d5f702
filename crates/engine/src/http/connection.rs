//! One client connection from its first byte to its last, whatever it speaks.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Conn;
use tollgate_net::tls::Server;
use tollgate_net::{Socket, Stream};
use tollgate_observe::metrics::Closed;

use crate::crowd::Member;
use crate::deployment::Deployment;
use crate::drain::{Drain, Stage};
use crate::gateway::Serves;
use crate::http::h1::{self, Ended};
use crate::http::h2;
use crate::http::handshake::greet;
use crate::listener::{Door, Front};
use crate::worker::Worker;

/// Carries a connection to its end, on a task of its own. One that begins with HTTP at once, as most do, keeps no room for
/// what others begin with: idle connections are many.
pub(crate) fn start(
    socket: Socket,
    conn: Conn,
    front: &Arc<Front>,
    worker: &Arc<Worker>,
    member: Member,
    source: Deployed,
) {
    let counted = Counted::begin(worker, front.serves_on(), member);
    match &front.greeting {
        Greeting { is_proxied: false, tls: None } => {
            tokio::spawn(http(Stream::Plain(socket), Arc::new(conn), counted, source));
        }
        _ => {
            tokio::spawn(greeted(socket, conn, Arc::clone(front), counted, source));
        }
    }
}

async fn greeted(socket: Socket, conn: Conn, front: Arc<Front>, mut counted: Counted, source: Deployed) {
    let settled = {
        let worker = Arc::clone(&counted.worker);
        let (rules, member) = (Arc::clone(&source.now(&worker).rules), &mut counted.member);
        // Boxed: few connections are in their handshake.
        Box::pin(async move { greet(socket, conn, &front, &worker, &rules, member).await }).await
    };
    match settled {
        Ok((stream, conn)) => http(stream, Arc::new(conn), counted, source).await,
        Err(reason) => counted.end(reason),
    }
}

/// Carries what follows its greeting.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps its arguments twice")]
fn http(mut stream: Stream, conn: Arc<Conn>, counted: Counted, source: Deployed) -> impl Future<Output = ()> + Send {
    async move {
        let is_http2 = conn.tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some(b"h2"));
        let ended = match is_http2 {
            true => Ended::Http2(Buffer::none()),
            false => {
                let run = pin!(h1::run(&mut stream, &conn, &counted.worker, &source));
                until_over(&source.drain, run).await
            }
        };
        let reason = match ended {
            Ended::Closed(reason) => reason,
            // Boxed: what HTTP/1.1 keeps for an idle connection stays small.
            Ended::Http2(read) => {
                let (worker, drain) = (Arc::clone(&counted.worker), Arc::clone(&source.drain));
                let run = Box::pin(async { Ended::Closed(h2::run(stream, read, conn, worker, source).await) });
                match Box::pin(async { until_over(&drain, pin!(run)).await }).await {
                    Ended::Closed(reason) => reason,
                    Ended::Http2(_) => Closed::Error,
                }
            }
        };
        counted.end(reason);
    }
}

/// Carries a connection on until it ends, or until what is left is cut. Registered once, the bell wakes this task, wherever it
/// waits; a look at the stage is all that it costs.
async fn until_over(drain: &Drain, mut run: Pin<&mut impl Future<Output = Ended>>) -> Ended {
    let (mut bell, mut seen) = (pin!(drain.bell()), None);
    poll_fn(|cx| {
        while seen != Some(drain.stage()) {
            if seen.is_some() {
                bell.set(drain.bell());
            }
            seen = Some(drain.stage());
            // Registered first and looked at then, so that nothing rings in between.
            let _ = bell.as_mut().poll(cx);
        }
        match seen {
            Some(Stage::Over) => Poll::Ready(Ended::Closed(Closed::Drain)),
            _ => run.as_mut().poll(cx),
        }
    })
    .await
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
    /// It is of those that a gateway which stops does not wait for.
    asks: bool,
    reason: Closed,
    member: Member,
}

impl Counted {
    fn begin(worker: &Arc<Worker>, asks: bool, member: Member) -> Self {
        worker.counters().accepted();
        worker.open(asks);
        Self { worker: Arc::clone(worker), asks, reason: Closed::Error, member }
    }

    /// It ended, and not for an error of ours.
    fn end(mut self, reason: Closed) {
        self.reason = reason;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.counters().closed(self.reason);
        self.worker.close(self.asks);
    }
}

/// Where a listener's connections find what is in force, and when they are to end.
#[derive(Clone, Debug)]
pub(crate) struct Deployed {
    /// What is served: what the listener serves at the time, not what it served when the connection began.
    pub(crate) door: Arc<Door>,
    /// Goes on when the gateway, the worker or the listener stops.
    pub(crate) drain: Arc<Drain>,
}

impl Deployed {
    /// Whether it is served until the very end, also while the gateway stops: balancers must be able to see that it does.
    pub(crate) fn serves_on(&self) -> bool {
        self.door.front.load().serves_on()
    }

    /// What is in force now.
    pub(crate) fn now(&self, worker: &Worker) -> Arc<Deployment> {
        match &self.door.front.load().serves {
            Serves::Routes => worker.deployment(),
            Serves::Fixed(deployment) | Serves::Clients(deployment) => Arc::clone(deployment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_an_idle_connection_keeps_is_small() {
        // Beside it stand the socket's registration, its facts and a timer; docs/performance.md has what all that comes to. With
        // the task's own fields it just fits what the allocator hands out: a few bytes more cost half a KiB.
        let size = size(http);
        assert!(size <= 2392, "{size} bytes for each client connection, idle ones too");
    }
}
