//! The plan as the engine uses it: which route serves a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::criticality::Criticality;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::dialect::ProblemJson;
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::{ClientAddress, Route};
use tollgate_core::field::Known;
use tollgate_core::handler::Handler;
use tollgate_core::head::Method;
use tollgate_core::policy::Hooks;
use tollgate_core::problem::Problem;
use tollgate_expr::Facts;
use tollgate_observe::metrics::Metrics;

use crate::conditions::Conditions;
use crate::faults::{METHOD_NOT_ALLOWED, NOT_FOUND, REWRITE};
use crate::matcher::{Captures, Lookup, Matcher, Outcome, Pattern, RouteSpec};
use crate::readings::Readings;
use crate::table::{Action, Bounds, Fixed, Proxy, RoutePlan};

/// Times and sizes of what the gateway answers itself.
const OWN: Bounds = Bounds {
    timeout: Duration::from_secs(30),
    idle: Duration::from_secs(60),
    total: None,
    body: 1024 * 1024,
    tunnel_idle: Duration::ZERO,
};

/// Every route with all that is decided about it; immutable.
#[derive(Debug)]
pub struct Plan {
    /// Which config it comes from: 1, 2, 3 …
    pub revision: u64,
    /// Stands for the route of requests that match none.
    pub unrouted: RoutePlan,
    asterisk: RoutePlan,
    pub(crate) matcher: Matcher<Conditions>,
    pub(crate) routes: Box<[RoutePlan]>,
    readings: Readings,
}

/// The route of a request.
#[derive(Debug)]
pub struct Found<'p> {
    /// The route; [`Plan::unrouted`] if there is none.
    pub route: &'p RoutePlan,
    /// What the variable parts of its path stand for.
    pub captures: Captures,
    /// Why it does not serve the request, or why there is none.
    pub refused: Option<Problem>,
}

impl Plan {
    pub(crate) fn new(
        revision: u64,
        matcher: Matcher<Conditions>,
        routes: Box<[RoutePlan]>,
        readings: Readings,
        metrics: &Metrics,
    ) -> Self {
        // RFC 9110 §9.3.7: `OPTIONS *` asks about the server as a whole.
        let nothing = || Action::Fixed(Fixed { status: 204, fields: Box::new([]), body: bytes::Bytes::new() });
        let (unrouted, asterisk) = (own("(none)", "", nothing(), metrics), own("OPTIONS *", "", nothing(), metrics));
        Self { revision, unrouted, asterisk, matcher, routes, readings }
    }

    /// Its routes.
    pub fn routes(&self) -> impl Iterator<Item = &RoutePlan> {
        self.routes.iter()
    }

    /// A plan whose routes are answered by parts of the gateway. An empty method takes all.
    ///
    /// # Errors
    /// Paths that are none, or that contradict each other.
    pub fn of_handlers(
        routes: Vec<(&str, &str, Arc<dyn Handler>)>,
        metrics: &Metrics,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (mut specs, mut plans) = (Vec::new(), Vec::new());
        for (method, path, handler) in routes {
            let pattern = Pattern::parse(path).map_err(|e| vec![Diagnostic::error(e.message)])?;
            let methods = if method.is_empty() { Vec::new() } else { vec![method.to_owned()] };
            specs.push(RouteSpec { hosts: Vec::new(), methods, pattern, condition: None, priority: 0 });
            plans.push(own(path, "tollgate", Action::Serve(handler), metrics));
        }
        let mistakes = |conflicts: Vec<crate::matcher::Conflict>| {
            conflicts.iter().map(|conflict| Diagnostic::error(conflict.to_string())).collect::<Vec<_>>()
        };
        Ok(Self::new(0, Matcher::build(specs).map_err(mistakes)?, plans.into(), Readings::default(), metrics))
    }

