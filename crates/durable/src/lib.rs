//! What the gateway must not forget: keys with revisions, leases and a watch, behind one contract. On one machine they lie in
//! SQLite, on many in etcd, after whose model (keys, revisions, leases, watches) the contract is drawn.
//!
//! Knows nothing of what the keys mean; who registers what is the registry's.

#![forbid(unsafe_code)]

mod etcd;
pub mod sqlite;

use std::fmt::{self, Debug};
use std::time::Duration;

use tollgate_core::policy::BoxFuture;

pub use self::etcd::{Etcd, EtcdCredentials, EtcdMember, EtcdSettings, EtcdStatus, PREFIX as ETCD_PREFIX};
pub use self::sqlite::Sqlite;

/// Longest key, in bytes.
pub const MOST_KEY: usize = 1024;
/// Longest value, in bytes.
pub const MOST_VALUE: usize = 256 * 1024;

/// What an operation comes to.
pub type Outcome<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// Keys in order, each with a value; every change makes a new revision of all of them together.
///
/// Cheap to share; none of its methods blocks a thread, and each of them ends by itself, in [`Trouble`] if need be.
pub trait Durable: Debug + Send + Sync + 'static {
    /// What lies under this key.
    fn get<'a>(&'a self, key: &'a str) -> Outcome<'a, Option<Entry>>;

    /// All keys that begin with `prefix`, in order, as of one revision.
    fn list<'a>(&'a self, prefix: &'a str) -> Outcome<'a, Listing>;

    /// Puts a value under a key if the condition holds. With a lease, the key goes when that ends.
    fn put<'a>(&'a self, key: &'a str, value: Vec<u8>, lease: Option<LeaseId>, only_if: OnlyIf)
    -> Outcome<'a, Written>;

    /// Takes a key away if the condition holds. [`Written::Done`] also if there was none, with the revision as it is.
    fn delete<'a>(&'a self, key: &'a str, only_if: OnlyIf) -> Outcome<'a, Written>;

    /// A new lease; it ends `ttl` from now unless it is renewed, and may end with the last key that has it. `ttl` in whole seconds, at
    /// least one: what is below is rounded up.
    fn grant(&self, ttl: Duration) -> Outcome<'_, LeaseId>;

    /// The lease lasts its whole time again, from now on. `None`: it has ended, or never was; else how long it lasts.
    fn renew(&self, lease: LeaseId) -> Outcome<'_, Option<Duration>>;

    /// Ends a lease, and with it its keys. `false`: there was none.
    fn revoke(&self, lease: LeaseId) -> Outcome<'_, bool>;

    /// Every change of keys that begin with `prefix`, from the first one after this revision on.
    fn watch(&self, prefix: &str, after: Revision) -> Box<dyn Watch>;
}

/// Changes, one batch after the other.
pub trait Watch: Debug + Send + 'static {
    /// What came next. May be dropped before it is done, and called again: nothing is lost.
    ///
    /// # Errors
    /// The store cannot be asked just now. The watch goes on by itself from where it was when it is called again, after a pause of its
    /// own.
    fn next(&mut self) -> Outcome<'_, Seen>;
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// These keys changed, in order; all up to this revision have now been shown.
    Changed(Revision, Vec<Change>),
    /// Nothing changed up to this revision, and the store vouches for it now: a quorum of it, if it is of several. Was true less than
    /// [`CONFIRMED_EVERY`] ago, and comes at least that often as long as the store can be asked.
    Confirmed(Revision),
    /// What changed since is not known any more: list again, and watch from there.
    Compacted,
}

/// How often a watch says that nothing changed.
pub const CONFIRMED_EVERY: Duration = Duration::from_secs(1);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value was put.
    Put(Entry),
    /// The key is gone: deleted, or its lease ended.
    Gone {
        /// It.
        key: String,
        /// When.
        revision: Revision,
    },
}

impl Change {
    /// Which key it is of.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Gone { key, .. } => key,
        }
    }

    /// When it was.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.modified,
            Self::Gone { revision, .. } => *revision,
        }
    }
}

/// A key and what lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// When it was put there first since it was last gone.
    pub created: Revision,
    /// When it was put there last.
    pub modified: Revision,
    /// What it ends with, if it does.
    pub lease: Option<LeaseId>,
}

/// Keys as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The keys, in order.
    pub entries: Vec<Entry>,
    /// As of when: a watch after it misses nothing.
    pub revision: Revision,
}

/// A number that grows with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// What must hold for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlyIf {
    /// Nothing.
    Always,
    /// There is no such key.
    Absent,
    /// It was put there last at this revision.
    Unchanged(Revision),
}

impl OnlyIf {
    /// Whether it holds of what is there.
    #[must_use]
    pub fn holds(self, there: Option<&Entry>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => there.is_none(),
            Self::Unchanged(revision) => there.is_some_and(|entry| entry.modified == revision),
        }
    }
}

/// Whether a change was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was, at this revision.
    Done(Revision),
    /// The condition did not hold; this is there instead.
    Conflict(Option<Entry>),
    /// The lease that the key was to end with has ended itself.
    NoLease,
}

/// Whether a store takes this.
fn within_bounds(key: &str, value: &[u8]) -> Result<(), Trouble> {
    if key.is_empty() || key.len() > MOST_KEY {
        return Err(Trouble::Refused(format!("a key has 1 to {MOST_KEY} bytes, this one {}", key.len())));
    }
    if value.len() > MOST_VALUE {
        return Err(Trouble::Refused(format!("a value has {MOST_VALUE} bytes at most, this one {}", value.len())));
    }
    Ok(())
}

/// The whole seconds for which a lease is granted.
fn whole(ttl: Duration) -> Duration {
    Duration::from_secs(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(Duration::from_secs(1))
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not answer, not in time, or says that it cannot just now (no leader): it is worth trying again. Whether a change was made
    /// is not known.
    Unavailable(String),
    /// It answers, and refuses: wrong password, no right to these keys, no room. Trying again changes nothing until somebody mends it.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Trouble {}
