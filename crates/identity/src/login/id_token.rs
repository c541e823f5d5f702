//! ID tokens (OpenID Connect Core 1.0 §3.1.3.7) and logout tokens (Back-Channel Logout 1.0 §2.6): what a provider tells its client of
//! a user. Neither opens anything by itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::checks::{Check, on};
use crate::jwt::{Token, has_audience, time};
use crate::keys::{KeyRing, Looked};

/// By how much clocks may differ.
const SKEW: Duration = Duration::from_secs(60);
/// How old a logout token may be.
const LOGOUT_AGE: Duration = Duration::from_secs(300);
/// What it is about (Back-Channel Logout 1.0 §2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whose word it is, and to whom.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client: &'a str,
    pub(crate) ring: &'a Arc<KeyRing>,
    pub(crate) now: SystemTime,
}

/// Whose sessions a provider ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LoggedOut {
    pub(crate) id: String,
    pub(crate) sid: Option<String>,
    pub(crate) subject: Option<String>,
}

/// Why a token is not believed, in words for our log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is not what it should be.
    Token(String),
    /// The provider's keys cannot be had.
    Keys,
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Self::Token(why.to_owned())
    }
}

impl Expected<'_> {
    /// What an ID token says. `nonce`: what its sign-in began with; `None`: it came with a refreshed token (§12.2).
    pub(crate) async fn id_token(&self, text: &str, nonce: Option<&str>) -> Result<Map<String, Value>, Wrong> {
        let token = self.signed(text).await?;
        let claims = token.claims;
        self.judge(&claims)?;
        let said = |name: &str| claims.get(name).and_then(Value::as_str);
        if said("sub").is_none_or(str::is_empty) {
            return Err("no `sub`".into());
        }
        if on(Check::SignInNonce) && nonce.is_some() && said("nonce") != nonce {
            return Err("another `nonce`, or none".into());
        }
        match time(&claims, "exp") {
            Ok(Some(ends)) if ends + SKEW > self.now => {}
            Ok(Some(_)) if on(Check::SignInExpiry) => return Err("it has ended".into()),
            Ok(Some(_)) => {}
            _ => return Err("no `exp`".into()),
        }
        Ok(claims)
    }

    /// Whose sessions a logout token ends.
    pub(crate) async fn logout_token(&self, text: &str) -> Result<LoggedOut, Wrong> {
        let token = self.signed(text).await?;
        // §2.6: the type is not asked for, but another one is none of these.
        if !token.is_of_kind(&[None, Some("jwt"), Some("logout+jwt")]) {
            return Err("another `typ`".into());
        }
        let claims = token.claims;
        self.judge(&claims)?;
        let events = claims.get("events").and_then(Value::as_object);
        if on(Check::LogoutEvent) && !events.and_then(|events| events.get(LOGOUT)).is_some_and(Value::is_object) {
            return Err("it is about something else".into());
        }
        if on(Check::LogoutNonce) && claims.contains_key("nonce") {
            return Err("an ID token, not one of logout".into());
        }
        let made = time(&claims, "iat").ok().flatten().ok_or("no `iat`")?;
        let is_old = made + LOGOUT_AGE < self.now
            || time(&claims, "exp").is_ok_and(|ends| ends.is_some_and(|ends| ends + SKEW <= self.now));
        if is_old && on(Check::LogoutAge) {
            return Err("it is too old".into());
        }
        let said =
            |name: &str| claims.get(name).and_then(Value::as_str).filter(|said| !said.is_empty()).map(str::to_owned);
        let (sid, subject, id) = (said("sid"), said("sub"), said("jti").ok_or("no `jti`")?);
        if sid.is_none() && subject.is_none() {
            return Err("neither `sub` nor `sid`".into());
        }
        Ok(LoggedOut { id, sid, subject })
    }

    /// §3.1.3.7, 2 to 5 and 10.
    fn judge(&self, claims: &Map<String, Value>) -> Result<(), Wrong> {
        let said = |name: &str| claims.get(name).and_then(Value::as_str);
        if on(Check::SignInIssuer) && said("iss") != Some(self.issuer) {
            return Err("another `iss`, or none".into());
        }
        if on(Check::SignInAudience) && !has_audience(claims, &[self.client.to_owned()]).unwrap_or(false) {
            return Err("for another client".into());
        }
        let several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        if on(Check::SignInParty) && said("azp").map_or(several, |party| party != self.client) {
            return Err("given to another client (`azp`)".into());
        }
        match time(claims, "iat") {
            Ok(Some(made)) if made <= self.now + SKEW => Ok(()),
            Ok(Some(_)) => Err("`iat` lies ahead".into()),
            _ => Err("no `iat`".into()),
        }
    }

    /// A token that one of the provider's keys signed.
    async fn signed<'t>(&self, text: &'t str) -> Result<Token<'t>, Wrong> {
        let token = Token::read(text).map_err(|problem| Wrong::Token(problem.cause.clone().unwrap_or_default()))?;
        for is_last in [false, true] {
            match self.ring.look(token.key.as_deref(), token.algorithm) {
                Looked::Keys(keys) if keys.iter().any(|key| token.is_signed_by(key)) => return Ok(token),
                Looked::Keys(_) if token.key.is_some() => return Err("the signature is wrong".into()),
                Looked::WrongAlgorithm => return Err("its key is for another algorithm".into()),
                Looked::Keys(_) | Looked::Unknown | Looked::Nothing if !is_last && self.ring.may_ask() => {
                    self.ring.ask().await
                }
                Looked::Keys(_) => return Err("the signature is wrong".into()),
                Looked::Unknown if self.ring.is_troubled() => return Err(Wrong::Keys),
                Looked::Unknown => return Err("a key that the provider does not have".into()),
                Looked::Nothing => return Err(Wrong::Keys),
            }
        }
        Err(Wrong::Keys)
    }
}
