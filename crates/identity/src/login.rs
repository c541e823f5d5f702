//! People who sign in with a browser, as a source of identity: their sessions, and the pages by which they come and go.
//!
//! The way there and back is the provider's: [`oidc`], [`saml`]. What is the same for all is here: when a browser is led there, what it keeps,
//! and when a session is over.

pub(crate) mod faults;
mod id_token;
pub mod oidc;
mod pages;
mod said;
pub mod saml;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::policy::BoxFuture;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Standing};
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;

use self::faults::{CROSS_SITE, INSECURE, PROVIDER, SESSION};
use self::oidc::{NotRenewed, Oidc};
use self::saml::Saml;
use crate::faults::because;
use crate::remembered::{Remembered, digest};
use crate::session::cookie::SameSite;
use crate::session::{self, Brought, Sealer, Session, Sessions, browser};
use crate::together::Together;

pub use self::faults::FAULTS;
pub use self::pages::pages;

/// A token is renewed so long before it ends.
const EARLY: Duration = Duration::from_secs(10);
/// So long nobody is asked early, after a provider that could not be asked: tokens hold meanwhile.
/// Most renewals that are followed from one to the next.
const MOST_STEPS: u32 = 32;
const PAUSE: Duration = Duration::from_secs(5);
/// For how long it holds that the provider refused to renew a session.
const REFUSED_HOLDS: Duration = Duration::from_secs(60);
/// Most sessions that are renewed at a time.
const MOST_RENEWALS: usize = 256;
/// Fewest renewals that are remembered: of requests that are on their way while their session is renewed.
const FEWEST_RENEWALS: usize = 1024;

/// How people sign in, and how long that holds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they sign in.
    pub provider: Provider,
    /// Below which path the pages are.
    pub at: String,
    /// Where clients reach the gateway (`https://app.example.com`); `None`: where a request came to.
    pub url: Option<String>,
    /// Other hosts whose pages may change things on behalf of who is signed in: origins.
    pub origins: Vec<String>,
    /// The page that is shown to whoever has signed out.
    pub after_logout: String,
    /// Their sessions.
    pub session: session::Settings,
}

/// Where people sign in.
#[derive(Clone, Debug)]
pub enum Provider {
    /// At an OpenID provider.
    Oidc(oidc::Settings),
    /// At an identity provider of SAML 2.0.
    Saml(saml::Settings),
}

/// People who sign in with a browser.
#[derive(Clone)]
pub struct LoginSource(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    /// Of origins that are the gateway's own.
    origins: Vec<String>,
    sessions: Sessions,
    by: By,
    renewing: Arc<Together<Result<Session, Ended>>>,
    /// What came of refresh tokens.
    renewals: Remembered<Session>,
    /// Those that the provider refused, and until when nobody asks again.
    refused: Remembered<u64>,
    /// Until when no token is renewed early: seconds of Unix time.
    paused: AtomicU64,
    asking: OnceLock<Handle>,
}

/// What matters of a request with which a sign-in begins.
struct Visit {
    is_secure: bool,
    /// Whether its browser may keep a secret.
    is_safe: bool,
    /// Where clients reach the gateway.
    url: String,
    /// The cookies of sign-ins that are under way.
    under_way: Vec<String>,
}

/// By whom people are known.
enum By {
    Oidc(Box<Oidc>),
    Saml(Saml),
}

/// Why a session was not renewed.
#[derive(Clone)]
enum Ended {
    /// It is over.
    Over(String),
    /// The provider cannot be asked.
    Untold(String),
}

impl LoginSource {
    /// Lets nobody in before [`LoginSource::start`] was called.
    #[must_use]
    pub fn new(name: &str, settings: Settings, sealer: Arc<Sealer>, store: Arc<dyn CacheStore>, clock: Clock) -> Self {
        let name: Arc<str> = name.into();
        let sessions =
            Sessions::new(Arc::clone(&name), settings.session.clone(), sealer, Arc::clone(&store), clock.clone());
        let by = match &settings.provider {
            Provider::Oidc(provider) => By::Oidc(Box::new(Oidc::new(provider.clone(), clock))),
            Provider::Saml(provider) => By::Saml(Saml::new(provider.clone(), store, clock)),
        };
        let remember = settings.session.remember.max(FEWEST_RENEWALS);
        let (renewals, refused) = (Remembered::new(remember), Remembered::new(remember));
        let origins = settings.url.iter().chain(&settings.origins).map(|url| url.trim_end_matches('/').to_owned());
        Self(Arc::new(Inner {
            name,
            origins: origins.collect(),
            settings,
            sessions,
            by,
            renewing: Together::new(MOST_RENEWALS),
            renewals,
            refused,
            paused: AtomicU64::new(0),
            asking: OnceLock::new(),
        }))
    }

