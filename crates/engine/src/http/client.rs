//! A client's HTTP/1.1 connection: one task from its first byte to its last.
//!
//! Between two requests it holds no buffer; requests that came together are answered in order.

use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Conn;
use tollgate_core::problem::Problem;
use tollgate_http1::{Parsed, request};
use tollgate_observe::metrics::Closed;

use crate::deployment::Deployment;
use crate::faults;
use crate::http::pump::read_into;
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::serve::{After, serve};
use crate::worker::Worker;

/// How long, and how many bytes, a client may go on sending after it was refused, so that it sees the answer.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1024 * 1024);

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) timer: Timer,
    pub(crate) worker: Arc<Worker>,
    pub(crate) conn: Arc<Conn>,
    /// The time when somebody last looked at the clock: good enough for what need not be exact.
    pub(crate) now: Instant,
    /// The client sent all it will ever send; it may still wait for answers.
    pub(crate) half_closed: bool,
    /// An answer is on its way and not complete.
    pub(crate) answering: bool,
    /// New connections are still served while the gateway stops.
    serves_on: bool,
    served: u64,
}

/// Why there is no next request.
enum NoRequest {
    Closed(Closed),
    Refused(Box<Turn>, Problem),
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

/// Carries a connection to its end.
pub(crate) async fn run(stream: TcpStream, conn: Conn, worker: Arc<Worker>, deployment: Source) {
    let mut counted = Counted::begin(&worker, !deployment.serves_on());
    let drain = Arc::clone(&worker.drain);
    // Registered once: it wakes this task, wherever it waits, when the gateway stops.
    let mut bell = pin!(drain.bell());
    poll_fn(|cx| Poll::Ready(bell.as_mut().poll(cx).is_ready())).await;
    let timer = Timer::default();
    let now = worker.now();
    let serves_on = deployment.serves_on();
    let conn = Arc::new(conn);
    let mut client =
        Client { stream, timer, worker, conn, now, half_closed: false, answering: false, serves_on, served: 0 };
    counted.reason = client.requests(&deployment).await;
}

/// Where a listener's connections find what is in force.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The worker's own, which changes.
    Worker,
    /// One that never changes: health and metrics.
    Fixed(Arc<Deployment>),
}

