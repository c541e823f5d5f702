//! What the gateway must not forget on one machine: in SQLite, in a folder of the gateway's own.
//!
//! - All keys are in memory too, whence they are read; every change goes through one thread, which writes what has gathered as one
//!   transaction (WAL, `synchronous = FULL`), and only then shows and answers it. So whatever was answered is still there after the
//!   process was killed, and after the machine lost its power.
//! - Leases end by the monotonic clock, in memory: renewing one writes nothing. What the disk knows of a lease is how long it lasts, and,
//!   every [`STAMPED_EVERY`], that the process was there. A lease that ends is taken off the disk with its keys, before anybody is told.
//! - So after a restart, a lease that is on the disk had not ended. It begins again with its whole time, less the time that nobody kept
//!   it for longer than [`Bounds::grace`]. One that ended before the restart is not there to begin with.
//! - A disk that is full refuses the stamp as well. So the process shows that it is there by the time of the file whose lock it holds, too:
//!   to set that needs no room.
//! - What ends while the disk refuses it is over in memory, under revisions that the disk never sees. After a process that did not end in
//!   order, the next one therefore begins 2^20 further on, and whoever is behind lists anew.
//! - One process at a time keeps the folder: who holds the lock of a file in it, which the system lets go when that process ends, however
//!   it does. Another process on the same folder reads along (it looks every [`LOOKED_EVERY`]), writes nothing, and takes over as soon
//!   as it gets the lock: so an upgrade in place finds everything as it was. It vouches for what it reads only while the one that keeps
//!   the folder shows that it is there.

mod disk;
mod draft;
mod memory;
mod watch;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tollgate_core::clock::Clock;

use self::disk::Disk;
use self::memory::{Memory, Role};
use self::watch::SqliteWatch;
use self::writer::{Change, Command, Writer};
use crate::{
    Durable, Entry, LeaseId, Listing, OnlyIf, Outcome, Revision, Trouble, Watch, Written, whole, within_bounds,
};

/// How often the disk learns that the process is there.
pub const STAMPED_EVERY: Duration = Duration::from_secs(5);
/// How long the process that keeps the folder may show no sign of life before another one does not vouch for what it reads.
const SILENCE: Duration = STAMPED_EVERY.saturating_mul(2);
/// How far apart the revisions of two processes are if the first did not end in order: more than it can have given out without the disk.
const APART: u64 = 1 << 20;
/// How often a process that does not keep the folder looks whether something changed.
pub const LOOKED_EVERY: Duration = Duration::from_millis(50);
/// How long an operation may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a transaction may take before the store does not vouch for anything any more.
const STUCK: Duration = Duration::from_secs(2);
/// Most changes that wait for the disk; and the most in one transaction.
const MOST_WAITING: usize = 1024;
/// Most leases.
const MOST_LEASES: usize = 1_000_000;
/// The file in the folder.
const FILE: &str = "registry.db";
/// The file whose lock says who keeps it.
const LOCK: &str = "registry.lock";

/// How it is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder; it is made if it is not there.
    pub folder: PathBuf,
    /// How many changes watches can begin before.
    pub history: usize,
    /// What may become otherwise while it is open.
    pub bounds: Bounds,
}

/// What may become otherwise while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Time for which nobody may have kept a lease without counting against it.
    pub grace: Duration,
    /// Most keys; those that are there beyond them stay.
    pub most: usize,
}

/// Keys in SQLite.
#[derive(Debug)]
pub struct Sqlite {
    memory: Arc<Memory>,
    to_writer: SyncSender<Command>,
    folder: PathBuf,
}

impl Sqlite {
    /// Opens it, or makes it, and starts the thread that writes.
    ///
    /// # Errors
    /// The folder or the file cannot be used; in words for a person.
    pub fn open(settings: &Settings, clock: Clock) -> Result<Self, String> {
        let folder = &settings.folder;
        let cannot = |error: &dyn std::fmt::Display| format!("{} cannot be used: {error}", folder.display());
        disk::make_folder(folder).map_err(|error| cannot(&error))?;
        let disk = Disk::open(&folder.join(FILE)).map_err(|error| cannot(&error))?;
        let lock = disk::lock_file(&folder.join(LOCK)).map_err(|error| cannot(&error))?;
        let memory = Arc::new(Memory::new(clock, settings.history, settings.bounds));
        let (to_writer, commands) = sync_channel(MOST_WAITING);
        let mut writer = Writer::new(disk, lock, Arc::clone(&memory));
        writer.begin().map_err(|error| cannot(&error))?;
        let thread = thread::Builder::new().name("registry-disk".to_owned());
        thread.spawn(move || writer.run(&commands)).map_err(|error| cannot(&error))?;
        Ok(Self { memory, to_writer, folder: folder.clone() })
    }

