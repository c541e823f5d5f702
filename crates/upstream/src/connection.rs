//! Connections to instances: busy ones, owned by an exchange, and those at rest in a worker's pool.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_net::Stream;

use crate::instance::Instance;
use crate::shared::Place;

/// A connection that an exchange uses. Dropped, it is closed; [`Connection::release`] puts it to rest.
#[derive(Debug)]
pub struct Connection {
    /// What goes up and comes down.
    pub stream: Stream,
    /// Whether it carried a request before.
    pub reused: bool,
    busy: Busy,
    place: Place,
}

/// Counts a request in flight on an instance.
#[derive(Debug)]
struct Busy(Arc<Instance>);

impl Busy {
    fn new(instance: Arc<Instance>) -> Self {
        instance.begin();
        Self(instance)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A connection at rest.
#[derive(Debug)]
pub(crate) struct Idle {
    stream: Stream,
    pub(crate) place: Place,
    since: Instant,
}

impl Idle {
    /// Whether it rested for longer than `most`.
    pub(crate) fn is_stale(&self, now: Instant, most: Duration) -> bool {
        now.saturating_duration_since(self.since) >= most
    }

    /// Whether the peer left it alone. Anything to read at rest means: closed, or broken. `surely`: the system is asked, not
    /// only the event loop.
    pub(crate) fn is_quiet(&mut self, surely: bool) -> bool {
        self.stream.is_quiet() && (!surely || self.stream.is_surely_quiet())
    }
}

impl Connection {
    pub(crate) fn fresh(stream: Stream, instance: Arc<Instance>, mut place: Place) -> Self {
        place.connected();
        Self { stream, reused: false, busy: Busy::new(instance), place }
    }

    pub(crate) fn wake(idle: Idle, instance: Arc<Instance>) -> Self {
        Self { stream: idle.stream, reused: true, busy: Busy::new(instance), place: idle.place }
    }

    /// Whose it is.
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.busy.0
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.busy.0.address
    }

    /// The exchange is over and the connection fit for another one: to whoever waits for one, or to rest.
    pub fn release(self, now: Instant) {
        let back = match self.place.shared().has_queue() {
            false => Some(self),
            // Whoever waits is better served elsewhere; closed, it leaves its place to the next.
            true if self.busy.0.stands.is_out(now) => None,
            true => {
                let (shared, worker) = (Arc::clone(self.place.shared()), self.place.worker());
                shared.offer(self, worker)
            }
        };
        if let Some(Self { stream, busy, place, .. }) = back {
            busy.0.rest(Idle { stream, place, since: now });
        }
    }
}
