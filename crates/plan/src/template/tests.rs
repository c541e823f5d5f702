//! What paths and targets become.

use proptest::prelude::*;
use tollgate_config::model::{Action, PathChange, Route};

use super::*;
use crate::matcher::{Lookup, Matcher, Outcome, RouteSpec};
use crate::testing::{exchange, loaded, shown};

/// The route of a config with just this one.
fn route(key: &str, rest: &str) -> Route {
    let text = format!("routes:\n  '{key}':\n    {rest}\n");
    loaded(&text).config.apis[0].routes[0].clone()
}

fn captures(pattern: &Pattern, path: &str) -> Captures {
    let spec = RouteSpec { hosts: vec![], methods: vec![], pattern: pattern.clone(), condition: None, priority: 0 };
    let matcher: Matcher<tollgate_expr::Condition> = Matcher::build(vec![spec]).unwrap();
    let lookup = Lookup { host: b"", path: path.as_bytes(), method: b"GET", preflight_for: None };
    match matcher.find(&lookup, |_| true) {
        Outcome::Found(found) => found.captures,
        other => panic!("{path} does not match {pattern}: {other:?}"),
    }
}

fn change(key: &str, how: &str) -> Result<(Pattern, PathPlan), Diagnostic> {
    let route = route(key, &format!("to: 127.0.0.1:1\n    {how}"));
    let Action::Forward { path: Some(change), .. } = &route.action else { panic!("{route:?}") };
    let change: &PathChange = change;
    let pattern = Pattern::parse(route.path.value.as_str()).unwrap();
    PathPlan::compile(change, &pattern, &route.path.span).map(|plan| (pattern, plan))
}

/// What a path becomes; `Err`: it is refused.
fn changed(key: &str, how: &str, path: &str) -> Result<String, PathError> {
    let (pattern, plan) = change(key, how).unwrap();
    let captures = captures(&pattern, path);
    let mut out = b"GET ".to_vec();
    plan.write(path, &captures, &mut out);
    assert_eq!(&*path::normalised(&out[4..]).unwrap(), &out[4..], "{key} {how} {path}");
    plan.check(path, &captures).map(|()| String::from_utf8(out[4..].to_vec()).unwrap())
}

fn redirect(key: &str, to: &str) -> Result<(Pattern, TargetPlan), Diagnostic> {
    let route = route(key, &format!("redirect: '{to}'"));
    let Action::Redirect(redirect) = &route.action else { panic!("{route:?}") };
    let pattern = Pattern::parse(route.path.value.as_str()).unwrap();
    TargetPlan::compile(&redirect.to, &pattern).map(|plan| (pattern, plan))
}

