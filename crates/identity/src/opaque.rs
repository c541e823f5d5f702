//! Tokens that only their provider can read: it is asked about each (RFC 7662).
//!
//! An answer holds for a stated time from when it was asked for, and so does a refusal: that is how long a token that was revoked may
//! still pass. Whoever brings a token that is being asked about waits for that answer. How many are asked about at a time is bounded.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::{Call, Caller};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::onward::Exchanger;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;

use crate::answers::{Answers, holding};
use crate::bound::confirmation::Confirmation;
use crate::bound::{self, Proofs};
use crate::client::{Client, Form};
use crate::exchange::Trader;
use crate::faults::{CROWDED, INACTIVE, NOT_FOR_US, TOO_LARGE, TOO_MANY_FAILURES, UNTOLD, because};
use crate::json;
use crate::jwt::{self, has_audience, time};
use crate::metadata;
use crate::remembered::{Digest, Remembered, digest};
use crate::source::principal;
use crate::together::{Together, Waits};

/// Largest answer about a token.
const MOST: usize = 64 * 1024;

/// Whom to ask, and what to make of the answer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who gives the tokens out; an answer that names another issuer is not believed.
    pub issuer: String,
    /// Where to ask; `None`: where the issuer's metadata says.
    pub url: Option<String>,
    /// Who the gateway is there.
    pub client: Client,
    /// Whom tokens must be for: one of these. Empty: whomever.
    pub audiences: Vec<String>,
    /// For how long an answer holds, at most: until the token ends.
    pub cache: Duration,
    /// For how long a refusal holds.
    pub negative: Duration,
    /// How long the provider may take.
    pub timeout: Duration,
    /// By how much clocks may differ.
    pub skew: Duration,
    /// Largest token, in bytes.
    pub largest: usize,
    /// About how many answers are remembered, of each kind.
    pub remember: usize,
    /// Most tokens that are asked about at a time.
    pub at_once: usize,
    /// Whoever trades the provider's tokens, if that is asked for.
    pub trader: Option<Trader>,
    /// What tokens are bound to.
    pub bound: bound::Settings,
}

/// Tokens that their provider is asked about. Cheap to copy: whoever waits holds it, too.
#[derive(Clone)]
pub struct OpaqueSource(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    clock: Clock,
    good: Remembered<(Arc<Principal>, SystemTime)>,
    bad: Remembered<(Verdict, SystemTime)>,
    answers: Answers,
    together: Arc<Together<Verdict>>,
    proofs: Proofs,
    outside: OnceLock<(Arc<dyn Caller>, Handle)>,
    /// Where to ask, once that was found out.
    endpoint: Mutex<Option<String>>,
    trouble: Mutex<Option<(SystemTime, String)>>,
}

/// What came of asking about a token.
#[derive(Clone, Debug)]
enum Verdict {
    Good(Arc<Principal>),
    Inactive,
    NotForUs,
    Untold,
}

/// What a provider said, and when the token ends.
type Told = (Verdict, Option<SystemTime>);

impl OpaqueSource {
    /// Takes tokens once [`OpaqueSource::start`] was called.
    #[must_use]
    pub fn new(name: &str, settings: Settings, clock: Clock) -> Self {
        let (good, bad) = (Remembered::new(settings.remember), Remembered::new(settings.remember));
        let together = Together::new(settings.at_once);
        // What a provider tells may depend on who asks (RFC 7662 §2.2).
        let (issuer, url) = (&settings.issuer, settings.url.as_deref().unwrap_or_default());
        let answers = Answers::new("introspection", &[issuer, url, &settings.client.id]);
        let name = name.into();
        let proofs = Proofs::new(&name, &settings.bound, &clock);
        Self(Arc::new(Inner {
            name,
            settings,
            clock,
            proofs,
            good,
            bad,
            answers,
            together,
            outside: OnceLock::new(),
            endpoint: Mutex::default(),
            trouble: Mutex::default(),
        }))
    }

    /// Marks proofs that were used in this store, without which none is taken, and keeps answers there.
    pub fn keep_in(&self, store: &Arc<dyn CacheStore>) {
        self.0.proofs.mark_in(store);
        self.0.answers.keep_in(store);
        self.0.settings.trader.iter().for_each(|trader| trader.keep_in(store));
    }

    /// Has the provider asked on this runtime from now on. Only the first call counts.
    pub fn start(&self, caller: &Arc<dyn Caller>, slow: &Handle) {
        let _ = self.0.outside.set((Arc::clone(caller), slow.clone()));
        self.0.settings.trader.iter().for_each(|trader| trader.start(caller, slow));
    }

