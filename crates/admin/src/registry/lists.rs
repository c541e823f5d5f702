//! Lists of instances, and what changes in them after a revision: at once, or as soon as it does.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::body::{Body, Length};
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_core::serde_json::{Value, json};
use tollgate_registry::directory::{Change, Registered, Trouble};

use super::access::Place;
use super::asked::{Asked, Filter, Known};
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
            // A revision alone does not say what had lapsed.
            let after = asked.query.after.map(|revision| Known { revision, lapsed: 0, sees: self.sees() });
            return self.stream(asked.last_event.or(after));
        }
        match (asked.query.watch, asked.query.after) {
            (true, Some(after)) => self.poll(after, asked.has, asked.query.wait).await,
            (false, Some(_)) => Err(MALFORMED.problem().detail("`after` in the query: only with `watch`")),
            (_, None) => self.list(asked.has),
        }
    }

    fn stream(self, after: Option<Known>) -> Result<Reply, Problem> {
        let place = self.registry.place()?;
        let events = Events::new(self, after, place)?;
        let reply = Reply { body: Body::Stream(Length::Chunked, Box::new(events)), ..Reply::empty(200) };
        // Proxies would wait for more of it.
        Ok(guarded(reply.header("Content-Type", "text/event-stream").header("X-Accel-Buffering", "no")))
    }

    /// All that there is, unless it is what is there already.
    fn list(&self, has: Option<Known>) -> Result<Reply, Problem> {
        let (head, instances, known) = self.listed()?;
        let reply = match has {
            Some(has) if has == known => Reply::empty(304),
            _ => {
                let body = Body::Stream(Length::Chunked, Box::new(Text::list(&head, instances, "")));
                Reply { body, ..Reply::empty(200) }.header("Content-Type", "application/json")
            }
        };
        Ok(guarded(reply.header("ETag", known.tag()).header(REVISION, known.revision.to_string())))
    }

    /// What changed since, as soon as there is anything. Whoever says which list it `has` is told, too, what lapsed since.
    async fn poll(&self, after: u64, has: Option<Known>, most: Duration) -> Result<Reply, Problem> {
        let _place = self.registry.place()?;
        let (mut rights, now) =
            (self.registry.access.changes(), Known::of(&self.registry.known(Some(""))?.0, self.sees()));
        let compacted = || self.registry.compacted();
        if has.is_some_and(|has| (has.lapsed, has.sees) != (now.lapsed, now.sees)) {
            return Err(compacted());
        }
        let heard = tokio::select! {
            heard = self.registry.directory.changes(self.service.as_deref(), after, most) => heard,
            // Nothing changed until now.
            () = self.registry.ending.begun() => Ok((after, Vec::new())),
            // When it comes again, it is asked who it is.
            _ = rights.changed() => Ok((after, Vec::new())),
        };
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

impl Subject {
    /// Whether whoever asks may still know of this, under the config that is in force now.
    pub(super) fn may_still(&self) -> bool {
        self.registry.access.may(&self.asker, Right::Read, self.service.as_deref())
    }

    /// Of which services this is, if it is of more than one.
    pub(super) fn sees(&self) -> u32 {
        if self.service.is_some() { 0 } else { self.registry.access.sees(&self.asker) }
    }

    /// What stands at the head of a list, the instances that count and may be known of, and what is known with them.
    pub(super) fn listed(&self) -> Result<(String, Vec<Arc<Registered>>, Known), Problem> {
        // Before it is looked what these are: they are told anew if they become others meanwhile.
        let sees = self.sees();
        let (mut listing, age) = self.registry.known(self.service.as_deref())?;
        listing.instances.retain(|instance| {
            let service = &instance.registration.service;
            let is_theirs = self.service.is_some() || self.registry.access.may(&self.asker, Right::Read, Some(service));
            is_theirs && self.filter.takes(instance)
        });
        let (known, head) = (Known::of(&listing, sees), format!("\"revision\":{},\"age_ms\":{age}", listing.revision));
        Ok((head, listing.instances, known))
    }
}

impl Registry {
    /// Whether it has not come to this revision, which then is of another registry, whose history is not this one's.
    pub(super) fn is_behind(&self, after: u64) -> bool {
        self.directory.list(Some("")).revision < after
    }

    /// A place among those who wait.
    fn place(&self) -> Result<Place, Problem> {
        self.access.place().ok_or_else(|| {
            let why = format!("{} wait already, and no more may (`registry: watchers`)", self.access.watchers());
            WATCHERS.problem().detail(why).retry_after(AGAIN)
        })
    }

    /// What changed after some revision is not known any more.
    fn compacted(&self) -> Problem {
        let (revision, history) = (self.directory.list(Some("")).revision, self.access.history());
        let why = format!(
            "the registry is at revision {revision}, and remembers its last {history} changes (`registry: history`), fewer since it was \
             last read as a whole; or instances lapsed, or others are seen now"
        );
        COMPACTED.problem().detail(why).member("revision", revision)
    }

    /// Changes as those see them who know only some instances.
    pub(super) fn seen<'a>(
        &'a self,
        changes: Vec<Change>,
        filter: &'a Filter,
        asker: &'a Asker,
    ) -> impl Iterator<Item = Change> + 'a {
        let is_theirs = |change: &Change| self.access.may(asker, Right::Read, Some(change.service()));
        changes.into_iter().filter(is_theirs).map(|change| filter.seen(change))
    }
}
