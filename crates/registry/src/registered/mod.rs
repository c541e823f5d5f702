//! Instances that register themselves: kept in whatever is [`Durable`], held in memory as it says, and shown to services.
//!
//! - An instance is a key `instances/SERVICE/ID` whose value says in JSON what it said of itself (see `record`), under a lease of its time
//!   to live. What others write there is read in the same way; what cannot be read is left out, and told once.
//! - Everything that is known is in memory (`table`), and follows the store by a watch (`follow`). A change touches its own service only:
//!   the sources of that service are told, and they their followers, before whoever asked for the change is answered.
//! - An instance is used until the store says that it is gone, and, when the store cannot be asked, until its time to live has passed
//!   since the store last vouched for it; with [`Settings::hold`], that much longer.
//! - Load that instances report stays in memory, or goes to a key of its own, `loads/SERVICE/ID`, where several gateways need it.

mod follow;
mod outlet;
mod record;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tollgate_core::clock::Clock;
use tollgate_core::serde_json::{Value, json};
use tollgate_durable::{self as durable, Durable, LeaseId, OnlyIf, Revision, Written};
use tollgate_observe::Metrics;

use self::outlet::{MOST_HOSTS, Outlet, Outlets, TooMany};
use self::table::{Item, Table};
use crate::directory::{Bound, Change, Directory, Listing, Outcome, Registered, Registration, Trouble};
use crate::dns::Dns;
use crate::{Load, Source};

/// What the keys of instances begin with.
pub const INSTANCES: &str = "instances/";
/// What the keys of their loads begin with.
pub const LOADS: &str = "loads/";

/// How long a change may take until all who follow have taken it over.
const TAKEN_OVER: Duration = Duration::from_secs(5);
/// How often somebody else may be faster before it is given up.
const TRIES: usize = 8;

/// How instances are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// For how long an instance counts as being there that does not say so itself.
    pub ttl: Duration,
    /// For how long instances are used beyond their time while the store cannot be asked.
    pub hold: Duration,
    /// Most instances.
    pub most: usize,
    /// Most of one service.
    pub most_of_one: usize,
    /// How many changes are remembered.
    pub history: usize,
    /// Where the load is kept that instances report.
    pub loads: Loads,
}

/// Where the load is kept that instances report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loads {
    /// In the memory of the only gateway that there is.
    Here,
    /// In the store, for all gateways.
    InStore,
}

/// Which instances are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Those that registered under this name.
    pub service: Arc<str>,
    /// Only those that have all of these tags.
    pub tags: Vec<Arc<str>>,
    /// Only those of this version.
    pub version: Option<Arc<str>>,
}

/// What the registry can say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The revision that it shows.
    pub revision: u64,
    /// How long ago the store vouched for that; `None`: it never did.
    pub age: Option<Duration>,
    /// How many instances there are, and of how many services.
    pub instances: usize,
    /// See there.
    pub services: usize,
    /// How many of them are not used because nobody vouches for them any more.
    pub lapsed: usize,
    /// Since when the store cannot be asked, and why.
    pub stale: Option<(SystemTime, String)>,
    /// For how long instances are used beyond their time.
    pub hold: Duration,
}

/// The registry.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    following: AbortHandle,
}

/// The lease of an instance.
#[derive(Clone, Copy, Debug)]
struct Lease {
    id: LeaseId,
    /// It was granted just now: no key has it yet.
    is_new: bool,
}

/// What the registry and its tasks share.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn Durable>,
    settings: Mutex<Settings>,
    clock: Clock,
    runtime: Handle,
    metrics: Arc<Metrics>,
    table: Mutex<Table>,
    outlets: Outlets,
    /// Up to where everybody has taken everything over. Told as well when what had lapsed is used again.
    applied: watch::Sender<u64>,
    /// What there was no room for may be taken in now.
    roomier: Notify,
}

impl Registry {
    /// A registry over this store; it follows it on `runtime`, on which one task at a time runs.
    pub fn new(
        store: Arc<dyn Durable>,
        settings: Settings,
        clock: Clock,
        runtime: &Handle,
        metrics: Arc<Metrics>,
    ) -> Self {
        let table = Mutex::new(Table::new(settings.history));
        let shared = Arc::new(Shared {
            store,
            settings: Mutex::new(settings),
            clock,
            runtime: runtime.clone(),
            metrics,
            table,
            outlets: Outlets::default(),
            applied: watch::Sender::new(0),
            roomier: Notify::new(),
        });
        let following = runtime.spawn(follow::follow(Arc::clone(&shared))).abort_handle();
        Self { shared, following }
    }

