//! Lists of instances, and what changes in them after a revision: at once, or as soon as it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tollgate_core::body::{Body, Length};
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_core::serde_json::{Value, json};
use tollgate_registry::directory::{Change, Registered, Trouble};

use super::asked::{Asked, Filter, tag_of};
use super::events::Events;
use super::faults::{COMPACTED, MALFORMED, WATCHERS};
use super::rights::{Asker, Right};
use super::shown::{self, Text};
use super::{AGAIN, REVISION, Registry, answer, guarded, problem};

/// Whose changes are told, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) registry: Arc<Registry>,
    /// Of this service, or of all that it may know of.
    pub(super) service: Option<Arc<str>>,
    pub(super) filter: Arc<Filter>,
    pub(super) asker: Arc<Asker>,
}

impl Subject {
    pub(super) fn new(registry: Arc<Registry>, asker: Asker, asked: &Asked) -> Self {
        let service = (!asked.service.is_empty()).then(|| Arc::<str>::from(asked.service.as_str()));
        Self { registry, service, filter: Arc::clone(&asked.query.filter), asker: Arc::new(asker) }
    }

    /// A list, or what changes in it.
    pub(super) async fn answer(self, asked: &Asked) -> Result<Reply, Problem> {
        if asked.as_events {
            return self.stream(asked.last_event.or(asked.query.after));
        }
        match (asked.query.watch, asked.query.after) {
            (true, Some(after)) => self.poll(after, asked.query.wait).await,
            (false, Some(_)) => Err(MALFORMED.problem().detail("`after` in the query: only with `watch`")),
            (_, None) => Ok(self.list(asked.has)),
        }
    }

    fn stream(self, after: Option<u64>) -> Result<Reply, Problem> {
        let place = self.registry.place()?;
        let events = Events::new(self, after, place);
        let reply = Reply { body: Body::Stream(Length::Chunked, Box::new(events)), ..Reply::empty(200) };
        // Proxies would wait for more of it.
        Ok(guarded(reply.header("Content-Type", "text/event-stream").header("X-Accel-Buffering", "no")))
    }

    /// All that there is, unless it is what is there already.
    fn list(&self, has: Option<u64>) -> Reply {
        let (head, instances, revision) = self.registry.listed(self.service.as_deref(), &self.filter, &self.asker);
        let reply = match has {
            Some(has) if has == revision => Reply::empty(304),
            _ => {
                let body = Body::Stream(Length::Chunked, Box::new(Text::list(&head, instances, "")));
                Reply { body, ..Reply::empty(200) }.header("Content-Type", "application/json")
            }
        };
        guarded(reply.header("ETag", tag_of(revision)).header(REVISION, revision.to_string()))
    }

    /// What changed since, as soon as there is anything.
    async fn poll(&self, after: u64, most: Duration) -> Result<Reply, Problem> {
        let _place = self.registry.place()?;
        let heard = tokio::select! {
            heard = self.registry.directory.changes(self.service.as_deref(), after, most) => heard,
            // Nothing changed until now.
            () = self.registry.ending.begun() => Ok((after, Vec::new())),
        };
        let compacted = || COMPACTED.problem().member("revision", self.registry.directory.list(Some("")).revision);
        let (revision, changes) = match heard {
            Ok((_, changes)) if changes.is_empty() && self.registry.is_behind(after) => return Err(compacted()),
            Ok(heard) => heard,
            Err(Trouble::Compacted) => return Err(compacted()),
            Err(trouble) => return Err(problem(trouble)),
        };
        let changes: Vec<Value> =
            self.registry.seen(changes, &self.filter, &self.asker).map(|change| shown::change(&change)).collect();
        let reply = match changes.is_empty() {
            true => guarded(Reply::empty(204)),
            false => answer(200, &json!({ "revision": revision, "changes": changes })),
        };
        Ok(reply.header(REVISION, revision.to_string()))
    }
}

impl Registry {
    /// Whether it has not come to this revision, which then is of another registry, whose history is not this one's.
    pub(super) fn is_behind(&self, after: u64) -> bool {
        self.directory.list(Some("")).revision < after
    }

    /// A place among those who wait.
    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.watchers).try_acquire_owned();
        place.map_err(|_| WATCHERS.problem().retry_after(AGAIN))
    }

    /// What stands at the head of a list, the instances that count and may be known of, and the revision of which they are.
    pub(super) fn listed(
        &self,
        service: Option<&str>,
        filter: &Filter,
        asker: &Asker,
    ) -> (String, Vec<Arc<Registered>>, u64) {
        let mut listing = self.directory.list(service);
        listing.instances.retain(|instance| {
            let is_theirs = service.is_some() || self.rights.may(asker, Right::Read, &instance.registration.service);
            is_theirs && filter.takes(instance)
        });
        let head = format!("\"revision\":{},\"age_ms\":{}", listing.revision, listing.age.as_millis());
        (head, listing.instances, listing.revision)
    }

    /// Changes as those see them who know only some instances.
    pub(super) fn seen<'a>(
        &'a self,
        changes: Vec<Change>,
        filter: &'a Filter,
        asker: &'a Asker,
    ) -> impl Iterator<Item = Change> + 'a {
        let is_theirs = |change: &Change| {
            let service = match change {
                Change::Put(instance) => &instance.registration.service,
                Change::Gone { service, .. } => service,
            };
            self.rights.may(asker, Right::Read, service)
        };
        changes.into_iter().filter(is_theirs).map(|change| filter.seen(change))
    }
}
