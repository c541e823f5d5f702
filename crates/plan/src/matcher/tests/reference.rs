//! A matcher as naive as can be: look at every route, compare every pair.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{Bits, host, lookup, told};
use crate::matcher::{Conflict, Lookup, Matcher, Pattern, RouteSpec};

/// A route in words; nothing of the real matcher is used to judge it.
#[derive(Clone, Debug)]
struct Plain {
    hosts: Vec<&'static str>,
    methods: Vec<&'static str>,
    pattern: String,
    bits: Option<u8>,
    priority: i64,
}

#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    path: String,
    method: &'static str,
    preflight_for: Option<&'static str>,
    bits: u8,
}

/// A pattern's parts in the order of the rules, lower is better; `None` if the path does not match.
fn path_rank(pattern: &str, path: &str) -> Option<Vec<u8>> {
    if let Some(regex) = pattern.strip_prefix('~') {
        let regex = regex::Regex::new(&format!("^(?:{regex})$")).unwrap();
        return regex.is_match(path).then(|| vec![9]);
    }
    let (prefix, tail) = match pattern.strip_suffix("/**") {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    let wanted: Vec<&str> = prefix.split('/').skip(1).collect();
    let given: Vec<&str> = path.split('/').skip(1).collect();
    if given.len() < wanted.len() || (given.len() > wanted.len() && !tail) {
        return None;
    }
    let mut rank = Vec::new();
    for (wanted, given) in wanted.iter().zip(&given) {
        match wanted {
            w if w == given => rank.push(1),
            w if w.starts_with('{') && !given.is_empty() => rank.push(2),
            _ => return None,
        }
    }
    // The end of the pattern is better than `**`.
    rank.push(if tail { 3 } else { 0 });
    Some(rank)
}

/// Lower is better: exact, wildcards from long to short, none.
fn host_rank(hosts: &[&str], host: &str) -> Option<usize> {
    if hosts.is_empty() {
        return Some(1000);
    }
    let one = |pattern: &&str| match pattern.strip_prefix('*') {
        Some(suffix) => (host.ends_with(suffix) && host.len() > suffix.len()).then_some(500 - suffix.len()),
        None => (*pattern == host).then_some(0),
    };
    hosts.iter().filter_map(one).min()
}

impl Plain {
    fn matches_but_method(&self, request: &Request) -> bool {
        host_rank(&self.hosts, request.host).is_some()
            && path_rank(&self.pattern, &request.path).is_some()
            && self.bits.is_none_or(|bits| bits & !request.bits == 0)
    }

    fn served(&self) -> Vec<&'static str> {
        let mut methods = self.methods.clone();
        if methods.contains(&"GET") && !methods.contains(&"HEAD") {
            methods.push("HEAD");
        }
        methods
    }

    fn compare(&self, other: &Self, request: &Request) -> Ordering {
        let key = |route: &Self| {
            let method = request.preflight_for.unwrap_or(request.method);
            let method_rank = match route.methods.as_slice() {
                [] => 2,
                named if method == "HEAD" && !named.contains(&"HEAD") => 1,
                _ => 0,
            };
            (
                host_rank(&route.hosts, request.host),
                path_rank(&route.pattern, &request.path),
                -i64::from(route.bits.unwrap_or(0).count_ones()),
                -route.priority,
                method_rank,
            )
        };
        key(self).cmp(&key(other))
    }

    fn spec(&self) -> RouteSpec<Bits> {
        RouteSpec {
            hosts: self.hosts.iter().map(|name| host(name)).collect(),
            methods: self.methods.iter().map(ToString::to_string).collect(),
            pattern: Pattern::parse(self.pattern.as_str()).unwrap(),
            condition: self.bits.map(|needs| Bits { needs, excludes: 0 }),
            priority: self.priority,
        }
    }
}

/// All routes that match, best first.
fn naive_candidates(routes: &[Plain], request: &Request) -> Vec<usize> {
    let fitting = |by: &dyn Fn(&Plain) -> bool| {
        let mut fitting: Vec<usize> =
            (0..routes.len()).filter(|at| routes[*at].matches_but_method(request) && by(&routes[*at])).collect();
        fitting.sort_by(|a, b| routes[*a].compare(&routes[*b], request));
        fitting
    };
    if request.preflight_for.is_some() {
        let by_name = fitting(&|route| route.methods.contains(&"OPTIONS"));
        if !by_name.is_empty() {
            return by_name;
        }
    }
    let method = request.preflight_for.unwrap_or(request.method);
    fitting(&|route| route.methods.is_empty() || route.served().contains(&method))
}

fn naive_answer(routes: &[Plain], request: &Request) -> String {
    if let Some(best) = naive_candidates(routes, request).first() {
        return best.to_string();
    }
    let mut allow: Vec<&str> =
        routes.iter().filter(|route| route.matches_but_method(request)).flat_map(Plain::served).collect();
    allow.sort_unstable();
    allow.dedup();
    if allow.is_empty() { "404".into() } else { format!("405 {}", allow.join(", ")) }
}

