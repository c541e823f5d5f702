//! Requests with message signatures (RFC 9421) as a source of identity: with keys that the config names.
//!
//! A body counts only if its digest (`Content-Digest`, RFC 9530) is among what is signed; it is held against that while it passes.
//!
//! A signature with a nonce is good once (RFC 9421 §7.2.2): its mark is kept for as long as it could be used again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, json};
use tollgate_core::body::{Length, Recoder};
use tollgate_core::cache::CacheStore;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::checks::{Check, on};
use crate::content_digest::Checker;
use crate::faults::{SIGNATURE_COVERAGE, SIGNATURE_REPLAYED, SIGNATURE_UNTOLD, TOO_MANY_FAILURES, because};
use crate::guard::Guard;
use crate::message::Message;
use crate::signature::{Component, Expected, INPUT, Verified, Verifier, VerifyingKey};

/// Whether signatures have to be good once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// Each needs a nonce.
    Always,
    /// Those that have a nonce.
    WithNonce,
}

/// A key, and for whom it is.
pub struct KnownKey {
    /// What signatures call it (`keyid`).
    pub id: String,
    /// The key.
    pub key: Arc<VerifyingKey>,
    /// The application.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<String>,
}

/// Signed requests as a source of identity.
pub struct SignedSource {
    name: Arc<str>,
    verifier: Verifier,
    keys: HashMap<String, (Arc<VerifyingKey>, Arc<Principal>)>,
    digest: Option<Component>,
    once: Once,
    store: OnceLock<Arc<dyn CacheStore>>,
    clock: Clock,
}

impl SignedSource {
    /// Takes requests that are signed with these keys, as is expected.
    #[must_use]
    pub fn new(name: &str, expected: Expected, once: Once, keys: Vec<KnownKey>, clock: Clock) -> Arc<Self> {
        let name: Arc<str> = name.into();
        let known = |known: KnownKey| {
            let mut claims = Map::new();
            claims.insert("sub".to_owned(), json!(known.name));
            claims.insert("client_id".to_owned(), json!(known.name));
            claims.insert("key_id".to_owned(), json!(known.id));
            claims.insert("scope".to_owned(), json!(known.scopes.join(" ")));
            (known.id, (known.key, Arc::new(crate::principal(&name, &claims, None))))
        };
        let keys = keys.into_iter().map(known).collect();
        let digest = Component::read("content-digest").ok();
        let (verifier, store) = (Verifier::new(expected), OnceLock::new());
        Arc::new(Self { verifier, keys, digest, once, store, clock, name })
    }

    /// Marks nonces that were used in this store; without one, no signature with a nonce is taken.
    pub fn mark_in(&self, store: &Arc<dyn CacheStore>) {
        let _ = self.store.set(Arc::clone(store));
    }

    /// Whose request it is, but for whether its signature was used before.
    fn check(&self, length: Length, message: &Message<'_>) -> Result<Option<(Arc<Principal>, Verified)>, Problem> {
        let lookup = |id: Option<&str>| self.keys.get(id?).map(|(key, _)| Arc::clone(key));
        let Some(verified) = self.verifier.verify(message, self.clock.unix(), lookup)? else { return Ok(None) };
        let is_covered = self.digest.as_ref().is_some_and(|digest| verified.components.contains(digest));
        if self.once == Once::Always && verified.nonce.is_none() && on(Check::MessageNonce) {
            return Err(SIGNATURE_COVERAGE.problem().detail("`nonce` is missing"));
        }
        match (length, is_covered) {
            (Length::None, false) => {}
            (Length::None, true) => {
                if let Some(checker) = Checker::of(message)? {
                    checker.check(b"")?;
                }
            }
            (_, false) => return Err(SIGNATURE_COVERAGE.problem().detail("`content-digest` is not covered")),
            // The body is still to come; that the field can be read is known before.
            (_, true) => drop(Checker::of(message)?),
        }
        let key = verified.key.as_deref().and_then(|id| self.keys.get(id));
        Ok(key.map(|(_, principal)| (Arc::clone(principal), verified)))
    }

    /// The same, and not used before.
    async fn check_once(&self, length: Length, message: Message<'_>) -> Result<Arc<Principal>, Problem> {
        let Some((principal, verified)) = self.check(length, &message)? else {
            return Err(SIGNATURE_COVERAGE.problem().detail("none of the signatures is for this"));
        };
        let Some(nonce) = &verified.nonce else { return Ok(principal) };
        // As long as it would be taken, and a moment more.
        let lasts = verified.expires.duration_since(self.clock.unix()).unwrap_or_default() + Duration::from_secs(1);
        let mark = format!("nonce\0{}\0{}\0{nonce}", self.name, verified.key.as_deref().unwrap_or_default());
        let Some(store) = self.store.get() else { return Err(because(&SIGNATURE_UNTOLD, "there is no store")) };
        match store.add(mark.as_bytes(), Bytes::new(), lasts).await {
            Ok(true) => Ok(principal),
            Ok(false) if on(Check::MessageReplay) => Err(SIGNATURE_REPLAYED.problem()),
            Ok(false) => Ok(principal),
            Err(error) => Err(because(&SIGNATURE_UNTOLD, error).header("Retry-After", "5")),
        }
    }
}

impl Authenticator for SignedSource {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        let message = Message::received(&x.head, x.scheme);
        if !Verifier::has_signature(&message) {
            return Found::Nothing;
        }
        if effort == Effort::Little {
            return Found::Checked(Err(TOO_MANY_FAILURES.problem()));
        }
        // Looked at in full where it may have to wait.
        if message.all(INPUT).any(|line| line.windows(6).any(|word| word == b"nonce=")) {
            return Found::Checking(Box::pin(self.check_once(x.length, message)));
        }
        match self.check(x.length, &message) {
            Ok(None) => Found::Nothing,
            // It would have been seen above: nobody takes a way around that.
            Ok(Some((_, verified))) if verified.nonce.is_some() => {
                Found::Checked(Err(because(&SIGNATURE_UNTOLD, "a nonce that was not seen")))
            }
            Ok(Some((principal, _))) => Found::Checked(Ok(principal)),
            Err(problem) => Found::Checked(Err(problem)),
        }
    }

    fn guard(&self, x: &Exchange) -> Option<Box<dyn Recoder>> {
        if x.length == Length::None {
            return None;
        }
        let checker = Checker::of(&Message::received(&x.head, x.scheme)).ok().flatten()?;
        Some(Box::new(Guard::Digest(checker)))
    }

    /// RFC 9421 has no challenge of its own: one that says what is looked for helps a person all the same.
    fn challenge(&self) -> String {
        format!("Signature realm=\"{}\"", self.name)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Parts { fields: &["Signature", "Signature-Input"], query: &[] }
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn describe(&self) -> String {
        "requests with message signatures".to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}

impl fmt::Debug for SignedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedSource").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
