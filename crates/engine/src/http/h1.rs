//! A client's HTTP/1.1 connection: one task from its first byte to its last.
//!
//! Between two requests it holds no buffer; requests that came together are answered in order.

mod side;

pub(crate) use side::LITTLE;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Conn;
use tollgate_core::problem::Problem;
use tollgate_http1::{Parsed, request};
use tollgate_net::Stream;
use tollgate_observe::metrics::Closed;

use crate::deployment::Deployment;
use crate::drain::Stage;
use crate::faults;
use crate::http::connection::Deployed;
use crate::http::downstream::Client;
use crate::http::pump::read_into;
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::serve::{After, serve};
use crate::worker::Worker;

/// How long, and how many bytes, a client may go on sending after it was refused, so that it sees the answer.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 1024 * 1024);

/// How long a client that has just connected to a gateway that stops may take to begin its first request.
const FIRST_BYTES: Duration = Duration::from_secs(1);

/// A client's HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Wire<'s> {
    stream: &'s mut Stream,
    /// The client sent all it will ever send; it may still wait for answers.
    half_closed: bool,
    /// An answer is on its way and not complete.
    answering: bool,
    /// New connections are still served while the gateway stops.
    serves_on: bool,
    served: u64,
}

/// How a connection ended as one of HTTP/1.1.
pub(crate) enum Ended {
    /// For good.
    Closed(Closed),
    /// The client speaks HTTP/2 (RFC 9113 §3.4): these are the bytes that were read.
    Http2(Buffer),
}

/// Why there is no next request.
enum NoRequest {
    Ended(Ended),
    Refused(Box<Turn>, Problem),
}

/// Carries a connection to its end, or to the point where it turns out to be none of HTTP/1.1.
pub(crate) async fn run(stream: &mut Stream, conn: &Arc<Conn>, worker: &Arc<Worker>, source: &Deployed) -> Ended {
    let side = Wire { stream, half_closed: false, answering: false, serves_on: source.serves_on(), served: 0 };
    let (worker, conn, drain, now) = (Arc::clone(worker), Arc::clone(conn), Arc::clone(&source.drain), worker.now());
    Client { side, timer: Timer::default(), worker, conn, drain, now }.requests(source).await
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        if self.answering {
            // Cut off, by whom ever, an answer must not look complete: not even one that ends with its connection.
            self.stream.reset_on_close();
        }
    }
}