    /// From now on it is kept within these.
    pub fn set(&self, bounds: Bounds) {
        *self.memory.bounds() = bounds;
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether this process keeps the folder.
    #[must_use]
    pub fn is_keeper(&self) -> bool {
        *self.memory.role.borrow() == Role::Keeper
    }

    /// Lets another process keep the folder from now on: this one reads along. Waits until that is so, at most for `most`; blocks.
    pub fn hand_over(&self, most: Duration) {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        if self.to_writer.try_send(Command::HandOver(answer)).is_ok() {
            // If it is not by then, the lock goes with the process.
            let _ = answered.recv_timeout(most);
        }
    }

    /// Has the thread look at its clock now: for tests whose clock stands still.
    pub fn look(&self) {
        let _ = self.to_writer.try_send(Command::Look);
    }

    /// Waits until this process keeps the folder.
    async fn kept(&self) -> Result<(), Trouble> {
        let mut role = self.memory.role.subscribe();
        if *role.borrow() == Role::Keeper {
            return Ok(());
        }
        match timeout(PATIENCE, role.wait_for(|role| *role == Role::Keeper)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.elsewhere()),
        }
    }

    fn elsewhere(&self) -> Trouble {
        Trouble::Unavailable(format!("another process keeps {}", self.folder.display()))
    }

    /// Has something written.
    async fn write(&self, change: Change) -> Result<Written, Trouble> {
        self.kept().await?;
        let (answer, answered) = oneshot::channel();
        match self.to_writer.try_send(Command::Write(change, answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Trouble::Unavailable(format!("{MOST_WAITING} changes wait for the disk already")));
            }
            Err(TrySendError::Disconnected(_)) => return Err(memory::ended()),
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err(memory::ended()),
            Err(_) => Err(Trouble::Unavailable("the disk does not answer in time".to_owned())),
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // The thread ends with the channel in any case; like this, at once, and with the last stamp.
        let _ = self.to_writer.try_send(Command::End);
    }
}

impl Durable for Sqlite {
    fn get<'a>(&'a self, key: &'a str) -> Outcome<'a, Option<Entry>> {
        Box::pin(async move { Ok(self.memory.state().entries.get(key).cloned()) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Outcome<'a, Listing> {
        Box::pin(async move { Ok(self.memory.state().list(prefix)) })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
        only_if: OnlyIf,
    ) -> Outcome<'a, Written> {
        Box::pin(async move {
            within_bounds(key, &value)?;
            self.write(Change::Put { key: key.to_owned(), value, lease, only_if }).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str, only_if: OnlyIf) -> Outcome<'a, Written> {
        Box::pin(async move {
            within_bounds(key, &[])?;
            self.write(Change::Delete { key: key.to_owned(), only_if }).await
        })
    }

    fn grant(&self, ttl: Duration) -> Outcome<'_, LeaseId> {
        Box::pin(async move {
            self.kept().await?;
            let granted = self.memory.grant(whole(ttl), MOST_LEASES);
            // It ends by itself even if nothing is ever put under it.
            self.look();
            granted.ok_or_else(|| Trouble::Refused(format!("there are {MOST_LEASES} leases already")))
        })
    }

    fn renew(&self, lease: LeaseId) -> Outcome<'_, Option<Duration>> {
        Box::pin(async move {
            self.kept().await?;
            Ok(self.memory.renew(lease))
        })
    }

    fn revoke(&self, lease: LeaseId) -> Outcome<'_, bool> {
        Box::pin(async move {
            self.kept().await?;
            if !self.memory.is_live(lease) {
                return Ok(false);
            }
            match self.write(Change::Revoke(lease)).await? {
                Written::Done(_) => Ok(true),
                Written::NoLease | Written::Conflict(_) => Ok(false),
            }
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Box<dyn Watch> {
        Box::new(SqliteWatch::new(Arc::clone(&self.memory), prefix, after))
    }
}
