//! What is known in memory: the keys as they are on the disk, what changed lately, and when leases end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tollgate_core::clock::Clock;

use super::{Bounds, STUCK};
use crate::{Change, Entry, LeaseId, Listing, Revision, Trouble};

/// Who keeps the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// This process.
    Keeper,
    /// Another one, or nobody just now; this one takes over when it can.
    Reader,
    /// This one did, and does so no more.
    Former,
}

/// What is shared by the thread that writes and by those who read.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) clock: Clock,
    state: Mutex<State>,
    /// Up to where everything is in memory.
    pub(super) revision: watch::Sender<Revision>,
    pub(super) role: watch::Sender<Role>,
    /// Since when the disk has been waited for, if it is.
    busy: Mutex<Busy>,
    /// Why what is in memory may not be so any more: what another process writes cannot be read.
    doubt: Mutex<Option<Trouble>>,
    bounds: Mutex<Bounds>,
}

/// What the thread that writes is about.
#[derive(Clone, Copy, Debug)]
enum Busy {
    No,
    Since(Instant),
    Ended,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) revision: Revision,
    /// What changed lately, in order.
    pub(super) history: VecDeque<Change>,
    /// What changed up to here is not in `history` any more.
    pub(super) forgotten: Revision,
    pub(super) leases: BTreeMap<LeaseId, Lease>,
    most_history: usize,
}

/// A lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) ends: Instant,
    /// Its keys.
    pub(super) keys: BTreeSet<String>,
    /// Whether it is on the disk: it is from the first key on.
    pub(super) is_kept: bool,
    /// It cannot be renewed any more: it is being taken off the disk.
    pub(super) has_ended: bool,
}

impl Memory {
    pub(super) fn new(clock: Clock, most_history: usize, bounds: Bounds) -> Self {
        let state = State {
            entries: BTreeMap::new(),
            revision: Revision::default(),
            history: VecDeque::new(),
            forgotten: Revision::default(),
            leases: BTreeMap::new(),
            most_history: most_history.max(1),
        };
        Self {
            clock,
            state: Mutex::new(state),
            revision: watch::Sender::new(Revision::default()),
            role: watch::Sender::new(Role::Reader),
            busy: Mutex::new(Busy::No),
            doubt: Mutex::default(),
            bounds: Mutex::new(bounds),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new lease; `None`: there are as many as there may be.
    pub(super) fn grant(&self, ttl: Duration, most: usize) -> Option<LeaseId> {
        let ends = self.clock.now() + ttl;
        let mut state = self.state();
        if state.leases.len() >= most {
            return None;
        }
        let mut id = LeaseId(fastrand::i64(1..));
        while state.leases.contains_key(&id) {
            id = LeaseId(fastrand::i64(1..));
        }
        state.leases.insert(id, Lease { ttl, ends, keys: BTreeSet::new(), is_kept: false, has_ended: false });
        Some(id)
    }

    /// Its whole time again.
    pub(super) fn renew(&self, lease: LeaseId) -> Option<Duration> {
        let now = self.clock.now();
        let mut state = self.state();
        let lease = state.leases.get_mut(&lease).filter(|lease| lease.is_live(now))?;
        lease.ends = now + lease.ttl;
        Some(lease.ttl)
    }

    pub(super) fn is_live(&self, lease: LeaseId) -> bool {
        let now = self.clock.now();
        self.state().leases.get(&lease).is_some_and(|lease| lease.is_live(now))
    }

    /// The disk is waited for from now on, or not any more.
    pub(super) fn waits(&self, is_waiting: bool) {
        let busy = if is_waiting { Busy::Since(self.clock.now()) } else { Busy::No };
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = busy;
    }

    /// Nothing will be written any more.
    pub(super) fn ends(&self) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = Busy::Ended;
    }

    /// What is in memory may not be so from now on, for this reason; or is so again. Whether there was no such reason before.
    pub(super) fn doubt(&self, why: Option<Trouble>) -> bool {
        std::mem::replace(&mut *self.doubt.lock().unwrap_or_else(PoisonError::into_inner), why).is_none()
    }

    /// Whether what is in memory can be vouched for.
    pub(super) fn vouched(&self) -> Result<(), Trouble> {
        if let Some(why) = &*self.doubt.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(why.clone());
        }
        match *self.busy.lock().unwrap_or_else(PoisonError::into_inner) {
            Busy::No => Ok(()),
            Busy::Since(since) if self.clock.now().saturating_duration_since(since) < STUCK => Ok(()),
            Busy::Since(_) => Err(Trouble::Unavailable("the disk does not answer".to_owned())),
            Busy::Ended => Err(ended()),
        }
    }
}

impl Lease {
    pub(super) fn is_live(&self, now: Instant) -> bool {
        !self.has_ended && self.ends > now
    }
}

impl State {
    /// The keys that begin like this.
    pub(super) fn list(&self, prefix: &str) -> Listing {
        let from = self.entries.range(prefix.to_owned()..);
        let entries = from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| entry.clone()).collect();
        Listing { entries, revision: self.revision }
    }

    /// Takes over what is on the disk now.
    pub(super) fn show(&mut self, change: Change) {
        let revision = change.revision();
        match &change {
            Change::Put(entry) => {
                self.let_go(&entry.key);
                if let Some(lease) = entry.lease.and_then(|lease| self.leases.get_mut(&lease)) {
                    lease.keys.insert(entry.key.clone());
                    lease.is_kept = true;
                }
                self.entries.insert(entry.key.clone(), entry.clone());
            }
            Change::Gone { key, .. } => {
                self.let_go(key);
                self.entries.remove(key);
            }
        }
        self.revision = self.revision.max(revision);
        self.history.push_back(change);
        while self.history.len() > self.most_history {
            self.forgotten = self.history.pop_front().as_ref().map_or(self.forgotten, Change::revision);
        }
    }

    /// The key is not its lease's any more.
    fn let_go(&mut self, key: &str) {
        let lease = self.entries.get(key).and_then(|entry| entry.lease);
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.remove(key);
        }
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.ends).min()
    }
}

pub(super) fn ended() -> Trouble {
    Trouble::Unavailable("what writes to the disk has ended".to_owned())
}
