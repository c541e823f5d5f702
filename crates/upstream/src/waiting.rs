//! Waiting for a connection when all that a service may have are taken.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tollgate_observe::metrics::ServiceShard;

use crate::breaker::Rest;
use crate::connection::Connection;
use crate::service::{Ask, Found, Refusal, Service};
use crate::shared::{Grant, Ticket};

/// How long a worker may take to close a connection that rests, when another needs its place and nobody may queue.
const FOR_RESTING: Duration = Duration::from_millis(100);

impl Service {
    /// In the queue until a connection or a turn is granted, the time in it is over, or the request's.
    pub(crate) async fn wait(&self, ask: &Ask<'_>) -> Result<Connection, Refusal> {
        let metrics = self.shared.metrics.shard(ask.worker);
        let settings = &self.shared.settings;
        let queue_end = ask.now + if settings.queue_size == 0 { FOR_RESTING } else { settings.queue_timeout };
        loop {
            let Some(Ticket { granted, is_first }) = self.shared.enqueue(ask.worker, ask.now, self.shared.spare())
            else {
                metrics.queue_refused();
                return Err(Refusal::Limit);
            };
            // After joining, not before: what others close for us from now on comes back as a grant.
            self.shared.starve();
            if is_first {
                match self.find(ask)? {
                    Found::Full => {}
                    found => {
                        // Who has found something is to be granted nothing else.
                        drop(granted);
                        match self.take(found, ask).await? {
                            Some(connection) => return Ok(connection),
                            None => continue,
                        }
                    }
                }
            }
            let queued = Queued::new(metrics);
            let left = queue_end.min(ask.deadline).saturating_duration_since(self.clock.now());
            let rest = self.rest(ask);
            let grant = timeout(left, granted).await;
            drop(queued);
            // Whoever waited in vain hears of that alone.
            let resumed = if grant.is_ok() { self.resume(rest) } else { Ok(()) };
            match grant {
                Ok(Ok(grant)) if resumed.is_err() => unused(grant, self.clock.now()),
                Ok(Ok(Grant::Connection(connection))) => {
                    let mut connection = *connection;
                    if ask.fresh || !connection.is_quiet(ask.only_once) {
                        // Its place goes to whoever comes first in the queue: this request, most likely.
                        continue;
                    }
                    connection.reused = true;
                    metrics.reused();
                    return Ok(Connection::Whole(connection));
                }
                Ok(Ok(Grant::Turn(turn))) => {
                    let found = self.find(ask)?;
                    match found {
                        Found::Place(..) | Found::Full => turn.take(),
                        // The place that the turn was about is still free: unused, the turn goes to the next.
                        Found::Connection(_) | Found::Opening(_) => drop(turn),
                    }
                    if let Some(connection) = self.take(found, ask).await? {
                        return Ok(connection);
                    }
                }
                Ok(Err(_)) => {}
                Err(_) if ask.deadline <= queue_end => return Err(Refusal::Deadline),
                Err(_) => {
                    metrics.queue_refused();
                    return Err(Refusal::Limit);
                }
            }
            resumed?;
        }
    }

    /// A request waits from now on.
    pub(crate) fn rest(&self, ask: &Ask<'_>) -> Option<Rest<'_>> {
        self.breaker().map(|breaker| breaker.rest(ask.trial))
    }

    /// It need not wait any more.
    ///
    /// # Errors
    /// [`Refusal::LeftAlone`].
    pub(crate) fn resume(&self, rest: Option<Rest<'_>>) -> Result<(), Refusal> {
        rest.map_or(Ok(()), |rest| rest.over(self.clock.now())).map_err(Refusal::LeftAlone)
    }
}

/// Whoever waited for it is not sent on: it goes to the next. An unused turn does so by itself.
fn unused(grant: Grant, now: Instant) {
    if let Grant::Connection(connection) = grant {
        connection.release(now);
    }
}

/// Counts a request in the queue, also if its client leaves and it is dropped there.
struct Queued<'m>(&'m ServiceShard);

impl<'m> Queued<'m> {
    fn new(metrics: &'m ServiceShard) -> Self {
        metrics.queued();
        Self(metrics)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.left_queue();
    }
}
