//! Instances that register themselves: what is known of one, and what may be asked of the directory that keeps them. The embedded
//! registry and the one in etcd are both such a directory, and both a source of instances.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tollgate_core::policy::BoxFuture;

use crate::Load;

/// Shortest time to live.
pub const LEAST_TTL: Duration = Duration::from_secs(2);
/// Longest time to live.
pub const MOST_TTL: Duration = Duration::from_secs(24 * 3600);

/// What an instance says of itself when it registers. Whoever makes one
/// has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The service: 1 to 63 letters, digits, `-`, `_` or `.`.
    pub service: Arc<str>,
    /// Which of its instances, in the same alphabet; by default `ADDRESS:PORT`, with which one also may write it.
    pub id: Arc<str>,
    /// Where it listens: an IP address, or a host that is looked up.
    pub address: Arc<str>,
    /// Where it listens.
    pub port: u16,
    /// For how long it counts as being there after it last said so; [`LEAST_TTL`] to [`MOST_TTL`], in whole seconds.
    pub ttl: Duration,
    /// The zone it runs in.
    pub zone: Option<Arc<str>>,
    /// Which version of the service it is.
    pub version: Option<Arc<str>>,
    /// Its share of the requests, relative to the others': 0 to 1000.
    pub weight: u32,
    /// Its priority group: 0 is asked first.
    pub group: u8,
    /// Words by which it may be chosen.
    pub tags: BTreeSet<Arc<str>>,
}

/// An instance that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What it said of itself.
    pub registration: Registration,
    /// It gets no new requests, but is still there.
    pub draining: bool,
    /// What it last reported of its load.
    pub load: Option<Load>,
    /// The revision at which it was last changed; a renewal alone changes nothing.
    pub revision: u64,
    /// When it registered.
    pub since: SystemTime,
    /// When it ends unless it is renewed; `None`: not known here, its own gateway or etcd keeps the time.
    pub expires: Option<SystemTime>,
}

/// What was asked came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such instance (any more): it must register again.
    NotFound,
    /// There is no room for an instance of this service.
    Full {
        /// It.
        service: Arc<str>,
        /// Of what there are as many as there may be.
        bound: Bound,
        /// How many.
        most: usize,
    },
    /// What keeps the registry does not answer; in words for the log.
    Unavailable(String),
    /// What changed since that revision is not known any more: list again.
    Compacted,
}

/// How many instances there may be of what; called as in the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// In all.
    Most,
    /// Of one service.
    Each,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such instance"),
            Self::Full { service, bound: Bound::Each, most } => {
                write!(f, "`{service}` has {most} instances, and no service may have more (`registry: each`)")
            }
            Self::Full { service, bound: Bound::Most, most } => {
                write!(
                    f,
                    "there is no room for `{service}`: the registry has {most} instances, and may have no more (`registry: most`)"
                )
            }
            Self::Unavailable(why) => write!(f, "the registry cannot be asked: {why}"),
            Self::Compacted => f.write_str("what changed since that revision is not known any more"),
        }
    }
}

/// What an operation comes to.
pub type Outcome<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// Keeps the instances of services. Everything is idempotent: done twice, it is as if it were done once.
pub trait Directory: Debug + Send + Sync + 'static {
    /// Registers an instance, or changes what it says of itself; it is not draining afterwards. When it returns, this gateway
    /// uses it. `true`: it was not there before.
    fn register(&self, registration: Registration) -> Outcome<'_, (Registered, bool)>;

    /// The instance is still there, and this busy. Returns until when it is known to be now.
    fn renew<'a>(&'a self, service: &'a str, id: &'a str, load: Option<Load>) -> Outcome<'a, Registered>;

    /// The instance gets no new requests from now on (`draining`), or gets them again. When it returns, this gateway sends it none.
    fn drain<'a>(&'a self, service: &'a str, id: &'a str, draining: bool) -> Outcome<'a, Registered>;

    /// The instance is gone. When it returns, this gateway sends it no new request. `false`: there was none.
    fn deregister<'a>(&'a self, service: &'a str, id: &'a str) -> Outcome<'a, bool>;

    /// The instances of one service, or of all; from what this gateway holds in memory, never from a store that may be down.
    fn list(&self, service: Option<&str>) -> Listing;

    /// Waits until something changed after this revision, at most for `most`; what changed, in order (nothing: the time is over), and
    /// the revision up to which that is all.
    ///
    /// # Errors
    /// [`Trouble::Compacted`]; also as soon as instances that were used lapse, or lapsed ones are used again: that is no change of the
    /// registry, and has no revision.
    fn changes<'a>(&'a self, service: Option<&'a str>, after: u64, most: Duration) -> Outcome<'a, (u64, Vec<Change>)>;
}

/// Instances as of one moment.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Sorted by service and id.
    pub instances: Vec<Arc<Registered>>,
    /// The revision of the registry that they are of.
    pub revision: u64,
    /// How long ago what keeps the registry last vouched for it; `None`: it was not heard of yet, and nothing is known.
    pub age: Option<Duration>,
    /// Instances with at most this time to live are left out: nobody has vouched for them for longer than that.
    pub lapsed: Option<Duration>,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// It registered, drains, or says something else of itself.
    Put(Arc<Registered>),
    /// It deregistered, or its time ended.
    Gone {
        /// Its service.
        service: Arc<str>,
        /// Which one.
        id: Arc<str>,
        /// When.
        revision: u64,
    },
}

impl Change {
    /// Whose instance it is of.
    #[must_use]
    pub fn service(&self) -> &Arc<str> {
        match self {
            Self::Put(registered) => &registered.registration.service,
            Self::Gone { service, .. } => service,
        }
    }

    /// When it was.
    #[must_use]
    pub fn revision(&self) -> u64 {
        match self {
            Self::Put(registered) => registered.revision,
            Self::Gone { revision, .. } => *revision,
        }
    }
}