    /// Has the provider asked on the runtime `asking` from now on, and files read on `slow`. Blocks; only the first call counts.
    pub fn start(&self, caller: Option<&Arc<dyn Caller>>, asking: &Handle, slow: &Handle) {
        let _ = self.0.asking.set(asking.clone());
        match (&self.0.by, caller) {
            (By::Oidc(oidc), Some(caller)) => oidc.start(caller, asking),
            (By::Oidc(_), None) => {}
            (By::Saml(saml), _) => saml.start(slow),
        }
    }

    /// Waits until the provider was asked for its keys once.
    pub async fn heard(&self) {
        if let By::Oidc(oidc) = &self.0.by {
            oidc.ring().heard().await;
        }
    }

    /// Looks at a session about which more has to be found out than is known.
    async fn look(&self, brought: Brought) -> Result<Arc<Principal>, Problem> {
        let own = &self.0;
        let looked = own.sessions.looking();
        let (mut session, mut is_new) = self.newest(own.sessions.look(&brought).await?);
        is_new |= own.sessions.touch(&mut session);
        if self.is_due(&session) {
            match self.renewed(session.clone()).await {
                Ok(renewed) => (session, is_new) = (renewed, true),
                // Its token holds for a while yet.
                Err(problem) if problem.fault.status >= 500 && !session.is_due(own.sessions.now(), Duration::ZERO) => {
                    own.paused.store(own.sessions.now().saturating_add(PAUSE.as_secs()), Ordering::Relaxed);
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(own.sessions.found(&brought, session, is_new, looked).await?.principal)
    }

    /// The session as it was renewed last, and whether it was: another thread, or a cookie that the browser got meanwhile, may know
    /// an older one. A provider that changes refresh tokens takes all of them back if it sees one twice (RFC 9700 §4.14.2).
    fn newest(&self, mut session: Session) -> (Session, bool) {
        let (mut is_new, mut steps) = (false, 0);
        // A provider that gives an earlier one out again would lead round and round.
        while let Some(refresh) = session.refresh.as_ref().filter(|_| steps < MOST_STEPS)
            && let Some(next) = self.0.renewals.get(&digest(refresh), |_| true)
            && next.refresh != session.refresh
        {
            (session, is_new) = (Session { seen: session.seen.max(next.seen), ..next }, true);
            steps += 1;
        }
        (session, is_new)
    }

    /// Whether its token has to be renewed.
    fn is_due(&self, session: &Session) -> bool {
        let now = self.0.sessions.now();
        let early = if now < self.0.paused.load(Ordering::Relaxed) { Duration::ZERO } else { EARLY };
        session.refresh.is_some() && session.is_due(now, early)
    }

    /// The session with new tokens: of all requests that need them at the same time, one asks.
    async fn renewed(&self, session: Session) -> Result<Session, Problem> {
        let own = &self.0;
        let untold = |why: String| because(&PROVIDER, why).header("Retry-After", "5");
        let asking = own.asking.get().ok_or_else(|| untold("nobody is asked".to_owned()))?;
        let about = digest(session.refresh.as_deref().unwrap_or_default());
        let now = own.sessions.now();
        if own.refused.get(&about, |until| now < *until).is_some() {
            return Err(because(&SESSION, "the provider refused a moment ago"));
        }
        let inner = Arc::clone(own);
        let waits = own.renewing.ask(about, asking, || async move {
            let By::Oidc(oidc) = &inner.by else { return Err(Ended::Over("nothing is renewed there".to_owned())) };
            // Whoever asked before may have left with the answer a moment ago.
            let (session, is_renewed) = LoginSource(Arc::clone(&inner)).newest(session);
            if is_renewed {
                return Ok(session);
            }
            let renewed = oidc.renew(session).await.map_err(|why| match why {
                NotRenewed::Over(why) => {
                    inner.refused.add(about, now.saturating_add(REFUSED_HOLDS.as_secs()));
                    Ended::Over(why)
                }
                NotRenewed::Untold(problem) => Ended::Untold(problem.cause.clone().unwrap_or_default()),
            })?;
            inner.renewals.add(about, renewed.clone());
            Ok(renewed)
        });
        let waits = waits.ok_or_else(|| untold("too many sessions are renewed at a time".to_owned()))?;
        match waits.answer().await {
            Some(Ok(session)) => Ok(session),
            Some(Err(Ended::Over(why))) => Err(because(&SESSION, why)),
            Some(Err(Ended::Untold(why))) => Err(untold(why)),
            None => Err(untold("nobody answers".to_owned())),
        }
    }

    /// Where clients reach the gateway.
    fn url(&self, x: &Exchange) -> String {
        self.0.settings.url.as_deref().map_or_else(|| browser::origin(x), |url| url.trim_end_matches('/').to_owned())
    }

    fn visit(&self, x: &Exchange) -> Visit {
        Visit {
            is_secure: x.scheme == "https",
            is_safe: browser::is_safe(x),
            url: self.url(x),
            under_way: self.0.sessions.setting_out(x),
        }
    }

    /// Leads a browser to the provider, and back to this page.
    async fn lead(&self, visit: Visit, to: String) -> Result<Reply, Problem> {
        let own = &self.0;
        if !visit.is_safe {
            return Err(INSECURE.problem());
        }
        let ((state, reply), same_site, text) = match &own.by {
            By::Oidc(oidc) => {
                let back = format!("{}{}/callback", visit.url, own.settings.at);
                let (url, under_way) = oidc.set_out(to, back).await?;
                let text = serde_json::to_vec(&under_way);
                ((under_way.state, redirect(&url)), SameSite::Lax, text)
            }
            By::Saml(saml) => {
                let (reply, under_way) = saml.set_out(to, &own.pages(&visit.url))?;
                let text = serde_json::to_vec(&under_way);
                // The provider's page posts the answer.
                ((under_way.state, reply), SameSite::None, text)
            }
        };
        let text = text.map_err(|error| because(&PROVIDER, error))?;
        let lines = own.sessions.set_out(visit.is_secure, &visit.under_way, &state, &text, same_site)?;
        Ok(with_cookies(reply, lines))
    }
}

impl Inner {
    /// Where the pages are, for who tells others.
    fn pages<'a>(&'a self, url: &'a str) -> saml::Pages<'a> {
        saml::Pages { url, at: &self.settings.at }
    }
}

/// Nobody keeps it: what it leads to holds for one browser once.
fn redirect(to: &str) -> Reply {
    Reply::empty(302)
        .header("Location", Bytes::copy_from_slice(to.as_bytes()))
        .header("Cache-Control", "no-store")
        .header("Referrer-Policy", "no-referrer")
}

fn with_cookies(reply: Reply, lines: Vec<Bytes>) -> Reply {
    lines.into_iter().fold(reply, |reply, line| reply.header("Set-Cookie", line))
}

impl Authenticator for LoginSource {
    fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, _: Effort) -> Found<'a> {
        let Some(brought) = self.0.sessions.brought(x) else { return Found::Nothing };
        if browser::is_cross_site(x, &self.0.origins) {
            // Another credential, which no page can make a browser send, may let it pass.
            return Found::Foreign(CROSS_SITE.problem());
        }
        match self.0.sessions.known(&brought) {
            Some(known) if !self.is_due(&known.session) => Found::Checked(Ok(known.principal)),
            _ => Found::Checking(Box::pin(self.look(brought))),
        }
    }

    fn sign_in<'a>(&'a self, x: &'a Exchange) -> Option<BoxFuture<'a, Result<Reply, Problem>>> {
        if !browser::is_navigation(x) {
            return None;
        }
        let query = x.head.query().map_or_else(String::new, |query| format!("?{query}"));
        let to = format!("{}{query}", x.head.path());
        let to = if browser::is_local(&to) { to } else { "/".to_owned() };
        let visit = self.visit(x);
        Some(Box::pin(self.lead(visit, to)))
    }

    fn keeps_sessions(&self) -> bool {
        true
    }

    /// No scheme is registered for cookies; browsers and people can make something of this one.
    fn challenge(&self) -> String {
        let Settings { at, session, .. } = &self.0.settings;
        format!("Cookie realm=\"{}\", form-action=\"{at}/login\", cookie-name=\"{}\"", self.0.name, session.cookie)
    }

    fn bearers(&self) -> Bearers {
        Bearers::None
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Session
    }

    fn describe(&self) -> String {
        match &self.0.by {
            By::Oidc(oidc) => format!("browsers whose users signed in at {}", oidc.issuer()),
            By::Saml(saml) => format!("browsers whose users signed in by SAML ({})", saml.describe()),
        }
    }

    fn standing(&self) -> Standing {
        match &self.0.by {
            By::Oidc(oidc) => oidc.ring().standing(),
            By::Saml(saml) => saml.standing(),
        }
    }
}

impl fmt::Debug for LoginSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginSource").field("name", &self.0.name).finish_non_exhaustive()
    }
}
