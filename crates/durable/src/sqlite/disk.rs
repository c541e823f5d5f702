//! The file: its tables, and what is read and written.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::{Change, Entry, LeaseId, Revision};

/// What the file says it is (`application_id`): "toll".
const WHAT: i64 = 0x746f_6c6c;
/// The version of its tables (`user_version`).
const VERSION: i64 = 1;
const TABLES: &str = "
    CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE leases (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL);
    CREATE TABLE entries (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL, lease INTEGER
    ) WITHOUT ROWID;";

/// The open file.
#[derive(Debug)]
pub(super) struct Disk {
    connection: Connection,
}

/// All that is in the file.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) entries: Vec<Entry>,
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) revision: Revision,
    /// When a process was last there.
    pub(super) stamp: Option<SystemTime>,
    /// Who was there last has written all that it had to.
    pub(super) is_whole: bool,
}

/// Makes the folder, for the gateway's user alone, if it is not there.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The file whose lock says who keeps the folder, and whose time says when that one was last there.
pub(super) fn lock_file(path: &Path) -> io::Result<File> {
    match private().create_new(true).open(path) {
        Ok(new) => {
            // Nobody was there yet: it must not be taken for a sign of life.
            new.set_modified(UNIX_EPOCH)?;
            Ok(new)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private().open(path),
        Err(error) => Err(error),
    }
}

/// To be read and written by the gateway's user alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

impl Disk {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        // Made here, so that nobody else may read it; SQLite gives its other files the same rights.
        drop(private().create(true).truncate(false).open(path)?);
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(2))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        let making = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let number = |name| making.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        match (number("application_id")?, number("user_version")?) {
            (WHAT, VERSION) => {}
            (0, 0) => {
                making.execute_batch(TABLES)?;
                making.pragma_update(None, "application_id", WHAT)?;
                making.pragma_update(None, "user_version", VERSION)?;
            }
            (WHAT, other) => {
                return Err(format!("{} is of another version of Tollgate ({other})", path.display()).into());
            }
            _ => return Err(format!("{} is the file of another program", path.display()).into()),
        }
        making.commit()?;
        Ok(Self { connection })
    }

    /// All that is in it, as of one moment.
    pub(super) fn read(&mut self) -> rusqlite::Result<Content> {
        let reading = self.connection.transaction()?;
        let (revision, stamp) = (fact(&reading, "revision")?, fact(&reading, "stamp")?);
        let is_whole = fact(&reading, "is_open")?.unwrap_or_default() == 0;
        let mut asked = reading.prepare("SELECT key, value, created, modified, lease FROM entries ORDER BY key")?;
        let entry = |row: &rusqlite::Row<'_>| {
            Ok(Entry {
                key: row.get(0)?,
                value: row.get(1)?,
                created: revision_from(row.get(2)?),
                modified: revision_from(row.get(3)?),
                lease: row.get::<_, Option<i64>>(4)?.map(LeaseId),
            })
        };
        let entries = asked.query_map([], entry)?.collect::<Result<_, _>>()?;
        let mut asked = reading.prepare("SELECT id, ttl_ms FROM leases")?;
        let lease = |row: &rusqlite::Row<'_>| {
            let ttl = u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default();
            Ok((LeaseId(row.get(0)?), Duration::from_millis(ttl)))
        };
        let leases = asked.query_map([], lease)?.collect::<Result<_, _>>()?;
        let stamp = stamp.and_then(|ms| u64::try_from(ms).ok()).map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
        let revision = revision_from(revision.unwrap_or_default());
        Ok(Content { entries, leases, revision, stamp, is_whole })
    }

    /// A number that is another one once another process has written.
    pub(super) fn version(&self) -> rusqlite::Result<i64> {
        self.connection.pragma_query_value(None, "data_version", |row| row.get(0))
    }

    /// Writes all of it, or nothing; on the disk when it returns.
    pub(super) fn write(&mut self, written: &Written<'_>) -> rusqlite::Result<()> {
        let writing = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut lease = writing.prepare("INSERT OR REPLACE INTO leases (id, ttl_ms) VALUES (?1, ?2)")?;
            for (id, ttl) in &written.leases {
                lease.execute(params![id.0, i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)])?;
            }
            let mut end = writing.prepare("DELETE FROM leases WHERE id = ?1")?;
            for id in written.ended.into_iter().flatten() {
                end.execute([id.0])?;
            }
            let mut put = writing.prepare("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let mut delete = writing.prepare("DELETE FROM entries WHERE key = ?1")?;
            for change in written.changes.into_iter().flatten() {
                match change {
                    Change::Put(entry) => {
                        let Entry { key, value, created, modified, lease } = entry;
                        let lease = lease.map(|lease| lease.0);
                        put.execute(params![key, value, number_of(*created), number_of(*modified), lease])?
                    }
                    Change::Gone { key, .. } => delete.execute([key])?,
                };
            }
            let mut fact = writing.prepare("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)")?;
            fact.execute(params!["revision", number_of(written.revision)])?;
            let stamp = written.stamp.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            fact.execute(params!["stamp", i64::try_from(stamp).unwrap_or(i64::MAX)])?;
            fact.execute(params!["is_open", i64::from(!written.is_last)])?;
        }
        writing.commit()
    }
}

/// One transaction.
#[derive(Debug)]
pub(super) struct Written<'w> {
    /// New leases.
    pub(super) leases: Vec<(LeaseId, Duration)>,
    /// Those that ended: before, and now.
    pub(super) ended: [&'w BTreeSet<LeaseId>; 2],
    /// What becomes of keys, in order, likewise.
    pub(super) changes: [&'w [Change]; 2],
    pub(super) revision: Revision,
    /// Now.
    pub(super) stamp: SystemTime,
    /// Nothing is to be written after this.
    pub(super) is_last: bool,
}

fn fact(reading: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<i64>> {
    reading.query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0)).optional()
}

fn revision_from(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or_default())
}

fn number_of(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}
