//! Files with secrets of the gateway's own: made once, for their owner alone, and refused if others can read them.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use data_encoding::BASE64URL_NOPAD;

/// How many random bytes a secret is made of.
const BYTES: usize = 32;

/// Why there is no secret.
#[derive(Debug)]
pub struct PrivateError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for PrivateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.hint)
    }
}

/// What is in the file; it and its folder are made if they are not there, with a text of 43 random letters.
///
/// # Errors
/// It can be neither read nor made, is larger than `most` bytes, or others can read it.
pub fn read_or_make(path: &Path, most: u64) -> Result<Vec<u8>, PrivateError> {
    if !path.exists() {
        let made = random().and_then(|text| make(path, text.as_bytes()));
        made.map_err(|error| cannot_make(path, &error))?;
    }
    read(path, most)
}

/// Why a file cannot be made.
pub(crate) fn cannot_make(path: &Path, error: &io::Error) -> PrivateError {
    PrivateError {
        message: format!("cannot make {}: {error}", path.display()),
        hint: "it needs a folder that the gateway's user may write to: `data: /var/lib/tollgate`".to_owned(),
    }
}

fn random() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(format!("{}\n", BASE64URL_NOPAD.encode(&bytes)))
}

/// What is in the file.
///
/// # Errors
/// It cannot be read, is larger than `most` bytes, or others can read it.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, PrivateError> {
    let shown = path.display();
    let cannot = |error: &io::Error| PrivateError {
        message: format!("cannot read {shown}: {error}"),
        hint: "it belongs to the user that the gateway runs as: ask as that user".to_owned(),
    };
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let meta = file.metadata().map_err(|error| cannot(&error))?;
    let mode = meta.mode() & 0o777;
    if meta.is_file() && mode & 0o077 != 0 {
        return Err(PrivateError {
            message: format!("{shown} can be read by others (mode {mode:04o})"),
            hint: format!("others may know it: remove the file, and a new one is made; or `chmod 600 {shown}`"),
        });
    }
    let (owner, own) = (meta.uid(), rustix::process::geteuid());
    if meta.is_file() && owner != 0 && owner != own.as_raw() && !own.is_root() {
        return Err(PrivateError {
            message: format!("{shown} belongs to somebody else (user {owner})"),
            hint: "the gateway's user must own it, so that nobody else knows it".to_owned(),
        });
    }
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > most {
        let message = format!("{shown} is larger than {most} bytes");
        return Err(PrivateError { message, hint: "it is something else".to_owned() });
    }
    Ok(text)
}

/// Makes a file; of several processes that do so at the same time, one does.
///
/// # Errors
/// It cannot be written.
pub fn make(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = written(path, text)?;
    // Whole or not at all, and never over one that is there.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Puts another content in the place of the one that is there, whole or not at all.
///
/// # Errors
/// It cannot be written; the one before is as it was.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    fs::rename(written(path, text)?, path)
}

/// The same, with the owner and the rights of the one that is there: whoever reads it, which may be another user, must be able to.
///
/// # Errors
/// It cannot be written; the one before is as it was.
pub fn replace_alike(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = written(path, text)?;
    if let Ok(before) = fs::metadata(path) {
        let file = File::open(&new)?;
        let own = file.metadata()?;
        if (before.uid(), before.gid()) != (own.uid(), own.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.set_permissions(before.permissions())?;
    } else {
        fs::set_permissions(&new, Permissions::from_mode(0o644))?;
    }
    fs::rename(new, path)
}

/// Makes the folder if it is not there, for its owner alone.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The content in a file beside it.
fn written(path: &Path, text: &[u8]) -> io::Result<PathBuf> {
    folder(path.parent().unwrap_or(Path::new(".")))?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    // What an earlier process of the same number left.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/data/x.secret");
        let text = read_or_make(&path, 100).unwrap();
        assert_eq!(text.trim_ascii().len(), 43);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
        assert_eq!(read_or_make(&path, 100).unwrap(), text);
        make(&path, b"other").unwrap();
        assert_eq!(read(&path, 100).unwrap(), text, "never over one that is there");
        replace(&path, b"other").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"other");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path, 4).unwrap_err().message.contains("larger than 4"));
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        read_or_make(&path, 100).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_or_make(&path, 100).unwrap_err();
        assert!(error.message.ends_with("can be read by others (mode 0640)") && error.hint.contains("chmod 600"));
    }
}
