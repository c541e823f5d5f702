//! Signing in at an OpenID provider: the authorization code flow (OpenID Connect Core 1.0 §3.1) with PKCE (RFC 7636), new tokens
//! for old ones (§12), and the end of its session (RP-Initiated Logout 1.0).

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest as hash};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tollgate_core::caller::{Call, Caller};
use tollgate_core::clock::Clock;
use tollgate_core::problem::Problem;

use super::faults::{PROVIDER, REFUSED, STATE, TOKEN};
use super::id_token::{Expected, LoggedOut, Wrong};
use super::said::{Metadata, Said};
use crate::checks::{Check, on};
use crate::client::{Client, Form};
use crate::faults::{because, quoted};
use crate::json;
use crate::keys::{self, KeyRing};
use crate::profile::Tenants;
use crate::session::{AccessToken, Session};
use crate::signing::unique;
use crate::source::GIVEN;

/// Largest answer.
const MOST: usize = 256 * 1024;
/// How long a token is used of which the provider does not say when it ends.
const UNTOLD_END: u64 = 3600;
/// Most who come back at a time: each code makes a question, and strangers can bring as many as they like.
const AT_ONCE: usize = 64;

/// A client of an OpenID provider.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who the provider is: the issuer of its ID tokens.
    pub issuer: String,
    /// The tenants of Entra whose users may sign in, where `issuer` is that of all of them.
    pub tenants: Option<Tenants>,
    /// Who the gateway is there.
    pub client: Client,
    /// What is asked for, `openid` among it.
    pub scopes: Vec<String>,
    /// What else the provider is told when somebody signs in.
    pub parameters: Vec<(String, String)>,
    /// Whether the provider is asked for more about the user (§5.3).
    pub userinfo: bool,
    /// The provider's keys.
    pub keys: keys::Settings,
    /// How long the provider may take to answer.
    pub timeout: Duration,
}

/// Signs people in.
pub(crate) struct Oidc {
    settings: Settings,
    ring: Arc<KeyRing>,
    outside: OnceLock<Arc<dyn Caller>>,
    metadata: Arc<Metadata>,
    /// For those who come back: whoever renews a session has a place of their own.
    at_once: Semaphore,
    clock: Clock,
}

/// What the browser keeps of a sign-in that is under way.
#[derive(Serialize, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) state: String,
    nonce: String,
    verifier: String,
    /// Where the browser was led from, letter by letter what the provider was told.
    back: String,
    /// The page that is wanted.
    pub(crate) to: String,
}

/// What the provider sends back by the browser (RFC 6749 §4.1.2).
pub(crate) struct CameBack<'a> {
    pub(crate) code: Option<&'a str>,
    pub(crate) issuer: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

/// Why there are no new tokens.
pub(crate) enum NotRenewed {
    /// The provider says no: whose session it was has to sign in again.
    Over(String),
    /// Nobody can tell.
    Untold(Problem),
}

impl Oidc {
    pub(crate) fn new(settings: Settings, clock: Clock) -> Self {
        let ring = KeyRing::new(settings.keys.clone(), clock.clone());
        let metadata = Metadata::new(settings.issuer.clone(), settings.timeout, clock.clone());
        Self { settings, ring, outside: OnceLock::new(), metadata, at_once: Semaphore::new(AT_ONCE), clock }
    }

