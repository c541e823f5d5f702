//! Requests with message signatures (RFC 9421) as a source of identity: with keys that the config names.
//!
//! A body counts only if its digest (`Content-Digest`, RFC 9530) is among what is signed; it is held against that while it passes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, json};
use tollgate_core::body::{Length, Recoder};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::content_digest::Checker;
use crate::faults::{SIGNATURE_COVERAGE, TOO_MANY_FAILURES};
use crate::guard::Guard;
use crate::message::Message;
use crate::signature::{Component, Expected, Verifier, VerifyingKey};

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
    clock: Clock,
}

impl SignedSource {
    /// Takes requests that are signed with these keys, as is expected.
    #[must_use]
    pub fn new(name: &str, expected: Expected, keys: Vec<KnownKey>, clock: Clock) -> Arc<Self> {
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
        Arc::new(Self { verifier: Verifier::new(expected), keys, digest, clock, name })
    }

    fn check(&self, x: &Exchange, message: &Message<'_>) -> Result<Option<Arc<Principal>>, Problem> {
        let lookup = |id: Option<&str>| self.keys.get(id?).map(|(key, _)| Arc::clone(key));
        let Some(verified) = self.verifier.verify(message, self.clock.unix(), lookup)? else { return Ok(None) };
        let is_covered = self.digest.as_ref().is_some_and(|digest| verified.components.contains(digest));
        match (x.length, is_covered) {
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
        Ok(key.map(|(_, principal)| Arc::clone(principal)))
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
        match self.check(x, &message) {
            Ok(None) => Found::Nothing,
            Ok(Some(principal)) => Found::Checked(Ok(principal)),
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
