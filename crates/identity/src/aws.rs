//! Requests that are signed with AWS Signature Version 4 as a source of identity: with keys that the config names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde_json::{Map, json};
use tollgate_core::body::{Length, Recoder};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::faults::{SIGV4_UNKNOWN_KEY, TOO_MANY_FAILURES};
use crate::guard::Guard;
use crate::message::Message;
use crate::sigv4::{Hash, PRESIGNED, Payload, REPLACED, Secret, Settings, Verifier, hash};

/// An access key, and for whom it is.
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// What it signs with.
    pub secret: Secret,
    /// The application.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<String>,
}

/// Signed requests as a source of identity.
pub struct AwsSource {
    name: Arc<str>,
    verifier: Verifier,
    keys: HashMap<String, (Secret, Arc<Principal>)>,
    most_content: usize,
    clock: Clock,
}

impl AwsSource {
    /// Takes requests that are signed with these keys. `most_content`: the largest body, in bytes, that is read before it is passed on,
    /// as it must be if the request does not tell its hash.
    #[must_use]
    pub fn new(name: &str, settings: Settings, keys: Vec<AccessKey>, most_content: usize, clock: Clock) -> Arc<Self> {
        let name: Arc<str> = name.into();
        let known = |key: AccessKey| {
            let mut claims = Map::new();
            claims.insert("sub".to_owned(), json!(key.name));
            claims.insert("client_id".to_owned(), json!(key.name));
            claims.insert("key_id".to_owned(), json!(key.id));
            claims.insert("scope".to_owned(), json!(key.scopes.join(" ")));
            (key.id, (key.secret, Arc::new(crate::principal(&name, &claims, None))))
        };
        let keys = keys.into_iter().map(known).collect();
        Arc::new(Self { verifier: Verifier::new(settings), keys, most_content, clock, name })
    }

    fn check(&self, x: &Exchange, message: &Message<'_>) -> Result<Option<Arc<Principal>>, Problem> {
        let Some(claim) = self.verifier.read(message, self.clock.unix())? else { return Ok(None) };
        // No key is good for a session: those are known to AWS alone.
        let known = self.keys.get(claim.key()).filter(|_| claim.token().is_none());
        let (secret, principal) = known.ok_or_else(|| SIGV4_UNKNOWN_KEY.problem())?;
        let body = match (x.length, &x.content) {
            (Length::None, _) => Some(hash(b"")),
            (_, content) => content.as_ref().map(|content| hash(content)),
        };
        self.verifier.judge(message, claim, secret, body.as_ref())?;
        Ok(Some(Arc::clone(principal)))
    }
}

impl Authenticator for AwsSource {
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

    fn most_content(&self) -> usize {
        self.most_content
    }

    /// Only for a key that is known, in time, and if nothing else tells the body's hash.
    fn wants_content(&self, x: &Exchange) -> bool {
        // Most requests have no body, or tell its hash: nothing more of them is looked at.
        if x.length == Length::None || x.head.fields.get("x-amz-content-sha256").is_some() {
            return false;
        }
        let message = Message::received(&x.head, x.scheme);
        Verifier::has_signature(&message)
            && self.verifier.read(&message, self.clock.unix()).is_ok_and(|claim| {
                claim.is_some_and(|claim| {
                    claim.needs_body() && claim.token().is_none() && self.keys.contains_key(claim.key())
                })
            })
    }

    /// The hash that was signed, wherever it stands: in a field, or in the query of an URL that was signed beforehand.
    fn guard(&self, x: &Exchange) -> Option<Box<dyn Recoder>> {
        if x.length == Length::None {
            return None;
        }
        let in_query = || x.head.query_value("X-Amz-Content-Sha256");
        let text = x.head.fields.text("x-amz-content-sha256").map(Into::into).or_else(in_query)?;
        let expected: Hash = HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?;
        Some(Box::new(Guard::Aws(digest::Context::new(&digest::SHA256), Payload::Hash(expected))))
    }

    /// RFC 9110 §11.6.1: the scheme is AWS's own.
    fn challenge(&self) -> String {
        format!("AWS4-HMAC-SHA256 realm=\"{}\"", self.name)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Parts { fields: &REPLACED, query: &PRESIGNED }
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn describe(&self) -> String {
        "requests that are signed as AWS has it".to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}

impl fmt::Debug for AwsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSource").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::buffer::Buffer;
    use tollgate_core::facts::{Conn, Route};
    use tollgate_core::head::Part;

    use super::*;
    use crate::sigv4::UnsignedBodies;

    /// Of an URL that was signed beforehand, too: whoever has it may not send another body with it.
    #[test]
    fn a_body_is_held_against_the_hash_that_was_signed_wherever_it_stands() {
        let (skew, unsigned) = (Settings::SKEW, UnsignedBodies::Refused);
        let settings = Settings { regions: Vec::new(), services: Vec::new(), skew, unsigned };
        let source = AwsSource::new("aws", settings, Vec::new(), 0, Clock::real());
        let hash = HEXLOWER.encode(&hash(b"body"));
        let guarded = |query: &str, field: Option<&str>, length: Length| {
            let address = ([127, 0, 0, 1], 1).into();
            let conn = Arc::new(Conn::new(address, address, 0));
            let mut x = Exchange::new(conn, Arc::new(Route::default()), Clock::real().now());
            x.head.fields.buffer = Buffer::holding(query.as_bytes());
            let end = u16::try_from(query.len()).unwrap();
            x.head.query = (end > 0).then_some(Part { start: 0, end });
            field.into_iter().for_each(|hash| x.head.fields.add("X-Amz-Content-Sha256", hash.to_owned()));
            x.length = length;
            source.guard(&x).is_some()
        };
        let in_query = format!("X-Amz-Signature=a&X-Amz-Content-Sha256={hash}");
        assert!(guarded(&in_query, None, Length::Known(4)) && guarded("", Some(&hash), Length::Chunked));
        assert!(!guarded(&in_query, None, Length::None), "there is no body");
        assert!(!guarded("X-Amz-Content-Sha256=UNSIGNED-PAYLOAD", None, Length::Known(4)));
    }
}
