//! Answering the client: the gateway's own answers, and those that a service gives.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tollgate_core::body::{Body, BodyStream, Length};
use tollgate_core::dialect::grpc::Grpc;
use tollgate_core::exchange::Exchange;
use tollgate_core::head::{Method, Version};
use tollgate_core::problem::{Fault, Problem, Side};
use tollgate_core::reply::Reply;
use tollgate_http1::transfer::Outflow;
use tollgate_observe::metrics::Closed;
use tollgate_plan::{Captures, Fixed, Redirect, RoutePlan};
use tollgate_upstream::faults::{RESET, TIMEOUT};

use crate::deployment::Deployment;
use crate::faults::{BODY_BROKEN, SLOW_BODY};
use crate::forward::{Transit, Upstream};
use crate::http::attempt::recode_problem;
use crate::http::downstream::{Client, Cut, Downstream, Framing, Gone, Unread};
use crate::http::ends::Source;
use crate::http::h1::LITTLE;
use crate::http::pump::{BodyLimits, Broken, Pump};
use crate::http::turn::Turn;
use crate::pace::{self, Dues};
use crate::recall::{Came, Watch};
use crate::serve::After;
use crate::tunnel;

/// The answer for a problem, in the route's dialect.
pub(crate) fn render(turn: &mut Turn, route: &RoutePlan, problem: Problem) -> Transit {
    let problem = blame(turn, route, problem);
    // Callers of gRPC understand no other answer, whatever the route's dialect.
    let dialect = if turn.is_grpc { &Grpc } else { route.dialect };
    turn.x.reply = dialect.render(&problem, turn.x.id.as_str());
    Transit::Own
}

/// Keeps what was wrong for the log and the counters, whatever is answered.
pub(crate) fn blame(turn: &mut Turn, route: &RoutePlan, mut problem: Problem) -> Problem {
    let fault = problem.fault;
    turn.x.trail.fault = Some(fault);
    turn.x.trail.cause = problem.cause.take();
    if let (Side::Upstream, Some(cause)) = (fault.side, &turn.x.trail.cause) {
        tracing::debug!(route = %route.meta.name, id = turn.x.id.as_str(), fault = fault.slug, %cause, "no answer from the service");
    }
    problem
}

/// An answer written in the file.
pub(crate) fn fixed(fixed: &Fixed) -> Reply {
    let body = if fixed.body.is_empty() { Body::Empty } else { Body::Full(fixed.body.clone()) };
    let mut reply = Reply { body, ..Reply::empty(fixed.status) };
    for (name, value) in &fixed.fields {
        reply.head.fields.add(name.clone(), value.clone());
    }
    reply
}

/// A redirect.
pub(crate) fn redirect(x: &Exchange, redirect: &Redirect, captures: &Captures) -> Reply {
    let mut location = Vec::with_capacity(64);
    redirect.to.write(&x.head, captures, &mut location);
    Reply::empty(redirect.status).header("Location", location)
}

/// Sends the answer. `is_framed`: the request's body is understood, so that there may be a next request.
pub(crate) async fn send<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    transit: Transit,
    is_framed: bool,
) -> After {
    turn.x.trail.status = turn.x.reply.head.status;
    let changes = turn.upstream.as_ref().is_some_and(|upstream| upstream.protocol.is_some());
    match transit {
        Transit::Own => own(client, turn, d, route, is_framed).await,
        // Boxed: every idle connection would else keep room for it.
        Transit::Upstream if changes => Box::pin(tunnel::run(client, turn, d, route)).await,
        Transit::Upstream => relay(client, turn, d, route).await,
    }
}

/// RFC 9112 §6.1, §6.3: no body for `HEAD`, 1xx, 204 and 304; chunks only for those who know them.
fn framing(turn: &Turn, body: Length, told: Length) -> Framing {
    let status = turn.x.reply.head.status;
    if status == 204 || status < 200 {
        return Framing { told: Length::None, outflow: Outflow::Nothing, ends_connection: false };
    }
    if turn.x.head.method == Method::Head || status == 304 {
        let told = if matches!(told, Length::Known(_)) { told } else { Length::None };
        return Framing { told, outflow: Outflow::Nothing, ends_connection: false };
    }
    match body {
        Length::None => Framing { told: Length::Known(0), outflow: Outflow::Plain, ends_connection: false },
        Length::Known(n) => Framing { told: Length::Known(n), outflow: Outflow::Plain, ends_connection: false },
        _ if turn.x.head.version != Version::Http10 => {
            Framing { told: Length::Chunked, outflow: Outflow::Chunked, ends_connection: false }
        }
        _ => Framing { told: Length::None, outflow: Outflow::Plain, ends_connection: true },
    }
}

