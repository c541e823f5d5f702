//! AWS Signature Version 4: checks the signatures of requests that AWS SDKs and others make with a shared secret
//! ([`Verifier`]), and makes them for services that ask for them ([`Signer`]).
//!
//! After "AWS Signature Version 4 for API requests" (IAM User Guide) and "Authenticating Requests (AWS Signature Version
//! 4)" (S3 API Reference): in the `Authorization` field, or in the query of a presigned URL. What is signed is the
//! request as it was sent, so that is looked at, and not what became of it here.
//!
//! Not here: signatures with key pairs (SigV4A), those of single chunks of a body (`STREAMING-…`), and those of forms that
//! browsers upload. They are refused, each in its own words.
//!
//! Whoever sees a request can send it again for as long as it is good: nothing is remembered of those that were taken.

mod canonical;
mod credential;
mod key;
mod sign;

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use tollgate_core::problem::Problem;

use crate::checks::{Check, on};
use crate::faults::{SIGV4_BODY, SIGV4_EXPIRED, SIGV4_SCOPE, SIGV4_SIGNATURE, SIGV4_STREAMING, SIGV4_UNKNOWN_KEY};
use crate::message::Message;
use canonical::PathStyle;
use credential::{Credential, Form, malformed};
pub use key::Secret;
use key::{Keys, Scope};
pub use sign::{HashField, PRESIGNED, REPLACED, Signer};

/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const CONTENT_HASH: &str = "x-amz-content-sha256";
const SECURITY_TOKEN: &str = "x-amz-security-token";
/// The parameter of a presigned URL that the signature is in; all others are signed.
const SIGNATURE: &str = "X-Amz-Signature";
/// Stands for the hash of a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Keys of signatures that are kept, each of somewhat more than a kilobyte.
const KEPT_KEYS: usize = 1024;

/// The SHA-256 of a body.
pub type Hash = [u8; 32];

/// The SHA-256 of these bytes.
#[must_use]
pub fn hash(body: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    out
}

/// Which signatures are taken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The regions that they may be for; empty: whichever.
    pub regions: Vec<String>,
    /// The services that they may be for; empty: whichever. The name also says how the path is written: as S3 has it
    /// (`s3`, `s3express`, `s3-object-lambda`, `s3-outposts`), or as all others.
    pub services: Vec<String>,
    /// By how much clocks may differ, and for how long a request in the `Authorization` form is good.
    pub skew: Duration,
    /// What becomes of requests whose body is not signed.
    pub unsigned: UnsignedBodies,
}

impl Settings {
    /// By how much clocks may differ unless it is said: what AWS has.
    pub const SKEW: Duration = Duration::from_secs(300);
}

/// What becomes of requests whose body is not signed (`UNSIGNED-PAYLOAD`, URLs presigned for S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsignedBodies {
    /// They are not taken.
    Refused,
    /// They are taken, whatever the body is.
    Taken,
}

/// What a signature says of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// It has this hash.
    Hash(Hash),
    /// It may be anything.
    Unsigned,
}

impl Payload {
    /// As it is signed.
    fn text(&self) -> String {
        match self {
            Self::Hash(hash) => HEXLOWER.encode(hash),
            Self::Unsigned => UNSIGNED.to_owned(),
        }
    }

    /// Compares with the body that came.
    ///
    /// # Errors
    /// It is another one.
    pub fn check(&self, body: &Hash) -> Result<(), Problem> {
        match self {
            Self::Hash(hash) if hash != body => {
                Err(SIGV4_BODY.problem().detail("the body is not the one that was signed"))
            }
            _ => Ok(()),
        }
    }
}

/// A signature that was read, and not believed yet. It is for a key, for now, and for a service that is taken here.
pub struct Claim {
    credential: Credential,
    /// `None`: it signs the body's hash without saying it.
    payload: Option<Payload>,
}

impl Claim {
    /// The id of the key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.credential.key
    }

    /// The token of a session that goes with the key; to be judged by whoever knows the secret.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.credential.token.as_deref()
    }

    /// Whether it can be judged only once the body's hash is known: the request does not say it. That of no body is
    /// `hash(b"")`.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.payload.is_none()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = self.credential.scope();
        f.debug_struct("Claim").field("key", &self.key()).field("scope", &scope).finish_non_exhaustive()
    }
}

/// A signature that holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Verified {
    /// The id of the key that made it.
    pub key: String,
    /// The token of a session that was signed with it.
    pub token: Option<String>,
    /// The region that it is for.
    pub region: String,
    /// The service that it is for.
    pub service: String,
    /// When it was made.
    pub signed: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
    /// What it says of the body: the caller is to [`check`](Payload::check) the body unless it gave its hash already.
    pub payload: Payload,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.key, &self.region, &self.service);
        f.debug_struct("Verified").field("key", &shown).field("payload", &self.payload).finish_non_exhaustive()
    }
}

/// Checks signatures.
#[derive(Debug)]
pub struct Verifier {
    settings: Settings,
    keys: Keys,
}

