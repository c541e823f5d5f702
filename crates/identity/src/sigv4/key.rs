//! Keys of signatures: derived from a secret for a day, a region and a service, and kept for the next request.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{digest, hmac};

use crate::remembered::{Digest, Remembered};

/// What a credential's scope ends in.
pub(super) const TERMINATOR: &str = "aws4_request";

/// What belongs to an access key id, and never goes over the wire.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The secret access key. Nothing is asked of its length: AWS gives them out with 40 characters.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    /// `YYYYMMDD`.
    pub(super) day: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl Scope<'_> {
    /// As it stands in a credential and in what is signed.
    pub(super) fn text(self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }

    /// The key of its signatures.
    pub(super) fn key(self, secret: &Secret) -> hmac::Key {
        let secret = [b"AWS4", &secret.0[..]].concat();
        [self.day, self.region, self.service, TERMINATOR].into_iter().fold(mac_key(&secret), |key, part| {
            let derived = hmac::sign(&key, part.as_bytes());
            mac_key(derived.as_ref())
        })
    }

    /// Tells keys apart. With the secret in it, so that one that was replaced makes no signatures any more; with the
    /// lengths, so that no part can be taken for two.
    fn digest(self, secret: &Secret) -> Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [&secret.0[..], self.day.as_bytes(), self.region.as_bytes(), self.service.as_bytes()] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        out
    }
}

fn mac_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

/// Keys that made a signature that holds. As each is good for a day only, the old ones go by themselves.
#[derive(Debug)]
pub(super) struct Keys(Remembered<Arc<hmac::Key>>);

impl Keys {
    /// For about so many.
    pub(super) fn new(most: usize) -> Self {
        Self(Remembered::new(most))
    }

    /// Whether this is the signature of these bytes; compared in constant time.
    pub(super) fn verifies(&self, secret: &Secret, scope: Scope<'_>, signed: &[u8], signature: &[u8]) -> bool {
        let digest = scope.digest(secret);
        if let Some(key) = self.0.get(&digest, |_| true) {
            return hmac::verify(&key, signed, signature).is_ok();
        }
        let key = scope.key(secret);
        let holds = hmac::verify(&key, signed, signature).is_ok();
        // Whoever does not know the secret fills no memory.
        if holds {
            self.0.add(digest, Arc::new(key));
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    const SCOPE: Scope<'_> = Scope { day: "20150830", region: "us-east-1", service: "iam" };

    #[test]
    fn a_key_is_derived_as_aws_shows_it() {
        // AWS General Reference, "Examples of how to derive a signing key": the key itself, seen by its first use.
        let secret = Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let key = HEXLOWER.decode(b"c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9").unwrap();
        let (own, known) = (hmac::sign(&SCOPE.key(&secret), b"x"), hmac::sign(&mac_key(&key), b"x"));
        assert_eq!(own.as_ref(), known.as_ref());
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn only_keys_that_made_a_signature_are_kept() {
        let (keys, secret) = (Keys::new(32), Secret::new(b"secret"));
        let signature = hmac::sign(&SCOPE.key(&secret), b"signed");
        let is_kept = || keys.0.get(&SCOPE.digest(&secret), |_| true).is_some();
        assert!(!keys.verifies(&secret, SCOPE, b"other", signature.as_ref()) && !is_kept());
        assert!(keys.verifies(&secret, SCOPE, b"signed", signature.as_ref()) && is_kept());
        assert!(keys.verifies(&secret, SCOPE, b"signed", signature.as_ref()));
        assert!(!keys.verifies(&secret, SCOPE, b"other", signature.as_ref()));
        assert!(!keys.verifies(&Secret::new(b"replaced"), SCOPE, b"signed", signature.as_ref()));
        let moved = Scope { day: "20150830u", region: "s-east-1", ..SCOPE };
        assert_ne!(moved.digest(&secret), SCOPE.digest(&secret));
    }
}
