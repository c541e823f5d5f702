//! The task that keeps the table as the store says, and takes out of use what nobody vouches for.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tollgate_durable::{self as durable, CONFIRMED_EVERY, Change, Entry, Revision, Seen};

use super::{INSTANCES, LOADS, Loads, Shared, record};
use crate::directory::LEAST_TTL;

/// How often it looks whether something must not be used any more.
const LOOKED_EVERY: Duration = Duration::from_millis(200);
/// How often services are told of the loads of their instances.
const LOADS_EVERY: u32 = 5;
/// How long it waits before it lists again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long the store may say nothing.
const SILENCE: Duration = CONFIRMED_EVERY.saturating_mul(3);
/// How often it says that the store cannot be asked.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Most keys of which it remembers that it has told what is wrong with them.
const MOST_TOLD: usize = 1000;

/// Follows the store until it is dropped.
pub(super) async fn follow(shared: Arc<Shared>) {
    tokio::select! {
        never = instances(&shared) => match never {},
        never = loads(&shared) => match never {},
        never = looks(&shared) => match never {},
    }
}

/// Keeps the instances as the store says.
async fn instances(shared: &Shared) -> Infallible {
    let mut told = Told::default();
    loop {
        let listing = match shared.store.list(INSTANCES).await {
            Ok(listing) => listing,
            Err(trouble) => {
                shared.doubt(&trouble.to_string());
                sleep(AGAIN).await;
                continue;
            }
        };
        let mut watch = shared.store.watch(INSTANCES, listing.revision);
        shared.begin(listing, &mut told);
        loop {
            let seen = tokio::select! {
                seen = watch.next() => seen,
                () = shared.roomier.notified() => break,
            };
            match seen {
                Ok(Seen::Changed(revision, changes)) => shared.apply(revision, changes, &mut told),
                Ok(Seen::Confirmed(revision)) => shared.confirmed(revision),
                Ok(Seen::Compacted) => break,
                Err(trouble) => shared.doubt(&trouble.to_string()),
            }
        }
    }
}

/// Keeps their loads as the store says, where it keeps them.
async fn loads(shared: &Shared) -> Infallible {
    loop {
        if shared.settings().loads == Loads::Here {
            std::future::pending::<()>().await;
        }
        // Of an instance that is not known yet nothing is kept.
        let mut applied = shared.applied.subscribe();
        let _ = applied.wait_for(|_| shared.table().is_heard()).await;
        // Whether the store can be asked is the other task's to say.
        let Ok(listing) = shared.store.list(LOADS).await else {
            sleep(AGAIN).await;
            continue;
        };
        let mut watch = shared.store.watch(LOADS, listing.revision);
        listing.entries.iter().for_each(|entry| shared.load(entry));
        loop {
            match watch.next().await {
                Ok(Seen::Changed(revision, changes)) => {
                    let put =
                        |change: &Change| if let Change::Put(entry) = change { Some(entry.clone()) } else { None };
                    let loads: Vec<Entry> = changes.iter().filter_map(put).collect();
                    if loads.iter().any(|load| !shared.knows(load)) {
                        // It may have registered just before, which the other task has not heard yet.
                        let _ = timeout(SILENCE, applied.wait_for(|applied| *applied >= revision.0)).await;
                    }
                    loads.iter().for_each(|load| shared.load(load));
                }
                Ok(Seen::Compacted) => break,
                Ok(Seen::Confirmed(_)) | Err(_) => {}
            }
        }
    }
}

/// Takes out of use what nobody vouches for any more, says so, and tells services of loads.
async fn looks(shared: &Shared) -> Infallible {
    let mut ticks = interval(LOOKED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut until_loads, mut said) = (LOADS_EVERY, None);
    loop {
        ticks.tick().await;
        until_loads -= 1;
        if until_loads == 0 {
            until_loads = LOADS_EVERY;
            let loaded = shared.table().loaded();
            shared.show(loaded.iter());
        }
        let now = shared.clock.now();
        shared.look(now);
        let standing = shared.table().standing(now, shared.settings().hold);
        match standing.stale {
            None => said = None,
            Some((_, why)) if said.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY) => {
                said = Some(now);
                tracing::warn!(
                    age_s = standing.age.map(|age| age.as_secs()),
                    hold_s = standing.hold.as_secs(),
                    instances = standing.instances,
                    lapsed = standing.lapsed,
                    why,
                    "THE REGISTRY IS STALE: nobody vouches for its instances now; each is used until its time to live, and `hold`, are over"
                );
            }
            Some(_) => {}
        }
    }
}

impl Shared {
    /// Takes over all that there is.
    fn begin(&self, listing: durable::Listing, told: &mut Told) {
        let there: BTreeSet<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        let gone: Vec<Change> = {
            let mut table = self.table();
            table.leaves_out = false;
            let names = table.names().into_iter().map(|(service, id)| record::key(&service, &id));
            names
                .filter(|key| !there.contains(key.as_str()))
                .map(|key| Change::Gone { key, revision: listing.revision })
                .collect()
        };
        // All of it: after a backup, other things may stand under the revisions that are known. What is gone first makes room.
        let changes = gone.into_iter().chain(listing.entries.into_iter().map(Change::Put)).collect();
        let touched = self.take(changes, told);
        let (again, was_stale) = {
            let mut table = self.table();
            table.begin_at(listing.revision.0);
            table.vouch(self.clock.now())
        };
        // From here on, nothing known means that there is nothing: all are told, those without any instance too.
        let mut all: BTreeSet<_> = self.outlets.services().into_iter().collect();
        let used_again = again.len();
        all.extend(touched.into_iter().chain(again));
        self.show(all.iter());
        self.says_it_is_good(listing.revision, was_stale, used_again);
        // Also back: what is written from here on has the numbers from here on.
        self.applied.send_replace(listing.revision.0);
    }

