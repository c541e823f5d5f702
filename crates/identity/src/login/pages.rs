//! The pages by which people come and go: `login`, `logout`, and what the provider calls (back).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::head::{Method, query_value};
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;

use super::faults::{CROSS_SITE, NO_PAGE, PROVIDER, STATE, TARGET};
use super::oidc::{CameBack, Oidc, UnderWay};
use super::saml::{Saml, UnderWay as UnderWaySaml};
use super::{By, LoginSource, redirect, with_cookies};
use crate::faults::{METHOD, because};
use crate::saml;
use crate::session::cookie::SameSite;
use crate::session::{SIGN_IN, browser};

/// Most bytes of what a provider posts.
const MOST: usize = 64 * 1024;
/// For how long a logout token is known to have been used.
const LOGOUT_TOKEN: Duration = Duration::from_secs(600);

/// What answers at a route with `serve: login`; `None`: nobody signs in here.
#[must_use]
pub fn pages(sources: Vec<LoginSource>) -> Option<Arc<dyn Handler>> {
    (!sources.is_empty()).then(|| Arc::new(Pages(sources)) as Arc<dyn Handler>)
}

#[derive(Debug)]
struct Pages(Vec<LoginSource>);

impl Handler for Pages {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let found = self.0.iter().find_map(|source| {
            let page = x.head.path().strip_prefix(source.0.settings.at.as_str())?.strip_prefix('/')?;
            Some((source, page.to_owned()))
        });
        Box::pin(async move {
            let Some((source, page)) = found else { return Err(NO_PAGE.problem()) };
            let reads = matches!(x.head.method, Method::Get | Method::Head);
            let wrong_method = |allow: &'static str| Err(METHOD.problem().header("Allow", allow));
            match (&*page, reads, x.head.method == Method::Post, &source.0.by) {
                ("login", true, ..) => source.login(x).await,
                ("logout", true, ..) | ("logout", _, true, _) => source.logout(x).await,
                ("callback", true, _, By::Oidc(oidc)) => source.callback(x, oidc).await,
                ("backchannel-logout", _, true, By::Oidc(oidc)) => source.backchannel_logout(x, oidc).await,
                ("metadata", true, _, By::Saml(saml)) => Ok(saml.metadata(&source.0.pages(&source.url(x)))),
                ("acs", _, true, By::Saml(saml)) => source.assertion(x, saml).await,
                ("slo", ..) if reads || x.head.method == Method::Post => source.single_logout(x).await,
                ("login", ..) | ("callback", _, _, By::Oidc(_)) | ("metadata", _, _, By::Saml(_)) => {
                    wrong_method("GET, HEAD")
                }
                ("logout", ..) => wrong_method("GET, HEAD, POST"),
                ("backchannel-logout", _, _, By::Oidc(_)) | ("acs", _, _, By::Saml(_)) => wrong_method("POST"),
                _ => Err(NO_PAGE.problem()),
            }
        })
    }

    fn most_content(&self) -> usize {
        MOST
    }

    fn describe(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|source| &*source.0.name).collect();
        format!("signing in and out: {}", names.join(", "))
    }
}

impl LoginSource {
    /// For links on pages that everybody sees: `login?to=/orders`.
    async fn login(&self, x: &mut Exchange) -> Result<Reply, Problem> {
        let to = x.head.query_value("to").map_or_else(|| "/".to_owned(), std::borrow::Cow::into_owned);
        if !browser::is_local(&to) {
            return Err(TARGET.problem());
        }
        let visit = self.visit(x);
        self.lead(visit, to).await
    }

