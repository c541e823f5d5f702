//! Which route serves a request.
//!
//! Of the routes whose host, path, method and conditions match, the most specific wins. In this order:
//! 1. an exact host over a wildcard, a longer wildcard over a shorter, any of them over none;
//! 2. segment by segment from the left: a literal over a parameter, a parameter over `**`;
//! 3. a plain pattern over a regex;
//! 4. more conditions (parts joined by `&&`) over fewer;
//! 5. the higher `priority`;
//! 6. a named method over none, and `HEAD` itself over a `GET` that serves it.
//!
//! Two routes that still tie and can match one request are refused when the matcher is built, and so is a route
//! that can never match. Hence the order in the file means nothing.
//!
//! A look-up hashes the host once per wildcard level and each segment once, whatever the number of routes, and
//! allocates nothing; only where a host class has regexes and one of them matches, that costs an allocation.

mod build;
mod captures;
mod explain;
mod hosts;
mod method;
mod pattern;
mod regexes;
mod trie;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

pub use build::{Builder, Conflict};
pub use captures::Captures;
pub use explain::{Explanation, Miss, Reason};
pub use pattern::{MAX_CAPTURES, Pattern, PatternError};
pub use tollgate_config::model::HostPattern;

use tollgate_expr::Condition;

use hosts::HostIndex;
use method::{HEAD, MethodSet, Methods, OPTIONS, RouteMethods};
use trie::RouteId;

/// Longest host name that can match, in bytes (RFC 1035 §2.3.4, without the final dot).
const MAX_HOST: usize = 253;

/// What a condition must tell for the order of routes. Whether it holds is asked at look-up, by a closure.
pub trait Guard: PartialEq {
    /// The number of conditions joined by `&&`.
    fn conjuncts(&self) -> usize;

    /// Whether it is certain that no request can meet both.
    fn excludes(&self, other: &Self) -> bool;
}

impl Guard for Condition {
    fn conjuncts(&self) -> usize {
        Condition::conjuncts(self)
    }

    fn excludes(&self, other: &Self) -> bool {
        Condition::excludes(self, other)
    }
}

/// One route, as far as matching goes. Its number is its place in the list given to [`Matcher::build`].
#[derive(Clone, Debug)]
pub struct RouteSpec<C> {
    /// Hosts it answers to; none: all.
    pub hosts: Vec<HostPattern>,
    /// Methods it takes; none: all.
    pub methods: Vec<String>,
    /// Its path.
    pub pattern: Pattern,
    /// What else must hold.
    pub condition: Option<C>,
    /// Decides between routes that are otherwise equally specific; higher wins.
    pub priority: i64,
}

/// What a look-up goes by.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'r> {
    /// The host as the client gave it: any case, with or without port.
    pub host: &'r [u8],
    /// The path in the normal form of [`tollgate_core::path`].
    pub path: &'r [u8],
    /// The method.
    pub method: &'r [u8],
    /// For a CORS preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`): the method it asks for.
    pub preflight_for: Option<&'r [u8]>,
}

/// The result of a look-up.
#[derive(Clone, Debug)]
pub enum Outcome<'m> {
    /// This route serves the request.
    Found(Found),
    /// Routes match but for the method (RFC 9110 §15.5.6).
    MethodNotAllowed(Allow<'m>),
    /// No route matches.
    NotFound,
}

/// The winner.
#[derive(Clone, Debug)]
pub struct Found {
    /// The route's number.
    pub route: usize,
    /// What its pattern captured.
    pub captures: Captures,
}

/// The methods that would have matched; displays as the value of an `Allow` field (RFC 9110 §10.2.1).
#[derive(Clone, Copy)]
pub struct Allow<'m> {
    methods: &'m Methods,
    set: MethodSet,
}

impl<'m> Allow<'m> {
    /// The methods, sorted.
    #[must_use]
    pub fn methods(&self) -> Vec<&'m str> {
        self.methods.sorted(self.set)
    }
}

impl fmt::Display for Allow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.methods().join(", "))
    }
}

impl fmt::Debug for Allow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allow({self})")
    }
}

/// All routes, ready for look-up.
#[derive(Debug)]
pub struct Matcher<C> {
    routes: Box<[Compiled<C>]>,
    hosts: HostIndex,
    methods: Methods,
    /// All methods that routes name; spares a pass for preflights if none names `OPTIONS`.
    named: MethodSet,
}

/// A route without its hosts, which are in the index.
#[derive(Debug)]
struct Compiled<C> {
    path: Path,
    methods: RouteMethods,
    condition: Option<C>,
    conjuncts: usize,
    priority: i64,
}

/// What is kept of a pattern.
#[derive(Debug)]
enum Path {
    /// Its text: the rest stands in the tree.
    Plain(Arc<str>),
    /// All of it.
    Regex(Box<Pattern>),
}

/// The method that a search goes by.
#[derive(Clone, Copy)]
enum Asked {
    /// Routes that take this method.
    Method(MethodSet),
    /// Only routes whose key names `OPTIONS`.
    OptionsByName,
}

impl Path {
    fn of(pattern: Pattern) -> Self {
        if pattern.is_regex() { Self::Regex(Box::new(pattern)) } else { Self::Plain(Arc::clone(pattern.text())) }
    }

    /// The pattern, read again if need be: what was read once reads well.
    fn pattern(&self) -> Option<Pattern> {
        match self {
            Self::Plain(text) => Pattern::parse(Arc::clone(text)).ok(),
            Self::Regex(pattern) => Some((**pattern).clone()),
        }
    }