fn redirected(key: &str, to: &str, lines: &[&str]) -> String {
    let (pattern, plan) = redirect(key, to).unwrap();
    let x = exchange(lines);
    let mut out = Vec::new();
    plan.write(&x.head, &captures(&pattern, x.head.path()), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_stripped_path_begins_with_what_follows_the_prefix() {
    for (path, expected) in [("/api", "/"), ("/api/", "/"), ("/api/a", "/a"), ("/api/a/b/", "/a/b/")] {
        assert_eq!(changed("/api/**", "strip: /api", path).unwrap(), expected);
    }
    assert_eq!(changed("/%61pi/{x}", "strip: /%61pi/", "/api/1").unwrap(), "/1");
}

#[test]
fn only_literal_segments_of_the_routes_own_path_can_be_stripped() {
    let mistake = change("~/api/v[12]/.*", "strip: /api").unwrap_err();
    assert_eq!(mistake.message, "a path that is a regular expression has no prefix that is always there");
    assert!(mistake.hint.unwrap().contains("rewrite"));
    assert_eq!(mistake.related.len(), 1);
    let pattern = Pattern::parse("/apis/{x}/y").unwrap();
    assert!(pattern.begins_with(b"/apis"));
    for wrong in ["/api", "/apis/x", "/apis/x/y", "/other"] {
        assert!(!pattern.begins_with(wrong.as_bytes()), "{wrong}");
    }
}

#[test]
fn a_rewritten_path_is_filled_from_the_captures() {
    let rewritten = |key, to: &str, path| changed(key, &format!("rewrite: '{to}'"), path).unwrap();
    assert_eq!(rewritten("/a/{x}/{y}", "/{y}/q/{x}", "/a/1/2"), "/2/q/1");
    assert_eq!(rewritten("/a/{x}", "/v2/{x}.json", "/a/1"), "/v2/1.json");
    assert_eq!(rewritten("/a/{x}", "/fixed", "/a/1"), "/fixed");
    assert_eq!(rewritten("/a/{x}", "/b/../%7Ec//d/{x}", "/a/%2F"), "/~c/d/%2F");
    assert_eq!(rewritten("~/a(/(?<x>[a-z]+))?/(?<y>[0-9]+)", "/{x}/{y}", "/a/1"), "/1");
    assert_eq!(rewritten("/a/**", "/b/{**}/c", "/a"), "/b/c");
    assert_eq!(rewritten("/a/**", "/b/{**}/c", "/a/x/y"), "/b/x/y/c");
}

#[test]
fn a_rest_at_the_end_keeps_the_slash_that_the_request_has() {
    for (path, expected) in [("/a", "/b"), ("/a/", "/b/"), ("/a/c", "/b/c"), ("/a/c/", "/b/c/")] {
        assert_eq!(changed("/a/**", "rewrite: '/b/{**}'", path).unwrap(), expected);
    }
    for (path, expected) in [("/a", "/"), ("/a/", "/"), ("/a/c", "/c")] {
        assert_eq!(changed("/a/**", "rewrite: '/{**}'", path).unwrap(), expected);
    }
}

#[test]
fn what_meets_in_a_segment_cannot_make_dots_or_encodings() {
    let refused = |key, to: &str, path| changed(key, &format!("rewrite: '{to}'"), path).unwrap_err();
    assert_eq!(refused("/a/{x}", "/b/{x}.", "/a/b%2F"), PathError::HiddenDots);
    assert_eq!(refused("/a/{x}/{y}", "/b/{x}{y}", "/a/%25/2e"), PathError::HiddenDots);
    assert_eq!(refused("~/x(?<d>[.]+)y", "/{d}", "/x..y"), PathError::AboveRoot);
    assert_eq!(refused("~/a/(?<p>..).*", "/b/{p}", "/a/%2Fb"), PathError::Encoding);
}

#[test]
fn a_template_that_is_never_a_path_is_refused_at_once() {
    let mistake = |to: &str| shown(&change("/a/{id}/**", &format!("rewrite: '{to}'")).unwrap_err());
    assert_eq!(mistake("/x/{di}"), "4:18 the route's path has no `{di}` (did you mean `{id}`?)");
    assert_eq!(mistake("/x/{foo}"), "4:18 the route's path has no `{foo}` (it has `{id}`)");
    assert!(mistake("/{id}/../..").contains("leads above its root"));
    assert!(mistake("/x/%00/{id}.json").contains("control character"));
    assert!(mistake("/x/%zz/{id}").starts_with("4:15 no request can be sent to this path"));
    let none = change("/a", "rewrite: '/b/{**}'").unwrap_err();
    assert_eq!(shown(&none), "4:18 `{**}` has nothing to stand for (the route's path would have to end in `/**`)");
}

#[test]
fn a_redirect_is_filled_from_the_whole_head() {
    let host = "Host: Shop.example.com:8080";
    let to = |key, to, target: &str| redirected(key, to, &[&format!("GET {target}"), host]);
    assert_eq!(to("/a/{x}", "https://{host}/b/{x}{query}", "/a/1?p=2"), "https://Shop.example.com/b/1?p=2");
    assert_eq!(to("/a/{x}", "https://{host}/b/{x}{query}", "/a/1"), "https://Shop.example.com/b/1");
    assert_eq!(to("/**", "https://{host}/{**}{query}", "/?a"), "https://Shop.example.com/?a");
    assert_eq!(to("/**", "https://www.{host}:8443/{**}", "/a/b/"), "https://www.Shop.example.com:8443/a/b/");
    assert_eq!(to("/a/**", "/b/{**}", "/a"), "/b");
    assert_eq!(to("/a/**", "/{**}{query}", "/a?x"), "/?x");
}

#[test]
fn a_redirect_leads_to_no_host_that_the_path_names() {
    let host = "Host: h";
    assert_eq!(redirected("~(?<all>/.*)", "/{all}", &["GET /evil.example/", host]), "/evil.example/");
    assert_eq!(redirected("~/a(/(?<x>b))?/(?<y>.*)", "/{x}/{y}", &["GET /a/evil.example", host]), "/evil.example");
    for to in ["https://example.com{x}", "https://{x}.example.com/", "https://{host}{x}"] {
        assert!(redirect("/{x}", to).unwrap_err().message.contains("cannot choose the host"), "{to}");
    }
    assert_eq!(redirected("/**", "https://{host}/x/{**}", &["GET /a"]), "/x/a", "HTTP/1.0 without a host");
}

proptest! {
    /// Whatever a client sends: the value of `Location` stays one line, the path one path.
    #[test]
    fn nothing_that_is_filled_in_breaks_a_line(raw in proptest::collection::vec(any::<u8>(), 0..24), query in "[!-~]{0,8}") {
        let encoded: String = raw.iter().map(|byte| format!("%{byte:02X}")).collect();
        let Ok(normal) = path::normalised(format!("/a/{encoded}").as_bytes()).map(|p| String::from_utf8(p.into_owned()).unwrap()) else {
            return Ok(());
        };
        prop_assume!(!query.contains('#') && normal.starts_with("/a/"));
        let lines = [&*format!("GET {normal}?{query}"), "Host: h"];
        let location = redirected("/a/**", "https://{host}/{**}{query}", &lines);
        prop_assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{location}");
        let (pattern, plan) = change("~/a/(?<x>.*)", "rewrite: '/x/.{x}'").unwrap();
        let captures = captures(&pattern, &normal);
        let mut out = Vec::new();
        plan.write(&normal, &captures, &mut out);
        prop_assert_eq!(&*path::normalised(&out).unwrap(), &*out);
        prop_assert!(out.iter().all(u8::is_ascii_graphic));
    }
}