impl Source {
    /// Whether it is served until the very end, also while the gateway stops: balancers must be able to see that it does.
    pub(crate) fn serves_on(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    fn now(&self, worker: &Worker) -> Arc<Deployment> {
        match self {
            Self::Worker => worker.deployment(),
            Self::Fixed(deployment) => Arc::clone(deployment),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.answering {
            // Cut off, by whom ever, an answer must not look complete: not even one that ends with its connection. The
            // socket is as good as gone; if it is already, there is nothing to reset.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl Client {
    /// Looks at the clock.
    pub(crate) fn look(&mut self) -> Instant {
        self.now = self.worker.now();
        self.now
    }

    async fn requests(&mut self, source: &Source) -> Closed {
        let mut rest = None;
        loop {
            let deployment = source.now(&self.worker);
            let (mut turn, refused) = match self.next(rest.take(), &deployment).await {
                Ok(turn) => (turn, None),
                Err(NoRequest::Refused(turn, problem)) => (turn, Some(problem)),
                Err(NoRequest::Closed(reason)) => return reason,
            };
            // What came into force while waiting holds for this request.
            let deployment = source.now(&self.worker);
            self.served += 1;
            match serve(self, &mut turn, &deployment, refused).await {
                After::Next if turn.keep_rest() => rest = Some(turn),
                After::Next => turn.give_back(),
                After::Close(reason) => return reason,
                After::Linger => {
                    self.linger(&mut turn).await;
                    return Closed::Gateway;
                }
            }
        }
    }

    /// Waits for a request and reads its head.
    async fn next(&mut self, rest: Option<Box<Turn>>, deployment: &Deployment) -> Result<Box<Turn>, NoRequest> {
        let unrouted = &deployment.plan.unrouted.meta;
        let mut turn = match rest {
            Some(mut turn) => {
                let now = self.look();
                turn.renew(&self.conn, unrouted, now);
                turn
            }
            None => self.begin(deployment).await?,
        };
        loop {
            match self.head(&mut turn, deployment).await {
                Ok(()) => return Ok(turn),
                Err(NoHead::NotYet) => {
                    turn.give_back();
                    turn = self.begin(deployment).await?;
                }
                Err(NoHead::Closed(reason)) => return Err(NoRequest::Closed(reason)),
                Err(NoHead::Refused(problem)) => return Err(NoRequest::Refused(turn, problem)),
            }
        }
    }

    /// Waits for the first byte of a request; gives what it takes to read on.
    async fn begin(&mut self, deployment: &Deployment) -> Result<Box<Turn>, NoRequest> {
        self.idle(deployment).await.map_err(NoRequest::Closed)?;
        let now = self.look();
        let mut turn = Turn::take(&self.conn, &deployment.plan.unrouted.meta, now);
        turn.x.head.fields.buffer = Buffer::lend();
        Ok(turn)
    }

    /// Until there is something to read, holding nothing.
    async fn idle(&mut self, deployment: &Deployment) -> Result<(), Closed> {
        let limits = &deployment.rules.limits;
        let patience = if self.served == 0 { limits.head_timeout } else { limits.keep_alive };
        let deadline = self.now + patience.0;
        poll_fn(|cx| {
            if self.half_closed {
                return Poll::Ready(Err(Closed::Client));
            }
            let is_new = self.serves_on && self.served == 0;
            if self.worker.drain.is_begun() && !is_new && !self.was_sent_a_request() {
                return Poll::Ready(Err(Closed::Drain));
            }
            if let Poll::Ready(ready) = self.stream.poll_read_ready(cx) {
                return Poll::Ready(ready.map_err(|_| Closed::Error));
            }
            self.timer.poll(cx, deadline).map(|()| Err(Closed::Idle))
        })
        .await
    }

    /// Whether the socket holds a request, or the beginning of one, that came before the gateway began to stop. The event
    /// loop may not know of it yet.
    fn was_sent_a_request(&self) -> bool {
        matches!(SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]), Ok(1..))
    }

    /// Reads and judges a head.
    async fn head(&mut self, turn: &mut Turn, deployment: &Deployment) -> Result<(), NoHead> {
        let rules = &deployment.rules;
        let deadline = turn.x.began + rules.limits.head_timeout.0;
        let mut reader = request::Reader::default();
        poll_fn(|cx| {
            loop {
                if !turn.x.head.fields.buffer.is_empty() {
                    let parsed = reader.read(&mut turn.x.head, &rules.heads).map_err(NoHead::Refused)?;
                    if parsed == Parsed::Complete {
                        return Poll::Ready(Ok(()));
                    }
                }
                match read_into(cx, &mut self.stream, &mut turn.x.head.fields.buffer) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(NoHead::Closed(Closed::Client))),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(NoHead::Closed(Closed::Error))),
                    // A socket just accepted passes for readable until it was looked at.
                    Poll::Pending if turn.x.head.fields.buffer.is_empty() => return Poll::Ready(Err(NoHead::NotYet)),
                    Poll::Pending => {
                        let late = || Err(NoHead::Refused(faults::HEAD_TIMEOUT.problem()));
                        return self.timer.poll(cx, deadline).map(|()| late());
                    }
                }
            }
        })
        .await?;
        turn.verdict = request::judge(&mut turn.x.head).map_err(NoHead::Refused)?;
        turn.x.length = turn.verdict.length;
        Ok(())
    }

    /// Whether the connection may stay open after this request, as far as the connection knows.
    pub(crate) fn may_stay(&self, turn: &Turn, deployment: &Deployment) -> bool {
        let most = deployment.rules.limits.requests_per_connection.as_ref().map_or(u64::MAX, |n| n.get());
        // A client that has sent its last byte may have sent more requests before it.
        let may_ask = !self.half_closed || turn.upload.from < turn.x.head.fields.buffer.len();
        turn.verdict.keep_alive && may_ask && self.served < most && !self.worker.drain.is_begun()
    }

    /// Reads on for a little after an answer that ends the connection: closing with unread bytes would reset it, and the
    /// client might never see the answer (RFC 9112 §9.6).
    async fn linger(&mut self, turn: &mut Turn) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let (time, mut bytes) = LINGER;
        let deadline = self.worker.now() + time;
        let buffer = &mut turn.x.head.fields.buffer;
        poll_fn(|cx| {
            loop {
                buffer.truncate(0);
                match read_into(cx, &mut self.stream, buffer) {
                    Poll::Ready(Ok(n)) if n > 0 && n < bytes => bytes -= n,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll(cx, deadline),
                }
            }
        })
        .await;
    }
}

/// Why there is no head.
enum NoHead {
    /// Nothing came of it.
    NotYet,
    Closed(Closed),
    Refused(Problem),
}
