//! Says what the service receives of the caller's identity.
//!
//! # When to use
//! When a service should not be handed what its caller came with: a token that is good elsewhere, too, or a password. Without this
//! policy, and with `pass`, the service gets the credential as it came.
//!
//! - `mint`: a token of the gateway's own (JWT, RFC 9068), for that service alone, good for a minute. It needs the section `issuer`,
//!   and a route `/.well-known/jwks.json: { serve: jwks }` where services find the keys.
//! - `exchange`: a token that the caller's own provider gives in exchange (RFC 8693). Its source of identity needs `exchange`.
//! - `nothing`: neither token nor key.
//! - `headers`, with any of them: claims of the caller in header fields. What clients send under these names is dropped, on every
//!   route of the config, and so are the usual names of such fields (`X-Forwarded-User`, `X-Consumer-…`, `Remote-User`, `Client-Cert` …).
//!
//! Tokens are made for each attempt: a service that stands in for another (`fallback`) gets one of its own. What cannot be made is
//! answered `mint/unavailable`, `exchange/refused` or `exchange/unavailable`.
//!
//! # Example
//! ```yaml
//! backend_token:
//!   send: mint
//!   claims: [email]
//!   headers: { X-User: principal }
//! ```
//!
//! # Faults
//! None.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use tollgate_config::model::FieldName;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::{Known, is_value};
use tollgate_core::node::{Node, Spanned};
use tollgate_core::onward::{Minter, Recipe, Trade};
use tollgate_core::policy::{Attempt, BuildCx, Built, Flow, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::principal::{Authenticator, Credential, Principal};
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::section;
use tollgate_core::text::words;
use tollgate_core::units::Period;
use tollgate_expr::Told;

use crate::kit::forms::{ShortForm, decode_by_name, joined, text_under, with_short};

/// The longest that a minted token may hold.
const LONGEST: Duration = Duration::from_secs(3600);

section! {
    /// Says what the service receives of the caller's identity.
    pub struct BackendTokenConfig {
        /// What becomes of the credential: `pass`, `mint`, `exchange` or `nothing`.
        send: Spanned<Send> = "pass",
        /// Whom the token is for (`aud`); without it, the service by its name.
        audience: Option<Spanned<Vec<String>>>,
        /// How long a minted token holds: an hour at most.
        lifetime: Option<Spanned<Period>>,
        /// Claims that a minted token takes over from the caller, beside `sub`, `client_id` and `scope`: names, `realm_access.roles`.
        claims: Option<Spanned<Vec<String>>>,
        /// What a token that is traded is to be good for; without it, whatever the provider gives.
        scope: Option<Spanned<Vec<String>>>,
        /// Header fields by name, and what they say: `principal`, `consumer`, `scopes`, or a claim such as `claims.email`.
        headers: Option<Headers>,
    }
}

words! {
    /// What becomes of the credential.
    pub enum Send {
        /// It is sent as it came.
        Pass = "pass",
        /// A token of the gateway's own takes its place.
        Mint = "mint",
        /// A token that it is traded for takes its place.
        Exchange = "exchange",
        /// Nothing takes its place.
        Nothing = "nothing",
    }
}

/// Header fields, and what they say of the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers(Vec<(Spanned<FieldName>, Spanned<String>)>);

impl Decode for Headers {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_by_name(node, cx, "a mapping of header names to what they say").map(Self)
    }
}

impl JsonSchema for Headers {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "IdentityHeaders".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<FieldName>(),
            "additionalProperties": {
                "type": "string",
                "pattern": "^(principal|consumer|scopes|claims[.\\[].+)$",
                "examples": ["principal", "claims.email"],
            },
        })
    }
}

impl PolicyConfig for BackendTokenConfig {
    const NAME: &'static str = "backend_token";
    const SUMMARY: &'static str = "Says what the service receives of the caller's identity.";
    const EXAMPLE: &'static str = "send: mint\nclaims: [email]\nheaders: { X-User: principal }";
    const FAULTS: &'static [&'static Fault] = &[];
    const NEEDS: Option<&'static str> = Some("auth");

    /// `mint` → `{ send: mint }`.
    fn desugar(node: Node) -> Node {
        text_under(node, "send")
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let has_sessions = cx.sources.all.iter().any(|source| source.credential() == Credential::Session);
        self.goes_together(has_sessions)?;
        let minter = match (self.send.value, &cx.sources.minter) {
            (Send::Mint, None) => {
                let mistake = Diagnostic::error("the gateway gives out no tokens").at(&self.send.span);
                return Err(mistake.hint("say who it is to services: `issuer: { url: \"https://api.example.com\" }`"));
            }
            (Send::Mint, Some(minter)) => Some(Arc::clone(minter)),
            _ => None,
        };
        if self.send.value == Send::Exchange && cx.sources.all.iter().all(|source| source.exchanger().is_none()) {
            let mistake = Diagnostic::error("no source of identity can trade tokens").at(&self.send.span);
            return Err(mistake.hint("add `exchange: { client: …, secret: … }` to the source under `auth`"));
        }
        let lifetime = self.lifetime.map_or(Duration::from_secs(60), |lifetime| lifetime.value.0);
        let audience = self.audience.map(|audience| audience.value).unwrap_or_default();
        let claims = self.claims.map(|claims| claims.value).unwrap_or_default();
        let recipe = Recipe::new(audience, lifetime, claims.iter().map(|claim| path(claim)).collect());
        let headers = self.headers.map(|headers| headers.0).unwrap_or_default().into_iter().map(header);
        Ok(vec![(
            Stage::Transform,
            Arc::new(BackendToken {
                send: self.send.value,
                recipe,
                scope: self.scope.map(|scope| scope.value).unwrap_or_default(),
                headers: headers.collect::<Result<_, _>>()?,
                minter,
                shows_session: self.send.value == Send::Pass && has_sessions,
                sources: cx.sources.all.clone(),
            }),
        )])
    }
}