    /// The provider sent the browser back.
    async fn callback(&self, x: &mut Exchange, oidc: &Oidc) -> Result<Reply, Problem> {
        let own = &self.0;
        // RFC 6749 §3.1. Of two values, others may read the other one.
        if ["state", "code", "iss", "error"].iter().any(|name| x.head.query_values(name) > 1) {
            return Err(because(&STATE, "a parameter stands twice"));
        }
        let query = x.head.query().unwrap_or_default();
        let said = |name: &str| query_value(query, name);
        let state = said("state").ok_or_else(|| because(&STATE, "no `state`"))?.into_owned();
        let [code, issuer, error] = ["code", "iss", "error"].map(|name| said(name).map(std::borrow::Cow::into_owned));
        let kept = own.sessions.came_back(x, &state, SameSite::Lax);
        let (text, forget) = kept.ok_or_else(|| because(&STATE, "no cookie of it"))?;
        let under_way: UnderWay = serde_json::from_slice(&text).map_err(|_| because(&STATE, "of another version"))?;
        if under_way.state != state {
            return Err(because(&STATE, "another `state`"));
        }
        let with = CameBack { code: code.as_deref(), issuer: issuer.as_deref(), error: error.as_deref() };
        let lasts = own.sessions.settings().lasts;
        let session = oidc.came_back(with, &under_way, lasts).await?;
        // A code is good for once at the provider, too (RFC 6749 §4.1.2). Not before somebody signed in: strangers would fill the store.
        if !own.sessions.is_first("state", &state, SIGN_IN).await? {
            return Err(because(&STATE, "it came back before"));
        }
        let mut lines = own.sessions.begin(&x.head, x.scheme == "https", &session).await?;
        lines.push(forget);
        Ok(with_cookies(redirect(&format!("{}{}", self.url(x), under_way.to)), lines))
    }

    /// Ends the session here, and leads the browser to where the provider ends its own.
    async fn logout(&self, x: &mut Exchange) -> Result<Reply, Problem> {
        let own = &self.0;
        // Another site may not sign anybody out.
        let site = x.head.fields.text("sec-fetch-site");
        if browser::is_cross_site(x, &own.origins) || site == Some("cross-site") {
            return Err(CROSS_SITE.problem());
        }
        let after = format!("{}{}", self.url(x), own.settings.after_logout);
        let Some(brought) = own.sessions.brought(x) else { return Ok(redirect(&after)) };
        let session = match own.sessions.look(&brought).await {
            Ok(session) => Some(session),
            // It would go on where nobody can be told of its end.
            Err(problem) if problem.fault.status >= 500 => return Err(problem),
            Err(_) => None,
        };
        let lines = own.sessions.end(&brought, session.as_ref()).await?;
        let reply = match (&own.by, &session) {
            (By::Oidc(oidc), Some(session)) => {
                oidc.end_session(Some(session), &after).await.map(|url| (redirect(&url), None))
            }
            (By::Saml(saml), Some(session)) => {
                let url = self.url(x);
                saml.end_session(session, own.settings.after_logout.clone(), &own.pages(&url))
                    .map(|(reply, under_way)| (reply, Some(under_way)))
            }
            (_, None) => None,
        };
        let (reply, under_way) = reply.unwrap_or_else(|| (redirect(&after), None));
        let mut lines = lines;
        if let Some(under_way) = under_way {
            let text = serde_json::to_vec(&under_way).map_err(|error| because(&PROVIDER, error))?;
            let is_secure = x.scheme == "https";
            lines.extend(own.sessions.set_out(is_secure, &[], &under_way.state, &text, SameSite::None)?);
        }
        Ok(with_cookies(reply, lines))
    }

    /// The provider's page posted its answer (SAML 2.0 Profiles §4.1.4).
    async fn assertion(&self, x: &mut Exchange, saml: &Saml) -> Result<Reply, Problem> {
        let own = &self.0;
        let url = self.url(x);
        let body = str::from_utf8(x.content.as_deref().unwrap_or_default()).map_err(|_| because(&STATE, "no form"))?;
        let brought = saml::Brought::in_form(body)?;
        let (under_way, forget) = self.under_way(x, &brought)?;
        let accepted = saml.came_back(&brought, &under_way, &own.pages(&url)).await?;
        let session = saml.session(accepted, own.sessions.settings().lasts)?;
        let mut lines = own.sessions.begin(&x.head, x.scheme == "https", &session).await?;
        lines.push(forget);
        let mut reply = redirect(&format!("{url}{}", under_way.to));
        // What follows a form that was posted is read (RFC 9110 §15.4.4).
        reply.head.status = 303;
        Ok(with_cookies(reply, lines))
    }

