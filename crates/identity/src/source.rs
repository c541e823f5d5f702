//! Tokens of one provider as a source of identity.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::onward::Exchanger;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::bound::{self, Proofs};
use crate::exchange::Trader;
use crate::faults::{ALGORITHM, ISSUER, KEYS, SIGNATURE, TOO_LARGE, TOO_MANY_FAILURES, UNKNOWN_KEY, because};
use crate::jwk::{Algorithm, Key};
use crate::jwt::{Expected, Token};
use crate::keys::{self, KeyRing, Looked};
use crate::profile::Tenants;
use crate::remembered::{Digest, Remembered, digest};

/// What tokens are taken.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// What they must say.
    pub expected: Expected,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// The provider's keys.
    pub keys: keys::Settings,
    /// Largest token, in bytes.
    pub largest: usize,
    /// About how many tokens that were checked are remembered.
    pub remember: usize,
    /// Whoever trades the provider's tokens, if that is asked for.
    pub trader: Option<Trader>,
    /// What tokens are bound to.
    pub bound: bound::Settings,
}

/// Tokens of one provider.
pub struct JwtSource {
    name: Arc<str>,
    settings: JwtSettings,
    ring: Arc<KeyRing>,
    remembered: Remembered<Known>,
    proofs: Proofs,
    clock: Clock,
}

/// What was found out about a token.
#[derive(Clone)]
struct Known {
    principal: Arc<Principal>,
    /// Made its signature.
    key: Arc<Key>,
    until: SystemTime,
}

impl JwtSource {
    /// Takes tokens once the keys of the provider were read: [`JwtSource::start`] has that done.
    #[must_use]
    pub fn new(name: &str, settings: JwtSettings, clock: Clock) -> Arc<Self> {
        let ring = KeyRing::new(settings.keys.clone(), clock.clone());
        let remembered = Remembered::new(settings.remember);
        let name = name.into();
        let proofs = Proofs::new(&name, &settings.bound, &clock);
        Arc::new(Self { name, settings, ring, remembered, proofs, clock })
    }

    /// Marks proofs that were used in this store, without which none is taken, and keeps tokens that were traded there.
    pub fn keep_in(&self, store: &Arc<dyn CacheStore>) {
        self.proofs.mark_in(store);
        self.settings.trader.iter().for_each(|trader| trader.keep_in(store));
    }

    /// Has the provider's keys read from now on.
    pub fn start(&self, caller: &Arc<dyn Caller>, slow: &Handle) {
        self.ring.start(caller, slow);
        self.settings.trader.iter().for_each(|trader| trader.start(caller, slow));
    }

    /// The provider's keys.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Judges a token by the keys that are known. `None`: others must be asked for first.
    fn judge(&self, token: &Token<'_>, digest: &Digest, is_last: bool) -> Option<Result<Arc<Principal>, Problem>> {
        let keys = match self.ring.look(token.key.as_deref(), token.algorithm) {
            Looked::Keys(keys) => keys,
            Looked::WrongAlgorithm => return Some(Err(because(&ALGORITHM, "its key is for another algorithm"))),
            _ if !is_last && self.ring.may_ask() => return None,
            // The key may be a new one: the client cannot help it that nobody can tell.
            Looked::Unknown if self.ring.is_troubled() => return Some(Err(self.no_keys())),
            Looked::Unknown => return Some(Err(UNKNOWN_KEY.problem())),
            Looked::Nothing => return Some(Err(self.no_keys())),
        };
        match keys.iter().find(|key| token.is_signed_by(key)) {
            Some(key) => Some(self.believed(token, key, digest)),
            // Of a token that names no key, nobody can tell whether it is signed with a new one.
            None if token.key.is_none() && !is_last && self.ring.may_ask() => None,
            None => Some(Err(SIGNATURE.problem())),
        }
    }

    fn no_keys(&self) -> Problem {
        let why = match self.ring.standing() {
            Standing::Stale { error, .. } | Standing::Down { error, .. } => error,
            Standing::Good => "the key may be a new one".to_owned(),
        };
        because(&KEYS, why).header("Retry-After", "5")
    }

    /// Judges what a token says whose signature holds.
    fn believed(&self, token: &Token<'_>, key: &Arc<Key>, digest: &Digest) -> Result<Arc<Principal>, Problem> {
        let expected = &self.settings.expected;
        if expected.tenants.is_some() && !Tenants::may_sign(key.issuer(), &token.claims) {
            return Err(because(&SIGNATURE, "by a key of another tenant"));
        }
        let until = expected.judge(token, self.clock.unix())?;
        let with_roles = expected.profile.with_roles(&token.claims, &expected.audiences);
        let principal = Arc::new(principal(&self.name, with_roles.as_ref().unwrap_or(&token.claims), Some(until)));
        let known = Known { principal: Arc::clone(&principal), key: Arc::clone(key), until };
        self.remembered.add(*digest, known);
        Ok(principal)
    }

