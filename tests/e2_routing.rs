//! E2: which route a request takes, what becomes of its path, and which routes are refused.

use tollgate_testkit::recorder::Taken;
use tollgate_testkit::{Cli, Gateway, RawClient, Recorder, Response, Script};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A gateway with these sections beside its listeners.
fn gateway(sections: &str, backends: &[(&str, &Recorder)]) -> Gateway {
    let config = format!("listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n{sections}");
    let values: Vec<(&str, String)> = backends.iter().map(|(name, b)| (*name, b.address().to_string())).collect();
    Gateway::start(TOLLGATE, &config, &values)
}

/// A backend that answers with the target it was asked for.
fn mirror() -> Recorder {
    Recorder::answering(|taken: &Taken| Script::ok(taken, &taken.target))
}

/// Asks with this method and these further fields (each with its line end).
fn ask(client: &mut RawClient, method: &str, target: &str, fields: &str) -> Response {
    client.call(&format!("{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n{fields}\r\n"))
}

fn from_host(client: &mut RawClient, host: &str, target: &str) -> String {
    client.call(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).text()
}

#[test]
fn an_exact_host_beats_a_wildcard_and_a_wildcard_beats_none() {
    let gateway = gateway(
        r#"
apis:
  exact: { hosts: [Shop.Example.com, "[::1]"], routes: { /a: { reply: 200 exact } } }
  below: { hosts: ["*.example.com"], routes: { /a: { reply: 200 wildcard }, /b: { reply: 200 wildcard } } }
  deeper: { hosts: ["*.eu.example.com"], routes: { /a: { reply: 200 longer } } }
routes: { /a: { reply: 200 any }, /b: { reply: 200 any }, /c: { reply: 200 any } }
"#,
        &[],
    );
    let mut client = gateway.client();
    for (host, target, expected) in [
        ("shop.example.com", "/a", "exact"),
        ("SHOP.example.COM:8080", "/a", "exact"),
        ("shop.example.com.", "/a", "exact"),
        ("[::1]:8080", "/a", "exact"),
        ("other.example.com", "/a", "wildcard"),
        ("Other.Example.Com:81", "/a", "wildcard"),
        ("x.y.example.com", "/a", "wildcard"),
        ("x.eu.example.com", "/a", "longer"),
        ("x.eu.example.com", "/b", "wildcard"),
        ("shop.example.com", "/b", "wildcard"),
        ("shop.example.com", "/c", "any"),
        ("example.com", "/a", "any"),
        ("myexample.com", "/a", "any"),
        ("127.0.0.1:80", "/a", "any"),
    ] {
        assert_eq!(from_host(&mut client, host, target), expected, "{host} {target}");
    }
}

#[test]
fn the_host_of_an_absolute_target_counts() {
    let api = "apis: { shop: { hosts: [shop.example.com], routes: { /a: { reply: 200 shop } } } }";
    let gateway = gateway(api, &[]);
    let mut client = gateway.client();
    let request = "GET http://shop.example.com/a HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    assert_eq!(client.call(request).text(), "shop");
    assert_eq!(client.get("/a").status, 404);
}

