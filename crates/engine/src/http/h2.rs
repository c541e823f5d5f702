//! A client's HTTP/2 connection (RFC 9113): one task for its frames, one for each of its streams.
//!
//! The frames are the crate h2's; what the gateway adds is what it takes to let strangers in: a meter of the frames that
//! cost the sender nothing, bounds for everything that is held, and heads judged as strictly as those of HTTP/1.1.

pub(crate) mod copy;
mod follow;
mod meter;
mod request;
mod side;
mod standing;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tollgate_config::model::Limits;
use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Conn;
use tollgate_net::Stream;
use tollgate_observe::metrics::Closed;

use self::meter::Metered;
use self::side::Frames;
use self::standing::{Open, Standing};
use crate::deployment::Deployment;
use crate::faults::{HEAD_TIMEOUT, SLOW_READER};
use crate::http::connection::Deployed;
use crate::http::downstream::Client;
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::pace::{Least, Meter};
use crate::security;
use crate::serve::serve;
use crate::worker::Worker;

/// What may be on its way to us on one stream before it is acknowledged, and on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait to be sent on one stream.
const SEND_BUFFER: usize = 256 * 1024;
/// Streams that the peer reset and that are still remembered; more at a time is rapid reset (CVE-2023-44487).
const RESETS: usize = 50;
/// Streams that we reset because of what the peer sent on them (CVE-2025-8671); h2 counts them over a connection's whole life.
const OWN_RESETS: usize = 200;
/// Streams in a row that may be read too slowly; with more, it is the connection that is.
const MOST_SLOW: u32 = 8;
/// How long a connection that was told to go away may take to read that.
const FAREWELL: Duration = Duration::from_secs(1);

/// Carries a connection to its end. `read`: what was read of it already, its preface at least.
pub(crate) async fn run(
    stream: Stream,
    read: Buffer,
    conn: Arc<Conn>,
    worker: Arc<Worker>,
    source: Deployed,
) -> Closed {
    let limits = source.now(&worker).rules.limits.clone();
    let standing = Standing::new(worker.now());
    let wire = Metered::new(stream, read, worker.clock.clone(), Arc::clone(&standing));
    let handshake = builder(&source.now(&worker)).handshake::<_, Bytes>(wire);
    let connection = match tokio::time::timeout(limits.head_timeout.0, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return Closed::Error,
        Err(_) => return Closed::Timeout,
    };
    let served = Served { conn, worker, source, standing, begun: 0 };
    Box::pin(served.until_closed(connection)).await
}

fn builder(d: &Deployment) -> Builder {
    let limits = &d.rules.limits;
    let streams = u32::try_from(limits.streams.get()).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(streams)
        // The head itself is measured when it is read.
        .max_header_list_size(u32::try_from(d.rules.heads.for_http2()).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(OWN_RESETS))
        // RFC 8441 §3.
        .enable_connect_protocol();
    builder
}

/// A connection's streams, and what they share.
struct Served {
    conn: Arc<Conn>,
    worker: Arc<Worker>,
    source: Deployed,
    standing: Arc<Standing>,
    /// Streams that ever were served.
    begun: u64,
}

type Frame = Connection<Metered, Bytes>;

/// What happened on a connection.
enum Event {
    /// A request.
    Request(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    /// It is over.
    Over(Closed),
    /// The gateway stops.
    Drain,
    /// Nothing was asked for too long.
    Idle,
    /// It had as many requests as it may (`limits.requests_per_connection`).
    Enough,
    /// It costs too much, and is cut off: too many frames that cost the sender nothing, a head that does not end, answers that
    /// are not read.
    Cut(Closed),
}

/// What a connection's task knows of its time.
struct Life {
    timer: Timer,
    /// When something was last served.
    rested: Instant,
    /// Whether what was written is read.
    read: Meter,
    leaving: Option<Leaving>,
}

/// A connection that was told to go.
#[derive(Clone, Copy)]
struct Leaving {
    why: Closed,
    /// Until when at the latest, if it was cut off.
    until: Option<Instant>,
}

impl Life {
    fn new(now: Instant) -> Self {
        Self { timer: Timer::default(), rested: now, read: Meter::default(), leaving: None }
    }

