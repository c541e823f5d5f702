//! A secret of the gateway's own, above all the token of the admin API: made once, kept in a file that its owner alone can read.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;

/// What the file is called.
const NAME: &str = "admin.token";
/// How many random bytes a token is made of.
const BYTES: usize = 32;
/// The shortest and the longest text that is taken for a token.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=512;

/// A token. Shown nowhere.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

/// Why there is no token.
#[derive(Debug)]
pub struct TokenError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Token {
    /// The file of the token in the folder `data`.
    #[must_use]
    pub fn file(data: &Path) -> PathBuf {
        data.join(NAME)
    }

    /// The token of the folder `data`; both are made if they are not there.
    ///
    /// # Errors
    /// It can be neither read nor made, or others can read it.
    pub fn load_or_make(data: &Path) -> Result<Self, TokenError> {
        Self::load_or_make_at(&Self::file(data))
    }

    /// The token in this file; it and its folder are made if they are not there.
    ///
    /// # Errors
    /// It can be neither read nor made, or others can read it.
    pub fn load_or_make_at(path: &Path) -> Result<Self, TokenError> {
        if !path.exists() {
            make(path).map_err(|error| TokenError {
                message: format!("cannot make {}: {error}", path.display()),
                hint: "it needs a folder that the gateway's user may write to: `data: /var/lib/tollgate`".to_owned(),
            })?;
        }
        Self::read(path)
    }

    /// The token in this file.
    ///
    /// # Errors
    /// It cannot be read, is none, or others can read it.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let shown = path.display();
        let cannot = |error: &io::Error| TokenError {
            message: format!("cannot read {shown}: {error}"),
            hint: "it belongs to the user that the gateway runs as: ask as that user".to_owned(),
        };
        let file = File::open(path).map_err(|error| cannot(&error))?;
        let meta = file.metadata().map_err(|error| cannot(&error))?;
        let mode = meta.mode() & 0o777;
        if meta.is_file() && mode & 0o077 != 0 {
            let message = format!("{shown} can be read by others (mode {mode:04o})");
            return Err(TokenError {
                message,
                hint: format!("others may know it: remove the file, and a new one is made; or `chmod 600 {shown}`"),
            });
        }
        let owner = meta.uid();
        if meta.is_file()
            && owner != 0
            && owner != rustix::process::geteuid().as_raw()
            && !rustix::process::geteuid().is_root()
        {
            let message = format!("{shown} belongs to somebody else (user {owner})");
            return Err(TokenError {
                message,
                hint: "the gateway's user must own it, so that nobody else knows it".to_owned(),
            });
        }
        let mut text = String::new();
        let most = u64::try_from(*LENGTHS.end()).unwrap_or(u64::MAX) + 2;
        file.take(most).read_to_string(&mut text).map_err(|error| cannot(&error))?;
        Self::of(text.trim()).ok_or_else(|| TokenError {
            message: format!("{shown} has no token"),
            hint: "32 to 512 letters, digits and `-._~+/=`; remove the file, and a new one is made".to_owned(),
        })
    }

    fn of(text: &str) -> Option<Self> {
        // RFC 6750 §2.1.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        (LENGTHS.contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.as_bytes().into()))
    }

    /// Whether this is the token. How long that takes does not tell how much of it is right.
    #[must_use]
    pub fn is(&self, other: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, other).is_ok()
    }

    /// What it is, for whoever makes something of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value of `Authorization` that shows it.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Makes a token; of several processes that do so at the same time, one.
fn make(path: &Path) -> io::Result<()> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
    DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(Path::new(".")))?;
    let new = path.with_extension(format!("{}.new", std::process::id()));
    // What an earlier process of the same number left.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(format!("{}\n", BASE64URL_NOPAD.encode(&bytes)).as_bytes())?;
    file.sync_all()?;
    // Whole or not at all, and never over one that is there.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/data");
        let token = Token::load_or_make(&data).unwrap();
        let path = Token::file(&data);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 43);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing else is left there");
        assert!(token.is(text.trim().as_bytes()) && Token::load_or_make(&data).unwrap().is(text.trim().as_bytes()));
        assert!(!token.is(b"") && !token.is(text.as_bytes()));
        assert_eq!(format!("{token:?}"), "***");
        let other = tempfile::tempdir().unwrap();
        assert!(!token.is(&Token::load_or_make(other.path()).unwrap().0));
    }

    #[test]
    fn a_token_that_others_can_read_or_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Token::load_or_make(folder.path()).unwrap());
        let path = Token::file(folder.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Token::load_or_make(folder.path()).unwrap_err();
        assert!(error.message.ends_with("can be read by others (mode 0640)") && error.hint.contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "short", &"x".repeat(600), &"ä".repeat(32), &format!("{} {}", "x".repeat(32), "y")] {
            fs::write(&path, text).unwrap();
            assert!(Token::read(&path).unwrap_err().message.ends_with("has no token"), "{text}");
        }
    }
}
