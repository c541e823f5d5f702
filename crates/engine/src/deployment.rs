//! What is in force: the plan and the services it refers to, swapped as one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_config::model::{Accept, HashKey, Limits, RetryOn, Trust};
use tollgate_core::body::Length;
use tollgate_core::field::Known;
use tollgate_http1::HeadLimits;
use tollgate_plan::{Fallback, Plan};
use tollgate_upstream::Service;

use crate::http::pump::BodyLimits;
use crate::http::reports::Forward;
use crate::overload::Overload;
use crate::recall::Recall;
use crate::rehearsal::StandIn;

/// A plan with everything that its requests need.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The routes.
    pub plan: Arc<Plan>,
    /// The services, by the slots that the plan names.
    pub backends: Arc<[Backend]>,
    /// What holds for all routes.
    pub rules: Arc<Rules>,
    /// Which of the routes are over.
    pub recall: Arc<Recall>,
    /// Whether the gateway can do more; `None`: nobody looks, or it is served all the same.
    pub overload: Option<Arc<Overload>>,
    /// What stands in for all services while nothing is to be sent; `None`: they are asked.
    pub stand_in: Option<Arc<StandIn>>,
}

impl Deployment {
    /// These together, in earnest.
    #[must_use]
    pub fn new(plan: Arc<Plan>, backends: Arc<[Backend]>, rules: Arc<Rules>) -> Self {
        Self { plan, backends, rules, recall: Arc::default(), overload: None, stand_in: None }
    }
}

/// A service, and what a request needs to know of it.
#[derive(Debug)]
pub struct Backend {
    /// The service.
    pub service: Arc<Service>,
    /// `https` or `http`.
    pub scheme: &'static str,
    /// What is sent as `Host`; `None`: what the client sent.
    pub host: Option<Bytes>,
    /// What is hashed to choose an instance.
    pub hash: Option<HashKey>,
    /// The cookie by which clients stay with an instance.
    pub sticky: Option<StickyCookie>,
    /// Whether clients get what instances report of their load.
    pub reports: Forward,
    /// Tries after the first, unless the route says otherwise.
    pub retries: u8,
    /// What is tried again, and when.
    pub retrying: Retrying,
    /// How long each try may wait for the head of an answer, unless the route says otherwise.
    pub try_timeout: Option<Duration>,
    /// What takes the place of an answer that cannot be had, unless the route says otherwise.
    pub fallback: Option<Fallback>,
}

/// What of a service is tried again, and when.
#[derive(Clone, Debug)]
pub struct Retrying {
    /// What is tried again.
    pub on: Box<[RetryOn]>,
    /// How long the first retry waits at most; twice as long each further time.
    pub backoff: Duration,
    /// How long one waits at most.
    pub longest: Duration,
    /// Whether it does only once what requests with the same `Idempotency-Key` ask for.
    pub knows_keys: bool,
}

/// A cookie that names an instance.
#[derive(Clone, Debug)]
pub struct StickyCookie {
    /// Its name.
    pub name: String,
    /// Its name for clients that come by https.
    pub secure_name: String,
    /// For how long browsers keep it; `None`: until they are closed.
    pub max_age: Option<Duration>,
}

impl StickyCookie {
    /// Its name for a client that comes so: where the connection is secure, browsers take it from this host alone
    /// (RFC 6265bis §4.1.3.2).
    pub(crate) fn name(&self, scheme: &str) -> &str {
        if scheme == "https" { &self.secure_name } else { &self.name }
    }
}

/// What holds for all routes of a deployment.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Sizes and times of what clients send.
    pub limits: Limits,
    /// The same for heads, as the parser takes them.
    pub heads: HeadLimits,
    /// Who is believed.
    pub trust: Trust,
    /// The correlation id.
    pub correlation: Correlation,
    /// Request fields that policies write: what clients send under these names is dropped.
    pub owned: Arc<[Bytes]>,
    /// The cookies of sessions of people who signed in, by the names that theirs begin with: no service gets them, on any route.
    pub sessions: Arc<[String]>,
}

/// How requests are told apart.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// The field that carries the id.
    pub header: Bytes,
    /// Which name that is.
    pub known: Known,
    /// Whose ids are taken over.
    pub accept: Accept,
    /// Whether the answer carries it.
    pub echo: bool,
}

impl Correlation {
    /// Whether this is the field that carries the id.
    pub(crate) fn is_header(&self, known: Known, name: &[u8]) -> bool {
        known == self.known && (known != Known::Other || name.eq_ignore_ascii_case(&self.header))
    }

    /// Whether this is that field for programs that take `_` for `-` ([`Known::disguised`]).
    pub(crate) fn is_disguised(&self, name: &[u8]) -> bool {
        is_same(name, &self.header)
    }
}

/// Whether two names are the same for programs that take `_` for `-`.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.iter().map(dashed).eq(other.iter().map(dashed))
}

impl Rules {
    /// Whether policies write a field of this name.
    pub(crate) fn owns(&self, name: &[u8]) -> bool {
        self.owned.iter().any(|own| is_same(name, own))
    }

    /// Whether a cookie of this name is of a session, or a piece of one, or of a sign-in.
    pub(crate) fn is_of_session(&self, cookie: &str) -> bool {
        let is_of = |own: &String| {
            cookie.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.sessions.iter().any(is_of)
    }

    /// Limits of a request's body on a route that allows `content` bytes.
    pub(crate) fn body(&self, content: u64) -> BodyLimits {
        BodyLimits { content, trailer: self.heads.head, trailer_fields: self.heads.fields }
    }

    /// Whether a body of this length may be sent on a route that allows `most` bytes.
    pub(crate) fn allows(length: Length, most: u64) -> bool {
        !matches!(length, Length::Known(n) if n > most)
    }
}