impl Client<Wire<'_>> {
    async fn requests(&mut self, source: &Deployed) -> Ended {
        let mut rest = None;
        loop {
            let deployment = source.now(&self.worker);
            let (mut turn, refused) = match self.next(rest.take(), &deployment).await {
                Ok(turn) => (turn, None),
                Err(NoRequest::Refused(turn, problem)) => (turn, Some(problem)),
                Err(NoRequest::Ended(ended)) => return ended,
            };
            // What came into force while waiting holds for this request.
            let deployment = source.now(&self.worker);
            self.side.served += 1;
            match serve(self, &mut turn, &deployment, refused).await {
                After::Next if turn.keep_rest() => rest = Some(turn),
                After::Next => turn.give_back(),
                After::Close(reason) => return Ended::Closed(reason),
                After::Linger(reason) => {
                    // Boxed: every idle connection would else keep room for it.
                    Box::pin(self.linger(&mut turn, reason)).await;
                    return Ended::Closed(reason);
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
                Err(NoHead::Closed(reason)) => return Err(NoRequest::Ended(Ended::Closed(reason))),
                Err(NoHead::Http2) => {
                    let read = std::mem::take(&mut turn.x.head.fields.buffer);
                    turn.give_back();
                    return Err(NoRequest::Ended(Ended::Http2(read)));
                }
                Err(NoHead::Refused(problem)) => return Err(NoRequest::Refused(turn, problem)),
            }
        }
    }

    /// Waits for the first byte of a request; gives what it takes to read on.
    async fn begin(&mut self, deployment: &Deployment) -> Result<Box<Turn>, NoRequest> {
        self.idle(deployment).await.map_err(|reason| NoRequest::Ended(Ended::Closed(reason)))?;
        let now = self.look();
        let mut turn = Turn::take(&self.conn, &deployment.plan.unrouted.meta, now);
        turn.x.head.fields.buffer = Buffer::lend();
        Ok(turn)
    }

    /// Until there is something to read, holding nothing.
    async fn idle(&mut self, deployment: &Deployment) -> Result<(), Closed> {
        let limits = &deployment.rules.limits;
        let patience = if self.side.served == 0 { limits.head_timeout } else { limits.keep_alive };
        let deadline = self.now + patience.0;
        poll_fn(|cx| {
            if self.side.half_closed {
                return Poll::Ready(Err(Closed::Client));
            }
            let (is_new, is_draining) = (self.side.served == 0, self.drain.stage() >= Stage::Draining);
            if is_draining && !is_new && !self.side.stream.has_input() {
                return Poll::Ready(Err(Closed::Drain));
            }
            if let Poll::Ready(ready) = self.side.stream.poll_read_ready(cx) {
                return Poll::Ready(ready.map_err(|_| Closed::Error));
            }
            match is_draining && !self.side.serves_on {
                // What a client sends that has only just connected is on its way.
                true => self.timer.poll(cx, deadline.min(self.now + FIRST_BYTES)).map(|()| Err(Closed::Drain)),
                false => self.timer.poll(cx, deadline).map(|()| Err(Closed::Idle)),
            }
        })
        .await
    }

    /// Reads and judges a head.
    async fn head(&mut self, turn: &mut Turn, deployment: &Deployment) -> Result<(), NoHead> {
        let rules = &deployment.rules;
        let deadline = turn.x.began + rules.limits.head_timeout.0;
        let mut reader = request::Reader::default();
        poll_fn(|cx| {
            loop {
                let there = turn.x.head.fields.buffer.filled();
                let may_be_http2 = self.side.served == 0
                    && self.conn.refused.is_none()
                    && there.first() == PREFACE.first()
                    && speaks_http2(there);
                if may_be_http2 && there.len() >= PREFACE.len() {
                    return Poll::Ready(Err(NoHead::Http2));
                }
                if !there.is_empty() && !may_be_http2 {
                    let parsed = reader.read(&mut turn.x.head, &rules.heads).map_err(NoHead::Refused)?;
                    if parsed == Parsed::Complete {
                        return Poll::Ready(Ok(()));
                    }
                }
                match read_into(cx, self.side.stream, &mut turn.x.head.fields.buffer) {
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
        match turn.x.conn.refused {
            Some(fault) => Err(NoHead::Refused(fault.problem())),
            None => Ok(()),
        }
    }

    /// Reads on for a little after an answer that ends the connection: closing with unread bytes would reset it, and the
    /// client might never see the answer (RFC 9112 §9.6).
    async fn linger(&mut self, turn: &mut Turn, reason: Closed) {
        let (mut time, mut bytes) = LINGER;
        if matches!(reason, Closed::Slow | Closed::Timeout) {
            // It has had its time.
            time /= 2;
        }
        let deadline = self.worker.now() + time;
        // Under TLS a farewell has to be written first, which a client that reads nothing can hold up.
        let farewell = pin!(self.side.stream.shutdown());
        if !matches!(tokio::time::timeout(time, farewell).await, Ok(Ok(()))) {
            return;
        }
        let buffer = &mut turn.x.head.fields.buffer;
        poll_fn(|cx| {
            loop {
                buffer.truncate(0);
                match read_into(cx, self.side.stream, buffer) {
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
    /// It is the preface of HTTP/2.
    Http2,
}

/// What a client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether these bytes are the preface of HTTP/2, as far as they go.
fn speaks_http2(there: &[u8]) -> bool {
    let n = there.len().min(PREFACE.len());
    there[..n] == PREFACE[..n]
}
