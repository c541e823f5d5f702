//! Making connections for requests: one for each, or one that many share.

use std::sync::Arc;

use tokio::time::timeout;

use crate::connect::connect;
use crate::connection::{Connection, History, Share, Whole};
use crate::instance::Instance;
use crate::opening::Opening;
use crate::service::{Ask, Found, Refusal, Service};
use crate::session::Session;
use crate::shared::{Place, Protocol};

impl Service {
    /// Makes a connection, for this request or also for others.
    pub(crate) async fn make(
        &self,
        instance: Arc<Instance>,
        place: Place,
        ask: &Ask<'_>,
    ) -> Result<Connection, Refusal> {
        if !instance.shares() {
            return self.within(ask, &instance, self.make_one(&instance, place, ask)).await;
        }
        let begun = instance.begin_opening(ask.worker);
        let made = self.within(ask, &instance, self.make_one(&instance, place, ask)).await;
        match &made {
            Ok(_) => begun.opened(),
            // Of this request alone.
            Err(Refusal::Deadline) => {}
            Err(refusal) => begun.refused(refusal),
        }
        made
    }

    /// A connection that speaks what the service says, or what the instance chooses if it has the choice. It may choose
    /// otherwise than before: there may be another program by now.
    async fn make_one(&self, instance: &Arc<Instance>, place: Place, ask: &Ask<'_>) -> Result<Connection, Refusal> {
        let (settings, client) = (&self.shared.settings, ask.client.map(|client| &**client));
        let stream = connect(settings, &instance.address, instance.host.as_deref(), client, None).await?;
        let whole = |stream, place| {
            let history = History { made: self.clock.now(), client: ask.client.map(Arc::downgrade) };
            Ok(Connection::Whole(Whole::fresh(stream, Arc::clone(instance), place, history)))
        };
        let refused = |why: &str| Refusal::Protocol(instance.address.clone(), why.into());
        // RFC 9113 §3.2: under TLS, HTTP/2 is spoken once ALPN chose it, and never else.
        match (settings.protocol, stream.alpn()) {
            (Protocol::Http1, _) => return whole(stream, place),
            (_, Some(b"h2")) => instance.chose(Protocol::Http2),
            (Protocol::Alpn, _) => {
                instance.chose(Protocol::Http1);
                return whole(stream, place);
            }
            (Protocol::Http2, None) if settings.tls.is_none() => {}
            (Protocol::Http2, _) => return Err(refused("it does not agree to HTTP/2 (ALPN `h2`)")),
        }
        let opened = Session::open(stream, &self.shared, place, self.clock.now()).await;
        let session = opened.map_err(|error| refused(&format!("HTTP/2 does not begin: {error}")))?;
        let (lease, _) = session.lease().ok_or_else(|| refused("it takes no request over HTTP/2"))?;
        instance.offer(&session, ask.worker);
        Ok(Connection::Shared(Share::first(lease, Arc::clone(instance))))
    }

    /// Bounds the making of a connection by the service's `connect_timeout` and by the request's time.
    async fn within(
        &self,
        ask: &Ask<'_>,
        instance: &Instance,
        making: impl Future<Output = Result<Connection, Refusal>>,
    ) -> Result<Connection, Refusal> {
        let left = ask.deadline.saturating_duration_since(self.clock.now());
        let most = self.shared.settings.connect_timeout.min(left);
        match timeout(most, making).await {
            Ok(made) => made,
            Err(_) if most < self.shared.settings.connect_timeout => Err(Refusal::Deadline),
            Err(_) => Err(Refusal::ConnectTimeout(instance.address.clone())),
        }
    }

    /// Makes a connection of what was found. `None`: that was nothing, or came to nothing.
    pub(crate) async fn take(&self, found: Found, ask: &Ask<'_>) -> Result<Option<Connection>, Refusal> {
        match found {
            Found::Connection(connection) => Ok(Some(connection)),
            Found::Place(instance, place) => self.make(instance, place, ask).await.map(Some),
            Found::Opening(opening) => self.join(opening, ask).await,
            Found::Full => Ok(None),
        }
    }

    /// Waits for a connection that somebody else makes, and takes a share of it; makes one if that came to nothing. `None`:
    /// there is neither one nor room for one.
    pub(crate) async fn join(&self, opening: Opening, ask: &Ask<'_>) -> Result<Option<Connection>, Refusal> {
        let mut opening = opening;
        loop {
            let left = ask.deadline.saturating_duration_since(self.clock.now());
            let done = timeout(left, opening.done()).await.map_err(|_| Refusal::Deadline)?;
            // Whoever made it judges the instance by it: one attempt, however many waited.
            done.map_err(|refusal| Refusal::Joined(Box::new(refusal)))?;
            match self.find(ask)? {
                Found::Opening(next) => opening = next,
                Found::Connection(connection) => return Ok(Some(connection)),
                Found::Place(instance, place) => return self.make(instance, place, ask).await.map(Some),
                Found::Full => return Ok(None),
            }
        }
    }
}
