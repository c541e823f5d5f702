//! Signed JSON Web Tokens (RFC 7519) in their compact form (RFC 7515 §3.1), judged after RFC 8725.
//!
//! Reading believes nothing: what a token says holds only once [`Token::is_signed_by`] and [`Expected::judge`] have looked at it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use tollgate_core::problem::Problem;

use crate::bound::confirmation::Confirmation;
use crate::checks::{Check, on};
use crate::faults::{
    ALGORITHM, AUDIENCE, BOUND, CLAIM, EXPIRED, HEADER_FIELD, ISSUER, MALFORMED, NOT_YET, TYPE, because,
};
use crate::json;
use crate::jwk::{Algorithm, Key};
use crate::profile::{Profile, Tenants};

/// What is made for something else and must never pass as an access token (RFC 8725 §3.11), whoever signed it.
const OTHER_TYPES: [&str; 5] =
    ["dpop+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt", "entity-statement+jwt"];

/// What marks tokens that are for the client alone and none that it shows around: ID tokens (OpenID Connect Core 1.0 §3.1.3.6,
/// §3.3.2.11) and logout tokens (Back-Channel Logout 1.0 §2.4), which need not have a `typ` of their own.
const OTHER_CLAIMS: [&str; 3] = ["at_hash", "c_hash", "events"];

/// The same, as Keycloak (`typ`) and Cognito (`token_use`) say it among the claims.
const OTHER_USES: [(&str, &[&str]); 2] =
    [("typ", &["ID", "Refresh", "Offline", "Logout"]), ("token_use", &["id", "refresh"])];

/// A token that was read, and not believed yet.
#[derive(Debug)]
pub struct Token<'t> {
    /// How it says it is signed.
    pub algorithm: Algorithm,
    /// Which key it says it is signed with.
    pub key: Option<String>,
    /// What kind of token it says it is: `typ`, in lower case, without `application/` (RFC 7515 §4.1.9).
    kind: Option<String>,
    /// What it says.
    pub claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// The parts of a JWT in its compact form, decoded.
pub(crate) struct Parts<'t> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    /// What is signed.
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
}

impl<'t> Parts<'t> {
    /// # Errors
    /// It is none, in words for our log.
    pub(crate) fn read(token: &'t str) -> Result<Self, String> {
        let (signed, signature) = token.rsplit_once('.').ok_or("no JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("no JWT")?;
        let part = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| "not base64url".to_owned());
        let object = |text: &str| json::object(&part(text)?);
        Ok(Self { header: object(header)?, claims: object(claims)?, signed, signature: part(signature)? })
    }
}

impl<'t> Token<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// It is none, or asks for something that is not done.
    pub fn read(token: &'t str) -> Result<Self, Problem> {
        let malformed = |why: &str| because(&MALFORMED, why);
        let Parts { mut header, claims, signed, signature } =
            Parts::read(token).map_err(|why| because(&MALFORMED, why))?;
        let algorithm = algorithm(&header)?;
        // RFC 8725 §3.10: whoever follows these lets strangers say which key to believe.
        if let Some(name) = ["jwk", "jku", "x5u"].into_iter().find(|name| header.contains_key(*name))
            && on(Check::JwtOwnKey)
        {
            return Err(because(&HEADER_FIELD, format!("`{name}` in the header")));
        }
        // RFC 7515 §4.1.11: no extension is understood here.
        if on(Check::JwtCritical) && header.contains_key("crit") {
            return Err(because(&HEADER_FIELD, "`crit` in the header"));
        }
        let mut text = |name: &str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed("a header that is no text")),
        };
        let (key, kind) = (text("kid")?, text("typ")?.map(|kind| kind.to_ascii_lowercase()));
        let kind = kind.map(|kind| kind.strip_prefix("application/").map(str::to_owned).unwrap_or(kind));
        Ok(Self { algorithm, key, kind, claims, signed, signature })
    }

    /// Whether this key made its signature.
    #[must_use]
    pub fn is_signed_by(&self, key: &Key) -> bool {
        !on(Check::JwtSignature) || key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// Whether it says that it is one of these; `None`: it does not say.
    pub(crate) fn is_of_kind(&self, kinds: &[Option<&str>]) -> bool {
        kinds.contains(&self.kind.as_deref())
    }

    /// Who says that they gave it out.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }
}

/// RFC 8725 §3.1: `none`, and whatever else is no signature of a key pair, is refused before anything else is looked at.
fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Problem> {
    let named = header.get("alg").and_then(Value::as_str).ok_or_else(|| because(&MALFORMED, "no `alg`"))?;
    Algorithm::of(named).ok_or_else(|| because(&ALGORITHM, "an algorithm that is never taken"))
}

/// What tokens must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// Who gives them out: any of these, letter by letter (RFC 7519 §4.1.1).
    pub issuers: Vec<String>,
    /// Whom they are for: one of these must be among theirs. Empty: whomever.
    pub audiences: Vec<String>,
    /// What kind they are; `None`: whatever is not made for something else.
    pub kind: Option<String>,
    /// By how much clocks may differ.
    pub skew: Duration,
    /// What is peculiar to the provider's tokens.
    pub profile: Profile,
    /// The tenants that give them out, in place of `issuers`, where there are several.
    pub tenants: Option<Tenants>,
    /// The domains of which their users are (`hd`); empty: whichever.
    pub domains: Vec<String>,
}

