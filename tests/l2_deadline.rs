//! L2: how much time is left is told by callers, and to services, in a header of their choice.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::recorder::Taken;
use tollgate_testkit::{Gateway, Recorder, Script, Step, strict};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn gateway(to: &Recorder, top: &str, service: &str, route: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n{top}\
         services: {{ s: {{ to: \"{}\", {service} }} }}\nroutes: {{ /**: {{ to: s, {route} }} }}\n",
        to.address()
    );
    Gateway::start(TOLLGATE, &config, &[])
}

/// What each request said of the time that is left.
fn told(backend: &Recorder) -> Vec<f64> {
    let all = backend.recorded();
    let requests = all.iter().flat_map(|c| strict::requests(&c.bytes).unwrap().0);
    requests.map(|request| request.one("x-left").unwrap().parse().unwrap()).collect()
}

fn ask(gateway: &Gateway, fields: &str) -> u16 {
    gateway.client().call(&format!("GET /a HTTP/1.1\r\nHost: g\r\n{fields}\r\n")).status
}

#[test]
fn services_are_told_what_is_left_whether_or_not_the_caller_said_anything() {
    let backend = Recorder::start();
    let gateway = gateway(&backend, "", "", "timeout: 10s, deadline: X-Left");
    assert_eq!(ask(&gateway, ""), 200);
    assert_eq!(ask(&gateway, "X-Left: 2000\r\n"), 200);
    assert_eq!(ask(&gateway, "x-left: 60000\r\n"), 200);
    assert_eq!(ask(&gateway, "X-Left: soon\r\n"), 200);
    let told = told(&backend);
    assert!((9000.0..=10_000.0).contains(&told[0]), "{told:?}");
    assert!((1000.0..=2000.0).contains(&told[1]), "{told:?}");
    assert!((9000.0..=10_000.0).contains(&told[2]), "a caller never gets more than the route allows: {told:?}");
    assert!((9000.0..=10_000.0).contains(&told[3]), "{told:?}");
}

#[test]
fn a_callers_time_ends_the_wait_and_says_nothing_of_the_instance() {
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let deadline = "timeout: 20s, deadline: { header: X-Left, unit: s }";
    let gateway = gateway(&silent, "", "breaker: { consecutive: 1 }, outlier: { consecutive: 1 }", deadline);
    let (status, took) = timed(|| ask(&gateway, "X-Left: 0.3\r\n"));
    assert_eq!(status, 504);
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(8), "{took:?}");
    assert!(told(&silent)[0] <= 0.3);
    assert_eq!(gateway.status()["services"][0]["breaker"]["state"], "closed");
    assert_eq!(gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}"), 0.0);
}

#[test]
fn each_attempt_is_told_what_is_left_by_then() {
    // The first try takes as long as it may.
    let backend = Recorder::answering(|taken: &Taken| match taken.number {
        0 => Script(vec![Step::ReadRequest, Step::Silence]),
        _ => Script::ok(taken, "well"),
    });
    let gateway = gateway(&backend, "", "try_timeout: 300ms", "timeout: 20s, deadline: X-Left");
    assert_eq!(ask(&gateway, "X-Left: 5000\r\n"), 200);
    let told = told(&backend);
    assert!(told[1] <= told[0] - 300.0, "{told:?}");
}

#[test]
fn whose_word_does_not_count_is_not_heard_and_not_quoted() {
    for accept in ["never", "trusted"] {
        let backend = Recorder::start();
        let route = format!("timeout: 10s, deadline: {{ header: X-Left, accept: {accept} }}");
        let gateway = gateway(&backend, "", "", &route);
        assert_eq!(ask(&gateway, "X-Left: 1\r\n"), 200);
        assert!(told(&backend)[0] > 9000.0);
    }
    let backend = Recorder::start();
    let route = "timeout: 10s, deadline: { header: X-Left, accept: trusted }";
    let gateway = gateway(&backend, "trust: { proxies: 127.0.0.1 }\n", "", route);
    assert_eq!(ask(&gateway, "X-Left: 3000\r\n"), 200);
    assert!(told(&backend)[0] <= 3000.0, "a proxy that is trusted");
}
