//! E5: the `tests:` of a config are run through the real way of a request, and a config whose tests fail does not come into
//! force.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const SHOP: &str = r#"listen: 8080
trust: { proxies: [10.0.0.0/8] }
services:
  orders: { to: [orders-1.nowhere.invalid:8080, orders-2.nowhere.invalid:8080], host: orders.internal, health: GET /healthz every 1s }
  stock: 192.0.2.77:8080
defaults: { body: 100B }
apis:
  shop:
    hosts: [shop.example]
    routes:
      /orders/**: { to: orders, strip: /orders, headers: { request: { set: { X-Api: v2 } }, response: { set: { X-Served: yes } } } }
      POST /exports: orders
      /inline: 192.0.2.78:9000
      /split: { to: { orders: 50%, stock: 50% } }
      /beta: [ { when: 'header("X-Beta") == "1"', to: stock }, { reply: 204 } ]
      /office: [ { when: 'ip == "10.1.2.3"', reply: 201 }, { reply: 403 } ]
      /old/**: { redirect: '301 https://new.example/{**}' }
"#;

fn tests(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("  - {line}\n")).collect();
    format!("{SHOP}tests:\n  host: shop.example\n  headers: {{ X-Test: '1' }}\n  expect:\n{}", lines.concat())
}

#[test]
fn every_part_of_a_line_is_looked_at_and_nothing_is_sent() {
    let cli = Cli::with(
        TOLLGATE,
        &tests(&[
            "GET /orders/1 -> 200 from orders",
            "GET http://shop.example/orders/1?x=1 -> 2xx from orders",
            "GET http://other.example/orders/1 -> 404 route/not-found",
            "DELETE /exports -> 405 route/method-not-allowed",
            "POST /exports with 100B -> 200",
            "POST /exports with 101B -> 413",
            "GET /inline -> 200 from /inline",
            "GET /split -> 200 from orders",
            "GET /split -> 200 from stock",
            "GET /beta -> 204",
            "GET /old/a/b -> 301 to https://new.example/a/b",
            "GET /office from 10.1.2.3 -> 201",
            "GET /office -> 403",
            r"GET /a\b -> 400",
            "{ request: { url: /beta, headers: { X-Beta: '1' } }, expect: { from: stock } }",
            "{ request: { url: /orders/7?q=1 }, expect: { headers: { X-Served: 'yes' }, sent: { path: /7?q=1, host: orders.internal, headers: \
             { X-Api: v2, X-Test: '1', X-Forwarded-For: 192.0.2.1 } } } }",
        ]),
    );
    let ran = cli.run(&["test"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.ends_with("16 passed, 0 failed\n"), "{}", ran.out);
    assert!(ran.out.starts_with("ok    GET /orders/1\n"), "{}", ran.out);
}

#[test]
fn what_fails_is_told_with_its_place() {
    let cli = Cli::with(
        TOLLGATE,
        &tests(&[
            "GET /orders/1 -> 404 from stock",
            "GET /beta -> 204",
            "{ request: { url: /orders/7 }, expect: { headers: { X-Served: 'no' }, location: /x, problem: a/b, sent: { path: /8, host: h, \
             headers: { X-None: '1' } } } }",
            "{ request: { url: /beta }, expect: { status: 204, sent: { path: / } } }",
        ]),
    );
    let ran = cli.run(&["test"]);
    assert_eq!(ran.code, 1);
    let expected = "FAIL  GET /orders/1  (./tollgate.yaml:22:5)\n        the status is 200, not 404\n        the service is orders, not \
                    stock\n        it takes the route shop: /orders/**\n";
    assert!(ran.out.contains(expected), "{}", ran.out);
    for line in [
        "`X-Served` is yes, not no",
        "`Location` is missing, not /x",
        "the problem is none, not a/b",
        "the path is sent as /7, not /8",
        "`Host` is sent as orders.internal, not h",
        "`X-None` is sent as nothing, not 1",
        "nothing is sent to any service",
        "1 passed, 3 failed",
    ] {
        assert!(ran.out.contains(line), "{line}\n{}", ran.out);
    }
    let json: Value = serde_json::from_str(&cli.run(&["test", "--json"]).out).unwrap();
    assert_eq!((json["tests"][0]["passed"].as_bool(), json["tests"][1]["passed"].as_bool()), (Some(false), Some(true)));
}

#[test]
fn a_line_may_be_repeated_and_each_begins_to_count_anew() {
    let limited = |lines: &str| {
        format!(
            "listen: 8080\nroutes: {{ /a: {{ reply: 200, limit: 20/min per ip }}, /b: {{ reply: 200 }} }}\ntests:\n  expect:\n{lines}"
        )
    };
    let well = limited(
        "  - 21 x GET /a -> 1 x 429 limit/exceeded\n  - 20 x GET /a -> 200\n  - 3 x GET /b -> 0 x 429\n  \
         - { times: 25, request: { url: /a }, expect: { times: 20, status: 200 } }\n",
    );
    let ran = Cli::with(TOLLGATE, &well).run(&["test"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    assert!(ran.out.starts_with("ok    21 x GET /a\n") && ran.out.ends_with("4 passed, 0 failed\n"), "{}", ran.out);
    let ran = Cli::with(TOLLGATE, &limited("  - 23 x GET /a -> 1 x 429\n  - 21 x GET /a -> 200\n")).run(&["test"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("expected 1 such answers of 23, found 3: 20 x 200, 3 x 429"), "{}", ran.out);
    assert!(ran.out.contains("the status is 429, not 200 (request 21 of 21)"), "{}", ran.out);
}

#[test]
fn lines_that_are_no_tests_are_mistakes() {
    for (line, why) in [
        ("GET /a", "is no test"),
        ("GET /a -> 200 of orders", "is no test"),
        ("GET a -> 200", "`a` is neither a path nor a URL"),
        ("GET /a -> 700", "`700` is no status"),
        ("GET /a with much -> 200", "`much`"),
        ("GET /orders/1 -> 200 from order", "did you mean `orders`?"),
        ("GET /orders/1 as alice -> 200", "nobody is called `alice`"),
        ("GET /orders/1 with 5B with 6B -> 200", "is no test"),
        ("GET /orders/1 -> 200 from orders from stock", "is no test"),
        ("x GET /orders/1 -> 200", "is no test"),
        ("0 x GET /orders/1 -> 200", "a whole number in 1..=100000"),
        ("many x GET /orders/1 -> 200", "expected a whole number"),
    ] {
        let ran = Cli::with(TOLLGATE, &tests(&[line])).run(&["test"]);
        assert_eq!(ran.code, 2, "{line}: {}", ran.out);
        assert!(ran.err.contains(why) && ran.err.contains("tollgate.yaml:22:"), "{line}: {}", ran.err);
    }
    let ran = Cli::with(TOLLGATE, SHOP).run(&["test"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "no tests: write some under `tests`\n"));
}

#[test]
fn a_config_whose_tests_fail_does_not_come_into_force() {
    let config = |answer: u16| {
        format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nroutes: {{ /a: {{ reply: {answer} }} }}\ntests: {{ expect: \
             [GET /a -> 200] }}\n"
        )
    };
    let gateway = Gateway::start(TOLLGATE, &config(200), &[]);
    gateway.write_config(&config(204), &[]);
    let why = || gateway.status()["config"]["refused"]["why"].as_str().unwrap_or_default().to_owned();
    wait_until("it is refused", || why().contains("the test `GET /a` fails: the status is 204, not 200"));
    assert!(why().contains("tollgate.yaml:3:"), "{}", why());
    assert_eq!((gateway.revision(), gateway.client().get("/a").status), (1, 200));
    let text = std::fs::read_to_string(gateway.folder().join("tollgate.yaml")).unwrap();
    let ran = Cli::with(TOLLGATE, &text).run(&["run"]);
    assert_eq!(ran.code, 2, "nor does a gateway start with it");
    assert!(ran.err.contains("the test `GET /a` fails"), "{}", ran.err);
}

#[test]
fn whoever_is_said_to_call_is_known() {
    let config = r#"listen: 8080
auth: { idp: { issuer: "https://idp.nowhere.invalid", audience: orders } }
services: { orders: orders.nowhere.invalid:8080 }
defaults: { auth: idp }
routes:
  /orders/**: { to: orders, allow: [orders.read] }
  /admin: { reply: 204, allow: '"admin" in claims.roles && consumer == "shop"' }
  /open: { reply: 200 hello, auth: none }
tests:
  people:
    alice: { sub: alice, scope: orders.read orders.write, roles: [admin], azp: shop }
    bob: { sub: bob }
  expect:
  - GET /orders/1 -> 401 auth/missing
  - GET /orders/1 as alice -> 200 from orders
  - GET /orders/1 as bob -> 403 allow/scope
  - GET /admin as alice -> 204
  - GET /admin as bob from 10.0.0.1 -> 403 allow/denied
  - GET /open as bob -> 200
  - request: { url: /orders/1, as: alice }
    expect: { status: 2xx, from: orders }
"#;
    let cli = Cli::with(TOLLGATE, config);
    let ran = cli.run(&["test"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("ok    GET /orders/1 as alice\n"), "{ran:?}");
    let ran = cli.run(&["check"]);
    assert!(ran.out.contains("7 tests passed"), "{ran:?}");
}
