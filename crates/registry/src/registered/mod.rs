//! Instances that register themselves: kept in whatever is [`Durable`], held in memory as it says, and shown to services.
//!
//! - An instance is a key `instances/SERVICE/ID` whose value says in JSON what it said of itself (see `record`), under a lease of its time
//!   to live. What others write there is read in the same way; what cannot be read is left out, and told once.
//! - Everything that is known is in memory (`table`), and follows the store by a watch (`follow`). A change touches its own service only:
//!   the sources of that service are told, and they their followers, before whoever asked for the change is answered.
//! - An instance is used until the store says that it is gone, and, when the store cannot be asked, until its time to live has passed
//!   since the store last vouched for it; with [`Settings::hold`], that much longer.
//! - Load that instances report stays in memory, or goes to a key of its own, `loads/SERVICE/ID`, where several gateways need it.

mod asked;
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
use tollgate_durable::{self as durable, Durable, Revision};
use tollgate_observe::Metrics;

use self::outlet::{Outlet, Outlets};
use self::table::Table;
use crate::directory::{Bound, Change, Directory, Listing, Outcome, Registered, Registration, Trouble};
use crate::dns::Dns;
use crate::{Load, Source};

/// What the keys of instances begin with.
pub const INSTANCES: &str = "instances/";
/// What the keys of their loads begin with.
pub const LOADS: &str = "loads/";

/// How long a change may take until all who follow have taken it over.
const TAKEN_OVER: Duration = Duration::from_secs(5);

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