    /// From now on it is kept like this.
    pub fn set(&self, settings: Settings) {
        self.shared.table().set_history(settings.history);
        let (most, each) = (settings.most, settings.most_of_one);
        let before = std::mem::replace(&mut *self.shared.settings(), settings);
        if (most > before.most || each > before.most_of_one) && self.shared.table().leaves_out {
            self.shared.roomier.notify_one();
        }
    }

    /// The instances that are wanted, as a source. Those that gave a host name are looked up by `resolver`.
    pub fn source(&self, wanted: Wanted, resolver: &Arc<Dns>) -> Arc<dyn Source> {
        let outlet = Outlet::new(wanted, resolver, &self.shared.runtime);
        self.shared.outlets.add(&outlet);
        // Held until it is shown: what changes meanwhile is shown after it.
        let table = self.shared.table();
        let (instances, is_heard) = table.used(&outlet.wanted().service);
        if is_heard {
            outlet.show(instances);
        }
        drop(table);
        outlet
    }

    /// What it can say of itself.
    pub fn standing(&self) -> Standing {
        let hold = self.shared.settings().hold;
        let now = self.shared.clock.now();
        self.shared.table().standing(now, hold)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everybody here has taken this revision over.
    async fn taken_over(&self, revision: Revision) -> Result<(), Trouble> {
        let mut applied = self.applied.subscribe();
        match timeout(TAKEN_OVER, applied.wait_for(|applied| *applied >= revision.0)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Trouble::Unavailable("it is written, but not taken over in time".to_owned())),
        }
    }

    /// What is known of an instance; of one that is not known yet here, what the store says.
    async fn item(&self, service: &str, id: &str) -> Result<Item, Trouble> {
        if let Some(known) = self.table().item(service, id) {
            return Ok(known.clone());
        }
        let key = record::key(service, id);
        let entry = self.store.get(&key).await.map_err(unavailable)?.ok_or(Trouble::NotFound)?;
        let ttl = self.settings().ttl;
        record::read(&entry, ttl, self.clock.unix()).map_err(|_| Trouble::NotFound)
    }

    /// Whether an instance that the store has is not in the table, though all is there up to that revision. There was no room for it: that is
    /// said to it when it registers again.
    fn is_left_out(&self, service: &str, id: &str, revision: u64) -> bool {
        let applied = *self.applied.borrow();
        applied >= revision && self.table().item(service, id).is_none()
    }

    /// A lease for an instance: the one that it has, if it lasts as long as that and has not ended.
    async fn lease(&self, known: Option<&Item>, ttl: Duration) -> Result<Lease, Trouble> {
        if let Some(lease) = known.filter(|item| item.registered.registration.ttl == ttl).and_then(|item| item.lease)
            && self.store.renew(lease).await.map_err(unavailable)?.is_some()
        {
            return Ok(Lease { id: lease, is_new: false });
        }
        self.granted(ttl).await
    }

    async fn granted(&self, ttl: Duration) -> Result<Lease, Trouble> {
        Ok(Lease { id: self.store.grant(ttl).await.map_err(unavailable)?, is_new: true })
    }

    /// Nothing is under this lease, and nobody else knows of it: it need not last for its whole time.
    async fn give_back(&self, lease: Lease) {
        if lease.is_new {
            // If not, it ends by itself.
            let _ = self.store.revoke(lease.id).await;
        }
    }

    /// Whether one more instance of this service may be there.
    fn has_room(&self, table: &Table, service: &str) -> Result<(), Trouble> {
        let (most, each) = {
            let settings = self.settings();
            (settings.most, settings.most_of_one)
        };
        let full = |bound, most| Err(Trouble::Full { service: service.into(), bound, most });
        match () {
            () if table.len() >= most => full(Bound::Most, most),
            () if table.len_of(service) >= each => full(Bound::Each, each),
            () => Ok(()),
        }
    }

