//! The rules of the module's page, one claim each; `reference` checks them against a naive matcher at random.

mod patterns;
mod reference;

use super::*;

/// A condition for tests: all bits of `needs` must be set in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) needs: u8,
    /// Conditions with different even numbers here exclude each other.
    pub(super) excludes: u8,
}

impl Guard for Bits {
    fn conjuncts(&self) -> usize {
        self.needs.count_ones() as usize
    }

    fn excludes(&self, other: &Self) -> bool {
        self.excludes != other.excludes
    }
}

/// `*.example.com`, or one host.
pub(super) fn host(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(below) => HostPattern::Wildcard(below.to_ascii_lowercase()),
        None => HostPattern::Exact(text.to_ascii_lowercase()),
    }
}

/// Reads `GET|POST host,host /path when BITS priority N`; host `-` means none, method `-` all.
pub(super) fn route(line: &str) -> RouteSpec<Bits> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let list = |text: &str, by: char| text.split(by).filter(|t| *t != "-").map(str::to_owned).collect::<Vec<_>>();
    let after = |key: &str| words.iter().position(|w| *w == key).map(|at| words[at + 1]);
    RouteSpec {
        methods: list(words[0], '|'),
        hosts: list(words[1], ',').iter().map(|h| host(h)).collect(),
        pattern: Pattern::parse(words[2]).unwrap(),
        condition: after("when").map(|bits| Bits { needs: bits.parse().unwrap(), excludes: 0 }),
        priority: after("priority").map_or(0, |n| n.parse().unwrap()),
    }
}

fn matcher(lines: &[&str]) -> Matcher<Bits> {
    Matcher::build(lines.iter().map(|line| route(line)).collect()).unwrap()
}

fn conflicts(lines: &[&str]) -> Vec<Conflict> {
    Matcher::build(lines.iter().map(|line| route(line)).collect()).map(|_| ()).unwrap_err()
}

pub(super) fn lookup<'r>(method: &'r str, host: &'r str, path: &'r str) -> Lookup<'r> {
    Lookup { host: host.as_bytes(), path: path.as_bytes(), method: method.as_bytes(), preflight_for: None }
}

/// `GET shop.example /path` → the route's number, `405 …` or `404`.
fn ask(matcher: &Matcher<Bits>, line: &str, bits: u8) -> String {
    let [method, host, path] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    told(&matcher.find(&lookup(method, host, path), |c| c.needs & !bits == 0))
}

pub(super) fn told(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Found(found) => found.route.to_string(),
        Outcome::MethodNotAllowed(allow) => format!("405 {allow}"),
        Outcome::NotFound => "404".into(),
    }
}

fn table(routes: &[&str], cases: &[(&str, &str)]) {
    let matcher = matcher(routes);
    for (line, expected) in cases {
        assert_eq!(ask(&matcher, line, 0), *expected, "{line}");
    }
}

#[test]
fn a_path_matches_whole_and_a_tail_takes_everything_below() {
    table(
        &["- - /orders", "- - /a/**", "- - /b/{id}", "- - /c/"],
        &[
            ("GET x /orders", "0"),
            ("GET x /orders/", "404"),
            ("GET x /orders/1", "404"),
            ("GET x /a", "1"),
            ("GET x /a/", "1"),
            ("GET x /a/b/c", "1"),
            ("GET x /ab", "404"),
            ("GET x /b/1", "2"),
            ("GET x /b/", "404"),
            ("GET x /b", "404"),
            ("GET x /b/1/", "404"),
            ("GET x /c/", "3"),
            ("GET x /c", "404"),
            ("GET x /", "404"),
        ],
    );
    table(&["- - /**"], &[("GET x /", "0"), ("GET x /a/b", "0")]);
}

#[test]
fn hosts_go_from_exact_over_long_and_short_wildcards_to_none() {
    let routes = ["- - /a", "- *.example.com /a", "- *.eu.example.com /a", "- shop.eu.example.com /a"];
    table(
        &routes,
        &[
            ("GET shop.eu.example.com /a", "3"),
            ("GET SHOP.eu.Example.com:8443 /a", "3"),
            ("GET shop.eu.example.com. /a", "3"),
            ("GET api.eu.example.com /a", "2"),
            ("GET a.b.eu.example.com /a", "2"),
            ("GET eu.example.com /a", "1"),
            ("GET example.com /a", "0"),
            ("GET .example.com /a", "0"),
            ("GET [::1]:80 /a", "0"),
        ],
    );
}

