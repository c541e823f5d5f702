//! L2: a service of which too much fails is left alone, tried with a few requests, and used again.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use tollgate_testkit::{Gate, Gateway, Recorder, Response, Script, Step, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn config(to: &str, service: &str) -> String {
    format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n\
         services: {{ s: {{ to: \"{to}\", retry: 0, {service} }} }}\nroutes: {{ /**: {{ to: s, timeout: 5s }} }}\n"
    )
}

fn gateway(to: &str, service: &str) -> Gateway {
    Gateway::start(TOLLGATE, &config(to, service), &[])
}

/// A backend that answers with the status that it is told.
fn backend(status: u16) -> (Recorder, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let told = Arc::clone(&status);
    let backend = Recorder::answering(move |_| {
        Script::reply(format!("HTTP/1.1 {} Told\r\nContent-Length: 0\r\n\r\n", told.load(SeqCst)))
    });
    (backend, status)
}

fn get(gateway: &Gateway) -> Response {
    gateway.client().get("/a")
}

fn slug(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

fn requests(backend: &Recorder) -> usize {
    backend.recorded().iter().map(|c| c.bytes.windows(4).filter(|w| *w == b"GET ").count()).sum()
}

fn state(gateway: &Gateway) -> String {
    gateway.status()["services"][0]["breaker"]["state"].as_str().unwrap().to_owned()
}

#[test]
fn it_opens_is_tried_opens_for_longer_and_closes() {
    let (backend, status) = backend(500);
    let breaker = "breaker: { failures: 50% of 4 in 10s, open: 400ms, longest: 800ms, trials: 2 }";
    let gateway = gateway(&backend.address().to_string(), breaker);
    assert_eq!(state(&gateway), "closed");
    for _ in 0..4 {
        assert_eq!(get(&gateway).status, 500, "the service's own answers pass");
    }
    let refused = get(&gateway);
    assert_eq!((refused.status, slug(&refused).as_str()), (503, "upstream/breaker-open"));
    assert_eq!(refused.one("Retry-After").unwrap(), "1");
    assert_eq!(requests(&backend), 4, "nothing more is sent");
    assert_eq!(gateway.metric("tollgate_breaker_state{service=\"s\",state=\"open\"}"), 1.0);
    assert_eq!(gateway.metric("tollgate_breaker_state{service=\"s\",state=\"closed\"}"), 0.0);
    gateway.await_metric("tollgate_breaker_refused_total{service=\"s\"}", |count| count >= 1.0);
    wait_until("a trial is let through", || get(&gateway).status == 500);
    assert_eq!(requests(&backend), 5);
    assert_eq!(slug(&get(&gateway)), "upstream/breaker-open", "it was no better");
    status.store(200, SeqCst);
    wait_until("it is closed", || {
        get(&gateway);
        state(&gateway) == "closed"
    });
    assert_eq!(requests(&backend), 7, "two trials closed it");
    assert_eq!(get(&gateway).status, 200);
    for (to, count) in [("open", 2.0), ("half_open", 2.0), ("closed", 1.0)] {
        let sample = format!("tollgate_breaker_changes_total{{service=\"s\",to=\"{to}\"}}");
        assert_eq!(gateway.metric(&sample), count, "{to}");
    }
    wait_until("the log tells", || gateway.log().contains("a circuit breaker closed"));
    let log = gateway.log();
    let opened: Vec<&str> = log.lines().filter(|line| line.contains("a circuit breaker opened")).collect();
    assert!(opened[0].contains("share of failures") && opened[0].contains("seconds=0.4"), "{log}");
    assert!(opened[1].contains("a trial failed") && opened[1].contains("seconds=0.8"), "{log}");
}

#[test]
fn connections_that_fail_count_and_the_fallback_answers_at_once() {
    let dead = format!("127.0.0.1:{}", free_port());
    let gateway = gateway(&dead, "fallback: 200 instead, breaker: \"3 in a row, open 1m\"");
    (0..5).for_each(|_| assert_eq!(get(&gateway).text(), "instead"));
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"connect_failed\"}", |count| count == 3.0);
    assert_eq!(gateway.metric("tollgate_breaker_refused_total{service=\"s\"}"), 2.0);
    let line = gateway.access_line("of one that was refused", |line| line["problem"] == "upstream/breaker-open");
    assert!(line["attempts"].is_null(), "none was made: {line}");
}

#[test]
fn slow_answers_count_if_the_file_says_so() {
    let gates = [Gate::new(), Gate::new()];
    let inner = gates.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "slow");
        script.0.insert(1, Step::Wait(inner[taken.number].clone()));
        script
    });
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let to = backend.address().to_string();
    let wait = format!("/**: {{ to: s, timeout: 5s }}, /wait: {{ to: \"{}\", timeout: 60ms }}", silent.address());
    let config = config(&to, "breaker: { consecutive: 2, open: 1m, slow: 20ms }");
    let config = config.replace("/**: { to: s, timeout: 5s }", &wait);
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    for (nth, gate) in gates.iter().enumerate() {
        let mut client = gateway.client();
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
        wait_until("it was asked", || requests(&backend) > nth);
        // So long it takes at least, by the gateway's own clock.
        assert_eq!(gateway.client().get("/wait").status, 504);
        gate.open();
        assert_eq!(client.response("GET").unwrap().text(), "slow");
    }
    assert_eq!(slug(&get(&gateway)), "upstream/breaker-open");
}

