//! Answering the client: the gateway's own answers, and those that a service gives.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tollgate_core::body::{Body, Length};
use tollgate_core::exchange::Exchange;
use tollgate_core::field::Known;
use tollgate_core::head::{Method, Version};
use tollgate_core::problem::{Fault, Problem, Side};
use tollgate_core::reply::Reply;
use tollgate_http1::transfer::Outflow;
use tollgate_http1::write;
use tollgate_observe::metrics::Closed;
use tollgate_plan::{Captures, Fixed, Redirect, RoutePlan};
use tollgate_upstream::faults::{RESET, TIMEOUT};

use crate::deployment::Deployment;
use crate::forward::{Transit, Upstream};
use crate::http::attempt::watch;
use crate::http::client::Client;
use crate::http::pump::Broken;
use crate::http::turn::Turn;
use crate::serve::After;

/// The answer for a problem, in the route's dialect.
pub(crate) fn render(turn: &mut Turn, route: &RoutePlan, mut problem: Problem) -> Transit {
    let fault = problem.fault;
    turn.x.trail.fault = Some(fault);
    turn.x.trail.cause = problem.cause.take();
    if let (Side::Upstream, Some(cause)) = (fault.side, &turn.x.trail.cause) {
        tracing::debug!(route = %route.meta.name, id = turn.x.id.as_str(), fault = fault.slug, %cause, "no answer from the service");
    }
    turn.x.reply = route.dialect.render(&problem, turn.x.id.as_str());
    Transit::Own
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
pub(crate) async fn send(
    client: &mut Client,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    transit: Transit,
    is_framed: bool,
) -> After {
    turn.x.trail.status = turn.x.reply.head.status;
    match transit {
        Transit::Own => own(client, turn, d, route, is_framed).await,
        Transit::Upstream(upstream) => relay(client, turn, d, route, upstream).await,
    }
}

/// How an answer's body goes out, and what its head says of it.
struct Framing {
    told: Length,
    outflow: Outflow,
    /// The end of the body is the end of the connection.
    ends_connection: bool,
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
        _ if turn.x.head.version == Version::Http11 => {
            Framing { told: Length::Chunked, outflow: Outflow::Chunked, ends_connection: false }
        }
        _ => Framing { told: Length::None, outflow: Outflow::Plain, ends_connection: true },
    }
}