    /// The answer that is on its way, or that is asked for now. `None`: too many are.
    fn answer(
        &self,
        digest: Digest,
        token: &str,
        (caller, asking): &(Arc<dyn Caller>, Handle),
    ) -> Option<Waits<Verdict>> {
        let (own, caller, token) = (Arc::clone(&self.0), Arc::clone(caller), token.to_owned());
        self.0.together.ask(digest, asking, || async move {
            match own.answered(&digest).await {
                Some(verdict) => verdict,
                None => own.asked(&digest, &token, &caller).await,
            }
        })
    }

    /// What is known of a token, or can be found out, whoever sends it.
    fn find<'a>(&'a self, text: &str, effort: Effort) -> Found<'a> {
        let own = &self.0;
        if text.len() > own.settings.largest {
            return Found::Checked(Err(because(&TOO_LARGE, format!("{} bytes", text.len()))));
        }
        let digest = digest(text);
        if let Some(known) = own.known(&digest) {
            return Found::Checked(own.settle(known));
        }
        if effort == Effort::Little {
            return Found::Checked(Err(TOO_MANY_FAILURES.problem()));
        }
        let Some(outside) = own.outside.get() else { return Found::Checked(Err(own.untold())) };
        match self.answer(digest, text, outside) {
            Some(answer) => Found::Checking(Box::pin(own.wait(answer))),
            None => Found::Checked(Err(CROWDED.problem().header("Retry-After", "1"))),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    /// What is known of a token.
    fn known(&self, digest: &Digest) -> Option<Verdict> {
        let now = self.clock.unix();
        let good = self.good.get(digest, |(_, until)| now < *until);
        good.map(|(principal, _)| Verdict::Good(principal))
            .or_else(|| self.bad.get(digest, |(_, until)| now < *until).map(|(verdict, _)| verdict))
    }

    /// What comes of an answer in the store that still holds.
    async fn answered(&self, digest: &Digest) -> Option<Verdict> {
        let (claims, asked) = self.answers.find::<Map<String, Value>>(digest).await?;
        let told = self.judge(&claims).ok()?;
        self.remember(digest, &told, asked).map(|_| told.0)
    }

    /// What comes of asking the provider.
    async fn asked(&self, digest: &Digest, token: &str, caller: &Arc<dyn Caller>) -> Verdict {
        let now = self.clock.unix();
        let told = self.ask(token, caller).await;
        self.note(told.as_ref().err());
        let Ok((claims, told)) = told else { return Verdict::Untold };
        if let Some(lasts) = self.remember(digest, &told, now) {
            self.answers.keep(digest, claims, now, lasts);
        }
        told.0
    }

    /// For how long it is remembered from now on; `None`: it holds no longer.
    fn remember(&self, digest: &Digest, (verdict, ends): &Told, asked: SystemTime) -> Option<Duration> {
        let is_good = matches!(verdict, Verdict::Good(_));
        let most = if is_good { self.settings.cache } else { self.settings.negative };
        let (until, lasts) = holding(asked, most, *ends, self.clock.unix())?;
        match verdict {
            Verdict::Good(principal) => self.good.add(*digest, (Arc::clone(principal), until)),
            _ => self.bad.add(*digest, (verdict.clone(), until)),
        }
        Some(lasts)
    }

    /// Tells once of trouble, and once that it is over.
    fn note(&self, error: Option<&String>) {
        let mut trouble = lock(&self.trouble);
        match (error, trouble.take()) {
            (None, None) => {}
            (None, Some(_)) => tracing::info!(source = &*self.name, "the identity provider tells about tokens again"),
            (Some(error), None) => {
                tracing::warn!(source = &*self.name, %error, "the identity provider does not tell about tokens");
                *trouble = Some((self.clock.unix(), error.clone()));
            }
            // Told once; the error may be another one by now.
            (Some(error), Some((since, _))) => *trouble = Some((since, error.clone())),
        }
    }

    /// Asks about a token: what the provider said, and what that means.
    async fn ask(&self, token: &str, caller: &Arc<dyn Caller>) -> Result<(Map<String, Value>, Told), String> {
        let url = self.endpoint(caller).await?;
        let answer = caller.call(self.question(&url, token)?).await.map_err(|error| format!("{url}: {error}"));
        // It may be elsewhere by now: the metadata is read again.
        let answer = answer.inspect_err(|_| *lock(&self.endpoint) = None)?;
        if answer.status != 200 {
            *lock(&self.endpoint) = None;
            return Err(format!("{url} answered {}: is the gateway a client that may ask there?", answer.status));
        }
        let claims = json::object(&answer.body).map_err(|why| format!("{url}: {why}"))?;
        let told = self.judge(&claims).map_err(|why| format!("{url}: {why}"))?;
        Ok((claims, told))
    }

    /// RFC 7662 §2.1.
    fn question(&self, url: &str, token: &str) -> Result<Call, String> {
        let mut form = Form::default();
        form.add("token", token).add("token_type_hint", "access_token");
        let mut fields = vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("Accept", "application/json".to_owned()),
        ];
        self.settings.client.prove(&mut form, &mut fields, url, self.clock.unix())?;
        let (url, body, timeout) = (url.to_owned(), form.into_body(), self.settings.timeout);
        Ok(Call { method: "POST", url, fields, body, most: MOST, timeout, repeats: true })
    }

    async fn endpoint(&self, caller: &Arc<dyn Caller>) -> Result<String, String> {
        if let Some(url) = &self.settings.url {
            return Ok(url.clone());
        }
        let known = lock(&self.endpoint).clone();
        if let Some(url) = known {
            return Ok(url);
        }
        let (issuer, timeout) = (&self.settings.issuer, self.settings.timeout);
        let url = metadata::endpoint(issuer, "introspection_endpoint", timeout, caller).await?;
        *lock(&self.endpoint) = Some(url.clone());
        Ok(url)
    }

    /// RFC 7662 §2.2.
    fn judge(&self, claims: &Map<String, Value>) -> Result<Told, String> {
        let Some(is_active) = claims.get("active").and_then(Value::as_bool) else {
            return Err("no answer about a token: it has no `active`".to_owned());
        };
        let settings = &self.settings;
        let told = |problem: Problem| problem.cause.clone().unwrap_or_default();
        let (now, skew) = (self.clock.unix(), settings.skew);
        let ends = time(claims, "exp").map_err(told)?.map(|ends| ends + skew);
        let begins = time(claims, "nbf").map_err(told)?;
        let is_in_time = ends.is_none_or(|ends| now < ends) && begins.is_none_or(|begins| begins <= now + skew);
        let is_theirs = claims.get("iss").is_none_or(|issuer| issuer.as_str() == Some(&settings.issuer));
        // Whether the sender of one that is bound has what it takes is looked at with every request (RFC 9449 §6.2, RFC 8705 §3.2); of what is not
        // understood, nobody could tell.
        let is_understood = Confirmation::of(claims).is_some();
        // RFC 7662 §2.2: of whatever kind the token is that is active. A refresh token is for its provider alone.
        let kind = claims.get("token_type").and_then(Value::as_str);
        let is_access = kind
            .is_none_or(|kind| ["bearer", "dpop", "access_token"].contains(&kind.to_ascii_lowercase().as_str()))
            && !jwt::is_of_other_use(claims);
        if !is_active || !is_theirs || !is_in_time || !is_understood || !is_access {
            return Ok((Verdict::Inactive, None));
        }
        if !settings.audiences.is_empty() && !has_audience(claims, &settings.audiences).unwrap_or(false) {
            return Ok((Verdict::NotForUs, None));
        }
        Ok((Verdict::Good(Arc::new(principal(&self.name, claims, ends))), ends))
    }

    fn settle(&self, verdict: Verdict) -> Result<Arc<Principal>, Problem> {
        match verdict {
            Verdict::Good(principal) => Ok(principal),
            Verdict::Inactive => Err(INACTIVE.problem()),
            Verdict::NotForUs => Err(because(&NOT_FOR_US, "another `aud`, or none")),
            Verdict::Untold => Err(self.untold()),
        }
    }

    fn untold(&self) -> Problem {
        let trouble = lock(&self.trouble).clone();
        let why = trouble.map_or_else(|| "nobody is asked".to_owned(), |(_, why)| why);
        because(&UNTOLD, why).header("Retry-After", "5")
    }

    async fn wait(&self, waits: Waits<Verdict>) -> Result<Arc<Principal>, Problem> {
        // Without an answer, nobody answers any more.
        self.settle(waits.answer().await.unwrap_or(Verdict::Untold))
    }
}

impl Authenticator for OpaqueSource {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        match self.0.proofs.sent(x) {
            Ok(Some(sent)) => self.0.proofs.confirm(x, sent, self.find(sent.token, effort)),
            Ok(None) => Found::Nothing,
            Err(problem) => Found::Checked(Err(problem)),
        }
    }

    fn challenge(&self) -> String {
        self.0.proofs.challenge()
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Authorization
    }

    fn exchanger(&self) -> Option<&dyn Exchanger> {
        self.0.settings.trader.as_ref().map(|trader| trader as &dyn Exchanger)
    }

    fn bearers(&self) -> Bearers {
        Bearers::All
    }

    fn describe(&self) -> String {
        format!("tokens that {} is asked about{}", self.0.settings.issuer, self.0.proofs.describe())
    }

    fn standing(&self) -> Standing {
        match lock(&self.0.trouble).clone() {
            None => Standing::Good,
            Some((since, error)) => Standing::Stale { since, error },
        }
    }
}

impl fmt::Debug for OpaqueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpaqueSource").field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