#[test]
fn a_literal_beats_a_parameter_and_a_parameter_beats_all_below() {
    let gateway = gateway(
        r#"
routes:
  /x/**: { reply: 200 below }
  /x/{a}/**: { reply: 200 below-parameter }
  /x/{a}/end: { reply: 200 parameter }
  /x/literal/end: { reply: 200 literal }
  /x/literal/{b}/deep: { reply: 200 deep }
  ~/x/[0-9]+/end: { reply: 200 regex-loses, priority: 9 }
  /y/{a}: { reply: 200 one }
"#,
        &[],
    );
    let mut client = gateway.client();
    for (target, expected) in [
        ("/x", "below"),
        ("/x/", "below"),
        ("/x/1", "below-parameter"),
        ("/x/1/end", "parameter"),
        ("/x/1/other", "below-parameter"),
        ("/x/literal/end", "literal"),
        ("/x/literal/end?q=/x/1", "literal"),
        ("/x/literal/z", "below-parameter"),
        ("/x/literal/z/deep", "deep"),
        ("/x/literal/z/deeper", "below-parameter"),
        ("/y/1", "one"),
    ] {
        assert_eq!(client.get(target).text(), expected, "{target}");
    }
    for target in ["/y", "/y/", "/y/1/", "/y/1/2", "/X/1", "/"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
}

#[test]
fn a_method_decides_and_get_serves_head() {
    let gateway = gateway(
        r#"
routes:
  GET /m: { reply: 200 get }
  POST,PUT /m: { reply: 200 post }
  /n: { reply: 200 all }
  GET /n: { reply: 200 named }
  GET /h: { reply: 200 get }
  HEAD /h: { reply: { status: 202 } }
  M-SEARCH /own: { reply: 200 own }
"#,
        &[],
    );
    let mut client = gateway.client();
    for (method, target, expected) in [
        ("GET", "/m", "get"),
        ("PUT", "/m", "post"),
        ("GET", "/n", "named"),
        ("DELETE", "/n", "all"),
        ("M-SEARCH", "/own", "own"),
    ] {
        assert_eq!(ask(&mut client, method, target, "").text(), expected, "{method} {target}");
    }
    let head = ask(&mut client, "HEAD", "/m", "");
    assert_eq!((head.status, head.one("content-length").as_deref(), head.content.body.len()), (200, Some("3"), 0));
    assert_eq!(ask(&mut client, "HEAD", "/h", "").status, 202);
    for (method, target, allow) in
        [("DELETE", "/m", "GET, HEAD, POST, PUT"), ("get", "/m", "GET, HEAD, POST, PUT"), ("GET", "/own", "M-SEARCH")]
    {
        let refused = ask(&mut client, method, target, "");
        assert_eq!((refused.status, refused.one("allow").as_deref()), (405, Some(allow)), "{method} {target}");
    }
    assert_eq!(ask(&mut client, "DELETE", "/nowhere", "").all("allow"), Vec::<String>::new());
}

#[test]
fn a_preflight_matches_by_the_method_it_asks_for() {
    let gateway = gateway("routes: { GET /p: { reply: 200 get }, POST /p: { reply: 200 post } }", &[]);
    let mut client = gateway.client();
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    assert_eq!(ask(&mut client, "OPTIONS", "/p", preflight).text(), "post");
    assert_eq!(ask(&mut client, "OPTIONS", "/p", "").status, 405);
}

#[test]
fn conditions_choose_by_what_a_request_brings() {
    let gateway = gateway(
        r#"
routes:
  /c:
    - { when: 'header("X-Beta") == "1"', reply: 200 header }
    - { when: ['query("v") == "2"', 'has_header("X-New")'], reply: 200 two-conditions }
    - { when: 'query("v") == "2"', priority: -1, reply: 200 query }
    - { when: 'cookie("session").startsWith("ab")', priority: -2, reply: 200 cookie }
    - { when: 'request.method in ["PUT", "PATCH"]', priority: -3, reply: 200 method }
    - { priority: -4, reply: 200 nothing }
  /near: { when: 'ip_in("127.0.0.0/8")', reply: 200 near }
  /far: { when: 'ip_in("192.0.2.0/24")', reply: 200 far }
"#,
        &[],
    );
    let mut client = gateway.client();
    for (method, target, fields, expected) in [
        ("GET", "/c", "", "nothing"),
        ("GET", "/c", "x-beta: 1\r\n", "header"),
        ("GET", "/c", "X-Beta: 2\r\n", "nothing"),
        ("GET", "/c?v=2", "", "query"),
        ("GET", "/c?a=1&v=%32", "", "query"),
        ("GET", "/c?v=2", "X-New: \r\n", "two-conditions"),
        ("GET", "/c?v=2", "X-New: a\r\nX-Beta: 1\r\n", "two-conditions"),
        ("GET", "/c?v=2", "X-Beta: 1\r\n", "header"),
        ("GET", "/c", "Cookie: a=b; session=abc\r\n", "cookie"),
        ("GET", "/c", "Cookie: session=xab\r\n", "nothing"),
        ("PATCH", "/c", "", "method"),
        ("GET", "/near", "", "near"),
    ] {
        assert_eq!(ask(&mut client, method, target, fields).text(), expected, "{method} {target} {fields}");
    }
    assert_eq!(client.get("/far").status, 404);
}

#[test]
fn a_regex_matches_the_whole_path_and_loses_against_a_plain_pattern() {
    let backend = mirror();
    let routes = r#"
routes:
  ~/files/[0-9]+: { reply: 200 regex }
  /files/7: { reply: 200 plain }
  ~/v(?P<major>[0-9]+)/(?P<name>[a-z]+): { to: "{{backend}}", rewrite: "/{name}/{major}" }
"#;
    let gateway = gateway(routes, &[("backend", &backend)]);
    let mut client = gateway.client();
    assert_eq!(client.get("/files/12").text(), "regex");
    assert_eq!(client.get("/files/7").text(), "plain");
    assert_eq!(client.get("/v12/abc?q=1").text(), "/abc/12?q=1");
    for target in ["/files/12x", "/x/files/12", "/files/", "/v1/a/b"] {
        assert_eq!(client.get(target).status, 404, "{target}");
    }
}

#[test]
fn a_redirect_fills_in_what_the_request_brought() {
    let gateway = gateway(
        r#"
routes:
  /shop/**: { redirect: "/orders/{**}" }
  /old/{id}: { redirect: "301 /new/{id}" }
  /secure/**: { redirect: "https://{host}/{**}{query}" }
  /see: { redirect: { to: "https://example.com/a?b=c", status: 303 } }
"#,
        &[],
    );
    let mut client = gateway.client();
    for (target, status, location) in [
        ("/shop/a/b?x=1", 308, "/orders/a/b"),
        ("/old/7%2F8", 301, "/new/7%2F8"),
        ("/secure/a/?x=1&y", 308, "https://gateway.test/a/?x=1&y"),
        ("/secure/a", 308, "https://gateway.test/a"),
        ("/see", 303, "https://example.com/a?b=c"),
    ] {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.one("location").as_deref()), (status, Some(location)), "{target}");
        assert!(answer.content.body.is_empty());
    }
}

#[test]
fn a_redirect_never_leads_to_a_host_of_the_clients_choice() {
    let gateway = gateway("routes: { /r/**: { redirect: \"/{**}\" } }", &[]);
    let mut client = gateway.client();
    for target in ["/r//evil.example/x", "/r/%2F/evil.example", "/r/%2Fevil.example", "/r/%5Cevil.example"] {
        let answer = client.get(target);
        let location = answer.one("location").unwrap_or_default();
        assert!(!location.starts_with("//") && !location.contains('\\'), "{target}: {location}");
    }
}

#[test]
fn a_static_reply_is_what_the_file_says() {
    let gateway = gateway(
        r#"
routes:
  /text: { reply: 200 some text }
  /json: { reply: { status: 418, type: application/json, body: '{"a":1}', headers: { X-A: b, Cache-Control: no-store } } }
  /nothing: { reply: 204 }
  /empty: { reply: { headers: { X-A: b } } }
"#,
        &[],
    );
    let mut client = gateway.client();
    let text = client.get("/text");
    assert_eq!((text.status, text.text().as_str()), (200, "some text"));
    assert_eq!(text.one("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    let json = client.get("/json");
    assert_eq!((json.status, json.text().as_str()), (418, "{\"a\":1}"));
    assert_eq!(json.one("content-type").as_deref(), Some("application/json"));
    assert_eq!((json.one("x-a").as_deref(), json.one("cache-control").as_deref()), (Some("b"), Some("no-store")));
    assert_eq!(client.get("/nothing").status, 204);
    let empty = client.get("/empty");
    assert_eq!((empty.status, empty.one("content-length").as_deref()), (200, Some("0")));
    assert_eq!((empty.one("x-a").as_deref(), empty.all("content-type").len()), (Some("b"), 0));
}

#[test]
fn a_split_gives_each_service_nearly_its_share() {
    let [stable, canary] = ["stable", "canary"].map(|name| Recorder::answering(move |taken| Script::ok(taken, name)));
    let sections = r#"
log: { access: off }
services: { stable: "{{stable}}", canary: "{{canary}}" }
routes: { /**: { to: { stable: 75%, canary: 25% } } }
"#;
    let gateway = gateway(sections, &[("stable", &stable), ("canary", &canary)]);
    let mut client = gateway.client();
    let total = 2000;
    let canaries = (0..total).filter(|n| client.get(&format!("/{n}")).text() == "canary").count();
    // Five standard deviations of a fair draw.
    assert!((403..=597).contains(&canaries), "{canaries} of {total}");
}

#[test]
fn routes_that_tie_are_refused_and_both_are_shown() {
    let cli = Cli::with(TOLLGATE, "listen: 1\nroutes:\n  /a/{x}: { reply: 204 }\n  /a/{y}: { reply: 204 }\n");
    let ran = cli.run(&["check"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("`/a/{y}` and `/a/{x}` can match the same request"), "{}", ran.err);
    assert!(ran.err.contains("tollgate.yaml:4:3") && ran.err.contains("/a/{x}: {"), "{}", ran.err);
    assert!(ran.err.contains("priority"), "{}", ran.err);
    cli.write(
        "tollgate.yaml",
        "listen: 1\nroutes:\n  /a/{x}: { reply: 204 }\n  /a/{y}: { reply: 204, priority: -1, when: \"ip == '::1'\" }\n",
    );
    assert_eq!(cli.run(&["check"]).code, 0);
}

#[test]
fn a_route_that_can_never_match_is_refused() {
    let cli = Cli::with(TOLLGATE, "listen: 1\nroutes:\n  /a:\n  - { reply: 204 }\n  - { reply: 200, priority: -1 }\n");
    let ran = cli.run(&["check"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("can never match: `/a` takes all its requests"), "{}", ran.err);
    assert!(ran.err.contains("tollgate.yaml:"), "{}", ran.err);
}

#[test]
fn ten_thousand_routes_load_and_all_answer() {
    let mut sections = "log: { access: off }\nroutes:\n".to_owned();
    for n in 0..10_000 {
        sections += &format!("  /area{}/item{n}/{{id}}: {{ reply: 200 route {n} }}\n", n % 100);
    }
    let gateway = gateway(&sections, &[]);
    let mut client = gateway.client();
    for n in [0, 1, 4711, 9998, 9999] {
        assert_eq!(client.get(&format!("/area{}/item{n}/x", n % 100)).text(), format!("route {n}"));
    }
    assert_eq!(client.get("/area1/item0/x").status, 404);
}
