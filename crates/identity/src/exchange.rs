//! A token of a caller, traded at its provider for one that is meant for a service (RFC 8693).

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::{Call, Caller};
use tollgate_core::clock::Clock;
use tollgate_core::onward::{Exchanger, Minted, Trade};
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;

use crate::answers::{Answers, holding};
use crate::client::{Client, Form};
use crate::faults::{CROWDED, NOT_TRADED, TRADE_REFUSED, because, quoted};
use crate::json;
use crate::metadata;
use crate::remembered::{Digest, Remembered, digest};
use crate::together::Together;

/// Largest answer.
const MOST: usize = 64 * 1024;
/// The grant (RFC 8693 §2.1).
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What is shown and what is wanted (RFC 8693 §3).
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// One that says what it says (RFC 8693 §3).
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Where tokens are traded, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose provider it is.
    pub issuer: String,
    /// Where; `None`: where the issuer's metadata says.
    pub url: Option<String>,
    /// Who the gateway is there.
    pub client: Client,
    /// For how long a token that was traded is used, at most: until it ends.
    pub cache: Duration,
    /// How long the provider may take.
    pub timeout: Duration,
    /// About how many tokens are remembered.
    pub remember: usize,
    /// Most trades at a time.
    pub at_once: usize,
}

/// Trades tokens at one provider.
#[derive(Clone)]
pub struct Trader(Arc<Inner>);

struct Inner {
    settings: Settings,
    clock: Clock,
    traded: Remembered<(Minted, SystemTime)>,
    answers: Answers,
    together: Arc<Together<Result<Minted, NotTraded>>>,
    outside: OnceLock<(Arc<dyn Caller>, Handle)>,
    endpoint: Mutex<Option<String>>,
}

/// A token as it lies in the store: its text, and when it ends, in seconds of Unix time.
#[derive(Serialize, Deserialize)]
struct Traded {
    token: String,
    until: u64,
}

/// Why there is no token.
#[derive(Clone)]
enum NotTraded {
    /// The provider says no (RFC 6749 §5.2).
    Refused(String),
    /// It cannot be asked, or answers what nobody understands.
    Untold(String),
}

impl Trader {
    /// Trades once [`Trader::start`] was called.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let (traded, together) = (Remembered::new(settings.remember), Together::new(settings.at_once));
        let (issuer, url) = (&settings.issuer, settings.url.as_deref().unwrap_or_default());
        let answers = Answers::new("exchange", &[issuer, url, &settings.client.id]);
        Self(Arc::new(Inner {
            settings,
            clock,
            traded,
            answers,
            together,
            outside: OnceLock::new(),
            endpoint: Mutex::default(),
        }))
    }

    /// Keeps tokens in this store. Only the first call counts.
    pub(crate) fn keep_in(&self, store: &Arc<dyn CacheStore>) {
        self.0.answers.keep_in(store);
    }

    /// Has the provider asked on this runtime from now on. Only the first call counts.
    pub fn start(&self, caller: &Arc<dyn Caller>, asking: &Handle) {
        let _ = self.0.outside.set((Arc::clone(caller), asking.clone()));
    }
}

impl Exchanger for Trader {
    fn exchange(&self, trade: &Trade<'_>) -> BoxFuture<'static, Result<Minted, Problem>> {
        let own = &self.0;
        let about = digest(&format!("{}\n{}\n{}", trade.token, trade.audience.join(" "), trade.scope.join(" ")));
        let now = own.clock.unix();
        if let Some((minted, _)) = own.traded.get(&about, |(_, until)| now < *until) {
            return Box::pin(std::future::ready(Ok(minted)));
        }
        let untold = |why: &str| because(&NOT_TRADED, why).header("Retry-After", "5");
        let Some((caller, asking)) = own.outside.get() else {
            return Box::pin(std::future::ready(Err(untold("nobody is asked"))));
        };
        let (inner, caller) = (Arc::clone(own), Arc::clone(caller));
        let mut form = Form::default();
        form.add("grant_type", GRANT)
            .add("subject_token", trade.token)
            .add("subject_token_type", ACCESS_TOKEN)
            .add("requested_token_type", ACCESS_TOKEN);
        for audience in trade.audience {
            form.add("audience", audience);
        }
        if !trade.scope.is_empty() {
            form.add("scope", &trade.scope.join(" "));
        }
        let waits = own.together.ask(about, asking, || async move {
            match inner.answered(&about).await {
                Some(minted) => Ok(minted),
                None => inner.asked(&about, form, &caller).await,
            }
        });
        let Some(waits) = waits else {
            return Box::pin(std::future::ready(Err(CROWDED.problem().header("Retry-After", "1"))));
        };
        Box::pin(async move {
            match waits.answer().await {
                Some(Ok(minted)) => Ok(minted),
                Some(Err(NotTraded::Refused(why))) => Err(because(&TRADE_REFUSED, why)),
                Some(Err(NotTraded::Untold(why))) => Err(untold(&why)),
                None => Err(untold("nobody answers")),
            }
        })
    }
}

impl Inner {
    /// A token in the store that is still to be used.
    async fn answered(&self, about: &Digest) -> Option<Minted> {
        let (Traded { token, until }, asked) = self.answers.find(about).await?;
        let minted = Minted { token: token.into(), until: UNIX_EPOCH.checked_add(Duration::from_secs(until))? };
        self.remember(about, &minted, asked).map(|_| minted)
    }