    /// Waits until an instance that was written at this revision is used here. `false`: it is not there (any more), though there is room.
    async fn is_used(&self, registration: &Registration, revision: Revision) -> Result<bool, Trouble> {
        self.taken_over(revision).await?;
        let Registration { service, id, address, port, ttl, .. } = registration;
        let full = {
            let table = self.table();
            match table.item(service, id) {
                Some(_) => None,
                None => Some(self.has_room(&table, service)),
            }
        };
        match full {
            None => {}
            Some(Ok(())) => return Ok(false),
            Some(Err(full)) => {
                // Others took the last places, while this one was written: it is left out, and must not take one later unasked.
                let _ = self.store.delete(&record::key(service, id), OnlyIf::Unchanged(revision)).await;
                return Err(full);
            }
        }
        self.not_lapsed(*ttl).await?;
        let outlets = self.outlets.of(service);
        let found = async {
            for outlet in &outlets {
                outlet.found(address, *port).await?;
            }
            Ok(())
        };
        let why = match timeout(TAKEN_OVER, found).await {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(TooMany)) => format!("not looked up: {MOST_HOSTS} hosts of the service are already"),
            Err(_) => "not found".to_owned(),
        };
        Err(Trouble::Unavailable(format!("`{id}` of `{service}` is written, but its host `{address}` is {why}")))
    }

    /// Waits until instances that live so long are used: just after an outage the store takes what is written before it has vouched for
    /// all the rest.
    async fn not_lapsed(&self, ttl: Duration) -> Result<(), Trouble> {
        let mut told = self.applied.subscribe();
        let is_used = |_: &u64| !self.table().has_lapsed(ttl);
        match timeout(TAKEN_OVER, told.wait_for(is_used)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                Err(Trouble::Unavailable("it is written, but not used: nobody vouches for the registry yet".to_owned()))
            }
        }
    }

    /// Whether the store has just this of an instance, as it is known here. It is asked: somebody else may have changed it or taken it away,
    /// and was answered, before that is heard of here.
    async fn is_said(&self, known: &Item, lease: LeaseId, registration: &Registration) -> Result<bool, Trouble> {
        let own = &known.registered;
        if known.lease != Some(lease) || own.draining || own.registration != *registration {
            return Ok(false);
        }
        let there = self.store.get(&record::key(&registration.service, &registration.id)).await.map_err(unavailable)?;
        Ok(there.is_some_and(|entry| entry.modified.0 == own.revision))
    }

    async fn register(&self, registration: Registration) -> Result<(Registered, bool), Trouble> {
        let (service, id) = (Arc::clone(&registration.service), Arc::clone(&registration.id));
        let known = match self.item(&service, &id).await {
            Ok(item) => Some(item),
            Err(Trouble::NotFound) => None,
            Err(trouble) => return Err(trouble),
        };
        if known.is_none() {
            self.has_room(&self.table(), &service)?;
        }
        let lease = self.lease(known.as_ref(), registration.ttl).await?;
        if let Some(item) = &known
            && self.is_said(item, lease.id, &registration).await?
            && self.is_used(&registration, Revision(item.registered.revision)).await?
        {
            let renewed = self.renewed(&service, &id, registration.ttl, None);
            return Ok((renewed.unwrap_or_else(|| item.registered.as_ref().clone()), false));
        }
        let since = known.as_ref().map_or_else(|| self.clock.unix(), |item| item.registered.since);
        let made = self.put(&registration, since, lease).await?;
        Ok((self.renewed(&service, &id, registration.ttl, None).unwrap_or(made), known.is_none()))
    }

    /// Puts an instance, and waits until it is used.
    async fn put(&self, said: &Registration, since: SystemTime, mut lease: Lease) -> Result<Registered, Trouble> {
        let (key, value) = (record::key(&said.service, &said.id), record::write(said, false, since));
        let mut done: Option<Registered> = None;
        for _ in 0..TRIES {
            let only_if = done.as_ref().map_or(OnlyIf::Always, |done| OnlyIf::Unchanged(Revision(done.revision)));
            let put = self.store.put(&key, value.clone(), Some(lease.id), only_if).await;
            if let (Err(durable::Trouble::Refused(_)), None) = (&put, &done) {
                self.give_back(lease).await;
            }
            match put.map_err(unavailable)? {
                // A lease that it had before ends by itself: somebody may just be putting the key under that again.
                Written::Done(revision) => {
                    let made = record::made(said.clone(), revision, since);
                    if self.is_used(said, revision).await? {
                        return Ok(made);
                    }
                    // There was no room for it when it came, and now there is; or somebody has taken it away since.
                    done = Some(made);
                }
                Written::Conflict(_) if let Some(made) = done.take() => return Ok(made),
                Written::NoLease | Written::Conflict(_) => {
                    lease = self.granted(said.ttl).await?;
                }
            }
        }
        Err(Trouble::Unavailable("its lease ended again and again, or there was no room".to_owned()))
    }

    /// Notes that an instance was renewed just now; what is known of it.
    fn renewed(&self, service: &str, id: &str, ttl: Duration, load: Option<Load>) -> Option<Registered> {
        let expires = self.clock.unix().checked_add(ttl);
        self.table().renewed(service, id, expires, load)
    }

    async fn renew(&self, service: &str, id: &str, load: Option<Load>) -> Result<Registered, Trouble> {
        let item = self.item(service, id).await?;
        if self.is_left_out(service, id, item.registered.revision) {
            return Err(Trouble::NotFound);
        }
        let ttl = match item.lease {
            Some(lease) => Some(self.store.renew(lease).await.map_err(unavailable)?.ok_or(Trouble::NotFound)?),
            // It was written without one: it is there until it is taken away.
            None => None,
        };
        let is_shared = self.settings().loads == Loads::InStore;
        if let (Some(load), true) = (&load, is_shared && load != item.registered.load) {
            let fields: Value = load.fields().map(|(name, number)| (name.to_owned(), json!(number))).collect();
            let key = record::load_key(service, id);
            // The instance is there all the same; the load comes again with its next sign of life.
            let _ = self.store.put(&key, fields.to_string().into_bytes(), item.lease, OnlyIf::Always).await;
        }
        let expires = ttl.and_then(|ttl| self.clock.unix().checked_add(ttl));
        let known = self.table().renewed(service, id, expires, load.clone());
        Ok(known.unwrap_or_else(|| Registered { load, expires, ..item.registered.as_ref().clone() }))
    }

    async fn drain(&self, service: &str, id: &str, draining: bool) -> Result<Registered, Trouble> {
        let key = record::key(service, id);
        for _ in 0..TRIES {
            let entry = self.store.get(&key).await.map_err(unavailable)?.ok_or(Trouble::NotFound)?;
            let ttl = self.settings().ttl;
            let item = record::read(&entry, ttl, self.clock.unix()).map_err(|_| Trouble::NotFound)?;
            let known = item.registered.as_ref().clone();
            if known.draining == draining {
                self.taken_over(entry.modified).await?;
                return Ok(known);
            }
            let value = record::write(&known.registration, draining, known.since);
            let only_if = OnlyIf::Unchanged(entry.modified);
            match self.store.put(&key, value, entry.lease, only_if).await.map_err(unavailable)? {
                Written::Done(revision) => {
                    self.taken_over(revision).await?;
                    return Ok(Registered { draining, revision: revision.0, ..known });
                }
                Written::NoLease => return Err(Trouble::NotFound),
                Written::Conflict(_) => {}
            }
        }
        Err(Trouble::Unavailable("others changed it again and again".to_owned()))
    }

    async fn deregister(&self, service: &str, id: &str) -> Result<bool, Trouble> {
        let key = record::key(service, id);
        let there = self.store.get(&key).await.map_err(unavailable)?;
        let Written::Done(revision) = self.store.delete(&key, OnlyIf::Always).await.map_err(unavailable)? else {
            return Err(Trouble::Unavailable("it was not taken away".to_owned()));
        };
        // Also if somebody else took it away: who asks may rely on its getting nothing from here.
        let must_be_gone = there.is_some() || self.table().item(service, id).is_some();
        let taken_over = async { if must_be_gone { self.taken_over(revision).await } else { Ok(()) } };
        let is_shared = self.settings().loads == Loads::InStore;
        let load = async {
            if is_shared {
                // If it cannot be taken away, it goes with its lease. That is not revoked: the instance may just be registering again.
                let _ = self.store.delete(&record::load_key(service, id), OnlyIf::Always).await;
            }
        };
        tokio::join!(taken_over, load).0?;
        Ok(there.is_some())
    }

    async fn changes(&self, service: Option<&str>, after: u64, most: Duration) -> Result<(u64, Vec<Change>), Trouble> {
        let mut news = self.table().news(service);
        let began = *news.borrow();
        let changed = async {
            loop {
                let is_broken = *news.borrow_and_update() != began;
                let (revision, changes) = self.table().changes(service, after)?;
                if is_broken {
                    return Err(Trouble::Compacted);
                }
                if !changes.is_empty() || news.changed().await.is_err() {
                    return Ok((revision, changes));
                }
            }
        };
        match timeout(most, changed).await {
            Ok(changes) => changes,
            Err(_) => self.table().changes(service, after),
        }
    }
}

impl Directory for Registry {
    fn register(&self, registration: Registration) -> Outcome<'_, (Registered, bool)> {
        Box::pin(self.shared.register(registration))
    }

    fn renew<'a>(&'a self, service: &'a str, id: &'a str, load: Option<Load>) -> Outcome<'a, Registered> {
        Box::pin(self.shared.renew(service, id, load))
    }

    fn drain<'a>(&'a self, service: &'a str, id: &'a str, draining: bool) -> Outcome<'a, Registered> {
        Box::pin(self.shared.drain(service, id, draining))
    }

    fn deregister<'a>(&'a self, service: &'a str, id: &'a str) -> Outcome<'a, bool> {
        Box::pin(self.shared.deregister(service, id))
    }

    fn list(&self, service: Option<&str>) -> Listing {
        let now = self.shared.clock.now();
        self.shared.table().list(service, now)
    }

    fn changes<'a>(&'a self, service: Option<&'a str>, after: u64, most: Duration) -> Outcome<'a, (u64, Vec<Change>)> {
        Box::pin(self.shared.changes(service, after, most))
    }
}

fn unavailable(trouble: durable::Trouble) -> Trouble {
    Trouble::Unavailable(trouble.to_string())
}

#[cfg(test)]
mod tests;