impl Expected {
    /// Whether whoever says that they gave it out is one of those whose tokens are taken.
    pub(crate) fn is_given_out(&self, token: &Token<'_>) -> bool {
        match &self.tenants {
            Some(tenants) => tenants.gave_out(&token.claims),
            None => token.issuer().is_some_and(|issuer| self.issuers.iter().any(|own| own == issuer)),
        }
    }

    /// Judges what a token says once its signature holds; when it ends.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, token: &Token<'_>, now: SystemTime) -> Result<SystemTime, Problem> {
        if on(Check::JwtIssuer) && !self.is_given_out(token) {
            return Err(because(&ISSUER, "another `iss`, or none"));
        }
        let domain = token.claims.get("hd").and_then(Value::as_str);
        let is_of = |domain: &str| self.domains.iter().any(|own| own.eq_ignore_ascii_case(domain));
        if on(Check::HostedDomain) && !self.domains.is_empty() && !domain.is_some_and(is_of) {
            return Err(because(&AUDIENCE, "another `hd`, or none"));
        }
        self.judge_kind(token)?;
        // Whoever stole a bound one has to have more than it (RFC 9449 §7.1, RFC 8705 §3), which is looked at with every request; of what is not
        // understood, nobody could tell.
        if on(Check::JwtBound) && Confirmation::of(&token.claims).is_none() {
            return Err(because(&BOUND, "a `cnf` that is not understood"));
        }
        let ends = time(&token.claims, "exp")?.ok_or_else(|| because(&CLAIM, "no `exp`"))?;
        if on(Check::JwtExpiry) && ends + self.skew <= now {
            return Err(EXPIRED.problem());
        }
        // A token from the future is one of a clock that goes wrong, or of somebody who makes them in stock.
        for name in ["nbf", "iat"] {
            if time(&token.claims, name)?.is_some_and(|from| from > now + self.skew && on(Check::JwtNotYet)) {
                return Err(because(&NOT_YET, format!("`{name}` lies ahead")));
            }
        }
        if on(Check::JwtAudience)
            && !self.audiences.is_empty()
            && !names_one(&token.claims, self.profile.audience, &self.audiences)?
        {
            return Err(because(&AUDIENCE, format!("another `{}`, or none", self.profile.audience)));
        }
        Ok(ends + self.skew)
    }

    fn judge_kind(&self, token: &Token<'_>) -> Result<(), Problem> {
        let kind = token.kind.as_deref();
        let fits = match &self.kind {
            Some(wanted) => kind == Some(wanted),
            None => {
                kind.is_none_or(|kind| !OTHER_TYPES.contains(&kind))
                    && !is_for_its_client(&token.claims, self.profile.id_tokens)
            }
        };
        if !fits && on(Check::JwtType) {
            return Err(because(&TYPE, "another `typ`, or none"));
        }
        let says = |(name, allowed): &&(&str, &[&str])| {
            token.claims.get(*name).and_then(Value::as_str).is_some_and(|said| allowed.contains(&said))
        };
        let has_one = |names: &[&str]| names.is_empty() || names.iter().any(|name| token.claims.contains_key(*name));
        if !has_one(self.profile.has_one) && on(Check::JwtProfile) {
            return Err(because(&TYPE, "nothing says that it is an access token"));
        }
        match self.profile.says.iter().find(|must| !says(must)).filter(|_| on(Check::JwtProfile)) {
            Some((name, _)) => Err(because(&TYPE, format!("another `{name}` among the claims, or none"))),
            None => Ok(()),
        }
    }
}

/// Whether this is an ID token or the like; where ID tokens are welcome, only the like.
fn is_for_its_client(claims: &Map<String, Value>, id_tokens: bool) -> bool {
    let is_welcome = |name: &str| id_tokens && name != "events";
    OTHER_CLAIMS.iter().any(|name| claims.contains_key(*name) && !is_welcome(name)) || is_of_other_use(claims)
}

/// Whether what is said of a token says that it is none for services.
pub(crate) fn is_of_other_use(claims: &Map<String, Value>) -> bool {
    let is_use = |(name, uses): &(&str, &[&str])| {
        claims.get(*name).and_then(Value::as_str).is_some_and(|said| uses.contains(&said))
    };
    OTHER_USES.iter().any(is_use)
}

/// Whether any of these audiences is among those of the claims (RFC 7519 §4.1.3): a text, or a list of them.
///
/// # Errors
/// The claim is something else.
pub(crate) fn has_audience(claims: &Map<String, Value>, audiences: &[String]) -> Result<bool, Problem> {
    names_one(claims, "aud", audiences)
}

/// The same of another claim that stands in for `aud`.
fn names_one(claims: &Map<String, Value>, claim: &str, audiences: &[String]) -> Result<bool, Problem> {
    let is_ours = |audience: &Value| {
        let audience = audience.as_str().ok_or_else(|| because(&CLAIM, format!("`{claim}` is no text")))?;
        Ok(audiences.iter().any(|own| own == audience))
    };
    match claims.get(claim) {
        None => Ok(false),
        Some(Value::Array(all)) => all.iter().map(is_ours).try_fold(false, |any, ours| Ok(any | ours?)),
        Some(one) => is_ours(one),
    }
}

/// RFC 7519 §2, `NumericDate`: seconds since the epoch, perhaps with a fraction.
pub(crate) fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, Problem> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // Times beyond this are mistakes, or made to overflow somebody.
    const YEAR_9999: f64 = 253_402_300_799.0;
    let seconds = value.as_f64().filter(|seconds| (0.0..=YEAR_9999).contains(seconds));
    let seconds = seconds.ok_or_else(|| because(&CLAIM, format!("`{name}` is no time")))?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
}

#[cfg(test)]
mod tests;