    async fn asked(&self, about: &Digest, form: Form, caller: &Arc<dyn Caller>) -> Result<Minted, NotTraded> {
        let now = self.clock.unix();
        let traded = self.trade(form, caller).await;
        match &traded {
            Ok(minted) => {
                let text = std::str::from_utf8(&minted.token).map(str::to_owned);
                if let (Some(lasts), Ok(token)) = (self.remember(about, minted, now), text) {
                    let until = minted.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                    self.answers.keep(about, Traded { token, until }, now, lasts);
                }
            }
            Err(NotTraded::Refused(error) | NotTraded::Untold(error)) => {
                tracing::warn!(issuer = self.settings.issuer, %error, "a token was not traded");
            }
        }
        traded
    }

    /// For how long it is remembered from now on; `None`: it is not to be used any longer.
    fn remember(&self, about: &Digest, minted: &Minted, asked: SystemTime) -> Option<Duration> {
        let (until, lasts) = holding(asked, self.settings.cache, Some(minted.until), self.clock.unix())?;
        self.traded.add(*about, (minted.clone(), until));
        Some(lasts)
    }

    async fn trade(&self, form: Form, caller: &Arc<dyn Caller>) -> Result<Minted, NotTraded> {
        let url = self.endpoint(caller).await.map_err(NotTraded::Untold)?;
        let call = self.question(&url, form).map_err(NotTraded::Untold)?;
        let untold = |why: String| NotTraded::Untold(format!("{url}: {why}"));
        let answer = caller.call(call).await.map_err(|error| {
            // It may be elsewhere by now.
            *self.known() = None;
            untold(error.to_string())
        })?;
        let said = json::object(&answer.body);
        if let (400 | 401, Ok(said)) = (answer.status, &said) {
            let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
            return Err(match text("error") {
                // The gateway's own trouble.
                error @ ("invalid_client" | "unauthorized_client" | "unsupported_grant_type") => {
                    untold(error.to_owned())
                }
                error => NotTraded::Refused(quoted(&format!("{error} {}", text("error_description")))),
            });
        }
        if answer.status != 200 {
            *self.known() = None;
            return Err(untold(format!("answered {}", answer.status)));
        }
        let said = said.map_err(untold)?;
        // RFC 8693 §2.2.1: an ID or refresh token is not what services are to get.
        let kind = said.get("issued_token_type").and_then(Value::as_str);
        if kind.is_some_and(|kind| ![ACCESS_TOKEN, JWT].contains(&kind)) {
            return Err(untold("a token of another kind".to_owned()));
        }
        let token = said.get("access_token").and_then(Value::as_str);
        let is_bearer =
            said.get("token_type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        let Some(token) = token.filter(|token| is_bearer && token.bytes().all(|byte| byte.is_ascii_graphic())) else {
            return Err(untold("no bearer token in the answer".to_owned()));
        };
        // Without a time (RFC 6749 §5.1) it is used for as long as the config says.
        let lasts = said.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
        let until = self.clock.unix() + lasts.unwrap_or(self.settings.cache).min(Duration::from_secs(86_400));
        Ok(Minted { token: token.to_owned().into(), until })
    }

    fn question(&self, url: &str, mut form: Form) -> Result<Call, String> {
        let mut fields = vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("Accept", "application/json".to_owned()),
        ];
        self.settings.client.prove(&mut form, &mut fields, url, self.clock.unix())?;
        let (url, body, timeout) = (url.to_owned(), form.into_body(), self.settings.timeout);
        Ok(Call { method: "POST", url, fields, body, most: MOST, timeout, repeats: false })
    }

    async fn endpoint(&self, caller: &Arc<dyn Caller>) -> Result<String, String> {
        if let Some(url) = &self.settings.url {
            return Ok(url.clone());
        }
        let known = self.known().clone();
        if let Some(url) = known {
            return Ok(url);
        }
        let url = metadata::endpoint(&self.settings.issuer, "token_endpoint", self.settings.timeout, caller).await?;
        *self.known() = Some(url.clone());
        Ok(url)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trader").field("issuer", &self.0.settings.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
