//! HTTP/2 to an instance (RFC 9113): one connection that carries many requests at once.
//!
//! The frames are the crate h2's. Here is who may begin a request on which connection, and when a connection is left
//! alone. What a request says is the engine's.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Ping;
use h2::client::{Builder, Connection, SendRequest};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tollgate_net::Stream;

use crate::shared::{Place, Settings, Shared};

/// What may be on its way to us on one stream before it is acknowledged.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The most that RFC 9113 §6.9.1 allows for a window.
const MOST_WINDOW: u32 = (1 << 31) - 1;
/// What may wait to be sent on one stream.
const SEND_BUFFER: usize = 256 * 1024;

/// For how long an instance that was heard is believed to be there.
const TRUST: Duration = Duration::from_secs(20);

/// Sizes of connections to a service.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// Most requests at once on one connection; the instance may allow fewer.
    pub streams: u32,
    /// Largest head of an answer, in bytes, counted as RFC 9113 §6.5.2 does.
    pub head: u32,
}

/// A connection that speaks HTTP/2.
pub(crate) struct Session {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
    worker: usize,
    streams: AtomicU32,
    most: u32,
    state: Arc<State>,
    made: Instant,
    rested: Mutex<Instant>,
    /// When the instance was last heard, or asked whether it is there.
    heard: Mutex<Instant>,
}

/// What a connection carried before a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: it may have died while it rested.
    Rested,
    /// Other requests.
    Busy,
}

/// What a connection's task and its requests tell each other.
#[derive(Debug)]
struct State {
    /// No request is begun on it any more.
    retired: AtomicBool,
    /// How far it has come.
    phase: watch::Sender<Phase>,
    /// Somebody waited in vain: is anybody there?
    suspected: Notify,
    /// It carries nothing, and its place is needed.
    unwanted: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The other side's settings have not come.
    New,
    Settled,
    Over,
}

impl Session {
    /// Exchanges prefaces on a new connection. The connection then lives on a task of this thread until both sides are
    /// done with it, and holds its place for as long.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn open(
        stream: Stream,
        shared: &Arc<Shared>,
        mut place: Place,
        now: Instant,
    ) -> Result<Arc<Self>, h2::Error> {
        let (settings, patience) = (shared.settings.sessions, shared.settings.connect_timeout);
        let (send, connection) = builder(settings).handshake::<_, Bytes>(stream).await?;
        place.connected();
        let (worker, shared) = (place.worker(), Arc::clone(shared));
        let (phase, retired) = (watch::Sender::new(Phase::New), AtomicBool::new(false));
        let state = Arc::new(State { retired, phase, suspected: Notify::new(), unwanted: Notify::new() });
        tokio::spawn(drive(connection, Arc::clone(&state), patience, place));
        let (streams, rested, long_ago) = (AtomicU32::new(0), Mutex::new(now), now.checked_sub(TRUST).unwrap_or(now));
        let heard = Mutex::new(long_ago);
        Ok(Arc::new(Self { send, shared, worker, streams, most: settings.streams, state, made: now, rested, heard }))
    }

    /// The right to begin one more request, if the connection is fit for it and has room; and whether it carried nothing
    /// before.
    pub(crate) fn lease(self: &Arc<Self>) -> Option<(Lease, Before)> {
        if !self.is_alive() {
            return None;
        }
        let most = self.most();
        let begun = self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1));
        let before = if begun.ok()? == 0 { Before::Rested } else { Before::Busy };
        Some((Lease(Arc::clone(self)), before))
    }

    /// Most requests at once. The instance's limit may be lower than ours, and may change (RFC 9113 §5.1.2).
    fn most(&self) -> u32 {
        u32::try_from(self.send.current_max_send_streams()).map_or(self.most, |theirs| theirs.min(self.most))
    }

    /// Whether a request may be begun: neither side said that it goes, and the connection is not broken.
    pub(crate) fn is_alive(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        !self.state.retired.load(Ordering::Acquire)
            && !matches!(self.send.clone().poll_ready(&mut nobody), Poll::Ready(Err(_)))
    }

    /// Whether a request would find room.
    pub(crate) fn has_room(&self) -> bool {
        self.streams.load(Ordering::Acquire) < self.most() && self.is_alive()
    }

    /// Whether it carries nothing.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.load(Ordering::Acquire) == 0
    }

    /// Whether it carried nothing for too long, or is too old.
    pub(crate) fn is_over(&self, now: Instant, settings: &Settings) -> bool {
        let is_old = settings.age.is_some_and(|most| now.saturating_duration_since(self.made) >= most);
        is_old || self.is_idle() && now.saturating_duration_since(self.rested()) >= settings.idle_for
    }

    /// No further request is begun on it. It ends with its last one.
    pub(crate) fn retire(&self) {
        self.state.retired.store(true, Ordering::Release);
    }

    /// Ends it at once, if it carries nothing; whether it does.
    pub(crate) fn close_idle(&self) -> bool {
        let is_idle = self.is_idle();
        if is_idle {
            self.retire();
            self.state.unwanted.notify_one();
        }
        is_idle
    }

    fn rested(&self) -> Instant {
        *self.rested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn builder(settings: SessionSettings) -> Builder {
    // Each stream may fill its window: one slow client must not stop the others of its connection.
    let connection_window = u64::from(STREAM_WINDOW) * u64::from(settings.streams.max(1));
    let connection_window = u32::try_from(connection_window).unwrap_or(MOST_WINDOW).min(MOST_WINDOW);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window)
        .max_header_list_size(settings.head)
        .max_send_buffer_size(SEND_BUFFER)
        // Clients that leave are no fault of the service, however many: frames may still come for each of their streams.
        .max_concurrent_reset_streams(usize::try_from(settings.streams).unwrap_or(usize::MAX))
        .max_local_error_reset_streams(None);
    builder
}