    /// It is to go, once what is on its way has come to its end.
    fn leave(&mut self, why: Closed, now: Instant) {
        self.rested = now;
        self.leaving = Some(Leaving { why, until: None });
    }

    fn is_cut(&self) -> bool {
        self.leaving.is_some_and(|leaving| leaving.until.is_some())
    }

    /// Why it goes, if nothing said so before.
    fn why(&self, otherwise: Closed) -> Closed {
        self.leaving.map_or(otherwise, |leaving| leaving.why)
    }
}

impl Served {
    async fn until_closed(mut self, mut connection: Frame) -> Closed {
        let drain = Arc::clone(&self.source.drain);
        let mut bell = pin!(drain.begun());
        let mut life = Life::new(self.worker.now());
        loop {
            let until = life.leaving.and_then(|leaving| leaving.until);
            let event = poll_fn(|cx| {
                let rings = life.leaving.is_none() && bell.as_mut().poll(cx).is_ready();
                if rings {
                    return Poll::Ready(Event::Drain);
                }
                self.poll_event(cx, &mut connection, &mut life)
            });
            let event = match until {
                None => event.await,
                Some(until) => match tokio::time::timeout_at(until.into(), event).await {
                    Ok(event) => event,
                    Err(_) => return life.why(Closed::Gateway),
                },
            };
            let now = self.worker.now();
            match event {
                Event::Request(request) => self.start(*request),
                Event::Over(reason) => return life.why(reason),
                Event::Drain => {
                    connection.graceful_shutdown();
                    life.leave(Closed::Drain, now);
                }
                // It was told, had nothing more to wait for, and does not go.
                Event::Idle if life.leaving.is_some() => return life.why(Closed::Idle),
                // A request that was on its way is still served (RFC 9113 §6.8).
                Event::Idle | Event::Enough => {
                    connection.graceful_shutdown();
                    let why = if matches!(event, Event::Idle) { Closed::Idle } else { Closed::Gateway };
                    life.leave(why, now);
                }
                Event::Cut(why) => {
                    self.tell(why, now);
                    if self.standing.is_blocked() {
                        // It would not hear of it.
                        return why;
                    }
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    life.leaving = Some(Leaving { why, until: Some(now + FAREWELL) });
                }
            }
        }
    }

    fn poll_event(&self, cx: &mut Context<'_>, connection: &mut Frame, life: &mut Life) -> Poll<Event> {
        let accepted = connection.poll_accept(cx);
        if !life.is_cut() && self.standing.flood().is_some() {
            return Poll::Ready(Event::Cut(Closed::Flood));
        }
        match accepted {
            Poll::Ready(Some(Ok(request))) => return Poll::Ready(Event::Request(Box::new(request))),
            Poll::Ready(Some(Err(error))) if was_left(&error) => return Poll::Ready(Event::Over(Closed::Client)),
            Poll::Ready(Some(Err(error))) if !life.is_cut() && meter::is_flood(&error) => {
                self.tell(Closed::Flood, self.worker.now());
                return Poll::Ready(Event::Over(Closed::Flood));
            }
            Poll::Ready(Some(Err(_))) => return Poll::Ready(Event::Over(Closed::Error)),
            Poll::Ready(None) => return Poll::Ready(Event::Over(Closed::Client)),
            Poll::Pending if life.is_cut() => return Poll::Pending,
            Poll::Pending => {}
        }
        let leaving = life.leaving.is_some();
        // Of a connection that is to go, also what is served and not yet read by the client.
        if self.standing.open() > 0 || leaving && connection.has_streams() {
            life.rested = self.worker.now();
        }
        let limits = &self.source.now(&self.worker).rules.limits;
        let most = limits.requests_per_connection.as_ref().map_or(u64::MAX, |most| most.get());
        if !leaving && self.begun >= most {
            return Poll::Ready(Event::Enough);
        }
        if self.standing.slow() > MOST_SLOW {
            return Poll::Ready(Event::Cut(Closed::Slow));
        }
        self.poll_time(cx, connection, life, limits)
    }

