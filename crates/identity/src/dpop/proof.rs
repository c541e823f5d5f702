//! What a proof says (RFC 9449 §4.2), and which request it is for.

use std::borrow::Cow;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use tollgate_core::path::normalised;
use tollgate_core::problem::Problem;

use crate::bound::faults::{PROOF_ALGORITHM, PROOF_KEY, PROOF_MALFORMED};
use crate::checks::{Check, on};
use crate::faults::because;
use crate::jwk::{self, Algorithm, Key};
use crate::jwt::{Parts, time};
use crate::remembered::Digest;

/// Members of a key that nobody else must know (RFC 7518 §6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A proof that was read, and not believed yet.
pub(super) struct Proof<'t> {
    pub(super) algorithm: Algorithm,
    /// Of the key that it says signs it.
    pub(super) thumbprint: Digest,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) made: SystemTime,
    pub(super) id: String,
    /// The digest of the token that it is for.
    pub(super) token: Digest,
    pub(super) nonce: Option<String>,
    jwk: Map<String, Value>,
    parts: Parts<'t>,
}

impl<'t> Proof<'t> {
    /// # Errors
    /// It is none, or signed by nothing that could sign one.
    pub(super) fn read(text: &'t str) -> Result<Self, Problem> {
        let malformed = |why: &str| because(&PROOF_MALFORMED, why);
        let mut parts = Parts::read(text).map_err(|why| malformed(&why))?;
        let kind = parts.header.get("typ").and_then(Value::as_str).unwrap_or_default();
        if on(Check::ProofType) && !kind.eq_ignore_ascii_case("dpop+jwt") {
            return Err(malformed("another `typ`, or none"));
        }
        // RFC 7515 §4.1.11: no extension is understood here.
        if parts.header.contains_key("crit") {
            return Err(malformed("`crit` in the header"));
        }
        let named = parts.header.get("alg").and_then(Value::as_str).ok_or_else(|| malformed("no `alg`"))?;
        let algorithm = Algorithm::of(named).ok_or_else(|| because(&PROOF_ALGORITHM, "one that is never taken"))?;
        let Some(Value::Object(jwk)) = parts.header.remove("jwk") else { return Err(because(&PROOF_KEY, "no `jwk`")) };
        if let Some(name) = PRIVATE.into_iter().find(|name| jwk.contains_key(*name))
            && on(Check::ProofPrivateKey)
        {
            return Err(because(&PROOF_KEY, format!("a private key: it has `{name}`")));
        }
        let thumbprint = jwk::thumbprint(&jwk).ok_or_else(|| because(&PROOF_KEY, "of no kind that is known"))?;
        let text = |name: &str| match parts.claims.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(malformed(&format!("`{name}` is missing, or no text"))),
        };
        let (method, url, id, token) = (text("htm")?, text("htu")?, text("jti")?, text("ath")?);
        let token = BASE64URL_NOPAD.decode(token.as_bytes()).ok().and_then(|token| token.try_into().ok());
        let made = time(&parts.claims, "iat").ok().flatten();
        Ok(Self {
            algorithm,
            thumbprint,
            method,
            url,
            made: made.ok_or_else(|| malformed("`iat` is missing, or no time"))?,
            id,
            token: token.ok_or_else(|| malformed("`ath` is no SHA-256"))?,
            nonce: parts.claims.get("nonce").and_then(Value::as_str).map(str::to_owned),
            jwk,
            parts,
        })
    }

    /// Whether the key that it brings has signed it.
    pub(super) fn is_signed(&self) -> bool {
        let key = Key::read_for(&self.jwk, self.algorithm);
        key.is_some_and(|key| key.verifies(self.algorithm, self.parts.signed.as_bytes(), &self.parts.signature))
    }
}

/// Whether `htu` names this request, without its query and fragment, and however it is written (RFC 9449 §4.3, RFC 3986 §6.2.2, §6.2.3).
pub(super) fn is_for(url: &str, scheme: &str, host: &str, path: &str) -> bool {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((own_scheme, rest)) = url.split_once("://") else { return false };
    let (authority, own_path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let own_path = if own_path.is_empty() { "/" } else { own_path };
    own_scheme.eq_ignore_ascii_case(scheme)
        && !authority.is_empty()
        && without_usual_port(authority, scheme).eq_ignore_ascii_case(without_usual_port(host, scheme))
        && normalised(own_path.as_bytes()).is_ok_and(|own| own == Cow::Borrowed(path.as_bytes()))
}

fn without_usual_port<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let usual = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    authority.strip_suffix(usual).or_else(|| authority.strip_suffix(':')).unwrap_or(authority)
}