/// Sends an answer that the gateway has, or makes, itself.
async fn own<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    is_framed: bool,
) -> After {
    // A policy may have put this in place of a service's answer.
    turn.upstream = None;
    // A client that was too slow for its body is not waited for once more (RFC 9110 §15.5.9), and one whose body is too
    // large is not read from (§15.5.14), however much of it has come already.
    let is_over = turn.x.trail.fault.is_some_and(|fault| matches!(fault.status, 408 | 413));
    let rest = match is_framed && !is_over {
        true => poll_fn(|cx| Poll::Ready(client.side.poll_unread(cx, turn))).await,
        false => Unread::Much,
    };
    let (mut source, length) = match std::mem::take(&mut turn.x.reply.body) {
        Body::Full(bytes) => (Own::Held(bytes.clone()), Length::Known(bytes.len() as u64)),
        Body::Stream(length, stream) => (Own::Made(stream), length),
        Body::Empty | Body::Wire(_) => (Own::Held(bytes::Bytes::new()), Length::Known(0)),
    };
    turn.download = match &mut source {
        Own::Held(bytes) => Pump::holding(std::mem::take(bytes)),
        Own::Made(_) => Pump::new(Length::Chunked, NO_LIMITS, 0),
    };
    let length = recode(turn, length);
    let framing = framing(turn, length, length);
    let stays = rest != Unread::Much && !framing.ends_connection && client.may_stay(turn, d);
    let sent = match client.side.begin(turn, d, &client.worker, framing, stays) {
        Ok(()) => {
            turn.download.send_as(framing.outflow);
            send_own(client, turn, d, route, &mut source).await
        }
        Err(Gone) => Err(Halt::Client(Closed::Error)),
    };
    turn.x.trail.bytes_out = turn.reply_head.written() + turn.download.sent;
    match (sent, rest) {
        (Err(halt), _) => halted(client, turn, route, halt),
        (Ok(()), Unread::Nothing) if stays => After::Next,
        (Ok(()), Unread::Little) if stays => match Box::pin(discard(client, turn)).await {
            true => After::Next,
            false => After::Linger(Closed::Gateway),
        },
        (Ok(()), _) => After::Linger(why_closed(turn)),
    }
}

/// Why a connection is closed behind an answer of the gateway's own.
fn why_closed(turn: &Turn) -> Closed {
    match turn.x.trail.fault {
        Some(fault) if std::ptr::eq(fault, &SLOW_BODY) => Closed::Slow,
        Some(fault) if fault.status == 408 => Closed::Timeout,
        _ => Closed::Gateway,
    }
}

/// Sets the answer's recoders to work; gives the length of what they make of a body of this length.
fn recode(turn: &mut Turn, length: Length) -> Length {
    let recoders = std::mem::take(&mut turn.x.reply.recoders);
    if recoders.is_empty() || length == Length::None {
        return length;
    }
    turn.download.recode_with(recoders, length);
    turn.download.outgoing(length)
}

/// A body of the gateway's own.
enum Own {
    Held(bytes::Bytes),
    Made(Box<dyn BodyStream>),
}

impl Own {
    fn source(&mut self) -> Source<'_> {
        match self {
            Self::Held(_) => Source::Held,
            Self::Made(stream) => Source::Made(stream.as_mut()),
        }
    }
}

/// For bodies that nobody needs to be protected from.
const NO_LIMITS: BodyLimits = BodyLimits { content: u64::MAX, trailer: 0, trailer_fields: 0 };

