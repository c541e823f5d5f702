//! The thread that writes: what has gathered as one transaction, the ends of leases at their time, and now and then that it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::disk::{Content, Disk, Written as OnDisk};
use super::draft::Draft;
use super::memory::{Lease, Memory, Role, State};
use super::{LOOKED_EVERY, MOST_WAITING, STAMPED_EVERY};
use crate::{Entry, LeaseId, OnlyIf, Revision, Trouble, Written};

/// How long it waits before it writes again what the disk refused.
const AGAIN: Duration = Duration::from_millis(500);

/// A change that somebody asks for.
#[derive(Debug)]
pub(super) enum Change {
    Put { key: String, value: Vec<u8>, lease: Option<LeaseId>, only_if: OnlyIf },
    Delete { key: String, only_if: OnlyIf },
    Revoke(LeaseId),
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Write(Change, oneshot::Sender<Result<Written, Trouble>>),
    /// Somebody else is to keep the folder.
    HandOver(SyncSender<()>),
    /// Time may have passed.
    Look,
    End,
}

pub(super) struct Writer {
    disk: Disk,
    lock: File,
    memory: Arc<Memory>,
    /// What the disk said when it was last read.
    version: i64,
    /// When it was last written.
    stamped: Instant,
    /// The disk refused what was written last; and is asked again then.
    failed: Option<Instant>,
    /// What ended while it did. It is written before anything else.
    owed: Owed,
}

/// What has ended, and the disk does not know yet: no more than what lies on it.
#[derive(Debug, Default)]
struct Owed {
    ended: BTreeSet<LeaseId>,
    changes: Vec<crate::Change>,
}

impl Writer {
    pub(super) fn new(disk: Disk, lock: File, memory: Arc<Memory>) -> Self {
        let stamped = memory.clock.now();
        Self { disk, lock, memory, version: 0, stamped, failed: None, owed: Owed::default() }
    }

    /// Reads what is there, and keeps it if nobody else does.
    pub(super) fn begin(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        if !self.take_over()? {
            self.read_along()?;
        }
        Ok(())
    }

