//! Who calls, on the bench: sources of identity that believe everybody, and a maker of tokens.

use std::sync::Arc;

use tollgate_core::decision::{Deciding, DecisionPoint};
use tollgate_core::exchange::Exchange;
use tollgate_core::head::RequestHead;
use tollgate_core::onward::{Exchanger, Minted, Minter, Outgoing, Recipe, Signer, Trade};
use tollgate_core::policy::BoxFuture;
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Sources, Standing};
use tollgate_core::problem::{Fault, Problem};

/// Sources of identity by these names. Each takes `Authorization: Bearer NAME.SUBJECT[.SCOPE…]`, once that was awaited if the subject
/// is `later`; of `NAME.bad`, it says that the token has expired. `asked` says that it takes all tokens.
#[must_use]
pub fn sources(names: &[&str]) -> Sources {
    let all = names.iter().map(|name| Arc::new(Named((*name).into())) as Arc<dyn Authenticator>).collect();
    Sources {
        all,
        budget: None,
        minter: Some(Arc::new(Mint)),
        signers: vec![Arc::new(Stamp)],
        decisions: vec![Arc::new(Oracle)],
        ..Sources::default()
    }
}

/// Makes tokens that say whose they are and for whom: `minted-alice-orders`.
#[derive(Debug)]
struct Mint;

impl Minter for Mint {
    fn mint(&self, caller: &Arc<Principal>, _: &Recipe, service: &str) -> Result<Minted, Problem> {
        let token = format!("minted-{}-{service}", caller.subject).into();
        Ok(Minted { token, until: std::time::SystemTime::UNIX_EPOCH })
    }
}

/// Decides as `opa`: `DELETE` is denied at once, what begins with `/later` is allowed once that was awaited.
#[derive(Debug)]
struct Oracle;

static DENIED: Fault = Fault::client("decision/denied", 403, "Denied", "");

impl DecisionPoint for Oracle {
    fn name(&self) -> &str {
        "opa"
    }

    fn decide(&self, x: &Exchange) -> Deciding {
        match x.head.method_text() {
            "DELETE" => Deciding::Known(Err(DENIED.problem())),
            _ if x.head.path().starts_with("/later") => Deciding::Asking(Box::pin(std::future::ready(Ok(())))),
            _ => Deciding::Known(Ok(())),
        }
    }

    fn describe(&self) -> String {
        "opa".to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}

/// Signs as `bucket`, in the field `X-Stamp`: bodies of ten bytes at most.
#[derive(Debug)]
struct Stamp;

impl Signer for Stamp {
    fn name(&self) -> &str {
        "bucket"
    }

    fn most_content(&self) -> usize {
        10
    }

    fn prepare(&self, head: &mut RequestHead) {
        head.fields.remove("X-Stamp");
    }

    fn writes(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"x-stamp")
    }

    fn sign(&self, request: &Outgoing<'_>) -> Result<Vec<(&'static str, String)>, Problem> {
        Ok(vec![("X-Stamp", request.head.len().to_string())])
    }

    fn describe(&self) -> String {
        "with a stamp".to_owned()
    }
}

#[derive(Debug)]
struct Named(Arc<str>);

static EXPIRED: Fault = Fault::client("jwt/expired", 401, "The token has expired", "");
static FOREIGN: Fault = Fault::client("jwt/issuer", 401, "The token is from another issuer", "");

impl Named {
    fn judge(&self, said: &str) -> Result<Arc<Principal>, Problem> {
        let mut words = said.split('.');
        let subject = words.next().unwrap_or_default();
        if subject == "bad" {
            return Err(EXPIRED.problem());
        }
        let scopes = words.map(Into::into).collect();
        let claims = serde_json::json!({ "sub": subject, "roles": ["user"], "level": 3, "org": { "unit": "sales" } });
        let serde_json::Value::Object(claims) = claims else { return Err(EXPIRED.problem()) };
        let (source, subject, consumer) = (Arc::clone(&self.0), subject.into(), Some("shop".into()));
        Ok(Arc::new(Principal { source, subject, consumer, scopes, claims, expires: None, session: None }))
    }
}

impl Authenticator for Named {
    fn name(&self) -> &Arc<str> {
        &self.0
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, _: Effort) -> Found<'a> {
        let Some(said) = x.head.fields.text("authorization").and_then(|field| field.strip_prefix("Bearer ")) else {
            return Found::Nothing;
        };
        match said.strip_prefix(&*self.0).and_then(|rest| rest.strip_prefix('.')) {
            None => Found::Foreign(FOREIGN.problem()),
            Some(said) if said.starts_with("later") => Found::Checking(Box::pin(async move { self.judge(said) })),
            Some(said) => Found::Checked(self.judge(said)),
        }
    }

    fn challenge(&self) -> String {
        format!("Bearer realm=\"{}\"", self.0)
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Authorization
    }

    fn exchanger(&self) -> Option<&dyn Exchanger> {
        (&*self.0 == "idp").then_some(self)
    }

    fn bearers(&self) -> Bearers {
        if &*self.0 == "asked" { Bearers::All } else { Bearers::Own }
    }

    fn describe(&self) -> String {
        "tokens".to_owned()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}

/// Trades a token for one that says for whom it is, and what it was traded for: `traded-orders-idp.alice`.
impl Exchanger for Named {
    fn exchange(&self, trade: &Trade<'_>) -> BoxFuture<'static, Result<Minted, Problem>> {
        let token = format!("traded-{}-{}", trade.audience.join("+"), trade.token).into();
        Box::pin(std::future::ready(Ok(Minted { token, until: std::time::SystemTime::UNIX_EPOCH })))
    }
}
