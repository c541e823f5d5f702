//! The end of a session, told by either side (SAML 2.0 Core §3.7, Profiles §4.4). All of it is signed.

use std::time::{Duration, SystemTime};

use tollgate_core::problem::Problem;

use super::assertion::NameId;
use super::binding::{self, Brought, Kind, Sent};
use super::faults::{EXPIRED, ISSUER, MALFORMED, because};
use super::own_key::OwnKey;
use super::provider::{Binding, Provider};
use super::response::{Answers, Expected, judge_destination, judge_status};
use super::service::{Asked, Service, new_id, pick};
use super::xml::{self, Node, SAML, SAMLP, escape};
use crate::checks::{Check, on};

/// Most sessions that end at once.
const MOST_SESSIONS: usize = 100;
/// How old a logout may be that a provider tells.
pub(crate) const OLDEST: Duration = Duration::from_secs(600);
/// It worked (SAML 2.0 Core §3.2.2.2).
const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
/// It did not.
const RESPONDER: &str = "urn:oasis:names:tc:SAML:2.0:status:Responder";

/// What a provider tells to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Its ID, which the answer names.
    pub id: String,
    /// Whose sessions.
    pub name_id: NameId,
    /// Which ones (`SessionIndex`); empty: all of them.
    pub sessions: Vec<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The sessions have ended.
    Yes,
    /// They could not be ended.
    No,
}

impl Expected<'_> {
    /// Judges what ends sessions. `recipient` is where logouts are sent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge_logout_request(&self, brought: &Brought, now: SystemTime) -> Result<LogoutRequest, Problem> {
        let malformed = |why: String| because(&MALFORMED, why);
        let signed = brought.signed(&self.provider.certificates)?;
        let document = signed.read()?;
        let request = document.root_element();
        let id = self.judge_logout(request, "LogoutRequest", now)?;
        self.judge_time(request, now)?;
        // Without that, one that somebody kept would end sessions that began long after it.
        let made = xml::time(request, "IssueInstant").map_err(malformed)?;
        if made.is_none_or(|made| made + OLDEST + self.skew < now) && on(Check::SamlLogoutAge) {
            return Err(because(&EXPIRED, "`IssueInstant` is long past"));
        }
        let sessions = xml::children(request, SAMLP, "SessionIndex").take(MOST_SESSIONS + 1).map(xml::text);
        let sessions = sessions.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        if sessions.len() > MOST_SESSIONS {
            return Err(because(&MALFORMED, "too many sessions"));
        }
        Ok(LogoutRequest { id, name_id: NameId::of(request)?, sessions })
    }

    /// Judges what a provider answers when it was told to end a session.
    ///
    /// # Errors
    /// What is wrong with it, or that the session did not end everywhere.
    pub fn judge_logout_answer(&self, brought: &Brought, answers: Answers<'_>, now: SystemTime) -> Result<(), Problem> {
        let signed = brought.signed(&self.provider.certificates)?;
        let document = signed.read()?;
        let response = document.root_element();
        self.judge_logout(response, "LogoutResponse", now)?;
        answers.judge(response)?;
        judge_status(response)
    }

    fn judge_logout(&self, message: Node<'_>, name: &str, now: SystemTime) -> Result<String, Problem> {
        let malformed = |why: String| because(&MALFORMED, why);
        self.judge_provider(now)?;
        if !xml::is(message, SAMLP, name) {
            return Err(because(&MALFORMED, "another message"));
        }
        let id = self.judge_head(message, now)?;
        judge_destination(message, Brought::ENVELOPE, self.recipient)?;
        let issuer = xml::text(xml::one(message, SAML, "Issuer").map_err(malformed)?).map_err(malformed)?;
        if issuer == self.provider.entity_id { Ok(id) } else { Err(because(&ISSUER, "another `Issuer`")) }
    }
}

impl Service {
    /// Tells a provider that a user has ended their session. `None`: it does not take part in that.
    ///
    /// # Errors
    /// There is no key, the state is too long, or the system has no random numbers.
    pub fn end_session(
        &self,
        provider: &Provider,
        name_id: &NameId,
        session: Option<&str>,
        state: Option<&str>,
        now: SystemTime,
    ) -> Result<Option<Asked>, String> {
        self.end_session_as(provider, name_id, session, (state, None), new_id()?, now)
    }

    pub(super) fn end_session_as(
        &self,
        provider: &Provider,
        name_id: &NameId,
        session: Option<&str>,
        (state, by): (Option<&str>, Option<Binding>),
        id: String,
        now: SystemTime,
    ) -> Result<Option<Asked>, String> {
        let Some(to) = pick(&provider.logout, by) else { return Ok(None) };
        let qualified = [
            ("Format", &name_id.format),
            ("NameQualifier", &name_id.qualifier),
            ("SPNameQualifier", &name_id.service_qualifier),
        ];
        let said =
            |(name, value): (&str, &Option<String>)| value.as_ref().map(|v| format!(" {name}=\"{}\"", escape(v)));
        let session = session.map(|index| format!("<samlp:SessionIndex>{}</samlp:SessionIndex>", escape(index)));
        let message = format!(
            "{}>{}<saml:NameID{}>{}</saml:NameID>{}</samlp:LogoutRequest>",
            self.head("LogoutRequest", &id, &to.location, now),
            self.issuer(),
            qualified.into_iter().filter_map(said).collect::<String>(),
            escape(&name_id.value),
            session.unwrap_or_default(),
        );
        let sent = binding::send(&message, Kind::Request, to, state, Some(self.signing()?))?;
        Ok(Some(Asked { id, sent }))
    }

    /// Answers a provider that told to end sessions. `None`: it has no place for answers.
    ///
    /// # Errors
    /// There is no key, the state is too long, or the system has no random numbers.
    pub fn answer_logout(
        &self,
        provider: &Provider,
        request: &LogoutRequest,
        ended: Ended,
        state: Option<&str>,
        now: SystemTime,
    ) -> Result<Option<Sent>, String> {
        self.answer_logout_as(provider, request, ended, (state, None), new_id()?, now)
    }

    pub(super) fn answer_logout_as(
        &self,
        provider: &Provider,
        request: &LogoutRequest,
        ended: Ended,
        (state, by): (Option<&str>, Option<Binding>),
        id: String,
        now: SystemTime,
    ) -> Result<Option<Sent>, String> {
        let Some(to) = pick(&provider.logout, by) else { return Ok(None) };
        let code = match ended {
            Ended::Yes => SUCCESS,
            Ended::No => RESPONDER,
        };
        let message = format!(
            "{} InResponseTo=\"{}\">{}<samlp:Status><samlp:StatusCode Value=\"{code}\"/></samlp:Status>\
             </samlp:LogoutResponse>",
            self.head("LogoutResponse", &id, binding::address(to, Kind::Answer), now),
            escape(&request.id),
            self.issuer(),
        );
        binding::send(&message, Kind::Answer, to, state, Some(self.signing()?)).map(Some)
    }

    /// SAML 2.0 Profiles §4.4.3.1: these are always signed.
    fn signing(&self) -> Result<&OwnKey, String> {
        self.keys.first().ok_or_else(|| "logouts have to be signed, and there is no key".to_owned())
    }
}
