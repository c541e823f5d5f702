//! The token of the admin API: made once, kept in a file that its owner alone can read.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use tollgate_identity::private_file::{self, PrivateError};

/// What the file is called.
const NAME: &str = "admin.token";
/// The shortest and the longest text that is taken for a token.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=512;
/// Most bytes of the file.
const MOST: u64 = 514;

/// The SHA-256 of a token.
pub(crate) type Digest = [u8; 32];

pub(crate) fn sha256(token: &[u8]) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token).as_ref());
    hash
}

/// A token. Shown nowhere.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

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
    pub fn load_or_make(data: &Path) -> Result<Self, PrivateError> {
        let path = Self::file(data);
        Self::of(&private_file::read_or_make(&path, MOST)?).ok_or_else(|| none(&path))
    }

    /// The token in this file.
    ///
    /// # Errors
    /// It cannot be read, is none, or others can read it.
    pub fn read(path: &Path) -> Result<Self, PrivateError> {
        Self::of(&private_file::read(path, MOST)?).ok_or_else(|| none(path))
    }

    fn of(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        // RFC 6750 §2.1.
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        (LENGTHS.contains(&text.len()) && text.iter().all(fits)).then(|| Self(text.into()))
    }

    /// Whether this is the token. How long that takes does not tell how much of it is right.
    #[must_use]
    pub fn is(&self, other: &[u8]) -> bool {
        verify_slices_are_equal(&self.0, other).is_ok()
    }

    /// Its SHA-256, by which it is known again without being kept.
    pub(crate) fn digest(&self) -> Digest {
        sha256(&self.0)
    }

    /// The value of `Authorization` that shows it.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(&self.0))
    }
}

fn none(path: &Path) -> PrivateError {
    PrivateError {
        message: format!("{} has no token", path.display()),
        hint: "32 to 512 letters, digits and `-._~+/=`; remove the file, and a new one is made".to_owned(),
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::load_or_make(folder.path()).unwrap();
        let text = fs::read_to_string(Token::file(folder.path())).unwrap();
        assert!(
            token.is(text.trim().as_bytes()) && Token::load_or_make(folder.path()).unwrap().is(text.trim().as_bytes())
        );
        assert!(!token.is(b"") && !token.is(text.as_bytes()));
        assert_eq!(format!("{token:?}"), "***");
        let other = tempfile::tempdir().unwrap();
        assert!(!token.is(&Token::load_or_make(other.path()).unwrap().0));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Token::load_or_make(folder.path()).unwrap());
        let path = Token::file(folder.path());
        for text in ["", "short", &"ä".repeat(32), &format!("{} {}", "x".repeat(32), "y")] {
            fs::write(&path, text).unwrap();
            assert!(Token::read(&path).unwrap_err().message.ends_with("has no token"), "{text}");
        }
        fs::write(&path, "x".repeat(600)).unwrap();
        assert!(Token::read(&path).is_err());
    }
}
