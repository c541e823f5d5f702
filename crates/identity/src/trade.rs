//! What the gateway answers as one that gives out tokens: its keys (RFC 7517 §5), what it says of itself (RFC 8414), and tokens that
//! services trade for others (RFC 8693).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::head::Method;
use tollgate_core::onward::Minted;
use tollgate_core::policy::BoxFuture;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;

use crate::exchange::{ACCESS_TOKEN, GRANT, JWT};
use crate::faults::{METHOD, NO_TOKEN};
use crate::jwt::{Expected, Token};
use crate::mint::Issuer;
use crate::profile::Profile;
use crate::saml_grant::{Refusal, SamlGrant};

/// RFC 8693 §3: what an access token of the gateway's own is, too.
/// The grant of SAML assertions (RFC 7522 §2.1).
const SAML: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
/// Most bytes of a question.
const MOST: usize = 64 * 1024;
/// How long a token holds that was traded: never longer than the one that it was traded for.
const LIFETIME: Duration = Duration::from_secs(60);
/// What every token says for itself.
const OWN: [&str; 8] = ["iss", "aud", "iat", "exp", "nbf", "jti", "act", "cnf"];

/// Whom a token is for, and for whom it may be traded.
pub type May = Vec<(String, Vec<String>)>;

/// What answers at routes of the gateway's own, by the words for them.
#[must_use]
pub fn endpoints(
    issuer: &Arc<Issuer>,
    may: May,
    saml: Option<Arc<SamlGrant>>,
    clock: &Clock,
) -> Vec<(&'static str, Arc<dyn Handler>)> {
    let own = || Arc::clone(issuer);
    vec![
        ("jwks", Arc::new(Keys(own()))),
        ("metadata", Arc::new(Metadata { issuer: own(), grants: grants(&may, saml.as_ref()) })),
        ("token", Arc::new(Trades { issuer: own(), may, saml, clock: clock.clone() })),
    ]
}

#[derive(Debug)]
struct Keys(Arc<Issuer>);

impl Handler for Keys {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(std::future::ready(public(x, self.0.published())))
    }

    fn describe(&self) -> String {
        "the keys of the gateway's own tokens".to_owned()
    }
}

/// What is taken at the token endpoint.
fn grants(may: &May, saml: Option<&Arc<SamlGrant>>) -> Vec<&'static str> {
    (!may.is_empty()).then_some(GRANT).into_iter().chain(saml.map(|_| SAML)).collect()
}

#[derive(Debug)]
struct Metadata {
    issuer: Arc<Issuer>,
    grants: Vec<&'static str>,
}

impl Handler for Metadata {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let url = self.issuer.url();
        let below = url.trim_end_matches('/');
        // RFC 8414 §2.
        let mut document = json!({
            "issuer": url,
            "jwks_uri": format!("{below}/.well-known/jwks.json"),
            "grant_types_supported": self.grants,
            "response_types_supported": [],
        });
        if !self.grants.is_empty() {
            document["token_endpoint"] = json!(format!("{below}/token"));
            document["token_endpoint_auth_methods_supported"] = json!(["none"]);
        }
        Box::pin(std::future::ready(public(x, document.to_string())))
    }

    fn describe(&self) -> String {
        "what the gateway says of itself as an issuer".to_owned()
    }
}

/// For everybody, and for a while.
fn public(x: &Exchange, text: String) -> Result<Reply, Problem> {
    if !matches!(x.head.method, Method::Get | Method::Head) {
        return Err(METHOD.problem().header("Allow", "GET, HEAD"));
    }
    Ok(Reply::full(200, "application/json", text).header("Cache-Control", "public, max-age=300"))
}

/// Trades tokens of the gateway's own.
#[derive(Debug)]
struct Trades {
    issuer: Arc<Issuer>,
    may: May,
    /// Assertions that are taken, if any are.
    saml: Option<Arc<SamlGrant>>,
    clock: Clock,
}

/// Why a token is not traded: a word of RFC 6749 §5.2 or RFC 8693 §2.2.2, and what is wrong.
type Refused = (&'static str, &'static str);

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Grant {
    /// A token of the gateway's own (RFC 8693).
    #[default]
    Token,
    /// A SAML assertion (RFC 7522).
    Saml,
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    grant: Grant,
    /// The token, or the assertion.
    token: String,
    audience: Vec<String>,
    scope: Option<Vec<String>>,
}

impl Handler for Trades {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(self.answer(x))
    }

    fn most_content(&self) -> usize {
        MOST
    }

    fn describe(&self) -> String {
        "the gateway's token endpoint".to_owned()
    }
}