    fn regex(&self) -> Option<&Pattern> {
        match self {
            Self::Plain(_) => None,
            Self::Regex(pattern) => Some(pattern),
        }
    }
}

impl<C> Compiled<C> {
    fn takes(&self, asked: Asked) -> bool {
        match (asked, self.methods) {
            (Asked::OptionsByName, methods) => methods.names(OPTIONS),
            (Asked::Method(_), RouteMethods::All) => true,
            (Asked::Method(method), methods) => methods.served().meets(method),
        }
    }

    fn holds(&self, holds: &mut impl FnMut(&C) -> bool) -> bool {
        self.condition.as_ref().is_none_or(holds)
    }
}

impl<C: Guard> Matcher<C> {
    /// Compiles routes.
    ///
    /// # Errors
    /// Every pair that ties and every route that can never match.
    pub fn build(routes: Vec<RouteSpec<C>>) -> Result<Self, Vec<Conflict>> {
        let mut builder = Builder::with_room_for(routes.len());
        routes.into_iter().for_each(|route| builder.add(route));
        builder.build()
    }
}

impl<C> Matcher<C> {
    /// Finds the route for a request. `holds` tells whether a condition holds for it; it is asked only about
    /// routes that match otherwise.
    pub fn find(&self, request: &Lookup<'_>, mut holds: impl FnMut(&C) -> bool) -> Outcome<'_> {
        if request.preflight_for.is_some()
            && self.named.meets(OPTIONS)
            && let Some(found) = self.search(request, Asked::OptionsByName, &mut holds)
        {
            return Outcome::Found(found);
        }
        let method = self.methods.bit(request.preflight_for.unwrap_or(request.method));
        if let Some(found) = self.search(request, Asked::Method(method), &mut holds) {
            return Outcome::Found(found);
        }
        let set = self.allowed(request, &mut holds);
        if set.is_empty() {
            return Outcome::NotFound;
        }
        Outcome::MethodNotAllowed(Allow { methods: &self.methods, set })
    }

    /// Whether any route is for this host and path, whatever it asks of method and conditions.
    pub fn has_rule_for(&self, request: &Lookup<'_>) -> bool {
        self.each_match(request, &mut |_, _, _| ControlFlow::Break(())).is_break()
    }

    /// The methods of all routes that match but for the method; `None`: one of them takes any.
    pub fn methods_for(&self, request: &Lookup<'_>, mut holds: impl FnMut(&C) -> bool) -> Option<Allow<'_>> {
        let any = self.each_match(request, &mut |_, routes, _| {
            let mut compiled = routes.iter().map(|route| &self.routes[*route as usize]);
            match compiled.any(|route| route.methods == RouteMethods::All && route.holds(&mut holds)) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let set = self.allowed(request, &mut holds);
        any.is_continue().then_some(Allow { methods: &self.methods, set })
    }

    /// The pattern of a route, for the names of its captures. Not for the hot path.
    #[must_use]
    pub fn pattern(&self, route: usize) -> Option<Pattern> {
        self.routes.get(route).and_then(|compiled| compiled.path.pattern())
    }

    /// The condition of a route.
    #[must_use]
    pub fn condition(&self, route: usize) -> Option<&C> {
        self.routes.get(route).and_then(|compiled| compiled.condition.as_ref())
    }

    /// The methods that a route serves, sorted; empty: all.
    #[must_use]
    pub fn methods(&self, route: usize) -> Vec<&str> {
        self.routes.get(route).map_or_else(Vec::new, |compiled| self.methods.sorted(compiled.methods.served()))
    }

    fn search(&self, request: &Lookup<'_>, asked: Asked, holds: &mut impl FnMut(&C) -> bool) -> Option<Found> {
        let flow = self.each_match(request, &mut |_, routes, captures| {
            for &route in routes {
                let compiled = &self.routes[route as usize];
                if compiled.takes(asked) && compiled.holds(holds) {
                    return ControlFlow::Break(Found { route: route as usize, captures: captures.clone() });
                }
            }
            ControlFlow::Continue(())
        });
        flow.break_value()
    }

    /// The methods of all routes that match but for the method.
    fn allowed(&self, request: &Lookup<'_>, holds: &mut impl FnMut(&C) -> bool) -> MethodSet {
        let mut set = MethodSet::default();
        let _: ControlFlow<()> = self.each_match(request, &mut |_, routes, _| {
            for &route in routes {
                let compiled = &self.routes[route as usize];
                let served = compiled.methods.served();
                if !set.contains(served) && compiled.holds(holds) {
                    set = set.union(served);
                }
            }
            ControlFlow::Continue(())
        });
        set
    }

    /// Shows `visit` all routes whose host and path match, as lists of those with the same host and pattern,
    /// most specific first.
    fn each_match<B>(
        &self,
        request: &Lookup<'_>,
        visit: &mut impl FnMut(Option<&HostPattern>, &[RouteId], &Captures) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if request.path.first() != Some(&b'/') {
            return ControlFlow::Continue(());
        }
        self.hosts.each_class(request.host, &mut |class| {
            let host = class.host.as_ref();
            let mut captures = Captures::default();
            class.trie.walk(request.path, &mut captures, &mut |routes, captures| visit(host, routes, captures))?;
            class.regexes.walk(request.path, &self.routes, &mut |routes, captures| visit(host, routes, captures))
        })
    }
}

#[cfg(test)]
mod tests;