    /// Until nobody needs it any more.
    pub(super) fn run(&mut self, commands: &Receiver<Command>) {
        loop {
            let mut asked = Vec::new();
            match commands.recv_timeout(self.patience()) {
                Ok(Command::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(first) => asked.push(first),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while asked.len() < MOST_WAITING
                && let Ok(next) = commands.try_recv()
            {
                asked.push(next);
            }
            let is_last = asked.iter().any(|command| matches!(command, Command::End));
            if !self.round(asked) || is_last {
                break;
            }
        }
        if self.is_keeper() {
            self.write_all(Vec::new(), true);
        }
        self.memory.ends();
    }

    /// One look at everything. `false`: it cannot go on.
    fn round(&mut self, asked: Vec<Command>) -> bool {
        if !self.is_keeper() {
            let is_former = *self.memory.role.borrow() == Role::Former;
            let reading = if is_former { Ok(false) } else { self.take_over() };
            if let Err(error) = reading.and_then(|taken| if taken { Ok(()) } else { self.read_along() }) {
                let why = Trouble::Unavailable(format!("the registry's file cannot be read: {error}"));
                if self.memory.doubt(Some(why)) {
                    tracing::error!(%error, "the registry's file cannot be read: nobody vouches for its instances until it can");
                }
            }
        }
        let (mut writes, mut handed) = (Vec::new(), None);
        for command in asked {
            match command {
                Command::Write(change, answer) => writes.push((change, answer)),
                Command::HandOver(answer) => handed = Some(answer),
                Command::Look | Command::End => {}
            }
        }
        if self.is_keeper() {
            self.write_all(writes, handed.is_some());
        } else {
            let elsewhere = || Err(Trouble::Unavailable("another process keeps the registry now".to_owned()));
            writes.into_iter().for_each(|(_, answer)| drop(answer.send(elsewhere())));
        }
        if let Some(answer) = handed {
            self.memory.role.send_replace(Role::Former);
            let is_free = self.lock.unlock().is_ok();
            let _ = answer.send(());
            return is_free;
        }
        true
    }

    fn is_keeper(&self) -> bool {
        *self.memory.role.borrow() == Role::Keeper
    }

    /// How long nothing needs to be done.
    fn patience(&self) -> Duration {
        if !self.is_keeper() {
            return LOOKED_EVERY;
        }
        let now = self.memory.clock.now();
        let state = self.memory.state();
        let stamp = (!state.leases.is_empty()).then(|| self.stamped + STAMPED_EVERY);
        let again = self.failed.or(stamp);
        let next = [state.next_end(), again].into_iter().flatten().min();
        next.map_or(STAMPED_EVERY, |next| next.saturating_duration_since(now)).min(STAMPED_EVERY)
    }

    /// Keeps the folder from now on, if nobody else does.
    fn take_over(&mut self) -> Result<bool, Box<dyn std::error::Error>> {
        match self.lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let content = self.disk.read()?;
        let (now, unix) = (self.memory.clock.now(), self.memory.clock.unix());
        // Up to the next stamp it may have been there.
        let down = content.stamp.map_or(Duration::ZERO, |stamp| unix.duration_since(stamp).unwrap_or_default());
        let counts = down.saturating_sub(STAMPED_EVERY).saturating_sub(self.memory.bounds().grace);
        let lease = |(id, ttl): &(LeaseId, Duration)| {
            let ends = now + ttl.saturating_sub(counts);
            (*id, Lease { ttl: *ttl, ends, keys: Default::default(), is_kept: true, has_ended: false })
        };
        let leases = content.leases.iter().map(lease).collect();
        self.show(content, leases);
        self.is_sure();
        self.stamped = now;
        self.memory.role.send_replace(Role::Keeper);
        // Those that ended while nobody was there are gone before anybody is shown them; and it is stamped.
        self.write_all(Vec::new(), true);
        Ok(true)
    }

    /// Shows what the keeper has written since.
    fn read_along(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let version = self.disk.version()?;
        if version != self.version {
            let content = self.disk.read()?;
            self.version = version;
            self.show(content, BTreeMap::new());
        }
        self.is_sure();
        Ok(())
    }

    /// What is in memory is what is on the disk.
    fn is_sure(&self) {
        if !self.memory.doubt(None) {
            tracing::info!("the registry's file can be read again");
        }
    }

    /// Brings memory to what is on the disk.
    fn show(&self, content: Content, leases: BTreeMap<LeaseId, Lease>) {
        let mut state = self.memory.state();
        let is_first = state.revision == Revision::default();
        state.leases = leases;
        let new: BTreeMap<String, Entry> =
            content.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        if is_first {
            state.forgotten = content.revision;
            state.revision = content.revision;
            for (key, lease) in new.values().filter_map(|entry| Some((&entry.key, entry.lease?))) {
                if let Some(lease) = state.leases.get_mut(&lease) {
                    lease.keys.insert(key.clone());
                }
            }
            state.entries = new;
        } else {
            let before = std::mem::take(&mut state.entries);
            state.entries = before.clone();
            let is_new = |entry: &&Entry| before.get(&entry.key).is_none_or(|old| old.modified != entry.modified);
            let mut put: Vec<&Entry> = new.values().filter(is_new).collect();
            put.sort_by_key(|entry| entry.modified);
            put.into_iter().for_each(|entry| state.show(crate::Change::Put(entry.clone())));
            for key in before.into_keys().filter(|key| !new.contains_key(key)) {
                state.show(crate::Change::Gone { key, revision: content.revision });
            }
            for entry in new.values() {
                if let Some(lease) = entry.lease.and_then(|lease| state.leases.get_mut(&lease)) {
                    lease.keys.insert(entry.key.clone());
                }
            }
            state.revision = content.revision;
        }
        drop(state);
        self.memory.revision.send_replace(content.revision);
    }

    /// Writes what was asked for, and what has ended meanwhile; answers once it is on the disk.
    fn write_all(&mut self, asked: Vec<(Change, oneshot::Sender<Result<Written, Trouble>>)>, is_stamp: bool) {
        let now = self.memory.clock.now();
        let is_due = now.saturating_duration_since(self.stamped) >= STAMPED_EVERY;
        let memory = Arc::clone(&self.memory);
        let mut state = memory.state();
        let ending: Vec<LeaseId> = ends(&mut state, now);
        let mut draft = Draft::new(&state);
        ending.iter().for_each(|lease| draft.end(*lease));
        let most = memory.bounds().most;
        let answers: Vec<_> =
            asked.into_iter().map(|(change, answer)| (draft.take(change, now, most), answer)).collect();
        let Draft { revision, changes, leases, ended, .. } = draft;
        let is_kept = |lease: &LeaseId| state.leases.get(lease).is_some_and(|lease| lease.is_kept);
        let is_owed = !self.owed.changes.is_empty() || !self.owed.ended.is_empty();
        let is_news =
            is_owed || !changes.is_empty() || ended.iter().any(is_kept) || (!state.leases.is_empty() && is_due);
        // It is not held while the disk is waited for: whoever reads sees what was before.
        drop(state);
        if !is_news && !is_stamp {
            self.failed = None;
            let mut state = memory.state();
            ended.iter().for_each(|lease| drop(state.leases.remove(lease)));
            answers.into_iter().for_each(|(written, answer)| drop(answer.send(written)));
            return;
        }
        memory.waits(true);
        let stamp = memory.clock.unix();
        let (ended_all, changes_all) = ([&self.owed.ended, &ended], [&*self.owed.changes, &changes]);
        let result = self.disk.write(&OnDisk { leases, ended: ended_all, changes: changes_all, revision, stamp });
        memory.waits(false);
        match result {
            Ok(()) => {
                self.stamped = now;
                self.owed = Owed::default();
                if self.failed.take().is_some() {
                    tracing::info!("the registry is written to the disk again");
                }
                let mut state = memory.state();
                ended.iter().for_each(|lease| drop(state.leases.remove(lease)));
                changes.into_iter().for_each(|change| state.show(change));
                drop(state);
                memory.revision.send_replace(revision);
                answers.into_iter().for_each(|(written, answer)| drop(answer.send(written)));
            }
            Err(error) => {
                if self.failed.is_none() {
                    tracing::error!(%error, "the registry cannot be written to the disk");
                }
                self.failed = Some(now + AGAIN);
                self.ends_in_memory(&ending);
                let trouble = trouble(&error);
                answers.into_iter().for_each(|(_, answer)| drop(answer.send(Err(trouble.clone()))));
            }
        }
    }
}

impl Writer {
    /// The disk does not take it that these leases have ended. They are over all the same: nobody is to be sent to whom nothing was heard of. Who
    /// starts again before the disk has taken it finds them once more, for one time to live.
    fn ends_in_memory(&mut self, ending: &[LeaseId]) {
        let mut state = self.memory.state();
        let mut draft = Draft::new(&state);
        ending.iter().for_each(|lease| draft.end(*lease));
        let Draft { revision, changes, ended, .. } = draft;
        for lease in ended {
            if state.leases.remove(&lease).is_some_and(|lease| lease.is_kept) {
                self.owed.ended.insert(lease);
            }
        }
        changes.iter().cloned().for_each(|change| state.show(change));
        drop(state);
        self.memory.revision.send_replace(revision);
        self.owed.changes.extend(changes);
    }
}

/// The leases that have ended, and cannot be renewed from now on.
fn ends(state: &mut State, now: Instant) -> Vec<LeaseId> {
    let ending = state.leases.iter_mut().filter(|(_, lease)| !lease.is_live(now));
    ending
        .map(|(id, lease)| {
            lease.has_ended = true;
            *id
        })
        .collect()
}

fn trouble(error: &rusqlite::Error) -> Trouble {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::ReadOnly) => Trouble::Refused(error.to_string()),
        _ => Trouble::Unavailable(error.to_string()),
    }
}