impl Trades {
    async fn answer(&self, x: &mut Exchange) -> Result<Reply, Problem> {
        if x.head.method != Method::Post {
            return Err(METHOD.problem().header("Allow", "POST"));
        }
        let is_form = x.head.fields.text("content-type").is_some_and(|kind| {
            kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        let asked = if is_form {
            Asked::read(x.content.as_deref().unwrap_or_default())
        } else {
            Err(("invalid_request", "the body is no form"))
        };
        let traded = match asked {
            Ok(asked) if asked.grant == Grant::Saml => self.assert(x, &asked).await,
            Ok(asked) => self.trade(x, &asked),
            Err(refused) => Err(refused),
        };
        let (status, body) = match traded {
            Ok(traded) => (200, traded?),
            Err((error, description)) => {
                x.trail.fault = Some(&NO_TOKEN);
                x.trail.cause = Some(format!("{error}: {description}"));
                (400, json!({ "error": error, "error_description": description }))
            }
        };
        // RFC 6749 §5.1.
        Ok(Reply::full(status, "application/json", format!("{body}\n")).header("Cache-Control", "no-store"))
    }

    fn trade(&self, x: &mut Exchange, asked: &Asked) -> Result<Result<Value, Problem>, Refused> {
        let now = self.clock.unix();
        let (subject, ends) = self.subject(&asked.token, now)?;
        let from = self.from(x, &subject, &asked.audience)?;
        let own: Vec<&str> = subject.get("scope").and_then(Value::as_str).unwrap_or_default().split(' ').collect();
        let scope: Vec<&str> = match &asked.scope {
            None => own,
            Some(wanted) if wanted.iter().all(|scope| own.contains(&scope.as_str())) => {
                wanted.iter().map(String::as_str).collect()
            }
            Some(_) => return Err(("invalid_scope", "the token is not good for all of that")),
        };
        let mut claims: Map<String, Value> = subject.clone();
        claims.retain(|name, _| !OWN.contains(&name.as_str()));
        let scope = scope.join(" ");
        match scope.is_empty() {
            true => drop(claims.remove("scope")),
            false => drop(claims.insert("scope".to_owned(), json!(scope))),
        }
        // RFC 8693 §4.1: who acts now, and who did before.
        let mut actor = json!({ "sub": from });
        if let Some(before) = subject.get("act") {
            actor["act"] = before.clone();
        }
        claims.insert("act".to_owned(), actor);
        let until = ends.min(now + LIFETIME);
        Ok(self.issuer.give(claims, &asked.audience, until).map(|minted| told(&minted, &scope, now)))
    }

    /// RFC 7522 §2.1.
    async fn assert(&self, x: &mut Exchange, asked: &Asked) -> Result<Result<Value, Problem>, Refused> {
        let now = self.clock.unix();
        let saml = self.saml.as_ref().ok_or(("unsupported_grant_type", "no assertions are taken here"))?;
        if !saml.gives_for(&asked.audience) {
            return Err(("invalid_target", "no token is given for this audience"));
        }
        if asked.scope.as_ref().is_some_and(|scope| !scope.is_empty()) {
            return Err(("invalid_scope", "an assertion is good for no scope"));
        }
        let mut claims = match saml.judge(&asked.token, now).await {
            Ok(claims) => claims,
            Err(Refusal::Own(problem)) => return Ok(Err(problem)),
            Err(Refusal::Client(slug, title)) => {
                x.trail.cause = Some(slug.to_owned());
                return Err(("invalid_grant", title));
            }
        };
        claims.retain(|name, _| !OWN.contains(&name.as_str()));
        Ok(self.issuer.give(claims, &asked.audience, now + LIFETIME).map(|minted| told(&minted, "", now)))
    }

    /// What the token says that is to be traded, and when it ends.
    fn subject(&self, text: &str, now: SystemTime) -> Result<(Map<String, Value>, SystemTime), Refused> {
        const WRONG: Refused = ("invalid_request", "the subject token is none that was given out here, or has expired");
        let token = Token::read(text).map_err(|_| WRONG)?;
        if !self.issuer.signed(&token) {
            return Err(WRONG);
        }
        let expected = Expected {
            issuers: vec![self.issuer.url().to_owned()],
            audiences: Vec::new(),
            kind: Some("at+jwt".to_owned()),
            skew: Duration::ZERO,
            profile: Profile::default(),
            tenants: None,
            domains: Vec::new(),
        };
        let ends = expected.judge(&token, now).map_err(|_| WRONG)?;
        // Nothing that is given out here is bound, and nobody would look whether its sender has what it is bound to.
        if token.claims.contains_key("cnf") {
            return Err(WRONG);
        }
        Ok((token.claims, ends))
    }

    /// Which of those that the token is for trades it: the one who asks, if that is known.
    fn from(&self, x: &Exchange, subject: &Map<String, Value>, wanted: &[String]) -> Result<String, Refused> {
        let audience: Vec<&str> = match subject.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is_caller = |name: &str| {
            x.principal
                .as_ref()
                .is_none_or(|caller| *caller.subject == *name || caller.consumer.as_deref() == Some(name))
        };
        let may = |name: &&str| {
            is_caller(name)
                && self.may.iter().any(|(from, to)| from == name && wanted.iter().all(|wanted| to.contains(wanted)))
        };
        let found = audience.into_iter().find(may).map(str::to_owned);
        found.ok_or(("invalid_target", "whoever the token is for may not trade it for this audience"))
    }
}

/// RFC 8693 §2.2.1.
fn told(minted: &Minted, scope: &str, now: SystemTime) -> Value {
    let mut told = json!({
        "access_token": String::from_utf8_lossy(&minted.token),
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": minted.until.duration_since(now).unwrap_or_default().as_secs(),
    });
    if !scope.is_empty() {
        told["scope"] = json!(scope);
    }
    told
}

/// The parameters that mean something here.
const KNOWN: [&str; 9] = [
    "grant_type",
    "subject_token",
    "assertion",
    "subject_token_type",
    "audience",
    "scope",
    "requested_token_type",
    "resource",
    "actor_token",
];
/// Most services that a token may be asked for.
const MOST_AUDIENCES: usize = 20;

impl Asked {
    /// RFC 8693 §2.1.
    fn read(body: &[u8]) -> Result<Self, Refused> {
        let (mut asked, mut grant, mut kind, mut seen) = (Self::default(), None, None, Vec::new());
        for (name, value) in form_urlencoded::parse(body) {
            // RFC 6749 §3.2: what is not known is passed over, and not even kept.
            let Some(known) = KNOWN.into_iter().find(|known| *known == name) else { continue };
            // §3.2: none twice; RFC 8693 §2.1: but for audiences.
            if known != "audience" && seen.contains(&known) {
                return Err(("invalid_request", "a parameter that stands twice"));
            }
            if known == "audience" && asked.audience.len() == MOST_AUDIENCES {
                return Err(("invalid_target", "too many audiences"));
            }
            match known {
                "grant_type" => grant = Some(value),
                "subject_token" | "assertion" => asked.token = value.into_owned(),
                "subject_token_type" => kind = Some(value),
                "audience" => asked.audience.push(value.into_owned()),
                "scope" => {
                    asked.scope = Some(value.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect());
                }
                "requested_token_type" if value != ACCESS_TOKEN && value != JWT => {
                    return Err(("invalid_request", "only access tokens are given out"));
                }
                "resource" => return Err(("invalid_target", "services are named by `audience`")),
                "actor_token" => return Err(("invalid_request", "an actor is who asks, no token")),
                _ => {}
            }
            if known != "audience" {
                seen.push(known);
            }
        }
        if seen.contains(&"assertion") != (grant.as_deref() == Some(SAML)) {
            return Err((
                "invalid_request",
                "`assertion` goes with the grant of SAML assertions, and nothing else does",
            ));
        }
        match (grant.as_deref(), kind.as_deref()) {
            (None, _) => Err(("invalid_request", "`grant_type` is missing")),
            (Some(SAML), None) => {
                asked.grant = Grant::Saml;
                match asked.audience.is_empty() {
                    true => Err(("invalid_target", "`audience` is missing")),
                    false => Ok(asked),
                }
            }
            (Some(GRANT), Some(ACCESS_TOKEN | JWT)) if !asked.token.is_empty() => match asked.audience.is_empty() {
                true => Err(("invalid_target", "`audience` is missing")),
                false => Ok(asked),
            },
            (Some(GRANT), Some(ACCESS_TOKEN | JWT)) => Err(("invalid_request", "`subject_token` is missing")),
            (Some(GRANT), _) => Err(("invalid_request", "`subject_token_type` is none that is taken")),
            (Some(_), _) => Err(("unsupported_grant_type", "tokens are only traded here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(more: &str) -> String {
        format!("grant_type={GRANT}&subject_token=x&subject_token_type={ACCESS_TOKEN}&audience=stock{more}")
    }

    #[test]
    fn a_question_reads_as_the_standard_has_it() {
        let asked = Asked::read(form("&audience=billing&scope=a++b&unknown=1").as_bytes()).unwrap();
        assert_eq!(asked.audience, ["stock", "billing"]);
        assert_eq!((asked.token.as_str(), asked.scope), ("x", Some(vec!["a".to_owned(), "b".to_owned()])));
        for (body, error) in [
            (String::new(), "invalid_request"),
            (form("&scope=a&scope=b"), "invalid_request"),
            (form("&resource=https://a"), "invalid_target"),
            (form("&actor_token=x"), "invalid_request"),
            (form("&requested_token_type=urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"),
            (form("").replace("&audience=stock", ""), "invalid_target"),
            (form("").replace("subject_token=x", "subject_token="), "invalid_request"),
            (form("").replace(ACCESS_TOKEN, "urn:other"), "invalid_request"),
            (form("").replace(GRANT, "client_credentials"), "unsupported_grant_type"),
        ] {
            assert_eq!(Asked::read(body.as_bytes()).unwrap_err().0, error, "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Asked::read(&body);
        }
    }
}
