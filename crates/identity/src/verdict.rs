//! What the gateway tells others of a caller: proxies that ask before they let a request through (forward-auth), and services that ask
//! about a token (RFC 7662).

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{Conn, Route};
use tollgate_core::handler::Handler;
use tollgate_core::head::Method;
use tollgate_core::policy::BoxFuture;
use tollgate_core::principal::{Authenticator, Bearers, Effort, Found, Principal};
use tollgate_core::problem::{Problem, Side};
use tollgate_core::reply::Reply;

use crate::faults::METHOD;

/// Most bytes of a question.
const MOST: usize = 64 * 1024;

/// What answers at routes of the gateway's own that need no issuer, by the words for them.
#[must_use]
pub fn endpoints(sources: &[Arc<dyn Authenticator>], clock: &Clock) -> Vec<(&'static str, Arc<dyn Handler>)> {
    let sources = sources.iter().filter(|source| source.bearers() != Bearers::None).map(Arc::clone).collect();
    vec![("check", Arc::new(Check)), ("introspect", Arc::new(Introspects { sources, clock: clock.clone() }))]
}

/// Says yes: whoever comes so far was let in by the route's policies, and everybody else was refused by them. Tells of the caller in the
/// fields that a service would be sent.
#[derive(Debug)]
struct Check;

impl Handler for Check {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let own = [
            ("X-Auth-Request-User", x.principal.as_ref().map(|caller| caller.subject.to_string())),
            (
                "X-Auth-Request-Client",
                x.principal.as_ref().and_then(|caller| caller.consumer.as_deref().map(str::to_owned)),
            ),
            ("X-Auth-Request-Scopes", x.principal.as_ref().map(|caller| caller.scopes.join(" "))),
        ];
        let mut reply = Reply::empty(200).header("Cache-Control", "no-store");
        for (name, value) in own {
            // What cannot stand in a field is not told at all.
            let value = value.filter(|text| !text.is_empty() && tollgate_core::field::is_value(text.as_bytes()));
            if let Some(value) = value {
                reply = reply.header(name, value);
            }
        }
        for (name, value) in &x.onward.fields {
            reply = reply.header(name.clone(), value.clone());
        }
        Box::pin(std::future::ready(Ok(reply)))
    }

    fn describe(&self) -> String {
        "whether the caller may pass".to_owned()
    }
}

/// Tells of tokens (RFC 7662).
#[derive(Debug)]
struct Introspects {
    sources: Vec<Arc<dyn Authenticator>>,
    clock: Clock,
}

impl Handler for Introspects {
    fn call<'a>(&'a self, x: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        Box::pin(self.answer(x))
    }

    fn most_content(&self) -> usize {
        MOST
    }

    fn describe(&self) -> String {
        "what is known of a token".to_owned()
    }
}

impl Introspects {
    async fn answer(&self, x: &mut Exchange) -> Result<Reply, Problem> {
        if x.head.method != Method::Post {
            return Err(METHOD.problem().header("Allow", "POST"));
        }
        let mut tokens = form_urlencoded::parse(x.content.as_deref().unwrap_or_default())
            .filter(|(name, _)| name == "token")
            .map(|(_, token)| token);
        let (token, further) = (tokens.next(), tokens.next());
        let Some(token) = token.filter(|_| further.is_none()) else {
            // RFC 7662 §2.3, RFC 6749 §5.2.
            let text = json!({ "error": "invalid_request", "error_description": "one `token` in a form" });
            return Ok(told(400, &text));
        };
        let said = match self.ask(Arc::clone(&x.conn), &token).await? {
            Some(caller) => active(&caller),
            // RFC 7662 §2.2: nothing of why.
            None => json!({ "active": false }),
        };
        Ok(told(200, &said))
    }

    /// Whom the token speaks for; `None`: it is not good here.
    ///
    /// # Errors
    /// Nobody can tell now, for which the client is not to blame.
    async fn ask(&self, conn: Arc<Conn>, token: &str) -> Result<Option<Arc<Principal>>, Problem> {
        let mut x = Exchange::new(conn, Arc::new(Route::default()), self.clock.now());
        x.head.fields.add("Authorization", format!("Bearer {token}"));
        for source in &self.sources {
            let checked = match source.authenticate(&x, Effort::Full) {
                Found::Nothing | Found::Foreign(_) => continue,
                Found::Checked(checked) => checked,
                Found::Checking(checking) => checking.await,
            };
            return match checked {
                Ok(caller) => Ok(Some(caller)),
                Err(problem) if problem.fault.side == Side::Client => Ok(None),
                Err(problem) => Err(problem),
            };
        }
        Ok(None)
    }
}

/// RFC 7662 §2.2.
fn active(caller: &Principal) -> Value {
    let mut said: Map<String, Value> = caller.claims.clone();
    said.insert("active".to_owned(), json!(true));
    said.insert("sub".to_owned(), json!(&*caller.subject));
    said.insert("token_type".to_owned(), json!("Bearer"));
    if let Some(consumer) = &caller.consumer {
        said.insert("client_id".to_owned(), json!(&**consumer));
    }
    if !caller.scopes.is_empty() {
        said.insert("scope".to_owned(), json!(caller.scopes.join(" ")));
    }
    if let Some(ends) = caller.expires.filter(|_| !caller.claims.contains_key("exp")) {
        said.insert("exp".to_owned(), json!(ends.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()));
    }
    Value::Object(said)
}

fn told(status: u16, said: &Value) -> Reply {
    Reply::full(status, "application/json", format!("{said}\n")).header("Cache-Control", "no-store")
}
