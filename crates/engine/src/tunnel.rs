//! A connection that speaks something else than HTTP from now on: WebSocket, mostly (RFC 9110 §7.8, RFC 6455, RFC 8441).
//!
//! Bytes pass both ways as they come. Either side may close its half; the tunnel is over once both have, or once nothing
//! moved for the route's `upgrade.idle`. When the gateway stops, or the route is no more, both ends of a WebSocket are told so in its own words (RFC
//! 6455 §7.4.1); other protocols have none that are known here, and are cut.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tollgate_core::buffer::Buffer;
use tollgate_observe::metrics::Closed;
use tollgate_plan::RoutePlan;

use crate::deployment::Deployment;
use crate::drain::Stage;
use crate::forward::Upstream;
use crate::http::downstream::{Client, Downstream, Gone};
use crate::http::ends::{Sink, Source};
use crate::http::pump::{Broken, Prefix, Pump};
use crate::http::turn::Turn;
use crate::http::websocket;
use crate::serve::After;

/// How long both ends of a WebSocket may take to answer a goodbye.
const CLOSING: Duration = Duration::from_secs(5);

/// The two directions.
struct Tunnel {
    up: Direction,
    down: Direction,
    /// The gateway stops, and says so.
    parts: bool,
}

/// One direction, with the bytes on their way.
struct Direction {
    pump: Pump,
    buffer: Buffer,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes may come.
    Open,
    /// The gateway has said goodbye to the sink; the source may answer what was said to it.
    Parting,
    /// The source closed; the sink is to be told.
    Closing,
    /// The sink was told.
    Closed,
}

/// Carries a tunnel to its end.
pub(crate) async fn run<S: Downstream>(
    client: &mut Client<S>,
    turn: &mut Turn,
    d: &Deployment,
    route: &RoutePlan,
) -> After {
    let Some(mut upstream) = turn.upstream.take() else { return After::Close(Closed::Error) };
    let protocol = upstream.protocol.take().unwrap_or_default();
    if let Err(Gone) = client.side.switch(turn, d, &protocol) {
        return After::Close(Closed::Error);
    }
    turn.x.trail.status = turn.x.reply.head.status;
    let direction = |buffer| match websocket::is_spoken(&protocol) {
        true => Direction::new(Pump::tracked(Box::default()), buffer),
        false => Direction::new(Pump::tunnel(), buffer),
    };
    let mut tunnel = Tunnel {
        // What either side sent right behind its head belongs to the new protocol already.
        up: direction(behind_head(&mut turn.x.head.fields.buffer, turn.x.head.fields.head_len)),
        down: direction(behind_head(&mut turn.x.reply.head.fields.buffer, turn.x.reply.head.fields.head_len)),
        parts: false,
    };
    let reason = tunnel.until_over(client, turn, d, route, &mut upstream).await;
    turn.x.trail.bytes_out = turn.reply_head.written() + tunnel.down.pump.sent;
    turn.tunnelled = tunnel.up.pump.sent;
    client.side.end();
    if reason != Closed::Client {
        // In good order: the client is told, if it takes it at once.
        poll_fn(|cx| Poll::Ready(client.side.poll_close(cx).is_ready())).await;
    }
    After::Close(reason)
}

/// Takes the bytes behind a head out of its buffer, which then holds no more than the head.
fn behind_head(buffer: &mut Buffer, head_len: usize) -> Buffer {
    let rest = buffer.filled().get(head_len..).unwrap_or_default();
    let behind = if rest.is_empty() { Buffer::none() } else { Buffer::holding(rest) };
    buffer.shrink(head_len);
    behind
}

impl Direction {
    fn new(pump: Pump, buffer: Buffer) -> Self {
        Self { pump, buffer, state: State::Open }
    }

    /// Moves bytes; an error of either end is the end.
    fn poll(&mut self, cx: &mut Context<'_>, source: Source<'_>, sink: Sink<'_>) -> Result<(), Broken> {
        if self.state == State::Open
            && let Poll::Ready(moved) = self.pump.poll(cx, source, &mut self.buffer, sink)
        {
            self.state = State::Closing;
            self.buffer = Buffer::none();
            return moved;
        }
        Ok(())
    }

