//! Connections to instances: busy ones, owned by an exchange, and those at rest in a worker's pool.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tollgate_core::facts::{Address, Conn};
use tollgate_net::Stream;

use crate::instance::Instance;
use crate::session::{Before, Lease};
use crate::shared::{Place, Settings};

/// What carries a request to an instance.
#[derive(Debug)]
pub enum Connection {
    /// HTTP/1.1, or whatever it changes to: a whole connection.
    Whole(Whole),
    /// HTTP/2: a share of a connection.
    Shared(Share),
}

/// A connection that one exchange has to itself. Dropped, it is closed; [`Whole::release`] puts it to rest.
#[derive(Debug)]
pub struct Whole {
    /// What goes up and comes down.
    pub stream: Stream,
    /// Whether it carried a request before.
    pub reused: bool,
    busy: Busy,
    place: Place,
    history: History,
}

/// What a connection keeps for all its life.
#[derive(Debug)]
pub(crate) struct History {
    /// When it was made.
    pub(crate) made: Instant,
    /// The client connection that the instance was told it is for. Kept until then: its address stands for no other one.
    pub(crate) client: Option<Weak<Conn>>,
}

/// One request's share of a connection that carries many. Dropped, it is given back.
#[derive(Debug)]
pub struct Share {
    /// The connection.
    pub lease: Lease,
    /// Whether it had rested, and may have died meanwhile.
    pub reused: bool,
    busy: Busy,
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
    history: History,
}

impl History {
    /// Whether nobody may use the connection any more: it is too old, or its client is gone.
    fn is_over(&self, now: Instant, settings: &Settings) -> bool {
        settings.age.is_some_and(|most| now.saturating_duration_since(self.made) >= most)
            || self.client.as_ref().is_some_and(|client| client.strong_count() == 0)
    }
}

impl Idle {
    /// Whether it rested for too long, or may not be used any more.
    pub(crate) fn is_stale(&self, now: Instant, settings: &Settings) -> bool {
        now.saturating_duration_since(self.since) >= settings.idle_for || self.history.is_over(now, settings)
    }

    /// Whether it may serve this client connection; none: the gateway itself.
    pub(crate) fn is_for(&self, client: Option<&Arc<Conn>>) -> bool {
        match (&self.history.client, client) {
            (Some(own), Some(client)) => std::ptr::eq(own.as_ptr(), Arc::as_ptr(client)),
            (None, None) => true,
            _ => false,
        }
    }

    /// Whether the peer left it alone. Anything to read at rest means: closed, or broken. `surely`: the system is asked, not
    /// only the event loop.
    pub(crate) fn is_quiet(&mut self, surely: bool) -> bool {
        self.stream.is_quiet() && (!surely || self.stream.is_surely_quiet())
    }
}

impl Connection {
    /// Whose it is.
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        match self {
            Self::Whole(whole) => &whole.busy.0,
            Self::Shared(share) => &share.busy.0,
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        match self {
            Self::Whole(whole) => whole.address(),
            Self::Shared(share) => &share.busy.0.address,
        }
    }
}

impl Share {
    /// Of a connection that was there.
    pub(crate) fn new(lease: Lease, instance: Arc<Instance>, before: Before) -> Self {
        // One that carried something just now is not stale: should it break, that is the instance's doing.
        Self { lease, reused: before == Before::Rested, busy: Busy::new(instance) }
    }

    /// Of a connection just made.
    pub(crate) fn first(lease: Lease, instance: Arc<Instance>) -> Self {
        Self { lease, reused: false, busy: Busy::new(instance) }
    }
}

impl Whole {
    pub(crate) fn fresh(stream: Stream, instance: Arc<Instance>, mut place: Place, history: History) -> Self {
        place.connected();
        Self { stream, reused: false, busy: Busy::new(instance), place, history }
    }

    pub(crate) fn wake(idle: Idle, instance: Arc<Instance>) -> Self {
        let Idle { stream, place, history, .. } = idle;
        Self { stream, reused: true, busy: Busy::new(instance), place, history }
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.busy.0.address
    }

    /// See [`Idle::is_quiet`].
    pub(crate) fn is_quiet(&mut self, surely: bool) -> bool {
        self.stream.is_quiet() && (!surely || self.stream.is_surely_quiet())
    }

    /// The exchange is over and the connection fit for another one: to whoever waits for one, or to rest.
    pub fn release(self, now: Instant) {
        let settings = &self.place.shared().settings;
        if self.history.is_over(now, settings) {
            return;
        }
        let is_private = settings.proxy_protocol.is_some();
        let back = match self.place.shared().has_queue() {
            false => Some(self),
            // Nobody else may have it: closed, it makes room for whoever waits.
            true if is_private => None,
            // Whoever waits is better served elsewhere; closed, it leaves its place to the next.
            true if self.busy.0.stands.is_out(now) => None,
            true => {
                let (shared, worker) = (Arc::clone(self.place.shared()), self.place.worker());
                shared.offer(self, worker)
            }
        };
        if let Some(Self { stream, busy, place, history, .. }) = back {
            busy.0.rest(Idle { stream, place, since: now, history });
        }
    }
}