impl Verifier {
    /// Takes those that the settings say.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, keys: Keys::new(KEPT_KEYS) }
    }

    /// Whether a request has a signature of AWS, of whatever version.
    #[must_use]
    pub fn has_signature(message: &Message<'_>) -> bool {
        message.all("authorization").any(credential::is_scheme) || message.query.is_some_and(credential::has_signature)
    }

    /// Reads the signature of a request, and judges what can be judged without the secret. `None`: it has none.
    ///
    /// # Errors
    /// It cannot be read, or is for another time, region, service or kind of body than is taken here.
    pub fn read(&self, message: &Message<'_>, now: SystemTime) -> Result<Option<Claim>, Problem> {
        let Some(credential) = Credential::of(message)? else { return Ok(None) };
        self.judge_scope(credential.scope())?;
        self.judge_time(&credential, now)?;
        judge_fields(message, &credential.signed)?;
        let payload = self.payload(&credential)?;
        Ok(Some(Claim { credential, payload }))
    }

    /// Judges a signature that was read from the same request. `body`: its hash, if that is known already.
    ///
    /// # Errors
    /// It is not one of the secret for this request, or the body is another one.
    pub fn judge(
        &self,
        message: &Message<'_>,
        claim: Claim,
        secret: &Secret,
        body: Option<&Hash>,
    ) -> Result<Verified, Problem> {
        let Claim { credential, payload } = claim;
        let untold = || SIGV4_BODY.problem().detail("`X-Amz-Content-Sha256` does not say the body's hash");
        let payload = payload.or(body.copied().map(Payload::Hash)).ok_or_else(untold)?;
        let scope = credential.scope();
        let signed: Vec<&str> = credential.signed.iter().map(String::as_str).collect();
        let canonical = canonical::request(message, PathStyle::of(scope.service), &signed, &payload.text());
        let canonical = canonical.map_err(malformed)?;
        let (string, canonical) = canonical::string_to_sign(&credential.stamp, scope, &canonical);
        if on(Check::Sigv4Signature) && !self.keys.verifies(secret, scope, string.as_bytes(), &credential.signature) {
            // Of the caller's own request: whoever looks for the mistake compares it with theirs.
            let detail = format!("the canonical request, as it was seen here, has the SHA-256 {canonical}");
            return Err(SIGV4_SIGNATURE.problem().detail(detail));
        }
        if let Some(body) = body {
            payload.check(body)?;
        }
        let (region, service) = (scope.region.to_owned(), scope.service.to_owned());
        let (signed, expires) = (credential.time, self.end(&credential));
        Ok(Verified { key: credential.key, token: credential.token, region, service, signed, expires, payload })
    }

    /// Reads and judges in one go, for those who have the secrets at hand: `lookup` tells the one of a key's id and the
    /// token of a session. `None`: the request has no signature.
    ///
    /// # Errors
    /// The signature does not hold, or is not taken here.
    pub fn verify(
        &self,
        message: &Message<'_>,
        body: Option<&Hash>,
        now: SystemTime,
        lookup: impl FnOnce(&str, Option<&str>) -> Option<Secret>,
    ) -> Result<Option<Verified>, Problem> {
        let Some(claim) = self.read(message, now)? else { return Ok(None) };
        let secret = lookup(claim.key(), claim.token()).ok_or_else(|| SIGV4_UNKNOWN_KEY.problem())?;
        self.judge(message, claim, &secret, body).map(Some)
    }

    fn judge_scope(&self, scope: Scope<'_>) -> Result<(), Problem> {
        let is_taken = |taken: &[String], named: &str| taken.is_empty() || taken.iter().any(|own| own == named);
        if on(Check::Sigv4Scope) && !is_taken(&self.settings.regions, scope.region) {
            return Err(SIGV4_SCOPE.problem().detail("it is for another region"));
        }
        if !is_taken(&self.settings.services, scope.service) {
            return Err(SIGV4_SCOPE.problem().detail("it is for another service"));
        }
        Ok(())
    }

    fn judge_time(&self, credential: &Credential, now: SystemTime) -> Result<(), Problem> {
        if on(Check::Sigv4Time) && credential.time > now + self.settings.skew {
            return Err(SIGV4_EXPIRED.problem().detail("it is dated ahead of the gateway's clock"));
        }
        if on(Check::Sigv4Time) && self.end(credential) < now {
            return Err(SIGV4_EXPIRED.problem());
        }
        Ok(())
    }

    fn end(&self, credential: &Credential) -> SystemTime {
        match credential.form {
            Form::Field => credential.time + self.settings.skew,
            Form::Presigned(time) => credential.time + time,
        }
    }

    /// What is said of the body.
    fn payload(&self, credential: &Credential) -> Result<Option<Payload>, Problem> {
        let is_for_objects = canonical::is_for_objects(credential.scope().service);
        let payload = match (credential.content.as_deref(), credential.form) {
            (Some(UNSIGNED), _) => Payload::Unsigned,
            // Who presigns an URL does not know the body, so S3 has it unsigned.
            (None, Form::Presigned(_)) if is_for_objects => Payload::Unsigned,
            (None, Form::Field) if is_for_objects => {
                return Err(malformed("requests for this service need `X-Amz-Content-Sha256`"));
            }
            (None, _) => return Ok(None),
            (Some(text), _) if text.starts_with("STREAMING-") => return Err(SIGV4_STREAMING.problem()),
            (Some(text), _) => {
                let hash = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
                let none = || malformed(format!("`X-Amz-Content-Sha256` is neither a SHA-256 nor `{UNSIGNED}`"));
                Payload::Hash(hash.ok_or_else(none)?)
            }
        };
        if on(Check::Sigv4Body) && payload == Payload::Unsigned && self.settings.unsigned == UnsignedBodies::Refused {
            return Err(SIGV4_BODY.problem().detail("the body has to be signed"));
        }
        Ok(Some(payload))
    }
}

/// What has to be signed at the least: whom the request is for, and whatever is said to AWS.
fn judge_fields(message: &Message<'_>, signed: &[String]) -> Result<(), Problem> {
    let is_signed = |name: &str| signed.iter().any(|signed| signed == name);
    if on(Check::Sigv4Fields) && !is_signed("host") {
        return Err(malformed("`host` is not among the signed fields"));
    }
    for (name, _) in &message.fields {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if name.starts_with("x-amz-") && on(Check::Sigv4Fields) && !is_signed(&name) {
            return Err(malformed(format!("`{name}` is not among the signed fields")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