    /// What was kept of a question that this answers.
    fn under_way(&self, x: &Exchange, brought: &saml::Brought) -> Result<(UnderWaySaml, Bytes), Problem> {
        let state = brought.state().ok_or_else(|| because(&STATE, "no `RelayState`"))?;
        let kept = self.0.sessions.came_back(x, state, SameSite::None);
        let (text, forget) = kept.ok_or_else(|| because(&STATE, "no cookie of it"))?;
        let kept: UnderWaySaml = serde_json::from_slice(&text).map_err(|_| because(&STATE, "of another version"))?;
        if kept.state == state { Ok((kept, forget)) } else { Err(because(&STATE, "another `RelayState`")) }
    }

    /// Single logout (SAML 2.0 Profiles §4.4): the provider tells to end sessions, or answers that it has ended its own.
    async fn single_logout(&self, x: &mut Exchange) -> Result<Reply, Problem> {
        let own = &self.0;
        let By::Saml(saml) = &own.by else { return Err(NO_PAGE.problem()) };
        let url = self.url(x);
        let brought = match x.head.method {
            Method::Post => saml::Brought::in_form(
                str::from_utf8(x.content.as_deref().unwrap_or_default()).map_err(|_| because(&STATE, "no form"))?,
            )?,
            _ => saml::Brought::in_query(x.head.query().unwrap_or_default())?,
        };
        if brought.kind() == saml::Kind::Answer {
            let (under_way, forget) = self.under_way(x, &brought)?;
            let to = format!("{url}{}", under_way.to);
            if let Err(problem) = saml.ended(&brought, &under_way, &own.pages(&url)) {
                // The session here has ended all the same.
                tracing::warn!(source = %own.name, why = problem.cause.as_deref(), "the provider may not have ended its session");
            }
            return Ok(with_cookies(redirect(&to), vec![forget]));
        }
        let request = saml.told_to_end(&brought, &own.pages(&url)).await?;
        for (what, whose) in Saml::marks(&request) {
            own.sessions.end_all(what, &whose).await?;
        }
        saml.has_ended(&request).await?;
        let lines = own.sessions.brought(x).map(|brought| own.sessions.forgotten(&brought)).unwrap_or_default();
        let reply = saml.answer(&request, brought.state(), &own.pages(&url))?;
        Ok(with_cookies(reply, lines))
    }

    /// The provider ended sessions (OpenID Connect Back-Channel Logout 1.0 §2.5 to §2.8).
    async fn backchannel_logout(&self, x: &mut Exchange, oidc: &Oidc) -> Result<Reply, Problem> {
        let own = &self.0;
        let body = str::from_utf8(x.content.as_deref().unwrap_or_default()).unwrap_or_default();
        let token = query_value(body, "logout_token").ok_or_else(|| because(&STATE, "no `logout_token`"))?;
        let ended = async {
            let ended = oidc.logged_out(&token).await?;
            if own.sessions.is_marked("logout token", &ended.id).await? {
                return Err(because(&STATE, "a logout token that was used before"));
            }
            match (&ended.sid, &ended.subject) {
                // §2.4: of a `sid`, that session alone.
                (Some(sid), _) => own.sessions.end_all("sid", sid).await?,
                (None, Some(subject)) => own.sessions.end_all("sub", subject).await?,
                (None, None) => {}
            }
            // Used only now: a provider whose call failed tells it again.
            own.sessions.is_first("logout token", &ended.id, LOGOUT_TOKEN).await.map(drop)
        };
        match ended.await {
            Ok(()) => Ok(Reply::empty(200).header("Cache-Control", "no-store")),
            Err(problem) if problem.fault.status >= 500 => Err(problem),
            Err(problem) => {
                tracing::warn!(source = %own.name, why = problem.cause.as_deref(), "a logout token is not believed");
                // §2.8.
                let body =
                    json!({ "error": "invalid_request", "error_description": "the logout token is not believed" });
                let reply = Reply::full(400, "application/json", Bytes::from(body.to_string()));
                Ok(reply.header("Cache-Control", "no-store"))
            }
        }
    }
}
