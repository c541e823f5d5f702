//! Signing in at an identity provider of SAML 2.0: what the browser carries there and back (Web Browser SSO and Single Logout,
//! Profiles §4.1 and §4.4). What messages must say is [`crate::saml`]'s business.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::clock::Clock;
use tollgate_core::principal::Standing;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;

use super::faults::{PROVIDER, TOKEN};
use super::redirect;
use crate::faults::{SAML_METADATA, because};
use crate::saml::{
    self, Accepted, Answers, Asked, Brought, Ended, Expected, LogoutRequest, MustBeSigned, NameId, OLDEST_LOGOUT,
    OwnKey, Provider, Sent, Service, SignIn,
};
use crate::session::Session;
use crate::signing::unique;
use crate::source::GIVEN;
use tollgate_follow::Followed;

/// Largest metadata, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;
/// By how much clocks may differ.
const SKEW: Duration = Duration::from_secs(60);

/// A service of an identity provider.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The provider's metadata; read again when it changes.
    pub metadata: PathBuf,
    /// Which provider it is, if the metadata has several.
    pub provider: Option<String>,
    /// Who the gateway is there; `None`: the URL of its metadata.
    pub entity: Option<String>,
    /// Its keys: the first one signs, and those of RSA open.
    pub keys: Arc<Vec<OwnKey>>,
    /// What the provider must sign.
    pub signed: MustBeSigned,
    /// One of these ways to sign in; empty: any.
    pub contexts: Vec<String>,
}

/// Signs people in.
pub(crate) struct Saml {
    settings: Settings,
    provider: Arc<Followed<Provider>>,
    store: Arc<dyn CacheStore>,
    clock: Clock,
}

/// What the browser keeps of a question that is under way.
#[derive(Serialize, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) state: String,
    /// The question's ID, which the answer names.
    id: String,
    /// The page that is wanted.
    pub(crate) to: String,
}

/// Whom a provider knows a session by.
#[derive(Serialize, Deserialize)]
struct Known {
    name: String,
    format: Option<String>,
    qualifier: Option<String>,
    service_qualifier: Option<String>,
    /// The provider's number of the session.
    #[serde(default)]
    index: Option<String>,
}

/// What names a session of this user. Its number alone does not: providers count from one for each (SAML 2.0 Core §2.7.2).
fn session_of(name: &str, index: &str) -> String {
    format!("{name}\n{index}")
}

/// Where the gateway's own pages are.
pub(crate) struct Pages<'a> {
    /// Where clients reach the gateway.
    pub(crate) url: &'a str,
    /// Below which path.
    pub(crate) at: &'a str,
}

impl Pages<'_> {
    fn page(&self, name: &str) -> String {
        format!("{}{}/{name}", self.url, self.at)
    }
}

impl Saml {
    pub(crate) fn new(settings: Settings, store: Arc<dyn CacheStore>, clock: Clock) -> Self {
        let entity = settings.provider.clone();
        let read = move |text: &[u8]| Provider::read(text, entity.as_deref());
        let provider = Followed::new(settings.metadata.clone(), LARGEST, clock.clone(), read);
        Self { settings, provider, store, clock }
    }

    /// Reads the metadata now, and again whenever it changes. Blocks.
    pub(crate) fn start(&self, slow: &Handle) {
        self.provider.start(slow);
    }

    pub(crate) fn standing(&self) -> Standing {
        self.provider.standing()
    }

    pub(crate) fn describe(&self) -> String {
        self.settings.metadata.display().to_string()
    }

    fn provider(&self) -> Result<Arc<Provider>, Problem> {
        let said = self.provider.said();
        said.ok_or_else(|| because(&SAML_METADATA, "the metadata cannot be read").header("Retry-After", "5"))
    }

    fn service(&self, pages: &Pages<'_>) -> Service {
        Service {
            entity_id: self.settings.entity.clone().unwrap_or_else(|| pages.page("metadata")),
            assertion_consumer: pages.page("acs"),
            // A logout has to be signed.
            logout: (!self.settings.keys.is_empty()).then(|| pages.page("slo")),
            keys: Arc::clone(&self.settings.keys),
            name_id_format: None,
            signed: self.settings.signed,
        }
    }

    /// What the gateway says of itself.
    pub(crate) fn metadata(&self, pages: &Pages<'_>) -> Reply {
        let text = self.service(pages).metadata();
        Reply::full(200, "application/samlmetadata+xml", text).header("Cache-Control", "no-cache")
    }

    /// Asks who the user is who wants this page, and what their browser keeps meanwhile.
    ///
    /// # Errors
    /// Nothing is known of the provider, or it cannot be asked.
    pub(crate) fn set_out(&self, to: String, pages: &Pages<'_>) -> Result<(Reply, UnderWay), Problem> {
        let provider = self.provider()?;
        let state = unique().map_err(|why| because(&PROVIDER, why))?;
        let how = SignIn { state: Some(&state), contexts: &self.settings.contexts, ..SignIn::default() };
        let asked = self.service(pages).ask(&provider, &how, self.clock.unix());
        let Asked { id, sent } = asked.map_err(|why| because(&PROVIDER, why))?;
        Ok((carried(sent), UnderWay { state, id, to }))
    }