    /// Takes over what changed.
    fn apply(&self, revision: Revision, changes: Vec<Change>, told: &mut Told) {
        let touched = self.take(changes, told);
        self.table().reached(revision.0, &touched);
        self.show(touched.iter());
        self.applied.send_if_modified(|applied| further(applied, revision.0));
    }

    /// Brings changes into the table; the services that they touch.
    fn take(&self, changes: Vec<Change>, told: &mut Told) -> BTreeSet<Arc<str>> {
        let ttl = self.settings().ttl;
        let (mut touched, now, facts) = (BTreeSet::new(), self.clock.unix(), self.metrics.registry());
        for change in changes {
            let mut table = self.table();
            let (key, revision, item) = match change {
                Change::Gone { key, revision } => (key, revision, None),
                Change::Put(entry) => match record::read(&entry, ttl, now) {
                    Ok(item) => (entry.key, entry.modified, Some(item)),
                    Err(why) => {
                        told.once(&entry.key, entry.modified, &why);
                        (entry.key, entry.modified, None)
                    }
                },
            };
            let Some((service, id)) = record::names(&key, INSTANCES) else { continue };
            match item {
                Some(item) if table.has(&item) => continue,
                Some(item) => {
                    let is_new = table.item(service, id).is_none();
                    if let (true, Err(full)) = (is_new, self.has_room(&table, service)) {
                        table.leaves_out = true;
                        told.once(&key, revision, &full.to_string());
                        continue;
                    }
                    table.put(item);
                    facts.put();
                }
                None if table.gone(service, id, revision.0) => facts.gone(),
                None => continue,
            }
            touched.insert(service.into());
        }
        touched
    }

    /// Nothing changed up to here, and the store vouches for that now.
    fn confirmed(&self, revision: Revision) {
        let (again, was_stale) = {
            let mut table = self.table();
            table.reached(revision.0, &BTreeSet::new());
            table.vouch(self.clock.now())
        };
        self.show(again.iter());
        self.applied.send_if_modified(|applied| further(applied, revision.0) || !again.is_empty());
        self.says_it_is_good(revision, was_stale, again.len());
    }

    /// The store vouches for all up to this revision. `was_stale`: since when it had not, and why; `again`: services that are used again.
    fn says_it_is_good(&self, revision: Revision, was_stale: Option<(SystemTime, String)>, again: usize) {
        if let Some((since, _)) = was_stale {
            let stale_s = self.clock.unix().duration_since(since).unwrap_or_default().as_secs();
            tracing::info!(stale_s, revision = revision.0, used_again = again, "the registry is up to date again");
        }
        let at = self.clock.unix().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.registry().vouched(revision.0, at);
    }

    /// The store cannot be asked.
    fn doubt(&self, why: &str) {
        if self.table().doubt(self.clock.unix(), why) {
            tracing::warn!(why, "what keeps the registry cannot be asked");
        }
        self.metrics.registry().stale();
    }

    /// Looks whether anything has to be taken out of use.
    fn look(&self, now: std::time::Instant) {
        let hold = self.settings().hold;
        let age = self.table().standing(now, hold).age;
        let Some(age) = age.filter(|age| *age >= LEAST_TTL) else { return };
        if age >= SILENCE && self.table().standing(now, hold).stale.is_none() {
            self.doubt(&format!("it has said nothing for {} s", age.as_secs()));
        }
        let lapse = self.table().lapse(now, hold);
        if lapse.ended > 0 {
            self.metrics.registry().lapsed(u64::try_from(lapse.ended).unwrap_or(u64::MAX));
            tracing::error!(
                instances = lapse.ended,
                services = lapse.services.len(),
                age_s = age.as_secs(),
                "instances are not used any more: their time is over, and nobody vouches for them"
            );
        }
        if lapse.again > 0 {
            tracing::warn!(
                instances = lapse.again,
                hold_s = hold.as_secs(),
                "instances that nobody vouches for are used again: they are held for longer now"
            );
        }
        self.show(lapse.services.iter());
    }

    /// Whether the instance is known whose load this is.
    fn knows(&self, load: &Entry) -> bool {
        record::names(&load.key, LOADS).is_none_or(|(service, id)| self.table().item(service, id).is_some())
    }

    /// The store says how busy an instance is.
    fn load(&self, entry: &Entry) {
        if let Some((service, id, load)) = record::load(entry) {
            self.table().load(service, id, load);
        }
    }

    /// Shows these services' instances to whoever follows them.
    fn show<'s>(&self, services: impl Iterator<Item = &'s Arc<str>>) {
        for service in services {
            let ((instances, is_heard), counts) = {
                let table = self.table();
                (table.used(service), table.counts(service))
            };
            if is_heard {
                self.outlets.of(service).iter().for_each(|outlet| outlet.show(instances.clone()));
            }
            self.metrics.registry().instances(service, counts.0, counts.1);
        }
    }
}

fn further(applied: &mut u64, revision: u64) -> bool {
    let is_further = *applied < revision;
    *applied = (*applied).max(revision);
    is_further
}

/// What was told of keys that cannot be read: each once for what stands there.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, Revision>);

impl Told {
    fn once(&mut self, key: &str, revision: Revision, why: &str) {
        if self.0.get(key) == Some(&revision) {
            return;
        }
        tracing::warn!(key, why, "an instance in the registry is left out");
        if self.0.len() >= MOST_TOLD {
            self.0.pop_first();
        }
        self.0.insert(key.to_owned(), revision);
    }
}
