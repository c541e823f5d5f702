//! ID tokens (OpenID Connect Core 1.0 §3.1.3.7) and logout tokens (Back-Channel Logout 1.0 §2.6): what a provider tells its client of
//! a user. Neither opens anything by itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::checks::{Check, on};
use crate::jwk::Key;
use crate::jwt::{Token, has_audience, time};
use crate::keys::{KeyRing, Looked};
use crate::profile::Tenants;

/// By how much clocks may differ.
const SKEW: Duration = Duration::from_secs(60);
/// How old a logout token may be.
const LOGOUT_AGE: Duration = Duration::from_secs(300);
/// What it is about (Back-Channel Logout 1.0 §2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whose word it is, and to whom.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    /// The tenants whose word it may be, in place of `issuer`, where there are several.
    pub(crate) tenants: Option<&'a Tenants>,
    pub(crate) client: &'a str,
    /// What the provider was told with the question: `max_age` and `acr_values` ask for something.
    pub(crate) parameters: &'a [(String, String)],
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
        if nonce.is_some() && on(Check::SignInWay) {
            self.judge_way(&claims)?;
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

    /// §3.1.3.7, 12 and 13: what was asked for on the way through the browser can be left out there.
    fn judge_way(&self, claims: &Map<String, Value>) -> Result<(), Wrong> {
        let asked = |name: &str| self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        if let Some(ways) = asked("acr_values") {
            let way = claims.get("acr").and_then(Value::as_str).unwrap_or_default();
            if !ways.split(' ').any(|asked| asked == way) {
                return Err(Wrong::Token(format!("signed in as `{way}` (`acr`), which is none of `acr_values`")));
            }
        }
        if let Some(most) = asked("max_age").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs) {
            let when =
                time(claims, "auth_time").ok().flatten().ok_or("no `auth_time`, though `max_age` asks for it")?;
            if when + most + SKEW < self.now {
                return Err("signed in longer ago than `max_age` says".into());
            }
        }
        Ok(())
    }

    /// §3.1.3.7, 2 to 5 and 10.
    fn judge(&self, claims: &Map<String, Value>) -> Result<(), Wrong> {
        let said = |name: &str| claims.get(name).and_then(Value::as_str);
        let is_given_out = match self.tenants {
            Some(tenants) => tenants.gave_out(claims),
            None => said("iss") == Some(self.issuer),
        };
        if on(Check::SignInIssuer) && !is_given_out {
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

    fn may_sign(&self, key: &Key, token: &Token<'_>) -> bool {
        let is_tenants = self.tenants.is_none() || Tenants::may_sign(key.issuer(), &token.claims);
        is_tenants && token.is_signed_by(key)
    }

    /// A token that one of the provider's keys signed.
    async fn signed<'t>(&self, text: &'t str) -> Result<Token<'t>, Wrong> {
        let token = Token::read(text).map_err(|problem| Wrong::Token(problem.cause.clone().unwrap_or_default()))?;
        for is_last in [false, true] {
            match self.ring.look(token.key.as_deref(), token.algorithm) {
                Looked::Keys(keys) if keys.iter().any(|key| self.may_sign(key, &token)) => return Ok(token),
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;
    use tollgate_core::clock::Clock;

    use super::*;
    use crate::keys::{From, Settings};

    #[test]
    fn users_of_several_tenants_sign_in_in_the_name_of_their_own() {
        const OWN: &str = "9122040d-6c67-4c5b-b112-36a304b66dad";
        const OTHER: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let time = Duration::from_secs(600);
        let clock = Clock::fake(UNIX_EPOCH + time);
        let from = From::Issuer("https://login.microsoftonline.com/organizations/v2.0".to_owned());
        let ring = KeyRing::new(Settings { from, refresh: time, keep: time, timeout: time }, clock.clone());
        let judge = |tenants: Option<&Tenants>, tid: &str, iss: &str| {
            let iss = format!("https://login.microsoftonline.com/{iss}/v2.0");
            let claims = json!({ "iss": iss, "tid": tid, "aud": "web", "iat": 600 });
            let issuer = "https://login.microsoftonline.com/organizations/v2.0";
            let expected = Expected { issuer, tenants, client: "web", parameters: &[], ring: &ring, now: clock.unix() };
            expected.judge(claims.as_object().unwrap()).is_ok()
        };
        let own = Tenants::These(vec![OWN.to_owned()]);
        assert!(judge(Some(&own), OWN, OWN) && judge(Some(&Tenants::Any), OTHER, OTHER));
        assert!(!judge(Some(&own), OTHER, OTHER), "not one of those that are taken");
        assert!(!judge(Some(&own), OWN, OTHER) && !judge(Some(&Tenants::Any), OWN, OTHER), "another than it says");
        assert!(!judge(None, OWN, OWN), "nobody said that there are several");
    }
}
