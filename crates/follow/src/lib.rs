//! A file whose content is kept up to date: looked at again and again, and read when it has changed.
//!
//! One that goes bad harms nobody: what was read last holds, and the standing of its source tells.

#![forbid(unsafe_code)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tollgate_core::clock::Clock;
use tollgate_core::principal::Standing;

/// How often a file is looked at.
pub const LOOK: Duration = Duration::from_secs(2);

type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// What a file says.
pub struct Followed<T> {
    path: PathBuf,
    /// Largest file, in bytes.
    largest: u64,
    parse: Parse<T>,
    clock: Clock,
    known: ArcSwap<Known<T>>,
    task: Mutex<Option<AbortHandle>>,
}

struct Known<T> {
    said: Option<Arc<T>>,
    stamp: Option<Stamp>,
    trouble: Option<(SystemTime, String)>,
}

/// What tells one version of a file from another: length, inode, and when it was written.
type Stamp = (u64, u64, i64, i64);

impl<T: Send + Sync + 'static> Followed<T> {
    /// Nothing is read before [`Followed::start`]. `largest`: in bytes.
    pub fn new(
        path: PathBuf,
        largest: u64,
        clock: Clock,
        parse: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let known = ArcSwap::from_pointee(Known { said: None, stamp: None, trouble: None });
        Arc::new(Self { path, largest, parse: Box::new(parse), clock, known, task: Mutex::default() })
    }

    /// Reads the file, and follows it on this runtime until this is dropped. Blocks; only the first call counts.
    pub fn start(self: &Arc<Self>, slow: &Handle) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_none() {
            self.look();
            *task = Some(slow.spawn(follow(Arc::downgrade(self))).abort_handle());
        }
    }

    /// What it says, or said last.
    #[must_use]
    pub fn said(&self) -> Option<Arc<T>> {
        self.known.load().said.clone()
    }

    /// Looks at what it says, or said last.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.known.load().said.as_deref().map(look)
    }

    /// Whether it can be used.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let known = self.known.load();
        match (&known.trouble, known.said.is_some()) {
            (None, true) => Standing::Good,
            (None, false) => Standing::Down { since: None, error: "the file was not read yet".to_owned() },
            (Some((since, error)), true) => Standing::Stale { since: *since, error: error.clone() },
            (Some((since, error)), false) => Standing::Down { since: Some(*since), error: error.clone() },
        }
    }

    /// Reads the file if it is another one than before. Blocks.
    pub fn look(&self) {
        let before = self.known.load_full();
        let stamp = stamp(&self.path).ok();
        // One that could not be read may have got other rights, of which the stamp tells nothing.
        if before.trouble.is_none() && stamp.is_some() && stamp == before.stamp {
            return;
        }
        let read = read(&self.path, self.largest).and_then(|text| (self.parse)(&text));
        let file = self.path.display();
        let new = match read {
            Ok(said) => {
                if before.trouble.is_some() {
                    tracing::info!(%file, "a file can be used again");
                }
                Known { said: Some(Arc::new(said)), stamp, trouble: None }
            }
            Err(error) => {
                let since = before.trouble.as_ref().map_or_else(|| self.clock.unix(), |(since, _)| *since);
                // Told once for each mistake.
                if before.trouble.as_ref().is_none_or(|(_, told)| *told != error) {
                    tracing::warn!(%file, %error, "a file cannot be used; what it said before holds");
                }
                Known { said: before.said.clone(), stamp, trouble: Some((since, error)) }
            }
        };
        self.known.store(Arc::new(new));
    }
}

impl<T> Drop for Followed<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

async fn follow<T: Send + Sync + 'static>(weak: Weak<Followed<T>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(own) = weak.upgrade() else { return };
        // An error means that the runtime ends.
        if tokio::task::spawn_blocking(move || own.look()).await.is_err() {
            return;
        }
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    fs::metadata(path).map(|meta| (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
}

/// The bytes of a file that is no larger than that.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn read(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(largest + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > largest { Err(format!("it is larger than {largest} bytes")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_goes_bad_keeps_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let parse = |text: &[u8]| str::from_utf8(text).unwrap().parse::<u32>().map_err(|e| e.to_string());
        let followed = Followed::new(path.clone(), 4, Clock::real(), parse);
        followed.look();
        assert!(matches!(followed.standing(), Standing::Down { since: Some(_), .. }) && followed.said().is_none());
        fs::write(&path, "7").unwrap();
        followed.look();
        assert_eq!((followed.said().as_deref(), followed.standing()), (Some(&7), Standing::Good));
        for bad in ["seven", "12345"] {
            fs::write(&path, bad).unwrap();
            followed.look();
            assert!(matches!(followed.standing(), Standing::Stale { .. }), "{bad}");
            assert_eq!(followed.said().as_deref(), Some(&7));
        }
        fs::remove_file(&path).unwrap();
        followed.look();
        assert!(matches!(followed.standing(), Standing::Stale { .. }));
        fs::write(&path, "8").unwrap();
        followed.look();
        assert_eq!((followed.said().as_deref(), followed.standing()), (Some(&8), Standing::Good));
    }
}