impl BackendTokenConfig {
    /// `has_sessions`: whether somebody may come with a session, whose token is not passed on unless that is asked for.
    fn goes_together(&self, has_sessions: bool) -> Result<(), Diagnostic> {
        let send = self.send.value;
        let no_use = |what: &str, span| Err(Diagnostic::error(format!("`{what}` has no use here")).at(span));
        match (&self.lifetime, &self.claims, &self.scope, &self.audience) {
            (Some(lifetime), ..) if send != Send::Mint => no_use("lifetime", &lifetime.span),
            (Some(lifetime), ..) if lifetime.value.0 > LONGEST || lifetime.value.0.as_secs() < 10 => {
                Err(Diagnostic::error("a minted token holds for ten seconds to an hour").at(&lifetime.span))
            }
            (_, Some(claims), ..) if send != Send::Mint => no_use("claims", &claims.span),
            (_, Some(claims), ..) if claims.value.iter().any(|claim| claim.split('.').any(str::is_empty)) => {
                let mistake = Diagnostic::error("a claim without a name").at(&claims.span);
                Err(mistake.hint("names, those within others behind a dot: `[email, realm_access.roles]`"))
            }
            (_, _, Some(scope), _) if send != Send::Exchange => no_use("scope", &scope.span),
            (.., Some(audience)) if !matches!(send, Send::Mint | Send::Exchange) => no_use("audience", &audience.span),
            (.., Some(audience)) if audience.value.iter().any(String::is_empty) || audience.value.is_empty() => {
                Err(Diagnostic::error("nobody is named").at(&audience.span))
            }
            _ if send == Send::Pass
                && !has_sessions
                && self.headers.as_ref().is_none_or(|headers| headers.0.is_empty()) =>
            {
                let mistake = Diagnostic::error("nothing changes for the service").at(&self.send.span);
                Err(mistake.hint("`backend_token: mint`, or `headers` with what it is to be told"))
            }
            _ => Ok(()),
        }
    }
}

fn path(claim: &str) -> Vec<String> {
    claim.split('.').map(str::to_owned).collect()
}

