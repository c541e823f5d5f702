//! Compiles routes into a [`Matcher`] and finds those that contradict each other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::hosts::HostIndex;
use super::method::{HEAD, MethodSet, Methods, RouteMethods};
use super::pattern::{Pattern, Shape};
use super::regexes::RegexTable;
use super::trie::{RouteId, number};
use super::{Compiled, Guard, Matcher, Path, RouteSpec};

/// Why routes cannot stand together. Numbers are places in the list given to [`Matcher::build`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// Both can match one request, and nothing makes one of them the better.
    Tie {
        /// The one that comes first in the list.
        first: usize,
        /// The other.
        second: usize,
    },
    /// Every request it matches goes to better routes.
    Shadowed {
        /// The route that can never match.
        route: usize,
        /// One of those that are always better.
        by: usize,
    },
    /// The methods that the routes name are more than 64; this route names the first that is too many.
    TooManyMethods {
        /// The route.
        route: usize,
    },
    /// The regular expressions for one host are too big together; this route has one of them.
    RegexesTooBig {
        /// The route.
        route: usize,
    },
}

impl Conflict {
    /// The route to blame first, and the other one if there is one.
    #[must_use]
    pub fn routes(&self) -> (usize, Option<usize>) {
        match *self {
            Self::Tie { first, second } => (second, Some(first)),
            Self::Shadowed { route, by } => (route, Some(by)),
            Self::TooManyMethods { route } | Self::RegexesTooBig { route } => (route, None),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Tie { .. } => "give one of the two a `priority` (higher wins), or a condition",
            Self::Shadowed { .. } => "remove it, or give it a condition or a higher `priority`",
            Self::TooManyMethods { .. } => "leave the method out: the route then takes all",
            Self::RegexesTooBig { .. } => "use `{name}` and `**` where they will do",
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tie { .. } => "two routes can match the same request, and neither is more specific",
            Self::Shadowed { .. } => "this route can never match: a better one takes every request",
            Self::TooManyMethods { .. } => "more than 64 different methods",
            Self::RegexesTooBig { .. } => "the regular expressions for this host are too big together",
        })
    }
}

/// A [`Matcher`] in the making. Takes the routes one by one, so that what is read of each is gone before the next.
#[derive(Debug)]
pub struct Builder<C> {
    routes: Vec<Compiled<C>>,
    hosts: HostIndex,
    methods: Methods,
    named: MethodSet,
    found: Findings,
}

impl<C: Guard> Builder<C> {
    /// A matcher of so many routes.
    #[must_use]
    pub fn with_room_for(routes: usize) -> Self {
        Self {
            routes: Vec::with_capacity(routes),
            hosts: HostIndex::new(),
            methods: Methods::new(),
            named: MethodSet::default(),
            found: Findings::default(),
        }
    }

    /// Adds a route; its number is the count of those before it.
    pub fn add(&mut self, spec: RouteSpec<C>) {
        let route = self.routes.len();
        let taken = route_methods(&spec.methods, &mut self.methods).unwrap_or_else(|| {
            self.found.conflicts.insert(Conflict::TooManyMethods { route });
            RouteMethods::All
        });
        self.named = self.named.union(taken.served());
        self.found.classes.push(insert(&mut self.hosts, &spec, number(route)));
        self.routes.push(Compiled {
            path: Path::of(spec.pattern),
            methods: taken,
            conjuncts: spec.condition.as_ref().map_or(0, Guard::conjuncts),
            condition: spec.condition,
            priority: spec.priority,
        });
    }

    /// The matcher.
    ///
    /// # Errors
    /// Every pair that ties and every route that can never match.
    pub fn build(self) -> Result<Matcher<C>, Vec<Conflict>> {
        let Self { routes, mut hosts, methods, named, mut found } = self;
        for class in hosts.classes_mut() {
            class.trie.seal(|route| rank(&routes[route as usize]));
            for leaf in class.trie.leaves() {
                found.check_pairs(leaf, &routes, |_, _| true);
                found.check_shadows(leaf, &routes, |_, _| true);
            }
            found.check_regexes(&mut class.regexes, &routes);
        }
        let conflicts = found.into_conflicts();
        if conflicts.is_empty() { Ok(Matcher { routes: routes.into(), hosts, methods, named }) } else { Err(conflicts) }
    }
}

fn route_methods(names: &[String], methods: &mut Methods) -> Option<RouteMethods> {
    if names.is_empty() {
        return Some(RouteMethods::All);
    }
    let set = names.iter().try_fold(MethodSet::default(), |set, name| Some(set.union(methods.add(name)?)))?;
    Some(RouteMethods::Named(set))
}

/// Adds a route to the class of each of its hosts; returns how many those are.
fn insert<C>(hosts: &mut HostIndex, spec: &RouteSpec<C>, route: RouteId) -> usize {
    let mut wanted: Vec<_> = spec.hosts.iter().map(Some).collect();
    if wanted.is_empty() {
        wanted.push(None);
    }
    let mut seen = BTreeSet::new();
    wanted.retain(|host| seen.insert(host.map(ToString::to_string)));
    for host in &wanted {
        let class = hosts.class_mut(*host);
        match &spec.pattern.shape {
            Shape::Plain { segments, tail } => class.trie.insert(segments, *tail, route),
            Shape::Regex { .. } => class.regexes.ranked.push(route),
        }
    }
    wanted.len()
}

