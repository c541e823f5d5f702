//! A client's HTTP/2 connection (RFC 9113): one task for its frames, one for each of its streams.
//!
//! The frames are the crate h2's; what the gateway adds is what it takes to let strangers in: a meter of the frames that
//! cost the sender nothing, bounds for everything that is held, and heads judged as strictly as those of HTTP/1.1.

pub(crate) mod copy;
mod meter;
mod request;
mod side;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Conn;
use tollgate_net::Stream;
use tollgate_observe::metrics::Closed;

use self::meter::{Flood, Metered};
use self::side::Frames;
use crate::deployment::Deployment;
use crate::http::connection::Deployed;
use crate::http::downstream::Client;
use crate::http::timer::Timer;
use crate::http::turn::Turn;
use crate::serve::serve;
use crate::worker::Worker;

/// What may be on its way to us on one stream before it is acknowledged, and on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What may wait to be sent on one stream.
const SEND_BUFFER: usize = 256 * 1024;
/// Streams that the peer reset and that are still remembered; more at a time is rapid reset (CVE-2023-44487).
const RESETS: usize = 50;
/// How long a connection that was told to go away may take to read that.
const FAREWELL: Duration = Duration::from_secs(2);

/// Carries a connection to its end. `read`: what was read of it already, its preface at least.
pub(crate) async fn run(
    stream: Stream,
    read: Buffer,
    conn: Arc<Conn>,
    worker: Arc<Worker>,
    source: Deployed,
) -> Closed {
    let limits = source.now(&worker).rules.limits.clone();
    let flood = Arc::new(Flood::default());
    let wire = Metered::new(stream, read, worker.clock.clone(), Arc::clone(&flood));
    let handshake = builder(&source.now(&worker)).handshake::<_, Bytes>(wire);
    let connection = match tokio::time::timeout(limits.head_timeout.0, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return Closed::Error,
        Err(_) => return Closed::Timeout,
    };
    let served = Served { conn, worker, source, flood, open: Arc::default(), begun: 0 };
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
        // RFC 8441 §3.
        .enable_connect_protocol();
    builder
}

/// A connection's streams, and what they share.
struct Served {
    conn: Arc<Conn>,
    worker: Arc<Worker>,
    source: Deployed,
    flood: Arc<Flood>,
    /// Streams that are being served.
    open: Arc<AtomicUsize>,
    /// Streams that ever were.
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
    /// Too many frames that cost the sender nothing.
    Flood,
}

impl Served {
    async fn until_closed(mut self, mut connection: Frame) -> Closed {
        let drain = Arc::clone(&self.source.drain);
        let mut bell = pin!(drain.begun());
        let mut timer = Timer::default();
        // Why it goes, and until when at the latest, if there is such a time: after a flood.
        let mut leaving: Option<(Closed, Option<Instant>)> = None;
        let mut rested = self.worker.now();
        loop {
            let event = poll_fn(|cx| {
                let rings = leaving.is_none() && bell.as_mut().poll(cx).is_ready();
                if rings {
                    return Poll::Ready(Event::Drain);
                }
                self.poll_event(cx, &mut connection, &mut timer, &mut rested, leaving)
            });
            let patience = leaving.as_ref().and_then(|(_, until)| *until);
            let event = match patience {
                None => event.await,
                Some(until) => match tokio::time::timeout_at(until.into(), event).await {
                    Ok(event) => event,
                    Err(_) => return leaving.map_or(Closed::Gateway, |(reason, _)| reason),
                },
            };
            match event {
                Event::Request(request) => self.start(*request),
                Event::Over(reason) => return leaving.map_or(reason, |(reason, _)| reason),
                Event::Drain => {
                    connection.graceful_shutdown();
                    rested = self.worker.now();
                    leaving = Some((Closed::Drain, None));
                }
                // It was told, had nothing more to wait for, and does not go.
                Event::Idle if leaving.is_some() => return leaving.map_or(Closed::Idle, |(reason, _)| reason),
                // A request that was on its way is still served (RFC 9113 §6.8).
                Event::Idle | Event::Enough => {
                    connection.graceful_shutdown();
                    rested = self.worker.now();
                    let reason = if matches!(event, Event::Idle) { Closed::Idle } else { Closed::Gateway };
                    leaving = Some((reason, None));
                }
                Event::Flood => {
                    self.flooded(self.flood.kind());
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    leaving = Some((Closed::Gateway, Some(self.worker.now() + FAREWELL)));
                }
            }
        }
    }

    fn poll_event(
        &self,
        cx: &mut Context<'_>,
        connection: &mut Frame,
        timer: &mut Timer,
        rested: &mut Instant,
        leaving: Option<(Closed, Option<Instant>)>,
    ) -> Poll<Event> {
        let is_flood = leaving.is_some_and(|(_, until)| until.is_some());
        let leaving = leaving.is_some();
        let accepted = connection.poll_accept(cx);
        if !is_flood && self.flood.is_over() {
            return Poll::Ready(Event::Flood);
        }
        match accepted {
            Poll::Ready(Some(Ok(request))) => return Poll::Ready(Event::Request(Box::new(request))),
            Poll::Ready(Some(Err(error))) if was_left(&error) => return Poll::Ready(Event::Over(Closed::Client)),
            Poll::Ready(Some(Err(error))) => {
                if !is_flood && meter::is_flood(&error) {
                    self.flooded("other");
                }
                return Poll::Ready(Event::Over(Closed::Error));
            }
            Poll::Ready(None) => return Poll::Ready(Event::Over(Closed::Client)),
            Poll::Pending => {}
        }
        // Of a connection that is to go, also what is served and not yet read by the client.
        if self.open.load(Ordering::Acquire) > 0 || leaving && connection.has_streams() {
            *rested = self.worker.now();
        }
        let limits = &self.source.now(&self.worker).rules.limits;
        let most = limits.requests_per_connection.as_ref().map_or(u64::MAX, |most| most.get());
        if !leaving && self.begun >= most {
            return Poll::Ready(Event::Enough);
        }
        let patience = match (leaving, self.begun) {
            (true, _) => FAREWELL,
            (false, 0) => limits.head_timeout.0,
            (false, _) => limits.keep_alive.0,
        };
        timer.poll(cx, *rested + patience).map(|()| Event::Idle)
    }

    fn flooded(&self, kind: &'static str) {
        self.worker.floods.tell(self.worker.now(), |kept_back| {
            tracing::info!(client = %self.conn.peer_text, frames = kind, kept_back, "HTTP/2 flood: connection closed");
        });
        self.worker.counters().flooded(kind);
    }

    /// Serves a request, on a task of its own.
    fn start(&mut self, (request, respond): (Request<RecvStream>, SendResponse<Bytes>)) {
        self.begun += 1;
        let open = Open::new(&self.open);
        let (conn, worker, deployment) =
            (Arc::clone(&self.conn), Arc::clone(&self.worker), self.source.now(&self.worker));
        let drain = Arc::clone(&self.source.drain);
        tokio::spawn(async move {
            let _open = open;
            let now = worker.now();
            let mut turn = Turn::take(&conn, &deployment.plan.unrouted.meta, now);
            let (head, body) = request.into_parts();
            let refused = request::read(&mut turn, &head, body.is_end_stream(), &deployment.rules).err();
            let side = Frames::new(body, respond);
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

/// Counts a stream while it is served.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