    /// The same, once others were asked.
    async fn asked(&self, token: Token<'_>, digest: Digest) -> Result<Arc<Principal>, Problem> {
        self.ring.ask().await;
        self.judge(&token, &digest, true).unwrap_or_else(|| Err(self.no_keys()))
    }

    /// What is known of a token, or can be found out, whoever sends it.
    fn find<'a>(&'a self, text: &'a str, effort: Effort) -> Found<'a> {
        if text.len() > self.settings.largest {
            return Found::Checked(Err(because(&TOO_LARGE, format!("{} bytes", text.len()))));
        }
        let digest = digest(text);
        let now = self.clock.unix();
        let holds = |known: &Known| now < known.until && !known.key.is_gone() && self.ring.is_fresh();
        if let Some(known) = self.remembered.get(&digest, holds) {
            return Found::Checked(Ok(known.principal));
        }
        let token = match Token::read(text) {
            Ok(token) => token,
            Err(problem) => return Found::Foreign(problem),
        };
        if !self.settings.expected.is_given_out(&token) {
            return Found::Foreign(because(&ISSUER, "another `iss`, or none"));
        }
        if !self.settings.algorithms.contains(&token.algorithm) {
            return Found::Checked(Err(because(&ALGORITHM, "one that is not among `algorithms`")));
        }
        if effort == Effort::Little {
            return Found::Checked(Err(TOO_MANY_FAILURES.problem()));
        }
        match self.judge(&token, &digest, false) {
            Some(judged) => Found::Checked(judged),
            None => Found::Checking(Box::pin(self.asked(token, digest))),
        }
    }
}

impl Authenticator for JwtSource {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        match self.proofs.sent(x) {
            Ok(Some(sent)) => self.proofs.confirm(x, sent, self.find(sent.token, effort)),
            Ok(None) => Found::Nothing,
            Err(problem) => Found::Checked(Err(problem)),
        }
    }

    fn challenge(&self) -> String {
        self.proofs.challenge()
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Authorization
    }

    fn exchanger(&self) -> Option<&dyn Exchanger> {
        self.settings.trader.as_ref().map(|trader| trader as &dyn Exchanger)
    }

    fn bearers(&self) -> Bearers {
        Bearers::Own
    }

    fn describe(&self) -> String {
        let expected = &self.settings.expected;
        let issuers = match &expected.tenants {
            None => expected.issuers.join(", "),
            Some(Tenants::Any) => "any tenant of Entra".to_owned(),
            Some(Tenants::These(ids)) => format!("the tenants {} of Entra", ids.join(", ")),
        };
        let bound = self.proofs.describe();
        match expected.audiences.as_slice() {
            [] => format!("tokens of {issuers}, for whomever{bound}"),
            audiences => format!("tokens of {issuers} for {}{bound}", audiences.join(", ")),
        }
    }

    fn standing(&self) -> Standing {
        self.ring.standing()
    }
}

impl fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSource").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Claims that tell what a credential is good for, and by which application it is shown: they are for whoever gives credentials out to
/// say, and no attribute of a user takes their place.
pub(crate) const GIVEN: [&str; 6] = ["scope", "scp", "client_id", "azp", "appid", "cid"];

/// Whom claims speak for.
#[must_use]
pub fn principal(source: &Arc<str>, claims: &Map<String, Value>, until: Option<SystemTime>) -> Principal {
    let text = |name: &&str| claims.get(*name).and_then(Value::as_str);
    // RFC 9068 §2.2 and OpenID Connect Core §2, then what Entra and Okta call it.
    let consumer = ["client_id", "azp", "appid", "cid"].iter().find_map(text);
    Principal {
        source: Arc::clone(source),
        // Where no user takes part, the application acts for itself (RFC 9068 §2.2).
        subject: text(&"sub").filter(|subject| !subject.is_empty()).or(consumer).unwrap_or_default().into(),
        consumer: consumer.map(Into::into),
        scopes: scopes(claims),
        claims: claims.clone(),
        expires: until,
        session: None,
    }
}

/// What a token is good for: `scope`, words in a text (RFC 8693 §4.2), or `scp`, as Entra and Okta write it, a list perhaps.
fn scopes(claims: &Map<String, Value>) -> Vec<Box<str>> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(words)) => words.split(' ').filter(|word| !word.is_empty()).map(Into::into).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(Into::into).collect(),
        _ => Vec::new(),
    }
}