/// Orders routes with the same host and pattern, best first. Where only the methods decide, those that name
/// `HEAD` come before a `GET` that would serve it, and that before routes without a method.
fn rank<C>(route: &Compiled<C>) -> (Reverse<usize>, Reverse<i64>, u8) {
    let method = match route.methods {
        methods if methods.names(HEAD) => 0,
        RouteMethods::Named(_) => 1,
        RouteMethods::All => 2,
    };
    (Reverse(route.conjuncts), Reverse(route.priority), method)
}

/// Two routes with patterns that can match one path, and whether nothing decides between them.
fn ties<C: Guard>(a: &Compiled<C>, b: &Compiled<C>) -> bool {
    let methods_meet = match (a.methods, b.methods) {
        (RouteMethods::All, RouteMethods::All) => true,
        (RouteMethods::Named(a), RouteMethods::Named(b)) => a.meets(b),
        _ => false,
    };
    let excluded = matches!((&a.condition, &b.condition), (Some(a), Some(b)) if a.excludes(b));
    a.conjuncts == b.conjuncts && a.priority == b.priority && methods_meet && !excluded
}

/// What the checks collect.
#[derive(Debug, Default)]
struct Findings {
    conflicts: BTreeSet<Conflict>,
    /// Per route, in how many host classes it is.
    classes: Vec<usize>,
    /// Per shadowed route: in how many classes it is so, and one that shadows it.
    shadows: BTreeMap<RouteId, (usize, RouteId)>,
}

impl Findings {
    /// `meet` tells whether the patterns of two routes of the list can match one path.
    fn check_pairs<C: Guard>(
        &mut self,
        ranked: &[RouteId],
        routes: &[Compiled<C>],
        meet: impl Fn(RouteId, RouteId) -> bool,
    ) {
        for (at, &a) in ranked.iter().enumerate() {
            // Ranked: what can tie with `a` comes before the first with other conditions or priority.
            let same = |b: &&RouteId| {
                let (a, b) = (&routes[a as usize], &routes[**b as usize]);
                a.conjuncts == b.conjuncts && a.priority == b.priority
            };
            for &b in ranked[at + 1..].iter().take_while(same) {
                if ties(&routes[a as usize], &routes[b as usize]) && meet(a, b) {
                    self.conflicts.insert(Conflict::Tie { first: a.min(b) as usize, second: a.max(b) as usize });
                }
            }
        }
    }

    /// `same` tells whether two routes of the list have the same pattern.
    fn check_shadows<C: Guard>(
        &mut self,
        ranked: &[RouteId],
        routes: &[Compiled<C>],
        same: impl Fn(RouteId, RouteId) -> bool,
    ) {
        for (at, &route) in ranked.iter().enumerate() {
            let shadowed = &routes[route as usize];
            let mut left = match shadowed.methods {
                RouteMethods::All => None,
                RouteMethods::Named(set) => Some(set),
            };
            for &by in &ranked[..at] {
                let better = &routes[by as usize];
                let decided = (better.conjuncts, better.priority) != (shadowed.conjuncts, shadowed.priority);
                let always = better.condition.is_none() || better.condition == shadowed.condition;
                if !decided || !always || !same(by, route) {
                    continue;
                }
                left = match better.methods {
                    RouteMethods::All => Some(MethodSet::default()),
                    _ => left.map(|left| left.without(better.methods.served())),
                };
                if left.is_some_and(MethodSet::is_empty) {
                    self.shadows.entry(route).or_insert((0, by)).0 += 1;
                    break;
                }
            }
        }
    }

    fn check_regexes<C: Guard>(&mut self, table: &mut RegexTable, routes: &[Compiled<C>]) {
        let regex = |route: RouteId| routes[route as usize].path.regex();
        table.ranked.sort_by_key(|route| rank(&routes[*route as usize]));
        let may_meet = |a, b| regex(a).zip(regex(b)).is_none_or(|(a, b)| a.may_meet(b));
        self.check_pairs(&table.ranked, routes, may_meet);
        let same_text = |a, b| regex(a).map(Pattern::text) == regex(b).map(Pattern::text);
        self.check_shadows(&table.ranked, routes, same_text);
        if table.seal(routes).is_err() {
            self.conflicts.insert(Conflict::RegexesTooBig { route: table.ranked[0] as usize });
        }
    }

    /// A route counts as shadowed only if it is in each of its classes.
    fn into_conflicts(mut self) -> Vec<Conflict> {
        for (route, (times, by)) in self.shadows {
            if times == self.classes[route as usize] {
                self.conflicts.insert(Conflict::Shadowed { route: route as usize, by: by as usize });
            }
        }
        self.conflicts.into_iter().collect()
    }
}