#[test]
fn a_host_that_dead_ends_falls_back_to_the_next_best() {
    table(
        &["- - /**", "GET *.x /a/**", "GET s.x /a/b"],
        &[("GET s.x /a/b", "2"), ("GET s.x /a/c", "1"), ("GET s.x /c", "0"), ("POST s.x /a/b", "0")],
    );
}

#[test]
fn segments_go_from_literal_over_parameter_to_tail_and_back_again() {
    table(
        &["- - /a/b/c", "- - /a/{x}/d", "- - /a/**", "- - /{x}/b/**", "- - /a/b/{x}"],
        &[
            ("GET x /a/b/c", "0"),
            ("GET x /a/b/d", "4"),
            ("GET x /a/c/d", "1"),
            ("GET x /a/c/e", "2"),
            ("GET x /a/b/d/e", "2"),
            ("GET x /z/b/d", "3"),
        ],
    );
}

#[test]
fn a_literal_whose_method_or_condition_fails_falls_back() {
    let matcher = matcher(&["GET - /a/b", "- - /a/{x} when 1", "POST - /a/**", "- - ~/a/.*"]);
    assert_eq!(ask(&matcher, "GET x /a/b", 0), "0");
    assert_eq!(ask(&matcher, "POST x /a/b", 1), "1");
    assert_eq!(ask(&matcher, "POST x /a/b", 0), "2");
    assert_eq!(ask(&matcher, "PUT x /a/b", 0), "3");
}

#[test]
fn conditions_then_priority_then_methods_decide() {
    let matcher = matcher(&[
        "- - /a priority 5",
        "GET - /a when 1",
        "GET - /a when 3",
        "GET - /b",
        "- - /b",
        "- - /c when 1 priority 1",
        "- - /c when 2",
    ]);
    assert_eq!(ask(&matcher, "GET x /a", 3), "2");
    assert_eq!(ask(&matcher, "GET x /a", 1), "1");
    assert_eq!(ask(&matcher, "GET x /a", 0), "0");
    assert_eq!(ask(&matcher, "GET x /b", 0), "3");
    assert_eq!(ask(&matcher, "POST x /b", 0), "4");
    assert_eq!(ask(&matcher, "GET x /c", 3), "5");
    assert_eq!(ask(&matcher, "GET x /c", 2), "6");
}

#[test]
fn get_serves_head_unless_head_is_named() {
    table(
        &["GET - /a", "GET - /b", "HEAD - /b", "- - /c", "GET - /c"],
        &[("HEAD x /a", "0"), ("HEAD x /b", "2"), ("GET x /b", "1"), ("HEAD x /c", "4"), ("PUT x /c", "3")],
    );
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let matcher = matcher(&["GET - /a/b", "POST|PURGE - /a/{x}", "DELETE - /a/** when 1", "PUT - /b"]);
    assert_eq!(ask(&matcher, "PUT x /a/b", 0), "405 GET, HEAD, POST, PURGE");
    assert_eq!(ask(&matcher, "PUT x /a/b", 1), "405 DELETE, GET, HEAD, POST, PURGE");
    assert_eq!(ask(&matcher, "get x /b", 0), "405 PUT");
    assert_eq!(ask(&matcher, "BREW x /c", 0), "404");
}

#[test]
fn a_preflight_matches_by_the_method_it_asks_for_unless_options_is_named() {
    let matcher = matcher(&["PUT - /a", "GET - /b", "OPTIONS - /b/**", "- - /c"]);
    let preflight = |path: &str, method: &str| {
        let request = Lookup { preflight_for: Some(method.as_bytes()), ..lookup("OPTIONS", "x", path) };
        told(&matcher.find(&request, |_| true))
    };
    assert_eq!(preflight("/a", "PUT"), "0");
    assert_eq!(preflight("/a", "POST"), "405 PUT");
    assert_eq!(preflight("/b", "GET"), "2");
    assert_eq!(preflight("/c", "PATCH"), "3");
    assert_eq!(ask(&matcher, "OPTIONS x /a", 0), "405 PUT");
}

