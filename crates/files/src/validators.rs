//! What tells one state of a file from another (RFC 9110 §8.8).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

/// The state that a file is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    /// A strong entity tag, quotes included.
    pub(crate) etag: String,
    /// When it was changed last, in seconds of the epoch; HTTP knows no smaller parts.
    pub(crate) modified: u64,
}

impl Validators {
    /// From what the file system says. Time (in nanoseconds), size and the file's number: who puts another file in its place
    /// changes the number, who writes to it the time.
    pub(crate) fn of(stat: &Stat) -> Self {
        let (ino, size) = (stat.st_ino, stat.st_size);
        let (seconds, nanos) = (stat.st_mtime, stat.st_mtime_nsec);
        let etag = format!("\"{ino:x}-{size:x}-{seconds:x}.{nanos:x}\"");
        Self { etag, modified: u64::try_from(seconds).unwrap_or(0) }
    }

    /// `Last-Modified`.
    pub(crate) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.modified))
    }

    /// Whether the file was changed after this date; `None`: it is no date, and the field that holds it is to be ignored.
    pub(crate) fn is_newer_than(&self, date: &[u8]) -> Option<bool> {
        Some(self.modified > seconds(date)?)
    }

    /// Whether it was changed at just this date.
    pub(crate) fn is_of(&self, date: &[u8]) -> bool {
        seconds(date) == Some(self.modified)
    }
}

/// A date in any of the three forms of RFC 9110 §5.6.7.
fn seconds(date: &[u8]) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(std::str::from_utf8(date).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
