//! The audit log: who changed what in this gateway, and when. One JSON object per line; each names the SHA-256 of the line
//! before and its own, so that a line that is changed or taken out later is noticed. Not the access log: it is written for
//! changes, not for requests.
//!
//! What a chain cannot show: that lines were cut off at its end, and that somebody who may write the file made all of it anew.
//! Against that, lines must be sent elsewhere.

mod verify;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use tollgate_core::clock::Clock;
use tollgate_core::control::Actor;
use tollgate_core::serde_json::{Map, Value, json};

pub use verify::{Broken, Verified, Why, verify};

/// What the file is called.
pub const NAME: &str = "audit.log";
/// Held while a line is written: during an upgrade two processes write.
const LOCK: &str = "audit.lock";
/// How often it is tried to get hold of it, and how long between two tries.
const TRIES: u32 = 500;
const REST: Duration = Duration::from_millis(10);
/// What the first line of all names as the line before.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Largest file; then a new one is begun.
const LARGEST: u64 = 16 * 1024 * 1024;
/// How many files there are beside the one that is written.
const KEPT: usize = 9;
/// Longest detail of a line, in bytes.
const LONGEST_DETAIL: usize = 8 * 1024;
/// No line is longer than this, even if every byte of its detail is escaped.
const LONGEST_LINE: u64 = 64 * 1024;
/// What stands between a line and its own digest.
const SEAL: &str = ",\"sha256\":\"";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The gateway started.
    Started,
    /// It was told to stop.
    Stopping,
    /// Another process took its place.
    Upgraded,
    /// Another process was to take its place, and did not.
    NotUpgraded,
    /// A config came into force.
    Reloaded,
    /// A config was refused.
    Refused,
    /// Balancers are told to send nothing new.
    Drained,
    /// Balancers are told to send again.
    Undrained,
    /// The line before was not whole, so the chain begins anew behind it.
    Mended,
}

impl What {
    /// As it stands in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Upgraded => "upgraded",
            Self::NotUpgraded => "not upgraded",
            Self::Reloaded => "reloaded",
            Self::Refused => "config refused",
            Self::Drained => "drained",
            Self::Undrained => "undrained",
            Self::Mended => "line before not whole",
        }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event<'e> {
    /// What happened.
    pub what: What,
    /// Who did it.
    pub by: Actor,
    /// The number of the config in force afterwards.
    pub revision: Option<u64>,
    /// More about it, for people.
    pub detail: Option<&'e str>,
}

/// The log of a folder.
#[derive(Debug)]
pub struct AuditLog {
    folder: PathBuf,
    clock: Clock,
    largest: u64,
    writing: Mutex<()>,
}

/// The last line, as far as the next one needs it.
struct Last {
    number: u64,
    digest: String,
    /// Whether it is a line of this log, and ended.
    is_whole: bool,
    /// Whether nothing but a line feed is missing.
    lacks_end: bool,
}

impl AuditLog {
    /// The log in this folder, which is made if it is not there. Looks at the last line, and notes it if that is not whole.
    ///
    /// # Errors
    /// The folder or the file cannot be used.
    pub fn open(folder: &Path, clock: Clock) -> io::Result<Self> {
        Self::with_size(folder, clock, LARGEST)
    }

    fn with_size(folder: &Path, clock: Clock, largest: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let log = Self { folder: folder.to_owned(), clock, largest, writing: Mutex::default() };
        let _lock = log.lock()?;
        let (mut file, _) = log.file()?;
        last(&mut file)?;
        Ok(log)
    }

    /// The file that is written.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Writes one event, and waits until the disk has it. Blocks: not on a worker.
    ///
    /// # Errors
    /// It could not be written.
    pub fn record(&self, event: &Event<'_>) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = self.lock()?;
        let (mut file, mut size) = self.file()?;
        let mut before = last(&mut file)?;
        if size == 0 {
            // Begun by one that did not come to write into it.
            match File::open(older(&self.path(), 1)) {
                Ok(mut older) => before = last(&mut older)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // One that is not whole is mended where it stands.
        if size >= self.largest && before.is_whole {
            self.rotate()?;
            (file, size) = self.file()?;
        }
        let mut text = String::new();
        if !before.is_whole && size > 0 {
            // What is there stays as it is: whoever verifies the log is shown it.
            let mended = Event { what: What::Mended, by: Actor::Gateway, revision: None, detail: None };
            text = if before.lacks_end { "\n".to_owned() } else { String::new() };
            before = self.append(&mut text, &mended, &before);
        }
        self.append(&mut text, event, &before);
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }

    fn append(&self, text: &mut String, event: &Event<'_>, before: &Last) -> Last {
        let number = before.number + 1;
        let mut line = self.line(number, event, &before.digest);
        let digest = sha256(line.as_bytes());
        line.push_str(SEAL);
        line.push_str(&digest);
        line.push_str("\"}\n");
        text.push_str(&line);
        Last { number, digest, is_whole: true, lacks_end: false }
    }

    /// A line up to its own digest.
    fn line(&self, number: u64, event: &Event<'_>, before: &str) -> String {
        let now = Timestamp::try_from(self.clock.unix()).unwrap_or_default();
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        set("number", json!(number));
        set("time", json!(format!("{now:.3}")));
        set("what", json!(event.what.as_str()));
        set("by", json!(event.by.as_str()));
        match event.by {
            Actor::Token(from) => set("from", json!(from.to_string())),
            Actor::Signal(name) => set("signal", json!(name)),
            Actor::Files | Actor::Gateway => {}
        }
        set("pid", json!(std::process::id()));
        event.revision.into_iter().for_each(|revision| set("revision", json!(revision)));
        event.detail.into_iter().for_each(|detail| set("detail", json!(shortened(detail))));
        set("before", json!(before));
        let mut line = Value::Object(fields).to_string();
        line.pop();
        line
    }

    /// Held by one process at a time.
    #[expect(clippy::disallowed_methods, reason = "who writes here blocks, and never on a worker")]
    fn lock(&self) -> io::Result<File> {
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(self.folder.join(LOCK))?;
        for _ in 0..TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => std::thread::sleep(REST),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        let why = format!("`{LOCK}` has been held by another program for {} s", (REST * TRIES).as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    fn file(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(self.path())?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// `audit.log` → `audit.log.1` → … ; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        for number in (0..KEPT).rev() {
            match fs::rename(older(&self.path(), number), older(&self.path(), number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The file that was written so many files before this one.
fn older(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// The last line of a log; of a file without any, what the first line needs.
fn last(file: &mut File) -> io::Result<Last> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LONGEST_LINE)))?;
    let mut tail = Vec::new();
    Read::by_ref(file).take(LONGEST_LINE).read_to_end(&mut tail)?;
    let (text, lacks_end) = match tail.strip_suffix(b"\n") {
        Some(text) => (text, false),
        None => (&tail[..], size > 0),
    };
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let number = text.split(|byte| *byte == b'\n').rev().find_map(verify::Line::read).map(|line| line.number);
    let whole = verify::Line::read(line).filter(|line| line.is_sealed && !lacks_end);
    Ok(match whole {
        Some(line) => Last { number: line.number, digest: line.digest, is_whole: true, lacks_end },
        None if size == 0 => Last { number: 0, digest: GENESIS.to_owned(), is_whole: true, lacks_end },
        None => Last { number: number.unwrap_or_default(), digest: sha256(line), is_whole: false, lacks_end },
    })
}

fn shortened(detail: &str) -> &str {
    let mut end = detail.len().min(LONGEST_DETAIL);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    &detail[..end]
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        // Writing to memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