#[test]
fn a_regex_matches_the_whole_path_and_comes_after_plain_patterns() {
    table(
        &["- - ~/r/[0-9]+", "- - /r/{id} when 1", "- - /r/7", "GET - ~/p|/q"],
        &[
            ("GET x /r/7", "2"),
            ("GET x /r/8", "0"),
            ("GET x /r/8x", "404"),
            ("GET x /pre/r/8", "404"),
            ("GET x /p", "3"),
            ("GET x /q", "3"),
            ("GET x /px", "404"),
            ("POST x /q", "405 GET, HEAD"),
        ],
    );
}

#[test]
fn captures_are_ranges_into_the_path() {
    let matcher = matcher(&["- - /a/{x}/b/{y}", "- - /t/{x}/**", "- - ~/v(?P<major>[0-9]+)(\\.(?P<minor>[0-9]+))?/.*"]);
    let captured = |path: &str| {
        let Outcome::Found(found) = matcher.find(&lookup("GET", "h", path), |_| true) else { panic!("{path}") };
        let names = matcher.pattern(found.route).unwrap().names().to_vec();
        let values = (0..found.captures.len()).map(|i| found.captures.get(i).map(|range| path[range].to_owned()));
        (names, values.collect::<Vec<_>>(), found.captures.tail_start().map(|at| path[at..].to_owned()))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(captured("/a/1%2F2/b/z"), (vec!["x".into(), "y".into()], vec![some("1%2F2"), some("z")], None));
    assert_eq!(captured("/t/1"), (vec!["x".into()], vec![some("1")], some("")));
    assert_eq!(captured("/t/1/2/"), (vec!["x".into()], vec![some("1")], some("/2/")));
    let both = vec!["major".to_owned(), "minor".into()];
    assert_eq!(captured("/v2.1/x"), (both.clone(), vec![some("2"), some("1")], None));
    assert_eq!(captured("/v2/x"), (both, vec![some("2"), None], None));
}

#[test]
fn routes_that_tie_are_refused() {
    let tie = vec![Conflict::Tie { first: 0, second: 1 }];
    assert_eq!(conflicts(&["- - /a", "- - /a"]), tie);
    assert_eq!(conflicts(&["- - /a/{x}", "- - /a/{y}"]), tie);
    assert_eq!(conflicts(&["GET|PUT - /a", "PUT - /a"]), tie);
    assert_eq!(conflicts(&["- a.x,b.x /a", "- b.x,c.x /a"]), tie);
    assert_eq!(conflicts(&["- - /a when 1", "- - /a when 2"]), tie);
    assert_eq!(conflicts(&["- - ~/a/.*", "- - ~/a/b.*"]), tie);
    assert_eq!(conflicts(&["- - /caf%c3%a9", "- - /caf\u{e9}"]), tie);
}

#[test]
fn near_twins_of_ties_are_not() {
    matcher(&["- - /a", "- - /a/"]);
    matcher(&["- - /a", "- - /A"]);
    matcher(&["GET - /a", "PUT - /a"]);
    matcher(&["GET - /a", "HEAD - /a"]);
    matcher(&["- a.x /a", "- b.x /a"]);
    matcher(&["- - /a when 1", "- - /a when 2 priority 1"]);
    matcher(&["- - ~/a/.*", "- - ~/b/.*"]);
    matcher(&["- - ~/a/.*", "- - ~/a/b.* priority 1"]);
    matcher(&["- a.x,A.x /a"]);
    let excluding =
        [0, 1].map(|excludes| RouteSpec { condition: Some(Bits { needs: 1, excludes }), ..route("- - /a") });
    assert!(Matcher::build(excluding.into()).is_ok());
}

#[test]
fn a_route_that_can_never_match_is_refused() {
    let shadowed = vec![Conflict::Shadowed { route: 1, by: 0 }];
    assert_eq!(conflicts(&["- - /a priority 1", "- - /a"]), shadowed);
    assert_eq!(conflicts(&["- - /a priority 1", "GET - /a"]), shadowed);
    assert_eq!(conflicts(&["GET - /a priority 1", "HEAD - /a"]), shadowed);
    assert_eq!(conflicts(&["- - /a when 1 priority 1", "- - /a when 1"]), shadowed);
    assert_eq!(conflicts(&["- - ~/a.* priority 1", "- - ~/a.*"]), shadowed);
    assert_eq!(
        conflicts(&["GET - /a priority 1", "PUT - /a priority 2", "GET|PUT - /a"]),
        vec![Conflict::Shadowed { route: 2, by: 0 }]
    );
    matcher(&["GET - /a priority 1", "- - /a"]);
    matcher(&["- a.x /a priority 1", "- a.x,b.x /a"]);
    matcher(&["GET - /a priority 1", "GET|PUT - /a"]);
}

#[test]
fn explain_says_what_decided() {
    let matcher = matcher(&[
        "- shop.example.com /orders/{id}",
        "- *.example.com /orders/**",
        "- *.com /**",
        "- - /orders/new",
        "- - /orders/{id}",
        "- - /orders/**",
        "- - ~/orders/n.*",
        "GET - /m",
        "- - /m",
        "GET - /m when 1",
        "GET - /m priority -1 when 2",
        "GET - /h",
        "HEAD - /h",
        "OPTIONS - /**",
    ]);
    let reason = |method: &str, host: &str, path: &str, bits: u8| {
        let told = matcher.explain(&lookup(method, host, path), |c| c.needs & !bits == 0);
        told.reason.map_or(String::new(), |reason| reason.to_string())
    };
    assert_eq!(
        reason("GET", "shop.example.com", "/orders/new", 0),
        "exact host `shop.example.com` beats wildcard `*.example.com`"
    );
    assert_eq!(reason("GET", "a.example.com", "/orders/new", 0), "longer wildcard `*.example.com` beats `*.com`");
    assert_eq!(reason("GET", "a.com", "/orders/new", 0), "host `*.com` beats no host");
    assert_eq!(reason("GET", "x", "/orders/new", 0), "literal segment `new` beats parameter `{id}`");
    assert_eq!(reason("GET", "x", "/orders/1", 0), "parameter `{id}` beats `**`");
    assert_eq!(reason("GET", "x", "/orders/n/1", 0), "a plain pattern beats a regular expression");
    assert_eq!(reason("OPTIONS", "x", "/orders/q/1", 0), "literal segment `orders` beats `**`");
    assert_eq!(reason("GET", "x", "/m", 0), "a named method beats none");
    assert_eq!(reason("GET", "x", "/m", 1), "more conditions: 1 beat 0");
    assert_eq!(reason("GET", "x", "/m", 3), "priority 0 beats -1");
    assert_eq!(reason("HEAD", "x", "/h", 0), "`HEAD` by name beats `GET`, which serves it too");
    assert_eq!(reason("GET", "x", "/h", 0), "");
    let told = matcher.explain(&lookup("GET", "x", "/m"), |c| c.needs == 2);
    assert_eq!(told.matching, [10, 7, 8]);
    assert_eq!(told.missed, [(9, Miss::Condition), (13, Miss::Method)]);
    let preflight = Lookup { preflight_for: Some(b"GET"), ..lookup("OPTIONS", "x", "/m") };
    let told = matcher.explain(&preflight, |_| false);
    assert_eq!(told.matching, [13, 7, 8]);
    assert_eq!(told.reason, Some(Reason::OptionsByName));
}

#[test]
fn ten_thousand_routes_answer_like_one() {
    let lines: Vec<String> = (0..10_000).map(|n| format!("GET h{}.example /api/v1/things{n}/{{id}}", n % 7)).collect();
    let matcher = Matcher::build(lines.iter().map(|line| route(line)).collect()).unwrap();
    assert_eq!(ask(&matcher, "GET h1.example /api/v1/things8/5", 0), "8");
    assert_eq!(ask(&matcher, "GET h0.example /api/v1/things9996/5", 0), "9996");
    assert_eq!(ask(&matcher, "GET h0.example /api/v1/things8/5", 0), "404");
    assert_eq!(ask(&matcher, "PUT h1.example /api/v1/things8/5", 0), "405 GET, HEAD");
}
