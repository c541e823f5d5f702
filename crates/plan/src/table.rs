//! The plan: every route with all that is decided about it, immutable, found by the matcher.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_config::model::{Accept, FallbackOn, TimeUnit};
use tollgate_core::criticality::Criticality;
use tollgate_core::dialect::Dialect;
use tollgate_core::facts::{Route, ServiceRef};
use tollgate_core::handler::Handler;
use tollgate_core::policy::{Hooks, Policy, Stage};
use tollgate_observe::metrics::{RouteMetrics, ServiceMetrics};

use crate::hedge::Hedge;
use crate::template::{PathPlan, TargetPlan};

/// One route, compiled.
#[derive(Debug)]
pub struct RoutePlan {
    /// Its name and api.
    pub meta: Arc<Route>,
    /// Its policies in the order of execution.
    pub chain: Box<[Link]>,
    /// How much its requests matter, before anybody has seen them.
    pub criticality: Criticality,
    /// Whether a policy says otherwise for some of them.
    pub settles_criticality: bool,
    /// What any policy of the chain wants to see.
    pub hooks: Hooks,
    /// What is done once they agree.
    pub action: Action,
    /// How problems look to its callers.
    pub dialect: &'static dyn Dialect,
    /// Its times and sizes.
    pub bounds: Bounds,
    /// Where callers say how much time is left, and services are told; `None`: nowhere.
    pub deadline: Option<Box<DeadlineField>>,
    /// Other protocols that a client may change to, by their names in `Upgrade`.
    pub upgrades: Arc<[Bytes]>,
    /// Its counters.
    pub metrics: Arc<RouteMetrics>,
}

/// A field that says how much time is left.
#[derive(Debug)]
pub struct DeadlineField {
    /// Its name.
    pub name: Box<str>,
    /// What its number counts.
    pub unit: TimeUnit,
    /// Whose word counts.
    pub accept: Accept,
}

/// A policy in a chain.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its key in the file.
    pub name: &'static str,
    /// Where in the fixed order it stands.
    pub stage: Stage,
    /// Whether nobody passes it who is not known.
    pub knows_callers: bool,
    /// The moments it wants to see.
    pub hooks: Hooks,
    /// The policy itself.
    pub policy: Arc<dyn Policy>,
}

/// Times and sizes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until the head of the answer, queue and retries included; counted from the end of the request's body.
    pub timeout: Duration,
    /// Between two bytes of a body.
    pub idle: Duration,
    /// For the whole exchange.
    pub total: Option<Duration>,
    /// Largest request body in bytes.
    pub body: u64,
    /// Between two bytes of another protocol that took over a connection.
    pub tunnel_idle: Duration,
}

/// What is done with a request that passed the policies.
#[derive(Debug)]
pub enum Action {
    /// Sent on to a service.
    Proxy(Proxy),
    /// Answered as written in the file.
    Fixed(Fixed),
    /// Sent elsewhere.
    Redirect(Redirect),
    /// Answered by a part of the gateway.
    Serve(Arc<dyn Handler>),
}

/// Sent on to a service.
#[derive(Debug)]
pub struct Proxy {
    /// Where to, each with its share: running sums of the weights, the last one is the total.
    /// Routes to one service share it.
    pub targets: Arc<[(ServiceRef, u32)]>,
    /// How the path changes; `None`: not at all.
    pub path: Option<PathPlan>,
    /// What is sent as `Host`; `None`: as the service says.
    pub host: Option<Bytes>,
    /// Tries after the first; `None`: as the service says.
    pub retries: Option<u8>,
    /// How long each try may wait for the head of an answer.
    pub try_timeout: Says<Duration>,
    /// When a second attempt is made beside the first; `None`: never.
    pub hedge: Option<Box<Hedge>>,
    /// What takes the place of an answer that cannot be had.
    pub fallback: Says<Fallback>,
    /// Where copies of the requests go; `None`: nowhere.
    pub mirror: Option<Arc<Mirror>>,
}

/// Copies of requests for another service.
#[derive(Debug)]
pub struct Mirror {
    /// Which share of the requests is copied, in hundredths of a percent: 0..=10000.
    pub share: u16,
    /// Largest body of a copy, in bytes.
    pub body: usize,
    /// Most copies at a time, those of the plans before among them.
    pub at_once: usize,
    /// Whether credentials are left out.
    pub strips_credentials: bool,
    /// Fields that are left out.
    pub without: Box<[Bytes]>,
    /// The service's counters.
    pub metrics: Arc<ServiceMetrics>,
    /// How a copy is carried: like a request on a route that does nothing else than send it to that service.
    pub route: RoutePlan,
}

impl Mirror {
    /// The service that gets the copies.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceRef> {
        match &self.route.action {
            Action::Proxy(proxy) => proxy.targets.first().map(|(service, _)| service),
            _ => None,
        }
    }
}

/// What a route says of something that its service may say, too.
#[derive(Debug)]
pub enum Says<T> {
    /// Nothing: as the service says.
    AsService,
    /// There is none, whatever the service says.
    None,
    /// This, whatever the service says.
    Some(T),
}

impl<T> Says<T> {
    /// What holds, with what the service says.
    pub fn or<'a>(&'a self, service: Option<&'a T>) -> Option<&'a T> {
        match self {
            Self::AsService => service,
            Self::None => None,
            Self::Some(own) => Some(own),
        }
    }
}

/// What takes the place of an answer, and when.
#[derive(Debug)]
pub struct Fallback {
    /// What takes its place.
    pub instead: Instead,
    /// What leads there.
    pub on: Box<[FallbackOn]>,
}

/// What takes the place of an answer.
#[derive(Debug)]
pub enum Instead {
    /// Another service is asked.
    Service(ServiceRef),
    /// An answer written in the file.
    Fixed(Fixed),
}

impl Fallback {
    /// Whether it takes the place of answers of this status.
    #[must_use]
    pub fn is_on_status(&self, status: u16) -> bool {
        let is_one =
            |on: &FallbackOn| matches!(on, FallbackOn::Status(range) if (range.from..=range.to).contains(&status));
        self.on.iter().any(is_one)
    }
}

impl Proxy {
    /// The service for a random number; with one service, always that one.
    #[must_use]
    pub fn target(&self, random: impl FnOnce() -> u32) -> Option<&ServiceRef> {
        match &*self.targets {
            [] => None,
            [(only, _)] => Some(only),
            many => {
                let total = many.last().map_or(1, |(_, sum)| *sum).max(1);
                let point = random() % total;
                many.iter().find(|(_, sum)| point < *sum).map(|(service, _)| service)
            }
        }
    }
}

/// An answer written in the file.
#[derive(Debug)]
pub struct Fixed {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: Box<[(Bytes, Bytes)]>,
    /// Its body, which may be empty.
    pub body: Bytes,
}

/// A redirect.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to.
    pub to: TargetPlan,
}