fn header((name, says): (Spanned<FieldName>, Spanned<String>)) -> Result<(Bytes, Told), Diagnostic> {
    let known = Known::of(name.value.as_str().as_bytes());
    if !matches!(known, Known::Other | Known::Identity | Known::XForwardedOther) {
        let mistake = Diagnostic::error(format!("`{}` says something else", name.value.as_str())).at(&name.span);
        return Err(mistake.hint("a name of its own, such as `X-User`"));
    }
    let told = Told::compile(&says.value).map_err(|error| {
        let mistake = Diagnostic { hint: error.hint, ..Diagnostic::error(error.message) };
        mistake.at(&says.span.within(&says.value, error.offset))
    })?;
    Ok((Bytes::copy_from_slice(name.value.as_str().as_bytes()), told))
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(BackendTokenConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<BackendTokenConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[ShortForm {
    short: "mint",
    long: "{ send: mint }",
    schema: || json!({ "type": "string", "enum": ["pass", "mint", "exchange", "nothing"] }),
}];

#[derive(Debug)]
struct BackendToken {
    send: Send,
    recipe: Recipe,
    scope: Vec<String>,
    headers: Vec<(Bytes, Told)>,
    minter: Option<Arc<dyn Minter>>,
    sources: Vec<Arc<dyn Authenticator>>,
    /// Whether the tokens of sessions are shown.
    shows_session: bool,
}

impl Policy for BackendToken {
    fn hooks(&self) -> Hooks {
        let attempt =
            !self.headers.is_empty() || self.shows_session || matches!(self.send, Send::Mint | Send::Exchange);
        Hooks { request: self.send != Send::Pass, attempt, ..Hooks::default() }
    }

    /// Takes the credential away, and whatever else somebody may have brought that a source would take for one.
    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        if self.send == Send::Exchange {
            let source = x.principal.as_ref().and_then(|caller| self.source(caller));
            x.onward.token = match source.map(|source| source.credential()) {
                Some(Credential::Authorization) => bearer(x).map(Into::into),
                Some(Credential::Session) => x.principal.as_ref().and_then(|caller| session_token(caller)),
                _ => None,
            };
        }
        x.head.fields.remove("Authorization");
        // The proof that goes with a token (RFC 9449): good for this request here, and for nothing else.
        x.head.fields.remove("DPoP");
        for source in &self.sources {
            match source.credential() {
                Credential::Header(name) => x.head.fields.remove(name),
                Credential::Query(name) => x.head.remove_query_values(name),
                Credential::Cookie(name) => x.head.remove_cookies(name),
                Credential::Parts { fields, query } => {
                    fields.iter().for_each(|name| x.head.fields.remove(name));
                    query.iter().for_each(|name| x.head.remove_query_values(name));
                }
                // No service gets the cookies of sessions.
                Credential::Authorization | Credential::Session | Credential::Connection => {}
            }
        }
        Step::next()
    }

    fn on_attempt<'a>(&'a self, x: &'a mut Exchange, to: Attempt<'a>) -> Step<'a> {
        let Some(caller) = x.principal.clone() else { return Step::next() };
        for (name, told) in &self.headers {
            // What cannot stand in a field is not told at all: cut short, it would be somebody else.
            let text = told.of(&caller).filter(|text| !text.is_empty() && is_value(text.as_bytes()));
            x.onward.fields.extend(text.map(|text| (name.clone(), Bytes::from(text))));
        }
        match self.send {
            Send::Pass => {
                if let Some(token) = session_token(&caller) {
                    show(x, &Bytes::from(String::from(token)));
                }
                Step::next()
            }
            Send::Nothing => Step::next(),
            Send::Mint => Step::Now(self.mint(x, &caller, to.service)),
            Send::Exchange => self.exchange(x, &caller, to.service),
        }
    }

    fn owned_fields(&self) -> Vec<Bytes> {
        self.headers.iter().map(|(name, _)| name.clone()).collect()
    }

    fn describe(&self) -> String {
        let sent = match self.send {
            Send::Pass if self.shows_session => "the credential as it came, or the token of the session".to_owned(),
            Send::Pass => "the credential as it came".to_owned(),
            Send::Nothing => "no credential".to_owned(),
            Send::Mint => format!("a token of the gateway's own for {}", self.whom()),
            Send::Exchange => format!("a token that the caller's is traded for, for {}", self.whom()),
        };
        match self.headers.as_slice() {
            [] => sent,
            headers => {
                let names = headers.iter().filter_map(|(name, _)| str::from_utf8(name).ok());
                format!("{sent}; of the caller: {}", joined(names))
            }
        }
    }
}

/// The token of the caller's session, if they came with one.
fn session_token(caller: &Principal) -> Option<Box<str>> {
    caller.session.as_ref()?.token.clone()
}

/// The token of `Authorization`, which was checked.
fn bearer(x: &Exchange) -> Option<&str> {
    x.head.fields.text("authorization")?.split_once(' ').map(|(_, token)| token.trim())
}

impl BackendToken {
    fn whom(&self) -> String {
        match self.recipe.audience() {
            [] => "the service".to_owned(),
            audience => joined(audience.iter().map(String::as_str)),
        }
    }

    fn source(&self, caller: &Principal) -> Option<&Arc<dyn Authenticator>> {
        self.sources.iter().find(|source| *source.name() == caller.source)
    }

    fn mint(&self, x: &mut Exchange, caller: &Arc<Principal>, service: &str) -> Result<Flow, Problem> {
        let Some(minter) = &self.minter else { return Ok(Flow::Next) };
        let minted = minter.mint(caller, &self.recipe, service)?;
        show(x, &minted.token);
        Ok(Flow::Next)
    }

    fn exchange<'a>(&'a self, x: &'a mut Exchange, caller: &Principal, service: &str) -> Step<'a> {
        let exchanger = self.source(caller).and_then(|source| source.exchanger());
        // A caller who was let in by something that cannot be traded has nothing to show.
        let (Some(exchanger), Some(token)) = (exchanger, &x.onward.token) else { return Step::next() };
        let of_service = [service.to_owned()];
        let audience = if self.recipe.audience().is_empty() { &of_service[..] } else { self.recipe.audience() };
        let trading = exchanger.exchange(&Trade { token, audience, scope: &self.scope });
        Step::Later(Box::pin(async move {
            let minted = trading.await?;
            show(x, &minted.token);
            Ok(Flow::Next)
        }))
    }
}

/// RFC 6750 §2.1.
fn show(x: &mut Exchange, token: &Bytes) {
    let field = [b"Bearer ", &token[..]].concat();
    x.onward.fields.push((Bytes::from_static(b"Authorization"), field.into()));
}

#[cfg(test)]
mod tests;