/// Writes the answer's head.
fn write_head(turn: &mut Turn, client: &Client, d: &Deployment, told: Length, stays: bool) {
    let (x, out) = (&turn.x, turn.reply_head.clear());
    write::status_line(out, x.reply.head.status);
    let correlation = &d.rules.correlation;
    let echo = correlation.echo;
    write::fields(out, &x.reply.head.fields, |known, name| echo && correlation.is_header(known, name));
    // RFC 9110 §6.6.1: a message without `Date` gets one.
    if x.reply.head.fields.known(Known::Date).is_none() {
        out.extend_from_slice(b"Date: ");
        client.worker.write_date(out);
        out.extend_from_slice(b"\r\n");
    }
    match told {
        Length::None | Length::UntilClose => {}
        Length::Known(n) => write::content_length(out, n),
        Length::Chunked => write::chunked(out),
    }
    if echo {
        write::field(out, &correlation.header, x.id.as_str().as_bytes());
    }
    match (stays, x.head.version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Sends an answer that the gateway has in memory.
async fn own(client: &mut Client, turn: &mut Turn, d: &Deployment, route: &RoutePlan, is_framed: bool) -> After {
    // A client that was too slow for its body is not waited for once more (RFC 9110 §15.5.9), and one whose body is too
    // large is not read from (§15.5.14), however much of it has come already.
    let is_over = turn.x.trail.fault.is_some_and(|fault| matches!(fault.status, 408 | 413));
    let rest = if is_framed && !is_over { unread(client, turn).await } else { Unread::Much };
    let body = match std::mem::take(&mut turn.x.reply.body) {
        Body::Full(bytes) => bytes,
        Body::Empty | Body::Wire(_) | Body::Stream(..) => bytes::Bytes::new(),
    };
    let length = Length::Known(body.len() as u64);
    let framing = framing(turn, length, length);
    let stays = rest != Unread::Much && client.may_stay(turn, d);
    write_head(turn, client, d, framing.told, stays);
    let body = if framing.outflow == Outflow::Nothing { bytes::Bytes::new() } else { body };
    match (write_all(client, turn, &body, route.bounds.idle).await, rest) {
        (Err(reason), _) => After::Close(reason),
        (Ok(()), Unread::Nothing) if stays => After::Next,
        (Ok(()), Unread::Little) if stays => match discard(client, turn).await {
            true => After::Next,
            false => After::Linger,
        },
        (Ok(()), _) => After::Linger,
    }
}

/// Writes the answer's head and body.
async fn write_all(client: &mut Client, turn: &mut Turn, body: &[u8], idle: Duration) -> Result<(), Closed> {
    let total = turn.reply_head.bytes.len() + body.len();
    let mut written = 0;
    let mut deadline = client.worker.now() + idle;
    client.answering = true;
    let sent = poll_fn(|cx| {
        while written < total {
            match write_some(cx, client, &turn.reply_head.bytes, body, written) {
                Poll::Ready(Ok(n)) => {
                    written += n;
                    deadline = client.worker.now() + idle;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Closed::Error)),
                Poll::Pending => return client.timer.poll(cx, deadline).map(|()| Err(Closed::Timeout)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await;
    client.answering = sent.is_err();
    turn.x.trail.bytes_out = written as u64;
    sent
}

/// How much of a request's body is still to come when nobody wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Nothing: what there was is thrown away.
    Nothing,
    /// So little that reading it is cheaper for all than a new connection.
    Little,
    /// Much, or nobody knows.
    Much,
}

/// Most bytes of an unwanted body that are read to keep a connection, and for how long.
const LITTLE: (u64, Duration) = (64 * 1024, Duration::from_secs(5));

/// Throws away what was read of the body, without waiting for more.
async fn unread(client: &mut Client, turn: &mut Turn) -> Unread {
    if turn.upload.is_done() || (turn.x.length == Length::None && turn.upload.has_arrived()) {
        return Unread::Nothing;
    }
    let polled =
        poll_fn(|cx| Poll::Ready(turn.upload.poll_discard(cx, &mut client.stream, &mut turn.x.head.fields.buffer)));
    match polled.await {
        Poll::Ready(Ok(())) => Unread::Nothing,
        Poll::Ready(Err(_)) => Unread::Much,
        Poll::Pending => outstanding(turn),
    }
}

/// How much of a body is still to come that has not arrived whole.
fn outstanding(turn: &Turn) -> Unread {
    match turn.x.length {
        // Told to go on, it may or may not send its body: nobody can tell a body from the next request then.
        _ if turn.verdict.expects_continue => Unread::Much,
        Length::Known(n) if n - turn.upload.taken().min(n) > LITTLE.0 => Unread::Much,
        _ => Unread::Little,
    }
}

/// Reads the little that is left of an unwanted body; whether it came.
async fn discard(client: &mut Client, turn: &mut Turn) -> bool {
    let deadline = client.worker.now() + LITTLE.1;
    let most = turn.upload.taken() + LITTLE.0;
    poll_fn(|cx| {
        let polled = turn.upload.poll_discard(cx, &mut client.stream, &mut turn.x.head.fields.buffer);
        match polled {
            Poll::Ready(ended) => Poll::Ready(ended.is_ok()),
            Poll::Pending if turn.upload.taken() > most => Poll::Ready(false),
            Poll::Pending => client.timer.poll(cx, deadline).map(|()| false),
        }
    })
    .await
}

fn write_some(
    cx: &mut Context<'_>,
    client: &mut Client,
    head: &[u8],
    body: &[u8],
    written: usize,
) -> Poll<std::io::Result<usize>> {
    let head_left = head.get(written..).unwrap_or_default();
    let body_left = body.get(written.saturating_sub(head.len())..).unwrap_or_default();
    let slices = [IoSlice::new(head_left), IoSlice::new(body_left)];
    let n = ready!(Pin::new(&mut client.stream).poll_write_vectored(cx, &slices))?;
    Poll::Ready(if n == 0 { Err(std::io::ErrorKind::WriteZero.into()) } else { Ok(n) })
}

/// Passes a service's answer on while it comes.
async fn relay(
    client: &mut Client,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
    mut upstream: Upstream,
) -> After {
    let length = match turn.x.reply.body {
        Body::Wire(length) => length,
        Body::Empty | Body::Full(_) | Body::Stream(..) => Length::None,
    };
    let framing = framing(turn, length, upstream.told);
    // Answered long before the end of the request: the rest is not waited for, and the client is told so.
    let is_early = !turn.upload.has_arrived() && outstanding(turn) == Unread::Much;
    let stays = !upstream.upload_dead && !is_early && !framing.ends_connection && client.may_stay(turn, d);
    write_head(turn, client, d, framing.told, stays);
    turn.download.send_as(framing.outflow);
    let head_len = turn.reply_head.bytes.len() as u64;
    client.answering = true;
    let moved = move_both(client, turn, route, &mut upstream).await;
    let begun = turn.reply_head.is_begun();
    turn.x.trail.bytes_out = if begun { head_len + turn.download.sent } else { 0 };
    match moved {
        Ok(()) => {
            client.answering = false;
            let clean = turn.download.from == turn.x.reply.head.fields.buffer.len();
            // Neither kept while the client's unwanted rest is read: others may be waiting for its place.
            match upstream.keep_alive && clean && turn.upload.is_done() {
                true => upstream.connection.release(client.now),
                false => drop(upstream.connection),
            }
            match (stays, turn.upload.is_done()) {
                (true, true) => After::Next,
                // Answered before the end of the request: what is left of it is not the next one.
                (true, false) if discard(client, turn).await => After::Next,
                // Whatever the client sent behind it must not turn the close into a reset.
                (_, _) => After::Linger,
            }
        }
        Err(Halt::Client(reason)) => After::Close(reason),
        Err(Halt::Upstream(fault, what)) => {
            tracing::debug!(route = %route.meta.name, id = turn.x.id.as_str(), cause = %what, "an answer broke off");
            turn.x.trail.fault = Some(fault);
            turn.x.trail.cause = Some(what);
            After::Close(Closed::Upstream)
        }
    }
}

/// Why an answer was not passed on to its end.
enum Halt {
    Client(Closed),
    Upstream(&'static Fault, String),
}

async fn move_both(
    client: &mut Client,
    turn: &mut Turn,
    route: &RoutePlan,
    upstream: &mut Upstream,
) -> Result<(), Halt> {
    let mut moves = None;
    let mut deadline = client.now;
    poll_fn(|cx| {
        poll_upload(cx, client, turn, upstream)?;
        let source = &mut upstream.connection.stream;
        let buffer = &mut turn.x.reply.head.fields.buffer;
        match turn.download.poll(cx, source, buffer, &mut client.stream, &mut turn.reply_head) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Broken::Sink(_))) => return Poll::Ready(Err(Halt::Client(Closed::Error))),
            Poll::Ready(Err(broken)) => return Poll::Ready(Err(Halt::Upstream(&RESET, broken.to_string()))),
            Poll::Pending => {}
        }
        if turn.upload.has_arrived() && watch(cx, client, turn).is_err() {
            return Poll::Ready(Err(Halt::Client(Closed::Client)));
        }
        let now_moved = Some((turn.download.moves, turn.upload.moves));
        if moves != now_moved {
            moves = now_moved;
            deadline = self::deadline(client, turn, route);
        }
        client.timer.poll(cx, deadline).map(|()| match turn.download.is_blocked_on_sink(&turn.reply_head) {
            true => Err(Halt::Client(Closed::Timeout)),
            false => Err(Halt::Upstream(&TIMEOUT, "no byte within the route's `idle` or `total` time".to_owned())),
        })
    })
    .await
}

fn deadline(client: &Client, turn: &Turn, route: &RoutePlan) -> std::time::Instant {
    let idle = client.worker.now() + route.bounds.idle;
    route.bounds.total.map_or(idle, |total| idle.min(turn.x.began + total))
}

/// The rest of the request's body, which may still be coming while the answer goes out.
fn poll_upload(
    cx: &mut Context<'_>,
    client: &mut Client,
    turn: &mut Turn,
    upstream: &mut Upstream,
) -> Result<(), Halt> {
    if upstream.upload_dead || turn.upload.is_done() {
        return Ok(());
    }
    let buffer = &mut turn.x.head.fields.buffer;
    let sink = &mut upstream.connection.stream;
    match turn.upload.poll(cx, &mut client.stream, buffer, sink, &mut turn.request_head) {
        Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
        // The service stopped reading: its answer still counts (RFC 9112 §9.5).
        Poll::Ready(Err(Broken::Sink(_))) => {
            upstream.upload_dead = true;
            upstream.keep_alive = false;
            Ok(())
        }
        Poll::Ready(Err(_)) => Err(Halt::Client(Closed::Error)),
    }
}