    /// Ready at the first of its deadlines.
    fn poll_time(&self, cx: &mut Context<'_>, connection: &Frame, life: &mut Life, limits: &Limits) -> Poll<Event> {
        let patience = match (life.leaving, self.begun) {
            (Some(_), _) => FAREWELL,
            (None, 0) => limits.head_timeout.0,
            (None, _) => limits.keep_alive.0,
        };
        let mut first = (life.rested + patience, Event::Idle);
        if let Some(due) = self.standing.head_since().map(|since| since + limits.head_timeout.0)
            && due < first.0
        {
            first = (due, Event::Cut(Closed::Timeout));
        }
        if let Some(due) = self.reading_due(connection, life, limits)
            && due < first.0
        {
            first = (due, Event::Cut(Closed::Slow));
        }
        let (at, event) = first;
        life.timer.poll(cx, at).map(|()| event)
    }

    /// Until when the client may be waited for to read what was written: what its socket does not take, and what is left of answers
    /// that are over. Each stream that is served looks after itself.
    fn reading_due(&self, connection: &Frame, life: &mut Life, limits: &Limits) -> Option<Instant> {
        let least = Least::of_answers(limits)?;
        let standing = &self.standing;
        let least = if standing.has_lasting() { least.with_grace(limits.keep_alive.0) } else { least };
        let waits = standing.is_blocked() || standing.open() == 0 && connection.has_streams();
        life.read.look(least, standing.written(), waits, || self.worker.now())
    }

    /// Tells of a connection that is cut off, and counts what it is cut off for.
    fn tell(&self, why: Closed, now: Instant) {
        let slug = match why {
            Closed::Slow => SLOW_READER.slug,
            Closed::Timeout => HEAD_TIMEOUT.slug,
            _ => {
                // h2 may have had enough of something before we had, and does not say of what.
                let kind = self.standing.flood().map_or("other", follow::name);
                self.worker.floods.tell(now, |kept_back| {
                    tracing::info!(client = %self.conn.peer_text, frames = kind, kept_back, "HTTP/2 flood: connection closed");
                });
                return self.worker.counters().flooded(kind);
            }
        };
        security::slow(&self.worker, now, slug, self.conn.peer(), None);
    }

    /// Serves a request, on a task of its own.
    fn start(&mut self, (request, respond): (Request<RecvStream>, SendResponse<Bytes>)) {
        self.begun += 1;
        let (open, standing) = (Open::new(&self.standing), Arc::clone(&self.standing));
        let (conn, worker, deployment) =
            (Arc::clone(&self.conn), Arc::clone(&self.worker), self.source.now(&self.worker));
        let drain = Arc::clone(&self.source.drain);
        tokio::spawn(async move {
            let _open = open;
            let now = worker.now();
            let mut turn = Turn::take(&conn, &deployment.plan.unrouted.meta, now);
            let (head, body) = request.into_parts();
            let refused = request::read(&mut turn, &head, body.is_end_stream(), &deployment.rules).err();
            let side = Frames::new(body, respond, &standing);
            let mut client = Client { side, timer: Timer::default(), worker, conn, drain, now };
            serve(&mut client, &mut turn, &deployment, refused).await;
            turn.give_back();
        });
    }
}

/// Whether the client went, and not we for what it sent.
fn was_left(error: &h2::Error) -> bool {
    error.get_io().is_some_and(|error| error.kind() != std::io::ErrorKind::InvalidData)
}
