//! Files that may change: whether they did, and whether that was told.
//!
//! Looked at, not notified of: a look costs a system call per file every few seconds, and sees every way in which files are
//! replaced (renames, symbolic links that are turned over, network file systems).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::material::FileError;

/// What came of a look at the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing changed, or only just now: what is not right yet may be half-way through being replaced.
    Unchanged,
    /// They changed, and what is new holds from now on.
    Renewed,
    /// They changed, and are not right: what was there before still holds. Told once.
    Broken(Vec<FileError>),
}

/// Files, and how they were when last looked at.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    stamps: Vec<Stamp>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Not right, for the first time: perhaps one of two files was replaced and the other is about to be.
    Suspect,
    Told,
}

/// What changes when a file does: device, inode, size, and its two times. `None`: it cannot be looked at.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), meta.size(), (meta.mtime(), meta.mtime_nsec()), changed))
}

impl Watch {
    /// To be made before the files are read for the first time.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let stamps = files.iter().map(|file| stamp(file)).collect();
        Self { files, seen: Mutex::new(Seen { stamps, verdict: Verdict::Fine }) }
    }

    /// Looks at the files, and has them read again if there is a reason to.
    pub(super) fn refresh(&self, reload: impl FnOnce() -> Result<(), Vec<FileError>>) -> Refreshed {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: a change in between shows at the next look.
        let stamps: Vec<Stamp> = self.files.iter().map(|file| stamp(file)).collect();
        let is_same = stamps == seen.stamps;
        if is_same && seen.verdict != Verdict::Suspect {
            return Refreshed::Unchanged;
        }
        let was_suspect = is_same && seen.verdict == Verdict::Suspect;
        seen.stamps = stamps;
        match reload() {
            Ok(()) => {
                seen.verdict = Verdict::Fine;
                Refreshed::Renewed
            }
            Err(errors) if was_suspect => {
                seen.verdict = Verdict::Told;
                Refreshed::Broken(errors)
            }
            Err(_) => {
                seen.verdict = Verdict::Suspect;
                Refreshed::Unchanged
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::material::Part;
    use super::*;

    fn wrong() -> Vec<FileError> {
        vec![FileError { path: "a".into(), part: Part::Key, message: "wrong".into(), hint: None }]
    }

    #[test]
    fn what_is_wrong_twice_in_a_row_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "1").unwrap();
        let watch = Watch::new(vec![file.clone()]);
        assert_eq!(watch.refresh(|| unreachable!("nothing changed")), Refreshed::Unchanged);
        fs::write(&file, "22").unwrap();
        assert_eq!(watch.refresh(|| Err(wrong())), Refreshed::Unchanged);
        assert_eq!(watch.refresh(|| Err(wrong())), Refreshed::Broken(wrong()));
        assert_eq!(watch.refresh(|| unreachable!("told already")), Refreshed::Unchanged);
        fs::write(&file, "333").unwrap();
        assert_eq!(watch.refresh(|| Ok(())), Refreshed::Renewed);
        assert_eq!(watch.refresh(|| unreachable!("nothing changed")), Refreshed::Unchanged);
    }

    #[test]
    fn a_pair_that_is_replaced_file_by_file_is_never_told_to_be_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = ["cert", "key"].iter().map(|name| folder.path().join(name)).collect();
        let watch = Watch::new(files.clone());
        fs::write(&files[0], "new").unwrap();
        assert_eq!(watch.refresh(|| Err(wrong())), Refreshed::Unchanged);
        fs::write(&files[1], "new").unwrap();
        assert_eq!(watch.refresh(|| Ok(())), Refreshed::Renewed);
    }

    #[test]
    fn a_link_that_is_turned_over_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("tls.crt"), "same size").unwrap();
        }
        std::os::unix::fs::symlink("v1", path("now")).unwrap();
        let watch = Watch::new(vec![path("now").join("tls.crt")]);
        std::os::unix::fs::symlink("v2", path("next")).unwrap();
        fs::rename(path("next"), path("now")).unwrap();
        assert_eq!(watch.refresh(|| Ok(())), Refreshed::Renewed);
    }
}
