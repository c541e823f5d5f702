//! The thread that writes: what has gathered as one transaction, the ends of leases at their time, and now and then that it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::disk::{Content, Disk, Written as OnDisk};
use super::draft::Draft;
use super::memory::{Lease, Memory, Role, State};
use super::{APART, LOOKED_EVERY, MOST_WAITING, SILENCE, STAMPED_EVERY};
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
    /// The last sign of life, that of this process or of the one that keeps the folder; and when it was noticed.
    sign: (Option<SystemTime>, Instant),
    /// The disk refused what was written last; and is asked again then.
    failed: Option<Instant>,
    /// What ended while it did. It is written before anything else.
    owed: Owed,
}

/// Which moment of the process this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// It keeps the folder from now on.
    First,
    /// Any in between.
    Any,
    /// It keeps it no more.
    Last,
}

/// What has ended, and the disk does not know yet: no more than what lies on it.
#[derive(Debug, Default)]
struct Owed {
    ended: BTreeSet<LeaseId>,
    changes: Vec<crate::Change>,
}

impl Writer {
    pub(super) fn new(disk: Disk, lock: File, memory: Arc<Memory>) -> Self {
        let now = memory.clock.now();
        Self { disk, lock, memory, version: 0, stamped: now, sign: (None, now), failed: None, owed: Owed::default() }
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
            self.write_all(Vec::new(), Moment::Last);
        }
        self.memory.ends();
    }

    /// One look at everything. `false`: it cannot go on.
    fn round(&mut self, asked: Vec<Command>) -> bool {
        if !self.is_keeper() {
            let is_former = *self.memory.role.borrow() == Role::Former;
            let reading = if is_former { Ok(false) } else { self.take_over() };
            if let Err(error) = reading.and_then(|taken| if taken { Ok(()) } else { self.read_along() }) {
                self.doubt(format!("the registry's file cannot be read: {error}"));
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
            self.write_all(writes, if handed.is_some() { Moment::Last } else { Moment::Any });
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
        let (again, sign) = (self.failed.or(stamp), self.sign.1 + STAMPED_EVERY);
        let next = [state.next_end(), again].into_iter().flatten().fold(sign, Instant::min);
        next.saturating_duration_since(now).min(STAMPED_EVERY)
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
        // Up to the next sign of life it may have been there.
        let last = content.stamp.map(|stamp| self.signed().map_or(stamp, |sign| stamp.max(sign)));
        let down = last.map_or(Duration::ZERO, |last| unix.duration_since(last).unwrap_or_default());
        let counts = down.saturating_sub(STAMPED_EVERY).saturating_sub(self.memory.bounds().grace);
        let lease = |(id, ttl): &(LeaseId, Duration)| {
            let ends = now + ttl.saturating_sub(counts);
            (*id, Lease { ttl: *ttl, ends, keys: Default::default(), is_kept: true, has_ended: false })
        };
        let leases = content.leases.iter().map(lease).collect();
        self.show(content, Some(leases));
        self.is_sure();
        self.stamped = now;
        self.memory.role.send_replace(Role::Keeper);
        // Those that ended while nobody was there are gone before anybody is shown them; and it is stamped.
        self.write_all(Vec::new(), Moment::First);
        Ok(true)
    }

    /// When the process that keeps the folder, or kept it last, showed that it was there.
    fn signed(&self) -> Option<SystemTime> {
        self.lock.metadata().and_then(|lock| lock.modified()).ok()
    }

    /// Shows that this process is there, which keeps the folder.
    fn sign(&mut self, now: Instant) {
        let unix = self.memory.clock.unix();
        // If it cannot, whoever reads along does not know whether it is there: as if it were not.
        let _ = self.lock.set_modified(unix);
        self.sign = (Some(unix), now);
    }

    /// Shows what the keeper has written since.
    fn read_along(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let version = self.disk.version()?;
        if version != self.version {
            let content = self.disk.read()?;
            self.version = version;
            self.show(content, None);
        }
        // By the time that passes here: the clock of the day may jump.
        let (sign, now) = (self.signed(), self.memory.clock.now());
        if self.sign.0 != sign {
            self.sign = (sign, now);
        }
        let silent = now.saturating_duration_since(self.sign.1);
        match silent < SILENCE {
            true => self.is_sure(),
            false => self.doubt("the process that keeps the registry's file shows no sign of life".to_owned()),
        }
        Ok(())
    }

    /// What is in memory may not be so any more.
    fn doubt(&self, why: String) {
        if self.memory.doubt(Some(Trouble::Unavailable(why.clone()))) {
            tracing::error!(why, "nobody vouches for the registry's instances until its file can be followed again");
        }
    }

    /// What is in memory is what is on the disk.
    fn is_sure(&self) {
        if !self.memory.doubt(None) {
            tracing::info!("the registry's file can be followed again");
        }
    }

    /// Brings memory to what is on the disk; with its leases if this process keeps the folder from now on.
    fn show(&self, mut content: Content, leases: Option<BTreeMap<LeaseId, Lease>>) {
        let mut state = self.memory.state();
        let is_first = state.revision == Revision::default();
        let is_apart = leases.is_some() && !content.is_whole;
        if is_apart {
            content.revision.0 += APART;
        }
        state.leases = leases.unwrap_or_default();
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
        if is_apart {
            state.history.clear();
            state.forgotten = content.revision;
        }
        drop(state);
        self.memory.revision.send_replace(content.revision);
    }

    /// Writes what was asked for, and what has ended meanwhile; answers once it is on the disk.
    fn write_all(&mut self, asked: Vec<(Change, oneshot::Sender<Result<Written, Trouble>>)>, moment: Moment) {
        let now = self.memory.clock.now();
        let is_due = |last: Instant| now.saturating_duration_since(last) >= STAMPED_EVERY;
        if moment != Moment::Any || is_due(self.sign.1) {
            self.sign(now);
        }
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
        let is_stamp = moment != Moment::Any || (!state.leases.is_empty() && is_due(self.stamped));
        let is_owed = !self.owed.changes.is_empty() || !self.owed.ended.is_empty();
        // Also if only the disk has to show that it takes something again.
        let is_again = self.failed.is_some_and(|again| again <= now);
        let is_news = is_stamp || is_owed || is_again || !changes.is_empty() || ended.iter().any(is_kept);
        // It is not held while the disk is waited for: whoever reads sees what was before.
        drop(state);
        if !is_news {
            self.show_written(&ended, changes, revision);
            answers.into_iter().for_each(|(written, answer)| drop(answer.send(written)));
            return;
        }
        memory.waits(true);
        let (stamp, is_last) = (memory.clock.unix(), moment == Moment::Last);
        let (ended_all, changes_all) = ([&self.owed.ended, &ended], [&*self.owed.changes, &changes]);
        let written = OnDisk { leases, ended: ended_all, changes: changes_all, revision, stamp, is_last };
        let result = self.disk.write(&written);
        memory.waits(false);
        match result {
            Ok(()) => {
                self.stamped = now;
                self.owed = Owed::default();
                if self.failed.take().is_some() {
                    tracing::info!("the registry is written to the disk again");
                }
                self.show_written(&ended, changes, revision);
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

    /// Shows what is so from now on; gives the leases that are gone.
    fn show_written(
        &self,
        ended: &BTreeSet<LeaseId>,
        changes: Vec<crate::Change>,
        revision: Revision,
    ) -> Vec<(LeaseId, Lease)> {
        let mut state = self.memory.state();
        let gone = ended.iter().filter_map(|id| Some((*id, state.leases.remove(id)?))).collect();
        changes.into_iter().for_each(|change| state.show(change));
        drop(state);
        self.memory.revision.send_if_modified(|shown| std::mem::replace(shown, revision) != revision);
        gone
    }

    /// The disk does not take it that these leases have ended. They are over all the same: nobody is to be sent to whom nothing was heard of. Who
    /// starts again before the disk has taken it finds them once more, for one time to live.
    fn ends_in_memory(&mut self, ending: &[LeaseId]) {
        let state = self.memory.state();
        let mut draft = Draft::new(&state);
        ending.iter().for_each(|lease| draft.end(*lease));
        let Draft { revision, changes, ended, .. } = draft;
        drop(state);
        let gone = self.show_written(&ended, changes.clone(), revision);
        self.owed.ended.extend(gone.into_iter().filter(|(_, lease)| lease.is_kept).map(|(id, _)| id));
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