async fn send_own<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    body: &mut Own,
) -> Result<(), Halt> {
    let mut watch = Watch::new(&d.recall, route, client.now);
    let mut moves = None;
    let mut deadline = client.now;
    let sent = poll_fn(|cx| {
        let buffer = &mut turn.x.reply.head.fields.buffer;
        match turn.download.poll(cx, body.source(), buffer, client.side.sink(&mut turn.reply_head)) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Broken::Sink(_))) => return Poll::Ready(Err(Halt::Client(Closed::Error))),
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(Halt::Upstream(&BODY_BROKEN, broken.to_string()))),
            Poll::Pending => {}
        }
        if moves != Some(turn.download.moves) {
            moves = Some(turn.download.moves);
            deadline = self::deadline(client, turn, route);
        }
        let dues = Dues { up: None, down: pace::download(client, turn, d) };
        watch.poll(cx, client, dues.before(deadline)).map(|ended| match ended {
            Came::Route => Err(Halt::Client(Closed::Drain)),
            Came::Deadline => Err(dues.missed(deadline).unwrap_or(Halt::Client(Closed::Timeout))),
        })
    })
    .await;
    if sent.is_ok() {
        client.side.end();
    }
    sent
}

/// For how long the little that is left of an unwanted body is waited for.
const LITTLE_TIME: Duration = Duration::from_secs(5);

/// Reads the little that is left of an unwanted body; whether it came.
async fn discard<S: Downstream>(client: &mut Client<S>, turn: &mut Turn) -> bool {
    let deadline = client.worker.now() + LITTLE_TIME;
    let most = turn.upload.taken() + LITTLE;
    poll_fn(|cx| match client.side.poll_discard(cx, turn) {
        Poll::Ready(came) => Poll::Ready(came),
        Poll::Pending if turn.upload.taken() > most => Poll::Ready(false),
        Poll::Pending => client.timer.poll(cx, deadline).map(|()| false),
    })
    .await
}

/// Passes a service's answer on while it comes.
async fn relay<S: Downstream>(client: &mut Client<S>, turn: &mut Turn, d: &Deployment, route: &RoutePlan) -> After {
    let Some(mut upstream) = turn.upstream.take() else { return After::Close(Closed::Error) };
    let length = match turn.x.reply.body {
        Body::Wire(length) => length,
        Body::Empty | Body::Full(_) | Body::Stream(..) => Length::None,
    };
    let recoded = recode(turn, length);
    let framing = framing(turn, recoded, if recoded == length { upstream.told } else { recoded });
    // Answered long before the end of the request: the rest is not waited for, and the client is told so.
    let is_early = S::outstanding(turn) == Unread::Much;
    let may_stay = !upstream.upload_dead && !is_early && !framing.ends_connection;
    let stays = may_stay && client.may_stay(turn, d);
    if let Err(Gone) = client.side.begin(turn, d, &client.worker, framing, stays) {
        return After::Close(Closed::Error);
    }
    turn.download.send_as(framing.outflow);
    let moved = move_both(client, turn, d, route, &mut upstream).await;
    turn.x.trail.bytes_out = turn.reply_head.written() + turn.download.sent;
    match moved {
        Ok(()) => {
            client.side.end();
            let clean = turn.download.from == turn.x.reply.head.fields.buffer.len();
            // Neither kept while the client's unwanted rest is read: others may be waiting for its place.
            let is_over = upstream.keep_alive && turn.upload.is_done();
            upstream.line.release(is_over && clean, client.now);
            match (stays, turn.upload.is_done()) {
                (true, true) => After::Next,
                // Answered before the end of the request: what is left of it is not the next one.
                (true, false) if Box::pin(discard(client, turn)).await => After::Next,
                // Whatever the client sent behind it must not turn the close into a reset.
                (_, _) => After::Linger(Closed::Gateway),
            }
        }
        Err(halt) => halted(client, turn, route, halt),
    }
}

/// An answer ended before its end, and must not look whole.
fn halted<S: Downstream>(client: &mut Client<S>, turn: &mut Turn, route: &RoutePlan, halt: Halt) -> After {
    client.side.cut(if matches!(halt, Halt::Slow(_)) { Cut::Slow } else { Cut::Broken });
    match halt {
        Halt::Client(reason) => {
            if reason == Closed::Timeout {
                turn.x.trail.cause =
                    Some("the client took nothing within the route's `idle` or `total` time".to_owned());
            }
            After::Close(reason)
        }
        Halt::Slow(fault) => {
            turn.x.trail.fault = Some(fault);
            After::Close(Closed::Slow)
        }
        Halt::Upstream(fault, what) => {
            tracing::debug!(route = %route.meta.name, id = turn.x.id.as_str(), cause = %what, "an answer broke off");
            turn.x.trail.fault = Some(fault);
            turn.x.trail.cause = Some(what);
            After::Close(Closed::Upstream)
        }
    }
}

