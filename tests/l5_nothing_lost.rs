//! L5: under load, nothing is lost when a backend dies, a gateway stops behind a balancer, or a listener goes.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use tollgate_testkit::load::{Judged, Options, Target, Way};
use tollgate_testkit::{Backends, Companions, Gateway, Load, Peer, RawClient, Signal, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const LISTEN: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n";
const WAYS: [Way; 3] = [Way::Kept, Way::New, Way::Http2];

fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

fn all_ways(address: SocketAddr) -> Vec<Target> {
    WAYS.map(|way| Target::new(address, way)).to_vec()
}

fn service(backends: &Backends) -> String {
    let all: Vec<String> = (0..3).map(|number| format!("\"{}\"", backends.address(number))).collect();
    format!(
        "log: {{ access: off }}\nservices: {{ s: {{ to: [{}], retry: 3 }} }}\nroutes: {{ /**: s }}\n",
        all.join(", ")
    )
}

/// The same, and routes for companions to others that stay.
fn with_companions(backends: &Backends, live: &Backends) -> String {
    let (live, streams) = (live.address(0), live.http2_address());
    let service = service(backends).replacen(
        "services: {",
        &format!("services: {{ live: \"{live}\", streams: {{ to: \"{streams}\", protocol: http2 }},"),
        1,
    );
    service.replacen("routes: {", "routes: { /ws: { to: live, upgrade: websocket }, /slow: live, /stream: streams,", 1)
}

/// What was asked of it is asked of another: a GET may be.
#[test]
fn one_of_three_backends_dies_and_comes_back() {
    let (backends, live) = (Backends::slow(3, Duration::from_millis(5)), Backends::start(1));
    let config = format!("{LISTEN}{}", with_companions(&backends, &live));
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let companions = Companions::usual(gateway.address());
    let load = Load::start(&backends, &all_ways(gateway.address()), Options { posts: 0, ..Options::default() });
    load.await_answers(200);
    for number in [0, 1, 2, 0] {
        backends.kill(number);
        load.await_answers(300);
        backends.revive(number);
        load.await_answers(300);
    }
    companions.iter().for_each(|one| one.await_rounds(3));
    let outcome = load.stop();
    outcome.is_complete();
    assert_eq!(outcome.answered, outcome.begun, "{outcome}");
}

/// The balancer sees that one is not ready while that still takes everything.
#[test]
fn one_of_two_gateways_behind_haproxy_stops() {
    let (backends, live) = (Backends::slow(3, Duration::from_millis(5)), Backends::start(1));
    let config = format!("{LISTEN}drain: {{ lead: 2s, time: 10s }}\n{}", with_companions(&backends, &live));
    let [mut first, second] = [(); 2].map(|()| Gateway::start(TOLLGATE, &config, &[]));
    let front = here();
    let server = |name: &str, gateway: &Gateway| {
        let (to, health) = (gateway.address(), gateway.health_address().port());
        format!("  server {name} {to} check port {health} inter 200ms fall 2 rise 1\n")
    };
    let _haproxy = Peer::haproxy(&format!(
        "listen front\n  mode http\n  bind {front}\n  option httpchk GET /health/ready\n{}{}",
        server("first", &first),
        server("second", &second)
    ));
    wait_until("HAProxy listens", || RawClient::is_accepted(front));
    let companions = Companions::usual(second.address());
    let targets = [Way::Kept, Way::New].map(|way| Target::new(front, way));
    let load = Load::start(&backends, &targets, Options::default());
    load.await_answers(300);
    let requests = |gateway: &Gateway| gateway.metric("tollgate_requests_total{api=\"\",route=\"/**\",status=\"2xx\"}");
    assert!(requests(&first) > 0.0 && requests(&second) > 0.0, "both are asked");
    first.terminate();
    assert_eq!(first.ended().code(), Some(0));
    load.await_answers(300);
    companions.iter().for_each(|one| one.await_rounds(3));
    let outcome = load.stop();
    outcome.is_complete();
    assert_eq!(outcome.answered, outcome.begun, "{outcome}");
}

/// Who finds nobody there was told so before anything was sent; whoever was let in is served.
#[test]
fn a_listener_goes_and_comes_back() {
    let (backends, live) = (Backends::start(3), Backends::start(1));
    let further = here();
    let one = format!("{LISTEN}drain: 2s\n{}", with_companions(&backends, &live));
    let two = one.replacen("listen: {", &format!("listen: {{ \"{further}\": http,"), 1);
    let gateway = Gateway::start(TOLLGATE, &two, &[]);
    let companions = Companions::usual(gateway.address());
    let stays = Load::start(&backends, &all_ways(gateway.address()), Options { rate: 200, ..Options::default() });
    let allowed = Options { rate: 200, refusals: Judged::Allowed, retries: Judged::Allowed, ..Options::default() };
    let goes = Load::start(&backends, &all_ways(further), allowed);
    for _ in 0..5 {
        goes.await_answers(100);
        gateway.reload(&one, &[]);
        stays.await_answers(100);
        gateway.reload(&two, &[]);
    }
    goes.await_answers(100);
    companions.iter().for_each(|one| one.await_rounds(3));
    let [stays, goes] = [stays, goes].map(Load::stop);
    stays.is_complete();
    goes.is_complete();
    assert!(goes.refused > 0, "it was away: {goes}");
}

/// Balancers and scrapers ask also while workers become fewer.
#[test]
fn health_is_answered_while_workers_come_and_go() {
    let config = |workers: usize| {
        format!("{LISTEN}log: {{ access: off }}\nworkers: {workers}\nroutes: {{ /a: {{ reply: 204 }} }}\n")
    };
    let gateway = Gateway::start(TOLLGATE, &config(3), &[]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = || {
            while !over.load(Ordering::Acquire) {
                // Fails the test when it is closed without an answer.
                assert_eq!(gateway.health("/health/live").status, 200);
            }
        };
        let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        for workers in [1, 3].into_iter().cycle().take(200) {
            let before = gateway.revision();
            gateway.write_config(&config(workers), &[]);
            gateway.signal(Signal::HUP);
            wait_until("the reload", || {
                gateway.revision() > before || asking.iter().any(ScopedJoinHandle::is_finished)
            });
        }
        over.store(true, Ordering::Release);
    });
}