fn some_route() -> impl Strategy<Value = Plain> {
    let segment = prop::sample::select(vec!["/a", "/a", "/b", "/{p}", "/{p}"]);
    let plain = (prop::collection::vec(segment, 0..4), prop::sample::select(vec!["", "/", "/**", "/**"]));
    let plain = plain.prop_map(|(segments, end)| {
        // Parameters need names of their own.
        let named = segments.iter().enumerate().map(|(at, segment)| segment.replace("{p}", &format!("{{p{at}}}")));
        let text = named.collect::<String>() + end;
        if text.is_empty() { "/".to_owned() } else { text }
    });
    let regex = prop::sample::select(vec!["~/a/.*", "~/[ab]+", "~/b/[^/]*", "~.*/a"]).prop_map(str::to_owned);
    (
        prop::sample::subsequence(vec!["x.eu.com", "y.eu.com", "*.eu.com", "*.com", "com"], 0..3),
        prop::sample::subsequence(vec!["GET", "HEAD", "PUT", "OPTIONS"], 0..3),
        prop_oneof![5 => plain, 1 => regex],
        prop::option::weighted(0.3, 1u8..4),
        prop_oneof![3 => Just(0i64), 1 => -1i64..3],
    )
        .prop_map(|(hosts, methods, pattern, bits, priority)| Plain { hosts, methods, pattern, bits, priority })
}

fn some_request() -> impl Strategy<Value = Request> {
    let segment = prop::sample::select(vec!["/a", "/b", "/c"]);
    let path = (prop::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(segments, slash)| {
        let text = segments.concat();
        if slash || text.is_empty() { text + "/" } else { text }
    });
    let methods = vec!["GET", "HEAD", "PUT", "OPTIONS", "BREW"];
    (
        prop::sample::select(vec!["x.eu.com", "y.eu.com", "z.eu.com", "eu.com", "com", "org"]),
        path,
        prop::sample::select(methods.clone()),
        prop::option::weighted(0.2, prop::sample::select(methods)),
        0u8..4,
    )
        .prop_map(|(host, path, method, asked, bits)| {
            let method = if asked.is_some() { "OPTIONS" } else { method };
            Request { host, path, method, preflight_for: asked, bits }
        })
}

fn real_lookup(request: &Request) -> Lookup<'_> {
    let preflight_for = request.preflight_for.map(str::as_bytes);
    Lookup { preflight_for, ..lookup(request.method, request.host, &request.path) }
}

/// Takes out the routes that are refused until the rest stands together.
fn settle(mut routes: Vec<Plain>) -> (Vec<Plain>, Matcher<Bits>) {
    loop {
        match Matcher::build(routes.iter().map(Plain::spec).collect()) {
            Ok(matcher) => return (routes, matcher),
            Err(conflicts) => drop(routes.remove(conflicts[0].routes().0)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_matcher_agrees_with_the_naive_one(
        routes in prop::collection::vec(some_route(), 1..14),
        requests in prop::collection::vec(some_request(), 12),
    ) {
        let (routes, matcher) = settle(routes);
        for request in &requests {
            let holds = |condition: &Bits| condition.needs & !request.bits == 0;
            let answer = told(&matcher.find(&real_lookup(request), holds));
            prop_assert_eq!(&answer, &naive_answer(&routes, request), "{:?} in {:#?}", request, routes);
            let expected = naive_candidates(&routes, request);
            let explanation = matcher.explain(&real_lookup(request), holds);
            prop_assert!(explanation.matching.starts_with(&expected), "{:?} in {:#?}", request, routes);
            prop_assert_eq!(explanation.reason.is_some(), explanation.matching.len() > 1, "{:?} in {:#?}", request, routes);
        }
    }

    #[test]
    fn no_two_routes_that_were_accepted_tie(
        routes in prop::collection::vec(some_route(), 1..14),
        requests in prop::collection::vec(some_request(), 12),
    ) {
        let (routes, _) = settle(routes);
        for request in &requests {
            for pair in naive_candidates(&routes, request).windows(2) {
                // Among routes that name `OPTIONS`, the order for the method asked for says nothing.
                let order = routes[pair[0]].compare(&routes[pair[1]], request);
                prop_assert_eq!(order, Ordering::Less, "{:?} in {:#?}", request, routes);
            }
        }
    }

    #[test]
    fn a_route_is_refused_as_shadowed_only_if_it_never_wins(
        routes in prop::collection::vec(some_route(), 1..8),
        requests in prop::collection::vec(some_request(), 40),
    ) {
        let Err(conflicts) = Matcher::build(routes.iter().map(Plain::spec).collect()) else { return Ok(()) };
        for conflict in conflicts {
            let Conflict::Shadowed { route, .. } = conflict else { continue };
            for request in requests.iter().filter(|request| request.preflight_for.is_none()) {
                let best = naive_candidates(&routes, request);
                prop_assert_ne!(best.first(), Some(&route), "{:?} in {:#?}", request, routes);
            }
        }
    }
}