/// Why an answer was not passed on to its end.
#[derive(Debug)]
pub(crate) enum Halt {
    Client(Closed),
    /// The client does not keep the pace.
    Slow(&'static Fault),
    Upstream(&'static Fault, String),
}

async fn move_both<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    upstream: &mut Upstream,
) -> Result<(), Halt> {
    let mut watch = Watch::new(&d.recall, route, client.now);
    let mut moves = None;
    let mut deadline = client.now;
    poll_fn(|cx| {
        poll_upload(cx, client, turn, upstream)?;
        let source = upstream.line.source();
        let buffer = &mut turn.x.reply.head.fields.buffer;
        match turn.download.poll(cx, source, buffer, client.side.sink(&mut turn.reply_head)) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Broken::Sink(_))) => return Poll::Ready(Err(Halt::Client(Closed::Error))),
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(Halt::Upstream(&RESET, broken.to_string()))),
            Poll::Pending => {}
        }
        if turn.upload.has_arrived() && client.side.is_gone(cx, turn) {
            return Poll::Ready(Err(Halt::Client(Closed::Client)));
        }
        let now_moved = Some((turn.download.moves, turn.upload.moves));
        if moves != now_moved {
            moves = now_moved;
            deadline = self::deadline(client, turn, route);
        }
        let dues = Dues { up: upload_due(client, turn, d, upstream), down: pace::download(client, turn, d) };
        watch.poll(cx, client, dues.before(deadline)).map(|ended| match ended {
            Came::Route => Err(Halt::Client(Closed::Drain)),
            Came::Deadline if let Some(halt) = dues.missed(deadline) => Err(halt),
            Came::Deadline if turn.download.is_blocked_on_sink(&turn.reply_head) => Err(Halt::Client(Closed::Timeout)),
            Came::Deadline => {
                Err(Halt::Upstream(&TIMEOUT, "no byte within the route's `idle` or `total` time".to_owned()))
            }
        })
    })
    .await
}

fn deadline<S>(client: &mut Client<S>, turn: &Turn, route: &RoutePlan) -> Instant {
    turn.x.by(client.look() + route.bounds.idle)
}

/// Until when the client may be waited for to send the rest of its request.
fn upload_due<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    upstream: &Upstream,
) -> Option<Instant> {
    if upstream.upload_dead || turn.upload.has_arrived() {
        return None;
    }
    // Who waits to be told to go on may never send it (RFC 9110 §10.1.1).
    let holds_back = turn.verdict.expects_continue && turn.upload.taken() == 0;
    let waits = !holds_back && !turn.upload.is_blocked_on_sink(&turn.request_head);
    pace::upload(client, turn, d, Some(&upstream.line), waits)
}

/// The rest of the request's body, which may still be coming while the answer goes out.
fn poll_upload<S: Downstream>(
    cx: &mut Context<'_>,
    client: &mut Client<S>,
    turn: &mut Turn,
    upstream: &mut Upstream,
) -> Result<(), Halt> {
    if upstream.upload_dead || turn.upload.is_done() {
        return Ok(());
    }
    let buffer = &mut turn.x.head.fields.buffer;
    let sink = upstream.line.sink(&mut turn.request_head);
    match turn.upload.poll(cx, client.side.source(), buffer, sink) {
        Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
        // The service stopped reading: its answer still counts (RFC 9112 §9.5).
        Poll::Ready(Err(Broken::Sink(_))) => {
            upstream.upload_dead = true;
            upstream.keep_alive = false;
            Ok(())
        }
        Poll::Ready(Err(Broken::Recode(error, problem))) => {
            // The head of the answer is out: the client cannot be told any more, but those who count are.
            let problem = recode_problem(error, problem);
            turn.x.trail.fault = Some(problem.fault);
            turn.x.trail.cause = problem.cause.clone().or_else(|| Some(problem.detail.clone().into_owned()));
            Err(Halt::Client(Closed::Error))
        }
        Poll::Ready(Err(_)) => Err(Halt::Client(Closed::Error)),
    }
}
