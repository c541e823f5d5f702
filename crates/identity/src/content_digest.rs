//! `Content-Digest` (RFC 9530 §2): whether a body is the one that its sender hashed. Of worth against malice only if the field
//! itself is signed ([`crate::signature`]).

use std::fmt;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use tollgate_core::problem::Problem;

use crate::checks::{Check, on};
use crate::faults::{DIGEST_MALFORMED, DIGEST_MISMATCH};
use crate::message::Message;
use crate::signature::fields::{Item, Member, dictionary};

/// The name of the field.
pub const CONTENT_DIGEST: &str = "Content-Digest";

/// How a body is hashed (RFC 9530 §5). The older ones of the registry are good for nothing against malice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha-256`.
    Sha256,
    /// `sha-512`.
    Sha512,
}

impl Algorithm {
    /// As it stands in the field.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The field's value for a body.
#[must_use]
pub fn make(algorithm: Algorithm, body: &[u8]) -> String {
    format!("{}=:{}:", algorithm.name(), BASE64.encode(digest::digest(algorithm.hash(), body).as_ref()))
}

/// Looks at a body as it comes, and tells at its end whether it is the one that was hashed.
#[derive(Clone)]
pub struct Checker(Vec<(digest::Context, Vec<u8>)>);

impl Checker {
    /// Reads the field of a request; `None`: it has none. Hashes of kinds that are not known are passed over (RFC 9530 §2), but
    /// one of a known kind has to be there.
    ///
    /// # Errors
    /// It cannot be read, or has no hash of a known kind.
    pub fn of(message: &Message<'_>) -> Result<Option<Self>, Problem> {
        let mut lines = message.all(CONTENT_DIGEST).peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let mut wanted = Vec::new();
        for (name, member) in dictionary(lines).map_err(malformed)? {
            let Some(algorithm) = Algorithm::of(&name) else { continue };
            match member {
                Member::Item(Item::Bytes(hash), _) if hash.len() == algorithm.hash().output_len() => {
                    wanted.push((digest::Context::new(algorithm.hash()), hash));
                }
                _ => return Err(malformed("a hash that is none of its kind")),
            }
        }
        if wanted.is_empty() { Err(malformed("neither `sha-256` nor `sha-512`")) } else { Ok(Some(Self(wanted))) }
    }

    /// Takes the next part of the body.
    pub fn update(&mut self, part: &[u8]) {
        self.0.iter_mut().for_each(|(context, _)| context.update(part));
    }

    /// The same body will come once more.
    pub fn start_over(&mut self) {
        self.0.iter_mut().for_each(|(context, _)| *context = digest::Context::new(context.algorithm()));
    }

    /// The body has ended.
    ///
    /// # Errors
    /// It is not the one that was hashed.
    pub fn finish(self) -> Result<(), Problem> {
        // How long this takes tells nothing that whoever sent both does not know.
        let holds = self.0.into_iter().all(|(context, wanted)| context.finish().as_ref() == wanted);
        if holds || !on(Check::Digest) { Ok(()) } else { Err(DIGEST_MISMATCH.problem()) }
    }

    /// Looks at a whole body.
    ///
    /// # Errors
    /// It is not the one that was hashed.
    pub fn check(mut self, body: &[u8]) -> Result<(), Problem> {
        self.update(body);
        self.finish()
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").field("hashes", &self.0.len()).finish_non_exhaustive()
    }
}

fn malformed(why: &'static str) -> Problem {
    DIGEST_MALFORMED.problem().detail(why).cause(why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9530, Appendices B.1 and D: this content, and its hashes.
    const CONTENT: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const SHA512: &str =
        "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:";

    /// What is said of a body; empty: it is the one.
    fn judged(lines: &[&str], body: &[u8]) -> &'static str {
        let fields = lines.iter().map(|line| (&b"content-digest"[..], line.as_bytes())).collect();
        let message = Message { method: "POST", scheme: "https", host: "h", path: "/", query: None, fields };
        let checked = Checker::of(&message).map(|checker| checker.map(|checker| checker.check(body)));
        match checked {
            Ok(None) => "none",
            Ok(Some(Ok(()))) => "",
            Ok(Some(Err(problem))) | Err(problem) => problem.fault.slug,
        }
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        assert_eq!(
            (make(Algorithm::Sha256, CONTENT), make(Algorithm::Sha512, CONTENT)),
            (SHA256.into(), SHA512.into())
        );
        // RFC 9421 §B.2 and RFC 9530 §D.
        let compact = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
        assert_eq!(judged(&[compact], b"{\"hello\": \"world\"}"), "");
        for (lines, told) in [
            (&[SHA256][..], ""),
            (&[SHA512], ""),
            (&[SHA256, SHA512], ""),
            (&[&format!("md5=:AAAA:, {SHA256}, unixsum=1")], ""),
            (&[], "none"),
            (&[SHA256, &make(Algorithm::Sha512, b"")], "digest/mismatch"),
            (&[&make(Algorithm::Sha256, b"")], "digest/mismatch"),
            (&["md5=:AAAA:"], "digest/malformed"),
            (&[""], "digest/malformed"),
            (&["sha-256=:AAAA:"], "digest/malformed"),
            (&["sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="], "digest/malformed"),
            (&["sha-256=(:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:)"], "digest/malformed"),
            (&[SHA256, SHA256], "digest/malformed"),
            (&[&SHA256.to_uppercase()], "digest/malformed"),
        ] {
            assert_eq!(judged(lines, CONTENT), told, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_of_a_body_is_of_no_other(body: Vec<u8>, other: Vec<u8>, cut: usize) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let made = make(algorithm, &body);
                prop_assert_eq!(judged(&[&made], &body), "");
                prop_assert_eq!(judged(&[&made], &other).is_empty(), body == other);
                let fields = vec![(CONTENT_DIGEST.as_bytes(), made.as_bytes())];
                let message = Message { method: "GET", scheme: "http", host: "", path: "", query: None, fields };
                let mut checker = Checker::of(&message).unwrap().unwrap();
                let (one, two) = body.split_at(cut % (body.len() + 1));
                checker.update(one);
                checker.update(two);
                prop_assert!(checker.finish().is_ok());
            }
        }

        #[test]
        fn no_field_panics(line in ".*|sha-256=:[A-Za-z0-9+/=]*:.{0,9}") {
            judged(&[&line], b"");
        }
    }
}