    /// The route that serves a request.
    #[must_use]
    pub fn find(&self, x: &Exchange) -> Found<'_> {
        if x.head.is_asterisk {
            return Found { route: &self.asterisk, captures: Captures::default(), refused: None };
        }
        let seen = Seen::of(x);
        match self.matcher.find(&lookup(x), |conditions| conditions.hold(&seen)) {
            Outcome::Found(found) => match self.routes.get(found.route) {
                Some(route) => {
                    let refused = self.readings.refusal(x, found.route, &self.matcher);
                    let refused = refused.or_else(|| unwritable(route, x.head.path(), &found.captures));
                    Found { route, captures: found.captures, refused }
                }
                None => self.unrouted(Some(NOT_FOUND.problem())),
            },
            Outcome::NotFound => {
                let (host, path) = (x.head.host(), x.head.path());
                self.unrouted(Some(NOT_FOUND.problem().detail(format!("no route for {host}{path}"))))
            }
            Outcome::MethodNotAllowed(allow) => {
                let detail = format!("{} is not taken here", x.head.method_text());
                self.unrouted(Some(METHOD_NOT_ALLOWED.problem().detail(detail).header("Allow", allow.to_string())))
            }
        }
    }

    /// The methods that routes take for the request's host and path, as the value of `Allow`; `OPTIONS`, which is being
    /// answered, among them.
    #[must_use]
    pub fn allow(&self, x: &Exchange) -> String {
        let seen = Seen::of(x);
        let mut methods = match self.matcher.methods_for(&lookup(x), |conditions| conditions.hold(&seen)) {
            Some(allow) => allow.methods(),
            None => vec!["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "TRACE"],
        };
        if !methods.contains(&"OPTIONS") {
            methods.push("OPTIONS");
            methods.sort_unstable();
        }
        methods.join(", ")
    }

    /// No route, for this reason.
    #[must_use]
    pub fn unrouted(&self, refused: Option<Problem>) -> Found<'_> {
        Found { route: &self.unrouted, captures: Captures::default(), refused }
    }
}

/// Why the path cannot be changed as the route says.
fn unwritable(route: &RoutePlan, path: &str, captures: &Captures) -> Option<Problem> {
    let Action::Proxy(Proxy { path: Some(change), .. }) = &route.action else { return None };
    let why = change.check(path, captures).err()?;
    Some(REWRITE.problem().detail(format!("rewritten: {why}")))
}

/// A route of the gateway's own.
fn own(name: &str, api: &str, action: Action, metrics: &Metrics) -> RoutePlan {
    let meta = Arc::new(Route::new(api, name));
    RoutePlan {
        metrics: metrics.route(&meta),
        meta,
        chain: Box::new([]),
        criticality: Criticality::default(),
        settles_criticality: false,
        hooks: Hooks::default(),
        action,
        dialect: &ProblemJson,
        bounds: OWN,
        deadline: None,
        upgrades: Arc::default(),
    }
}

/// What the matcher goes by.
pub(crate) fn lookup(x: &Exchange) -> Lookup<'_> {
    let fields = &x.head.fields;
    // Fetch §3.2.2: a preflight is `OPTIONS` with these two.
    let is_preflight = x.head.method == Method::Options && fields.known(Known::Origin).is_some();
    Lookup {
        host: x.head.host().as_bytes(),
        path: x.head.path().as_bytes(),
        method: x.head.method_text().as_bytes(),
        preflight_for: if is_preflight { fields.get("access-control-request-method") } else { None },
    }
}

/// An exchange as conditions see it.
pub(crate) struct Seen<'x> {
    pub(crate) x: &'x Exchange,
    /// Its path, or another one that is tried in its place.
    pub(crate) path: &'x str,
}

impl<'x> Seen<'x> {
    pub(crate) fn of(x: &'x Exchange) -> Self {
        Self { x, path: x.head.path() }
    }
}

impl Facts for Seen<'_> {
    fn path(&self) -> &str {
        self.path
    }

    fn method(&self) -> &str {
        Facts::method(self.x)
    }

    fn host(&self) -> &str {
        Facts::host(self.x)
    }

    fn scheme(&self) -> &str {
        Facts::scheme(self.x)
    }

    fn ip(&self) -> ClientAddress {
        Facts::ip(self.x)
    }

    fn header(&self, name: &str) -> Option<&str> {
        Facts::header(self.x, name)
    }

    fn has_header(&self, name: &str) -> bool {
        Facts::has_header(self.x, name)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        Facts::query(self.x, name)
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        Facts::cookie(self.x, name)
    }
}

#[cfg(test)]
mod tests;