/// Carries the connection's frames until it is over, or until the other side leaves a ping unanswered for `patience`. One
/// is sent at the start: by its answer the other side's settings have come, which are its first frame (RFC 9113 §3.4).
async fn drive(mut connection: Connection<Stream, Bytes>, state: Arc<State>, patience: Duration, place: Place) {
    if let Some(mut ping) = connection.ping_pong() {
        let mut asked = ping.send_ping(Ping::opaque()).is_ok();
        loop {
            tokio::select! {
                // Whoever has a request on it learns of an error there.
                _ = &mut connection => break,
                answer = timeout(patience, poll_fn(|cx| ping.poll_pong(cx))), if asked => match answer {
                    Ok(Ok(_)) => {
                        asked = false;
                        state.phase.send_replace(Phase::Settled);
                    }
                    Ok(Err(_)) | Err(_) => break,
                },
                () = state.suspected.notified(), if !asked => asked = ping.send_ping(Ping::opaque()).is_ok(),
                () = state.unwanted.notified() => break,
            }
        }
    }
    state.retired.store(true, Ordering::Release);
    state.phase.send_replace(Phase::Over);
    drop(connection);
    drop(place);
}

/// One request's share of a connection, for as long as the request takes.
pub struct Lease(Arc<Session>);

impl Lease {
    /// What begins requests on the connection; for one only.
    #[must_use]
    pub fn requests(&self) -> SendRequest<Bytes> {
        self.0.send.clone()
    }

    /// `https` if the connection is under TLS, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.0.shared.settings.tls.is_some() { "https" } else { "http" }
    }

    /// Waits until the instance's settings are known; whether it agrees to other protocols on a stream (RFC 8441 §3).
    /// `None`: the connection ended before.
    pub async fn allows_connect(&self) -> Option<bool> {
        let mut phase = self.0.state.phase.subscribe();
        let settled = phase.wait_for(|phase| *phase != Phase::New).await.is_ok_and(|phase| *phase == Phase::Settled);
        settled.then(|| self.0.send.is_extended_connect_protocol_enabled())
    }

    /// An answer came: somebody is there.
    pub fn heard(&self) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = self.0.shared.clock.now();
    }

    /// Has the instance asked whether it is still there; if it does not say so, the connection ends for all. Not asked if
    /// it was heard, or asked, a short while ago: servers take many questions for an attack.
    pub fn suspect(&self) {
        let now = self.0.shared.clock.now();
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(*heard) >= TRUST {
            *heard = now;
            self.0.state.suspected.notify_one();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let session = &self.0;
        *session.rested.lock().unwrap_or_else(PoisonError::into_inner) = session.shared.clock.now();
        session.streams.fetch_sub(1, Ordering::AcqRel);
        if session.shared.has_queue() && session.shared.wake_own(session.worker).is_err() {
            // Others wait for much longer, on workers that have no connection: this one's place goes to them. One that still
            // carries something would keep its place, and nobody had anything of it.
            session.close_idle();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0).finish()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("streams", &self.streams).field("state", &self.state).finish_non_exhaustive()
    }
}