#[test]
fn answers_that_the_file_does_not_name_and_clients_that_leave_are_no_failures() {
    let (backend, _) = backend(500);
    let lenient = gateway(&backend.address().to_string(), "breaker: { consecutive: 1, status: [503] }");
    (0..5).for_each(|_| assert_eq!(get(&lenient).status, 500));
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let left = gateway(&silent.address().to_string(), "breaker: { consecutive: 1 }");
    let mut client = left.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    silent.wait_for("the request", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\n")));
    client.reset();
    left.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"cancelled\"}", |count| count == 1.0);
    assert_eq!(state(&left), "closed");
}

#[test]
fn whoever_waited_for_a_connection_is_not_sent_to_a_service_that_is_left_alone_by_now() {
    let gate = Gate::new();
    let fails = gate.clone();
    let backend = Recorder::answering(move |_| {
        let mut script = Script::reply("HTTP/1.1 500 Told\r\nContent-Length: 0\r\n\r\n");
        script.0.insert(1, Step::Wait(fails.clone()));
        script
    });
    let service = "connections: 1, queue: 9, breaker: { consecutive: 1, open: 1m }";
    let gateway = gateway(&backend.address().to_string(), service);
    let mut clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    }
    gateway.await_metric("tollgate_queue_waiting{service=\"s\"}", |count| count == 2.0);
    gate.open();
    let mut answers: Vec<u16> = clients.iter_mut().map(|client| client.response("GET").unwrap().status).collect();
    answers.sort_unstable();
    assert_eq!((answers, requests(&backend)), (vec![500, 503, 503], 1));
    gateway.await_metric("tollgate_breaker_refused_total{service=\"s\"}", |count| count == 2.0);
}

#[test]
fn a_reload_leaves_it_open() {
    let (backend, _) = backend(500);
    let to = backend.address().to_string();
    let gateway = gateway(&to, "breaker: { consecutive: 1, open: 1m }");
    get(&gateway);
    assert_eq!(state(&gateway), "open");
    gateway.reload(&config(&to, "try_timeout: 1s, breaker: { consecutive: 1, open: 1m }"), &[]);
    assert_eq!((state(&gateway).as_str(), slug(&get(&gateway)).as_str()), ("open", "upstream/breaker-open"));
    gateway.reload(&config(&to, "try_timeout: 1s"), &[]);
    assert_eq!(get(&gateway).status, 500, "without a breaker all is as without one");
    assert_eq!(requests(&backend), 2);
}
