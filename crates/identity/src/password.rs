//! Names and passwords as requests bring them (RFC 7617), and what is remembered of them: digests with a key that is forgotten with the
//! process, never the passwords. Says nothing about whether one is right.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use data_encoding::BASE64;
use tollgate_core::head::Fields;
use tollgate_core::problem::Problem;

use crate::faults::{BASIC_MALFORMED, because};
use crate::remembered::Digest;

/// The longest credential that is looked at, in bytes of its encoded form.
const LONGEST: usize = 4096;

/// A name and a password. Never shown.
pub(crate) struct Password {
    pub(crate) name: String,
    pub(crate) secret: Vec<u8>,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a request brings; `None`: no name and password. RFC 7617 §2: the name has no colon, the password may have some.
pub(crate) fn read(fields: &Fields) -> Option<Result<Password, Problem>> {
    let mut all = fields.all("authorization");
    let field = all.next()?;
    let (scheme, rest) = field.split_at(field.iter().position(|b| *b == b' ').unwrap_or(field.len()));
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return None;
    }
    let malformed = |why: &str| Some(Err(because(&BASIC_MALFORMED, why)));
    if all.next().is_some() {
        return malformed("more than one field");
    }
    let text = rest.trim_ascii();
    if text.len() > LONGEST {
        return malformed("too long");
    }
    let Ok(plain) = BASE64.decode(text) else { return malformed("no base64") };
    let Some(colon) = plain.iter().position(|b| *b == b':') else { return malformed("no colon") };
    let (name, secret) = (&plain[..colon], &plain[colon + 1..]);
    match str::from_utf8(name) {
        Ok(name) if !name.bytes().any(|b| b.is_ascii_control()) => {
            Some(Ok(Password { name: name.to_owned(), secret: secret.to_vec() }))
        }
        _ => malformed("a name that is no text"),
    }
}

/// How a client is asked for them (RFC 7617 §2.1).
pub(crate) fn challenge(realm: &str) -> String {
    format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
}

/// Makes digests of names with passwords.
pub(crate) struct Digests(hmac::Key);

impl Digests {
    /// With a new key. `None`: the system has no randomness.
    pub(crate) fn new() -> Option<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok().map(|()| Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    pub(crate) fn of(&self, given: &Password) -> Digest {
        // The lengths tell the two apart.
        let told = [&given.name.len().to_be_bytes()[..], given.name.as_bytes(), &given.secret].concat();
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.0, &told).as_ref());
        digest
    }
}
