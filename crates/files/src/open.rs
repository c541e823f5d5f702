//! Opening what lies below a directory, and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

/// Something that was opened.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A regular file.
    File(File, Stat),
    /// A directory.
    Directory(OwnedFd),
    /// Neither: a pipe, a socket, a device.
    Other,
}

/// How often is tried anew what the kernel could not decide because something was renamed meanwhile.
const TRIES: usize = 8;

/// A pipe must not keep the thread until somebody writes to it.
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

/// The directory that everything lies below. Opened for each request, so that another one may be put in its place.
pub(crate) fn root(dir: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens what is at `path` below `root`. Symbolic links are followed as long as they stay below it.
pub(crate) fn below(root: &OwnedFd, path: &[u8]) -> io::Result<Opened> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    let descriptor = match beneath(root, path) {
        // An old kernel does not know the call, and some sandboxes forbid it.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(root, path)?,
        opened => opened?,
    };
    let stat = fstat(&descriptor)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Opened::File(File::from(descriptor), stat),
        FileType::Directory => Opened::Directory(descriptor),
        _ => Opened::Other,
    })
}

fn beneath(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut last = Errno::AGAIN;
    for _ in 0..TRIES {
        match openat2(root, path, READ, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => last = Errno::AGAIN,
            opened => return opened,
        }
    }
    Err(last)
}

/// One name after the other, following no symbolic link at all: nobody can say where it leads without a race.
fn step_by_step(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let (folders, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[][..], path),
    };
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: Option<OwnedFd> = None;
    for folder in folders.split(|b| *b == b'/').filter(|folder| !folder.is_empty()) {
        at = Some(openat(at.as_ref().unwrap_or(root), folder, step, Mode::empty())?);
    }
    openat(at.as_ref().unwrap_or(root), name, READ | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn content(opened: Result<OwnedFd, Errno>) -> Result<String, Errno> {
        opened.map(|descriptor| std::io::read_to_string(File::from(descriptor)).unwrap())
    }

    #[test]
    fn links_are_followed_within_the_directory_only() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("public");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/file"), "inside").unwrap();
        fs::write(top.path().join("secret"), "outside").unwrap();
        symlink("a/b/file", dir.join("within")).unwrap();
        symlink("../../secret", dir.join("a/out")).unwrap();
        symlink(dir.join("a/b/file"), dir.join("absolute")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        symlink("/proc/self/fd", dir.join("magic")).unwrap();
        let root = root(&dir).unwrap();
        for open in [beneath, step_by_step] {
            assert_eq!(content(open(&root, b"a/b/file")).as_deref(), Ok("inside"));
            for path in ["a/out", "absolute", "loop", "magic/0", "../secret", "a/../../secret"] {
                let opened = content(open(&root, path.as_bytes()));
                // Step by step, `..` is not looked at: `lookup` lets none through.
                assert!(opened.is_err() || path.contains(".."), "{path}: {opened:?}");
            }
            assert!(open(&root, b"nothing").is_err_and(|errno| errno == Errno::NOENT));
            assert!(open(&root, b"a/b/file/x").is_err_and(|errno| errno == Errno::NOTDIR));
        }
        assert!(content(beneath(&root, b"a/../../secret")).is_err());
        assert_eq!(content(beneath(&root, b"within")).as_deref(), Ok("inside"));
        assert_eq!(content(step_by_step(&root, b"within")), Err(Errno::LOOP), "without the call, no links at all");
    }

    #[test]
    fn a_pipe_is_no_file_and_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let root = root(dir.path()).unwrap();
        assert!(matches!(below(&root, b"pipe").unwrap(), Opened::Other));
        assert!(matches!(below(&root, b"").unwrap(), Opened::Directory(_)));
    }
}
