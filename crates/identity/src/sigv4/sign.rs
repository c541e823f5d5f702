//! Signatures of the gateway's own, in the `Authorization` field.

use std::fmt;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

use super::canonical::{self, PathStyle};
use super::credential::stamp_at;
use super::key::{Scope, Secret};
use super::{ALGORITHM, Payload};
use crate::message::Message;

/// The fields that a signature replaces. A request's own ones are not signed; they are to be taken away before those of
/// [`Signer::sign`] are put in their place, also those for which there is none.
pub const REPLACED: [&str; 4] = ["Authorization", "X-Amz-Date", "X-Amz-Content-Sha256", "X-Amz-Security-Token"];

/// The parameters of a presigned URL, which make it one.
pub const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
];

/// Signs requests with one key.
#[derive(Clone)]
pub struct Signer {
    /// The id of the key.
    pub key: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of the session that the key belongs to, if it is a temporary one.
    pub token: Option<String>,
    /// The region of the service.
    pub region: String,
    /// The service.
    pub service: String,
    /// The names of the fields that are signed if they are there, in lower case, beside `host`, `content-type` and
    /// `x-amz-…`. The fewer, the better: what a proxy on the way changes or drops must not be among them.
    pub fields: Vec<String>,
    /// Whether the body's hash is told.
    pub hash: HashField,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.key, &self.region, &self.service);
        f.debug_struct("Signer").field("key", &shown).field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// Whether the body's hash is told in a field (`X-Amz-Content-Sha256`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashField {
    /// To every service.
    Always,
    /// To S3, which needs it, and wherever the body is not signed.
    WhereNeeded,
}

impl Signer {
    /// The fields that a request needs to be taken as this key's. Whatever is changed of it afterwards, the path, the
    /// query or a signed field, makes them worthless.
    ///
    /// # Errors
    /// The request cannot be signed, in words for a person.
    pub fn sign(
        &self,
        message: &Message<'_>,
        payload: &Payload,
        now: SystemTime,
    ) -> Result<Vec<(&'static str, String)>, String> {
        let stamp = stamp_at(now).ok_or("the clock tells no time that can be written")?;
        let content = payload.text();
        let mut fields = vec![("X-Amz-Date", stamp.clone())];
        let is_needed = canonical::is_for_objects(&self.service) || *payload == Payload::Unsigned;
        if is_needed || self.hash == HashField::Always {
            fields.push(("X-Amz-Content-Sha256", content.clone()));
        }
        if let Some(token) = &self.token {
            fields.push(("X-Amz-Security-Token", token.clone()));
        }
        let mut whole = message.clone();
        whole.fields.retain(|(name, _)| !REPLACED.iter().any(|gone| gone.as_bytes().eq_ignore_ascii_case(name)));
        whole.fields.extend(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let signed = self.signed(&whole)?;
        let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
        let day = stamp.get(..8).unwrap_or_default();
        let scope = Scope { day, region: &self.region, service: &self.service };
        let canonical = canonical::request(&whole, PathStyle::of(&self.service), &signed, &content)?;
        let (string, _) = canonical::string_to_sign(&stamp, scope, &canonical);
        let signature = HEXLOWER.encode(hmac::sign(&scope.key(&self.secret), string.as_bytes()).as_ref());
        let (key, scope, signed) = (&self.key, scope.text(), signed.join(";"));
        let text = format!("{ALGORITHM} Credential={key}/{scope}, SignedHeaders={signed}, Signature={signature}");
        fields.insert(0, ("Authorization", text));
        Ok(fields)
    }

    /// The names of the fields to sign, in order.
    fn signed(&self, message: &Message<'_>) -> Result<Vec<String>, String> {
        let mut names = vec!["host".to_owned()];
        for (name, _) in &message.fields {
            let name = str::from_utf8(name).map_err(|_| "a field's name is no text")?.to_ascii_lowercase();
            if name == "content-type" || name.starts_with("x-amz-") || self.fields.contains(&name) {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
