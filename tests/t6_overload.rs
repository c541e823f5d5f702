//! T6: a gateway at the end of what it may use refuses what matters least, and tells how it is all the same.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use serde_json::Value;
use tollgate_testkit::{Gateway, RawClient, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const ROUTES: &str = "routes:\n  /critical: { reply: 200 ok, criticality: critical }\n  /high: { reply: 200 ok, criticality: high }\n  \
     /normal: { reply: 200 ok }\n  /low: { reply: 200 ok, criticality: low }\n  \
     /told: { reply: 200 ok, criticality: { default: low, when: [{ if: 'header(\"X-Shop\") == \"1\"', then: high }] } }\n";

fn config(overload: &str) -> String {
    format!("listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n{overload}{ROUTES}")
}

fn level(of: &str) -> String {
    format!("tollgate_overload_level{{resource=\"{of}\"}}")
}

fn is_shed(answer: &Response) -> bool {
    let is_told = |slug: &str| {
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        problem["type"] == format!("urn:tollgate:problem:{slug}") && answer.one("retry-after").as_deref() == Some("1")
    };
    answer.status == 503 && is_told("gateway/overloaded")
}

/// How many of so many requests are served.
fn served(gateway: &Gateway, path: &str, times: usize) -> usize {
    let mut client = gateway.client();
    (0..times).filter(|_| client.get(path).status == 200).count()
}

#[test]
fn without_memory_nothing_is_served_and_its_state_is_told() {
    let gateway = Gateway::start(TOLLGATE, &config(""), &[]);
    assert_eq!(served(&gateway, "/low", 5), 5);
    gateway.reload(&config("overload: { memory: 1MiB }\n"), &[]);
    wait_until("the workers know", || is_shed(&gateway.client().get("/critical")));
    for path in ["/critical", "/high", "/normal", "/low", "/told"] {
        assert!(is_shed(&gateway.client().get(path)), "{path}");
    }
    assert_eq!(gateway.health("/health/live").status, 200);
    assert!(gateway.metric(&level("memory")) > 1.0);
    assert!(gateway.status()["overload"]["memory"].as_f64().is_some_and(|used| used > 1.0));
    assert!(gateway.metric("tollgate_gateway_shed_total{criticality=\"critical\"}") >= 1.0);
    gateway.reload(&config("overload: { memory: 100GiB }\n"), &[]);
    wait_until("there is room", || gateway.client().get("/low").status == 200);
    assert_eq!(gateway.status()["overload"]["files"], Value::Null, "nobody looks");
}

#[test]
fn what_matters_least_is_refused_first() {
    // Of descriptors, a test can take as many as it wants.
    let gateway = Gateway::start(TOLLGATE, &config(""), &[]);
    let most = gateway.metric("process_max_fds");
    let share = (3_000_000.0 / most).ceil().max(1.0) as u32;
    let allowed = most * f64::from(share) / 10_000.0;
    let (whole, rest) = (share / 100, share % 100);
    gateway.reload(&config(&format!("overload: {{ files: {whole}.{rest:02}% }}\n")), &[]);
    let mut idle: Vec<RawClient> = Vec::new();
    let fill = |idle: &mut Vec<RawClient>, part: f64| {
        while gateway.metric("process_open_fds") < allowed * part {
            idle.push(gateway.client());
        }
        gateway.await_metric(&level("files"), |level| level >= part);
    };
    fill(&mut idle, 0.91);
    wait_until("the workers know", || served(&gateway, "/low", 20) == 0);
    assert_eq!((served(&gateway, "/high", 20), served(&gateway, "/critical", 20)), (20, 20));
    assert!(served(&gateway, "/normal", 50) > 10, "of those, only some");
    let told =
        |shop: &str| gateway.client().call(&format!("GET /told HTTP/1.1\r\nHost: g\r\nX-Shop: {shop}\r\n\r\n")).status;
    assert_eq!((told("1"), told("0")), (200, 503), "a policy says what each of them is");
    fill(&mut idle, 1.02);
    wait_until("nothing is served", || served(&gateway, "/critical", 20) == 0);
    assert_eq!(gateway.health("/health/ready").status, 200);
    idle.clear();
    wait_until("there is room", || served(&gateway, "/low", 20) == 20);
}

#[test]
fn workers_that_come_too_late_refuse_until_they_are_in_time() {
    let gateway = Gateway::start(TOLLGATE, &config("overload: { lag: 300ms }\n"), &[]);
    wait_until("the workers are in time", || served(&gateway, "/low", 10) == 10);
    let mut client = gateway.client();
    gateway.freeze();
    // It does nothing meanwhile, and finds that out first of all.
    wait_until("a second is over", {
        let mut looks = 0;
        move || {
            looks += 1;
            looks > 600
        }
    });
    gateway.thaw();
    wait_until("a worker is late", || {
        is_shed(&client.get("/low")) || gateway.metric("tollgate_gateway_shed_total{criticality=\"low\"}") > 0.0
    });
    wait_until("it is in time again", || served(&gateway, "/low", 20) == 20);
}