    pub(crate) fn start(&self, caller: &Arc<dyn Caller>, asking: &Handle) {
        let _ = self.outside.set(Arc::clone(caller));
        self.metadata.start(caller, asking);
        self.ring.start(caller, asking);
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    pub(crate) fn client(&self) -> &str {
        &self.settings.client.id
    }

    pub(crate) fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Where somebody signs in who wants this page, and what their browser keeps meanwhile. `back`: where they come back to.
    ///
    /// # Errors
    /// The provider cannot be asked where that is.
    pub(crate) async fn set_out(&self, to: String, back: String) -> Result<(String, UnderWay), Problem> {
        let said = self.said().await?;
        let random = || unique().map_err(|why| because(&PROVIDER, why));
        // RFC 7636 §4.1: 43 letters at least.
        let verifier = format!("{}{}", random()?, random()?);
        let under_way = UnderWay { state: random()?, nonce: random()?, verifier, back, to };
        let mut form = Form::default();
        for (name, value) in &self.settings.parameters {
            form.add(name, value);
        }
        let challenge = BASE64URL_NOPAD.encode(hash(&SHA256, under_way.verifier.as_bytes()).as_ref());
        form.add("response_type", "code")
            .add("client_id", self.client())
            .add("redirect_uri", &under_way.back)
            .add("scope", &self.settings.scopes.join(" "))
            .add("state", &under_way.state)
            .add("nonce", &under_way.nonce)
            .add("code_challenge", &challenge)
            .add("code_challenge_method", "S256");
        Ok((joined(&said.authorization, form), under_way))
    }

    /// What the provider knows of somebody who came back: claims, and what goes with them.
    ///
    /// # Errors
    /// It let them in as nobody, or cannot be asked, or cannot be believed.
    pub(crate) async fn came_back(
        &self,
        with: CameBack<'_>,
        under_way: &UnderWay,
        lasts: Duration,
    ) -> Result<Session, Problem> {
        let said = self.said().await?;
        // RFC 9207 §2.4: another provider's answer.
        let is_others = with.issuer.map_or(said.names_itself, |issuer| issuer != self.settings.issuer);
        if is_others && on(Check::SignInMixUp) {
            return Err(because(&STATE, "another `iss`, or none"));
        }
        if let Some(error) = with.error {
            return Err(because(&REFUSED, quoted(error)));
        }
        let code = with.code.ok_or_else(|| because(&STATE, "no `code`"))?;
        let _place = self.at_once.try_acquire().map_err(|_| untold("too many come back at a time"))?;
        let mut form = Form::default();
        form.add("grant_type", "authorization_code")
            .add("code", code)
            .add("redirect_uri", &under_way.back)
            .add("code_verifier", &under_way.verifier);
        let answer = match self.tokens(&said, form).await? {
            Ok(answer) => answer,
            Err(refused) => return Err(because(&REFUSED, refused)),
        };
        let id_token = answer.get("id_token").and_then(Value::as_str).ok_or_else(|| because(&TOKEN, "no ID token"))?;
        let mut claims = self.believed(id_token, Some(&under_way.nonce)).await?;
        if self.settings.userinfo {
            self.add_userinfo(&said, &answer, &mut claims).await?;
        }
        let sid = claims.get("sid").and_then(Value::as_str).map(str::to_owned);
        // What the ID token says of that is for its client to know, not what was granted.
        GIVEN.iter().for_each(|name| drop(claims.remove(*name)));
        let mut session =
            Session::new(claims, lasts, self.clock.unix()).ok_or_else(|| because(&TOKEN, "no random numbers"))?;
        session.hint = Some(id_token.to_owned());
        session.sid = sid;
        self.take_over(&answer, &mut session)?;
        Ok(session)
    }

    /// New tokens for a session (RFC 6749 §6).
    ///
    /// # Errors
    /// It is over, or nobody can tell.
    pub(crate) async fn renew(&self, mut session: Session) -> Result<Session, NotRenewed> {
        let Some(refresh) = &session.refresh else {
            return Err(NotRenewed::Over("there is no refresh token".to_owned()));
        };
        let said = self.said().await.map_err(NotRenewed::Untold)?;
        let mut form = Form::default();
        form.add("grant_type", "refresh_token").add("refresh_token", refresh);
        let answer = self.tokens(&said, form).await.map_err(NotRenewed::Untold)?.map_err(NotRenewed::Over)?;
        let over = |problem: Problem| match problem.fault.status {
            // Its refresh token is used up: there is nothing to ask again with.
            502 => NotRenewed::Over(problem.cause.clone().unwrap_or_default()),
            _ => NotRenewed::Untold(problem),
        };
        if let Some(id_token) = answer.get("id_token").and_then(Value::as_str) {
            let mut claims = self.believed(id_token, None).await.map_err(over)?;
            // §12.2: of the same user.
            if claims.get("sub") != session.claims.get("sub") {
                return Err(NotRenewed::Over("another user's ID token".to_owned()));
            }
            if self.settings.userinfo {
                self.add_userinfo(&said, &answer, &mut claims).await.map_err(over)?;
            }
            // What the provider does not say any more holds no more; what was granted is said below.
            GIVEN.iter().for_each(|name| drop(claims.remove(*name)));
            let granted = session.claims.remove("scope");
            claims.extend(granted.map(|scope| ("scope".to_owned(), scope)));
            session.hint = Some(id_token.to_owned());
            session.claims = claims;
        }
        self.take_over(&answer, &mut session).map_err(NotRenewed::Untold)?;
        Ok(session)
    }

    /// Where the provider's own session is ended, if it says so. `to`: where the browser comes back to.
    pub(crate) async fn end_session(&self, session: Option<&Session>, to: &str) -> Option<String> {
        let end = self.said().await.ok()?.end_session.clone()?;
        let mut form = Form::default();
        if let Some(hint) = session.and_then(|session| session.hint.as_deref()) {
            form.add("id_token_hint", hint);
        }
        form.add("client_id", self.client()).add("post_logout_redirect_uri", to);
        Some(joined(&end, form))
    }

    /// Whose sessions a logout token ends.
    ///
    /// # Errors
    /// It is not believed.
    pub(crate) async fn logged_out(&self, token: &str) -> Result<LoggedOut, Problem> {
        self.expected().logout_token(token).await.map_err(|wrong| match wrong {
            Wrong::Token(why) => because(&STATE, why),
            Wrong::Keys => untold("its keys cannot be had"),
        })
    }

    fn expected(&self) -> Expected<'_> {
        let (issuer, client) = (&*self.settings.issuer, self.client());
        let tenants = self.settings.tenants.as_ref();
        let parameters = &self.settings.parameters;
        Expected { issuer, tenants, client, parameters, ring: &self.ring, now: self.clock.unix() }
    }

