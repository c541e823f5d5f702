//! T6: a service that can do just so much is offered three times as much: what matters is served, and it stays at work.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::time::Duration;

use serde_json::Value;
use tollgate_testkit::Gateway;
use tollgate_testkit::load::{Fares, Kind, Legacy, Work};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// 200 requests a second; with 100 in its queue it does half.
const WORK: Work = Work { hands: 10, each: Duration::from_millis(50), slows: 100 };
const PATIENCE: Duration = Duration::from_secs(2);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// When the burst begins and ends, and when all does.
const BURST: (Duration, Duration) = (s(1), s(8));
const END: Duration = s(14);

fn gateway(legacy: &Legacy, service: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n\
         services: {{ legacy: {{ to: \"{{{{backend}}}}\"{service} }} }}\ndefaults: {{ timeout: 1s }}\nroutes:\n  \
         /high: {{ to: legacy, criticality: high }}\n  /normal: legacy\n  /low: {{ to: legacy, criticality: low }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[("backend", legacy.address().to_string())])
}

/// 600 a second in three kinds, between times in which little is asked.
fn offer(gateway: &Gateway) -> Fares {
    let kind = |name, rate, during| Kind { name, path: format!("/{name}"), rate, during };
    let kinds = [
        kind("high", 100, BURST),
        kind("normal", 200, BURST),
        kind("low", 300, BURST),
        kind("normal", 50, (Duration::ZERO, BURST.0)),
        kind("normal", 50, (BURST.1, END)),
    ];
    Fares::of(gateway.address(), &kinds, PATIENCE)
}

#[test]
fn what_matters_is_served_and_the_service_stays_at_work() {
    let legacy = Legacy::start(WORK);
    let gateway = gateway(&legacy, ", adaptive_concurrency: on");
    let fares = offer(&gateway);
    let high = fares.success("high", BURST.0, BURST.1);
    assert!(high >= 0.99, "{high}");
    let goodput = fares.goodput("", BURST.0 + s(1), BURST.1);
    assert!(goodput >= 0.9 * WORK.a_second(), "{goodput} a second");
    let after = fares.success("normal", BURST.1 + s(1), END);
    assert!(after >= 0.99, "a second after the burst all is well: {after}");
    assert!(fares.success("low", BURST.0 + s(1), BURST.1) < fares.success("normal", BURST.0 + s(1), BURST.1));
    let most = legacy.most_inside();
    assert!(most <= 60, "hardly anybody queues in the service: {most}");
    let shed =
        |word| gateway.metric(&format!("tollgate_service_shed_total{{service=\"legacy\",criticality=\"{word}\"}}"));
    assert!(shed("low") > shed("normal") && shed("normal") > 0.0 && shed("high") <= 7.0);
    assert_eq!(gateway.metric("tollgate_concurrency_in_flight{service=\"legacy\"}"), 0.0);
    let told = &gateway.status()["services"][0]["concurrency"];
    assert!(told["limit"].as_u64().is_some_and(|limit| (4..=100).contains(&limit)), "{told}");
}

#[test]
fn without_it_the_same_service_collapses() {
    let legacy = Legacy::start(WORK);
    let gateway = gateway(&legacy, "");
    let fares = offer(&gateway);
    let goodput = fares.goodput("", BURST.0 + s(4), BURST.1);
    assert!(goodput < 0.25 * WORK.a_second(), "{goodput} a second");
    assert!(fares.success("high", BURST.0 + s(3), BURST.1) < 0.25);
    assert!(fares.success("normal", BURST.1, BURST.1 + s(5)) < 0.25, "it has not recovered after 5 s");
    assert!(legacy.most_inside() > 1000, "all of it queues in the service");
}

#[test]
fn who_is_shed_is_told_and_a_long_answer_counts_for_nothing() {
    let legacy = Legacy::start(Work { hands: 1, each: Duration::from_millis(400), slows: u64::MAX });
    let limits = ", adaptive_concurrency: { min: 1, max: 1, queue: 1, wait: 5s }";
    let gateway = gateway(&legacy, limits);
    let at = |milliseconds| (Duration::from_millis(milliseconds), Duration::from_millis(milliseconds + 1));
    let kind = |name, milliseconds| Kind { name, path: format!("/{name}"), rate: 1, during: at(milliseconds) };
    // The first is sent, the second waits until it is put out by the third; for the fourth there is no room.
    let fares = Fares::of(
        gateway.address(),
        &[kind("normal", 0), kind("low", 100), kind("high", 200), kind("low", 300)],
        PATIENCE,
    );
    let statuses: Vec<(&str, u16)> = fares.0.iter().map(|one| (one.kind, one.status)).collect();
    assert_eq!(statuses, [("normal", 200), ("low", 503), ("high", 200), ("low", 503)]);
    assert!(fares.0[1].took < Duration::from_millis(300) && fares.0[3].took < Duration::from_millis(200));
    let mut waits = gateway.client();
    waits.send("GET /normal HTTP/1.1\r\nHost: g\r\n\r\n");
    gateway.await_metric("tollgate_concurrency_in_flight{service=\"legacy\"}", |count| count == 1.0);
    let mut in_line = gateway.client();
    in_line.send("GET /high HTTP/1.1\r\nHost: g\r\n\r\n");
    gateway.await_metric("tollgate_concurrency_waiting{service=\"legacy\"}", |count| count == 1.0);
    let refused = gateway.client().get("/low");
    let problem: Value = serde_json::from_str(&refused.text()).unwrap();
    assert_eq!((refused.status, &problem["type"]), (503, &"urn:tollgate:problem:upstream/overloaded".into()));
    assert_eq!(refused.one("retry-after").as_deref(), Some("1"));
    drop(in_line);
    assert_eq!(waits.response("GET").unwrap().status, 200);
    // Whoever left its place in line holds up nobody.
    assert_eq!(gateway.client().get("/normal").status, 200);
    gateway.await_metric("tollgate_concurrency_in_flight{service=\"legacy\"}", |count| count == 0.0);
}
