//! Who calls, once that has been checked; and who checks it: a port, implemented by `identity`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::address_list::AddressList;
use crate::body::Recoder;
use crate::counters::Counters;
use crate::country::Countries;
use crate::decision::DecisionPoint;
use crate::exchange::Exchange;
use crate::facts::ClientAddress;
use crate::handler::Handler;
use crate::in_flight::InFlight;
use crate::onward::{Exchanger, Minter, Signer};
use crate::pacer::Pacers;
use crate::policy::BoxFuture;
use crate::problem::{Fault, Problem};
use crate::reply::Reply;

/// Whom a source of identity vouches for. Made once per credential and shared by the requests that bring it.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// The source: its name under `auth`.
    pub source: Arc<str>,
    /// Who it is: the `sub` of a token; without one, the application. Empty if the source does not say.
    pub subject: Box<str>,
    /// The application by which they call (`azp`, `client_id`), if the source says so.
    pub consumer: Option<Box<str>>,
    /// What the credential is good for (RFC 6749 §3.3).
    pub scopes: Vec<Box<str>>,
    /// All that the source says.
    pub claims: Map<String, Value>,
    /// When the credential ends, if it does.
    pub expires: Option<SystemTime>,
    /// What goes with it, if it is a session of a browser.
    pub session: Option<Arc<SessionState>>,
}

/// What goes with a session of a browser.
#[derive(PartialEq, Eq)]
pub struct SessionState {
    /// What services may be shown.
    pub token: Option<Box<str>>,
    /// Values of `Set-Cookie`, since the session is another one than the browser's cookie says.
    pub cookies: Vec<Bytes>,
}

impl fmt::Debug for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionState").finish_non_exhaustive()
    }
}

impl Principal {
    /// Whether the credential is good for this.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| **own == *scope)
    }

    /// The claim that is reached by these names, one below the other.
    #[must_use]
    pub fn claim<'a>(&'a self, path: &[impl AsRef<str>]) -> Option<&'a Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.claims.get(first.as_ref())?, |value, name| value.get(name.as_ref()))
    }
}

/// What came of looking for a credential.
pub enum Found<'a> {
    /// The request has none that this source could look at.
    Nothing,
    /// It has one of the kind, but another source gave it out; what to say if none of those that are asked did.
    Foreign(Problem),
    /// It has one, and that is what came of it.
    Checked(Result<Arc<Principal>, Problem>),
    /// It has one, and somebody else has to be asked.
    Checking(BoxFuture<'a, Result<Arc<Principal>, Problem>>),
}

/// A source of identity: knows one kind of credential, and by whom it must have been given out.
pub trait Authenticator: fmt::Debug + Send + Sync + 'static {
    /// Its name under `auth`.
    fn name(&self) -> &Arc<str>;

    /// Looks for its credential and checks it, with this effort. Takes no longer than a signature on the thread that asks.
    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a>;

    /// The largest body that it may have to read before it can tell who calls, in bytes; 0: it never has to.
    fn most_content(&self) -> usize {
        0
    }

    /// Whether it has to read the body of this request, though all else about its credential seems right.
    fn wants_content(&self, x: &Exchange) -> bool {
        let _ = x;
        false
    }

    /// What looks at the body of a request that it let pass, while that is on its way: for credentials that sign it.
    fn guard(&self, x: &Exchange) -> Option<Box<dyn Recoder>> {
        let _ = x;
        None
    }

    /// Leads a browser there where its user can say who they are, if this is a request of a browser for a page.
    fn sign_in<'a>(&'a self, x: &'a Exchange) -> Option<BoxFuture<'a, Result<Reply, Problem>>> {
        let _ = x;
        None
    }

    /// Whether it keeps sessions of browsers: answers may have to set cookies then ([`SessionState`]).
    fn keeps_sessions(&self) -> bool {
        false
    }

    /// How the client may say who it is: the scheme of a challenge with its parameters (RFC 9110 §11.6.1).
    fn challenge(&self) -> String;

    /// Which bearer tokens it takes.
    fn bearers(&self) -> Bearers;

    /// Where its credential is in a request.
    fn credential(&self) -> Credential<'_>;

    /// Whoever trades its tokens for others, if anybody does.
    fn exchanger(&self) -> Option<&dyn Exchanger> {
        None
    }

    /// What it takes and from whom, in a few words.
    fn describe(&self) -> String;

    /// Whether it can tell now who calls.
    fn standing(&self) -> Standing;
}