    async fn believed(&self, id_token: &str, nonce: Option<&str>) -> Result<Map<String, Value>, Problem> {
        self.expected().id_token(id_token, nonce).await.map_err(|wrong| match wrong {
            Wrong::Token(why) => because(&TOKEN, why),
            Wrong::Keys => untold("its keys cannot be had"),
        })
    }

    /// The tokens of an answer (RFC 6749 §5.1).
    fn take_over(&self, answer: &Map<String, Value>, session: &mut Session) -> Result<(), Problem> {
        let said = |name: &str| answer.get(name).and_then(Value::as_str);
        let is_text = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_bearer = said("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        let text = said("access_token").filter(|text| is_bearer && is_text(text));
        let text = text.ok_or_else(|| because(&TOKEN, "no bearer token in the answer"))?;
        let lasts = answer.get("expires_in").and_then(Value::as_u64).unwrap_or(UNTOLD_END);
        let now = self.clock.unix().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let ends = now.saturating_add(lasts);
        session.token = Some(AccessToken { text: text.to_owned(), ends });
        if let Some(refresh) = said("refresh_token") {
            session.refresh = Some(refresh.to_owned());
        }
        // Whoever cannot be asked again has a session for as long as the token lasts.
        if session.refresh.is_none() {
            session.ends = session.ends.min(ends);
        }
        // Unless it is said, it is what was asked for (RFC 6749 §5.1), or was granted before (§6).
        let scope = said("scope").map(Value::from).or_else(|| session.claims.get("scope").cloned());
        session.claims.insert("scope".to_owned(), scope.unwrap_or_else(|| self.settings.scopes.join(" ").into()));
        session.claims.insert("client_id".to_owned(), self.client().into());
        Ok(())
    }

    /// §5.3.2: claims of the same user, beside those of the ID token.
    async fn add_userinfo(
        &self,
        said: &Said,
        answer: &Map<String, Value>,
        claims: &mut Map<String, Value>,
    ) -> Result<(), Problem> {
        let url = said.userinfo.as_deref().ok_or_else(|| untold("it has no `userinfo_endpoint`"))?;
        let token = answer.get("access_token").and_then(Value::as_str).unwrap_or_default();
        let fields = vec![("Authorization", format!("Bearer {token}")), ("Accept", "application/json".to_owned())];
        let call = Call { fields, ..Call::get(url, MOST, self.settings.timeout) };
        let told = self.call(call).await?;
        let read = json::object(&told.body).ok().filter(|_| told.status == 200);
        let read = read.ok_or_else(|| because(&TOKEN, format!("{url} answered {}", told.status)))?;
        if read.get("sub") != claims.get("sub") {
            return Err(because(&TOKEN, "what is said of the user is about another one"));
        }
        for (name, value) in read {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// Asks for tokens; or what the provider says against it (RFC 6749 §5.2).
    async fn tokens(&self, said: &Said, mut form: Form) -> Result<Result<Map<String, Value>, String>, Problem> {
        let url = &said.token;
        let mut fields = vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("Accept", "application/json".to_owned()),
        ];
        let proven = self.settings.client.prove(&mut form, &mut fields, url, self.clock.unix());
        proven.map_err(|why| because(&PROVIDER, why))?;
        let (body, timeout) = (form.into_body(), self.settings.timeout);
        // A code, or a refresh token, that comes twice is taken for stolen (RFC 6749 §4.1.2, RFC 9700 §4.14.2).
        let repeats = false;
        let call = Call { method: "POST", url: url.clone(), fields, body, most: MOST, timeout, repeats };
        let answer = self.call(call).await?;
        let read = json::object(&answer.body);
        match (answer.status, read) {
            (200, Ok(read)) => Ok(Ok(read)),
            (400 | 401 | 403, Ok(read)) => {
                let text = |name: &str| read.get(name).and_then(Value::as_str).unwrap_or_default();
                let told = format!("{} {}", quoted(text("error")), quoted(text("error_description")));
                match text("error") {
                    // The gateway's own trouble.
                    "invalid_client" | "unauthorized_client" | "unsupported_grant_type" => Err(untold(&told)),
                    _ => Ok(Err(told)),
                }
            }
            (status, _) => Err(untold(&format!("{url} answered {status}"))),
        }
    }

    async fn call(&self, call: Call) -> Result<tollgate_core::caller::Answer, Problem> {
        let caller = self.outside.get().ok_or_else(|| untold("nobody is asked"))?;
        let url = call.url.clone();
        caller.call(call).await.map_err(|error| untold(&format!("{url}: {error}")))
    }

    async fn said(&self) -> Result<Arc<Said>, Problem> {
        self.metadata.said().await.map_err(|why| untold(&why))
    }
}

/// Our own trouble, or the provider's: never the user's.
fn untold(why: &str) -> Problem {
    because(&PROVIDER, why.to_owned()).header("Retry-After", "5")
}

/// A URL with these parameters behind those that it has.
fn joined(url: &str, form: Form) -> String {
    let query = String::from_utf8(form.into_body()).unwrap_or_default();
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