    /// The same once goodbye is to be said; what comes behind that goes nowhere.
    fn poll_parting(&mut self, cx: &mut Context<'_>, source: Source<'_>, sink: Sink<'_>) {
        let sink = if self.state == State::Open { sink } else { Sink::Nowhere };
        let moved = match self.state {
            State::Open | State::Parting => self.pump.poll(cx, source, &mut self.buffer, sink),
            State::Closing | State::Closed => Poll::Ready(Ok(())),
        };
        let Poll::Ready(moved) = moved else { return };
        self.buffer = Buffer::none();
        self.state = match self.state {
            State::Open if moved.is_ok() => {
                self.pump.part();
                cx.waker().wake_by_ref();
                State::Parting
            }
            _ => State::Closed,
        };
    }
}

impl Tunnel {
    async fn until_over<S: Downstream>(
        &mut self,
        client: &mut Client<S>,
        turn: &mut Turn,
        d: &Deployment,
        route: &RoutePlan,
        upstream: &mut Upstream,
    ) -> Closed {
        let drain = Arc::clone(&client.drain);
        let mut bell = pin!(async {
            tokio::select! {
                () = drain.reached(Stage::Draining) => {}
                () = d.recall.over(route) => {}
            }
        });
        let (mut moves, mut deadline) = (0, client.look() + route.bounds.tunnel_idle);
        poll_fn(|cx| {
            if !self.parts && bell.as_mut().poll(cx).is_ready() {
                if !self.part() {
                    return Poll::Ready(Closed::Drain);
                }
                deadline = client.look() + CLOSING;
            }
            match self.poll(cx, client, turn, upstream) {
                Poll::Ready(Ok(())) if self.parts => return Poll::Ready(Closed::Drain),
                Poll::Ready(Ok(())) => return Poll::Ready(Closed::Client),
                Poll::Ready(Err(Broken::Source(error) | Broken::Sink(error))) => return Poll::Ready(reason(&error)),
                Poll::Ready(Err(_)) => return Poll::Ready(Closed::Error),
                Poll::Pending => {}
            }
            let moved = self.up.pump.moves + self.down.pump.moves;
            if moved != moves && !self.parts {
                moves = moved;
                deadline = client.look() + route.bounds.tunnel_idle;
            }
            client.timer.poll(cx, deadline).map(|()| if self.parts { Closed::Drain } else { Closed::Idle })
        })
        .await
    }

    /// Says goodbye to both ends, or that there is no way to: they speak something else.
    fn part(&mut self) -> bool {
        let mut mask = [0; 4];
        self.parts = aws_lc_rs::rand::fill(&mut mask).is_ok()
            && [(&mut self.up, Some(mask)), (&mut self.down, None)].into_iter().all(|(direction, mask)| {
                direction.pump.track().is_some_and(|track| {
                    track.say_goodbye(mask);
                    true
                })
            });
        self.parts
    }

    fn poll<S: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client<S>,
        turn: &mut Turn,
        upstream: &mut Upstream,
    ) -> Poll<Result<(), Broken>> {
        let mut no_head = Prefix::default();
        let line = &mut upstream.line;
        if self.parts {
            self.up.poll_parting(cx, client.side.source(), line.sink(&mut no_head));
            self.down.poll_parting(cx, line.source(), client.side.sink(&mut turn.reply_head));
            let is_over = (self.up.state, self.down.state) == (State::Closed, State::Closed);
            return if is_over { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        self.up.poll(cx, client.side.source(), line.sink(&mut no_head))?;
        self.down.poll(cx, line.source(), client.side.sink(&mut turn.reply_head))?;
        if self.up.state == State::Closing && line.poll_close(cx).is_ready() {
            self.up.state = State::Closed;
        }
        if self.down.state == State::Closing && client.side.poll_close(cx).is_ready() {
            self.down.state = State::Closed;
        }
        match (self.up.state, self.down.state) {
            (State::Closed, State::Closed) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

fn reason(error: &io::Error) -> Closed {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Closed::Client,
        _ => Closed::Error,
    }
}