    /// What the provider answers, once.
    ///
    /// # Errors
    /// It is not believed, or was used before.
    pub(crate) async fn came_back(
        &self,
        brought: &Brought,
        under_way: &UnderWay,
        pages: &Pages<'_>,
    ) -> Result<Accepted, Problem> {
        let (provider, now) = (self.provider()?, self.clock.unix());
        let service = self.service(pages);
        let audiences = [service.entity_id];
        let expected = self.expected(&provider, &audiences, &service.assertion_consumer);
        let accepted = expected.judge_response(brought, Answers::Request(&under_way.id), now)?;
        let lasts = accepted.ends.duration_since(now).unwrap_or_default();
        saml::take(&self.store, &provider.entity_id, &accepted.id, lasts).await?;
        Ok(accepted)
    }

    /// A session of somebody who signed in.
    ///
    /// # Errors
    /// There are no random numbers.
    pub(crate) fn session(&self, accepted: Accepted, lasts: Duration) -> Result<Session, Problem> {
        let mut claims = accepted.claims;
        claims.retain(|name, value| !GIVEN.contains(&name.as_str()) && !value.is_null());
        let session = Session::new(claims, lasts, self.clock.unix());
        let mut session = session.ok_or_else(|| because(&TOKEN, "no random numbers"))?;
        if let Some(ends) = accepted.session.ends {
            session.ends = session.ends.min(seconds(ends));
        }
        let NameId { value: name, format, qualifier, service_qualifier } = accepted.name_id;
        let index = accepted.session.index;
        session.sid = index.as_deref().map(|index| session_of(&name, index));
        let known = Known { name, format, qualifier, service_qualifier, index };
        session.hint = serde_json::to_string(&known).ok();
        Ok(session)
    }

    fn expected<'a>(&'a self, provider: &'a Provider, audiences: &'a [String], recipient: &'a str) -> Expected<'a> {
        let (signed, keys) = (self.settings.signed, &self.settings.keys[..]);
        Expected { provider, audiences, recipient, contexts: &self.settings.contexts, signed, keys, skew: SKEW }
    }

    /// Tells the provider that a session has ended. `None`: it does not take part in that, or the gateway has no key.
    pub(crate) fn end_session(&self, session: &Session, to: String, pages: &Pages<'_>) -> Option<(Reply, UnderWay)> {
        if self.settings.keys.is_empty() {
            return None;
        }
        let known: Known = serde_json::from_str(session.hint.as_deref()?).ok()?;
        let Known { name: value, format, qualifier, service_qualifier, index } = known;
        let name = NameId { value, format, qualifier, service_qualifier };
        let (provider, state) = (self.provider().ok()?, unique().ok()?);
        let asked =
            self.service(pages).end_session(&provider, &name, index.as_deref(), Some(&state), self.clock.unix());
        let Asked { id, sent } = asked.ok()??;
        Some((carried(sent), UnderWay { state, id, to }))
    }

    /// Judges what the provider answers to that.
    ///
    /// # Errors
    /// It is not believed, or the session did not end everywhere.
    pub(crate) fn ended(&self, brought: &Brought, under_way: &UnderWay, pages: &Pages<'_>) -> Result<(), Problem> {
        let (provider, recipient) = (self.provider()?, pages.page("slo"));
        let expected = self.expected(&provider, &[], &recipient);
        expected.judge_logout_answer(brought, Answers::Request(&under_way.id), self.clock.unix())
    }

    /// What the provider tells to end. [`Saml::has_ended`] is to be called once that is done: what was not must be told again.
    ///
    /// # Errors
    /// It is not believed, or was told before.
    pub(crate) async fn told_to_end(&self, brought: &Brought, pages: &Pages<'_>) -> Result<LogoutRequest, Problem> {
        let (provider, recipient) = (self.provider()?, pages.page("slo"));
        let request = self.expected(&provider, &[], &recipient).judge_logout_request(brought, self.clock.unix())?;
        saml::is_new(&self.store, &provider.entity_id, &request.id).await?;
        Ok(request)
    }

    /// Marks what the provider told to end.
    ///
    /// # Errors
    /// Nobody can mark it.
    pub(crate) async fn has_ended(&self, request: &LogoutRequest) -> Result<(), Problem> {
        let lasts = OLDEST_LOGOUT + SKEW * 2;
        saml::take(&self.store, &self.provider()?.entity_id, &request.id, lasts).await
    }

    /// Tells the provider what became of it.
    ///
    /// # Errors
    /// It has no place for answers, or the gateway has no key.
    pub(crate) fn answer(
        &self,
        request: &LogoutRequest,
        state: Option<&str>,
        pages: &Pages<'_>,
    ) -> Result<Reply, Problem> {
        let provider = self.provider()?;
        let sent = self.service(pages).answer_logout(&provider, request, Ended::Yes, state, self.clock.unix());
        let sent = sent.map_err(|why| because(&PROVIDER, why))?;
        Ok(sent.map_or_else(|| Reply::full(200, "application/json", json!({ "ended": true }).to_string()), carried))
    }

    /// Whose sessions a provider speaks of: marks, by what they are.
    pub(crate) fn marks(request: &LogoutRequest) -> Vec<(&'static str, String)> {
        match request.sessions.as_slice() {
            [] => vec![("sub", request.name_id.value.clone())],
            some => some.iter().map(|index| ("sid", session_of(&request.name_id.value, index))).collect(),
        }
    }
}

/// A message on its way by the browser.
fn carried(sent: Sent) -> Reply {
    match sent {
        Sent::Redirect(to) => redirect(&to),
        Sent::Page(page) => Reply::full(200, "text/html; charset=utf-8", page.html)
            .header("Content-Security-Policy", Bytes::from(page.policy))
            .header("Cache-Control", "no-store")
            .header("Referrer-Policy", "no-referrer"),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl fmt::Debug for Saml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saml").field("metadata", &self.settings.metadata).finish_non_exhaustive()
    }
}
