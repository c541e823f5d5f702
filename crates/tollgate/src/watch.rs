//! Looks whether the files of a config have changed: whatever editors, configuration management and Kubernetes do to them.
//!
//! By looking, not by being told: that holds on every file system (of networks, of containers), and for files that are
//! renamed over, linked elsewhere, or removed and made again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_config::is_read;

/// How often is looked.
pub(crate) const EVERY: Duration = Duration::from_millis(500);

/// What files look like from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks(Vec<(PathBuf, Option<File>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Looks {
    /// What the file, or the files of the directory, look like now. Links are followed.
    pub(crate) fn of(path: &Path) -> Self {
        let files = match fs::read_dir(path) {
            // Whatever else is there, such as a log, is none of it: nor when it was last made or removed.
            Ok(entries) => {
                let files = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| is_read(file));
                let mut files: Vec<PathBuf> = files.collect();
                files.sort();
                files
            }
            Err(_) => vec![path.to_owned()],
        };
        Self(files.into_iter().map(|path| (path.clone(), File::of(&path))).collect())
    }
}

impl File {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let changed = (meta.mtime(), meta.mtime_nsec());
        Some(Self { device: meta.dev(), inode: meta.ino(), size: meta.len(), changed })
    }
}

/// Tells once files have changed and have stayed the same for a look: an editor may write them in pieces.
#[derive(Debug)]
pub(crate) struct Watched {
    path: PathBuf,
    known: Looks,
    /// What was seen last, if it is something new.
    fresh: Option<Looks>,
}

impl Watched {
    /// Whose files these are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Beginning with what is there now.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), known: Looks::of(path), fresh: None }
    }

    /// Looks; whether they have changed, and are done with it.
    pub(crate) fn look(&mut self) -> bool {
        let now = Looks::of(&self.path);
        if now == self.known {
            self.fresh = None;
            return false;
        }
        if self.fresh.as_ref() != Some(&now) {
            self.fresh = Some(now);
            return false;
        }
        (self.known, self.fresh) = (now, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_is_told_once_it_rests() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tollgate.yaml");
        fs::write(&file, "a").unwrap();
        let mut watched = Watched::new(&file);
        assert!(!watched.look());
        fs::write(&file, "ab").unwrap();
        assert!(!watched.look(), "still being written, perhaps");
        fs::write(&file, "abc").unwrap();
        assert!(!watched.look());
        assert!(watched.look());
        assert!(!watched.look(), "told once");
        fs::write(folder.path().join("new"), "abc").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(!watched.look() && watched.look(), "renamed over");
        fs::remove_file(&file).unwrap();
        assert!(!watched.look() && watched.look(), "removed");
    }

    #[test]
    fn of_a_directory_only_what_is_read_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.yaml", "a");
        let mut watched = Watched::new(folder.path());
        for name in ["access.log", "notes.txt", ".a.yaml.swp", ".b.yaml"] {
            write(name, "x");
            assert!(!watched.look() && !watched.look(), "{name}");
        }
        write("b.yml", "b");
        // A log that grows all the time keeps nothing from being noticed.
        write("access.log", "xx");
        assert!(!watched.look());
        write("access.log", "xxx");
        assert!(watched.look());
        fs::remove_file(folder.path().join("a.yaml")).unwrap();
        assert!(!watched.look() && watched.look(), "removed");
    }

    #[test]
    fn links_that_lead_elsewhere_are_followed() {
        // As Kubernetes mounts a ConfigMap: files are links by way of `..data`, which is renamed over.
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tollgate.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/tollgate.yaml", at("tollgate.yaml")).unwrap();
        let (mut file, mut whole) = (Watched::new(&at("tollgate.yaml")), Watched::new(folder.path()));
        symlink("..2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        for watched in [&mut file, &mut whole] {
            assert!(!watched.look() && watched.look());
        }
    }
}