/// How much a credential of a stranger may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Whatever it takes to check it.
    Full,
    /// What is known of it already, and no more: whoever sends it has come with too many wrong ones. The answer to others is 429.
    Little,
}

/// How many wrong credentials an address may come with.
pub trait Budget: fmt::Debug + Send + Sync + 'static {
    /// For how long nothing that costs is done for it any more; `None`: something is.
    fn is_spent(&self, by: ClientAddress) -> Option<Duration>;

    /// A credential from there was refused for this reason.
    fn failed(&self, by: ClientAddress, why: &'static Fault);
}

/// Where a credential is in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// In the `Authorization` field.
    Authorization,
    /// In this field.
    Header(&'a str),
    /// In this parameter of the query.
    Query(&'a str),
    /// In this cookie.
    Cookie(&'a str),
    /// In these fields, or in these parameters of the query, or in both.
    Parts {
        /// Names of fields.
        fields: &'static [&'static str],
        /// Names of parameters.
        query: &'static [&'static str],
    },
    /// In a session of a browser, of which nothing is passed on but the token in it, if that is asked for.
    Session,
    /// With the connection: nothing in the request is it.
    Connection,
}

/// Which bearer tokens (RFC 6750) a source of identity takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearers {
    /// None: its credential is another one.
    None,
    /// Those that it can tell to be its own.
    Own,
    /// Whatever comes: nobody can see who gave one out.
    All,
}

/// Whether a source of identity can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Good,
    /// It goes on with what it knew.
    Stale {
        /// Since when.
        since: SystemTime,
        /// What is wrong, in words for a person.
        error: String,
    },
    /// It cannot: requests that need it are answered 503.
    Down {
        /// Since when; `None`: it has not been heard of yet.
        since: Option<SystemTime>,
        /// What is wrong.
        error: String,
    },
}

/// Everything outside of it that a config may name or need.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Lists of networks.
    pub lists: Vec<Arc<dyn AddressList>>,
    /// Who knows the countries of addresses, if anybody does.
    pub countries: Option<Arc<dyn Countries>>,
    /// Who counts for limits; `None`: nobody, where a config is only looked at.
    pub counters: Option<Arc<dyn Counters>>,
    /// Who says when each may go; `None`: everybody at once, where nothing is sent.
    pub pacers: Option<Arc<Pacers>>,
    /// What is in flight, for limits of that.
    pub in_flight: InFlight,
    /// Who can tell who calls.
    pub all: Vec<Arc<dyn Authenticator>>,
    /// How many wrong credentials an address may come with; `None`: any number.
    pub budget: Option<Arc<dyn Budget>>,
    /// Who makes tokens of the gateway's own, if anybody does.
    pub minter: Option<Arc<dyn Minter>>,
    /// Who signs requests for services.
    pub signers: Vec<Arc<dyn Signer>>,
    /// Who decides about requests.
    pub decisions: Vec<Arc<dyn DecisionPoint>>,
    /// What answers at routes of the gateway's own, by the words for them.
    pub endpoints: Vec<(&'static str, Arc<dyn Handler>)>,
}

impl Sources {
    /// The source of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Authenticator>> {
        self.all.iter().find(|source| **source.name() == *name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_reached_by_their_names() {
        let Value::Object(claims) = json!({ "realm_access": { "roles": ["a"] }, "sub": "alice" }) else { panic!() };
        let (source, subject) = ("idp".into(), "alice".into());
        let principal = Principal {
            source,
            subject,
            consumer: None,
            scopes: vec!["read".into()],
            claims,
            expires: None,
            session: None,
        };
        assert_eq!(principal.claim(&["realm_access", "roles"]), Some(&json!(["a"])));
        assert_eq!(principal.claim(&["sub", "x"]), None);
        assert_eq!(principal.claim(&[""; 0]), None);
        assert!(principal.has_scope("read") && !principal.has_scope("rea"));
    }
}
