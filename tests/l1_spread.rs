//! L1: which instance takes a request, going by how fast it answers, how busy it says it is, whose client it was, and where it stands.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tollgate_testkit::recorder::Taken;
use tollgate_testkit::{Gate, Gateway, RawClient, Recorder, Response, Script, Step, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// An answer of an instance with this name, and these fields.
fn named(name: &str, fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{name}", name.len())
}

/// An instance that answers with its name.
fn instance(name: &'static str) -> Recorder {
    Recorder::answering(move |taken: &Taken| Script::ok(taken, name))
}

/// A gateway before one service, of which this is the rest after `to`; `top` is more of the file.
fn gateway(to: &[String], rest: &str, top: &str, environment: &[(&str, &str)]) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n{top}\n\
         services: {{ s: {{ to: [{}], {rest} }} }}\nroutes: {{ /**: s }}\n",
        to.join(", ")
    );
    Gateway::start_with(TOLLGATE, &config, &[], environment)
}

fn quoted(instances: &[&Recorder]) -> Vec<String> {
    instances.iter().map(|instance| format!("\"{}\"", instance.address())).collect()
}

fn target(instance: &Recorder, rest: &str) -> String {
    format!("{{ address: \"{}\", {rest} }}", instance.address())
}

/// Who answers so many requests, each over a connection of its own.
fn answers(gateway: &Gateway, count: usize) -> String {
    (0..count).map(|_| gateway.client().get("/").text()).collect()
}

fn count(answers: &str, name: &str) -> usize {
    answers.matches(name).count()
}

fn cookie_of(response: &Response) -> Option<String> {
    response.one("set-cookie").map(|line| line.split(';').next().unwrap().to_owned())
}

fn with_cookie(client: &mut RawClient, cookie: &str) -> Response {
    client.call(&format!("GET / HTTP/1.1\r\nHost: g\r\nCookie: own=1; {cookie}\r\n\r\n"))
}

#[test]
fn whoever_answers_fastest_is_asked() {
    let gate = Gate::new();
    let slow = {
        let gate = gate.clone();
        Recorder::answering(move |taken: &Taken| {
            let mut script = Script::ok(taken, "s");
            script.0.insert(1, Step::Wait(gate.clone()));
            script
        })
    };
    let fast = instance("f");
    let gateway = gateway(&quoted(&[&slow, &fast]), "balance: latency", "", &[]);
    // Until one of them has to wait.
    let mut waits = None;
    for _ in 0..100 {
        let mut client = gateway.client().patience(Duration::from_millis(300));
        client.send("GET / HTTP/1.1\r\nHost: g\r\n\r\n");
        if client.response("GET").is_err() {
            waits = Some(client);
            break;
        }
    }
    let mut waits = waits.expect("the slow one is asked, too").patience(Duration::from_secs(20));
    assert_eq!(count(&answers(&gateway, 20), "s"), 0, "it has one more in flight");
    gate.open();
    assert_eq!(waits.response("GET").unwrap().text(), "s");
    let after = answers(&gateway, 40);
    assert_eq!(count(&after, "s"), 0, "it is idle now, and known to be slow: {after}");
}

#[test]
fn whoever_fails_fast_does_not_draw_all_requests() {
    let failing = Recorder::answering(|_: &Taken| Script::reply("HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx"));
    let (one, other) = (instance("a"), instance("b"));
    let gateway = gateway(&quoted(&[&failing, &one, &other]), "balance: latency", "", &[]);
    let all = answers(&gateway, 100);
    assert!(count(&all, "x") < 20, "{all}");
}

/// An instance that says that it is so busy, with each answer.
fn reporting(name: &'static str, field: &'static str) -> Recorder {
    Recorder::answering(move |_: &Taken| Script::reply(named(name, &format!("{field}\r\n"))))
}

#[test]
fn whoever_says_that_it_is_busy_gets_less_and_clients_hear_nothing_of_it() {
    let busy = reporting("b", "endpoint-load-metrics: TEXT cpu_utilization=0.9,rps_fractional=100");
    let idle = reporting("i", "Endpoint-Load-Metrics: JSON {\"cpu_utilization\": 0.3, \"rps_fractional\": 100}");
    let gateway = gateway(&quoted(&[&busy, &idle]), "balance: { load: { of: cpu, after: 100ms } }", "", &[]);
    let mut client = gateway.client();
    let answer = client.get("/");
    assert_eq!(answer.one("endpoint-load-metrics"), None);
    wait_until("both are known to be so busy", || {
        (0..10).for_each(|_| drop(client.get("/")));
        let status = gateway.status();
        let instances = status["services"][0]["instances"].as_array().unwrap();
        let loads: Vec<f64> = instances.iter().filter_map(|i| i["load"].as_f64()).collect();
        loads.len() == 2 && count(&answers(&gateway, 80), "i") >= 50
    });
}

#[test]
fn reports_go_on_if_clients_are_to_have_them_and_come_in_trailers_too() {
    let kept = reporting("k", "endpoint-load-metrics: TEXT named_metrics.queue=0.5");
    let before = gateway(&quoted(&[&kept]), "balance: { load: { of: queue, keep: true } }", "", &[]);
    let answer = before.client().get("/");
    assert_eq!(answer.one("endpoint-load-metrics"), Some("TEXT named_metrics.queue=0.5".to_owned()));

    let trailing = Recorder::answering(|_: &Taken| {
        // `cpu_utilization` of 0.5, as protobuf has it.
        Script::reply(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: endpoint-load-metrics-bin\r\n\r\n\
             1\r\nt\r\n0\r\nendpoint-load-metrics-bin: CQAAAAAAAOA/\r\nx-other: 1\r\n\r\n",
        )
    });
    let gateway = gateway(&quoted(&[&trailing]), "balance: load", "", &[]);
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: g\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    client.response("GET").unwrap();
    wait_until("the load is known", || {
        gateway.client().get("/");
        gateway.status()["services"][0]["instances"][0]["load"] == 0.5
    });
}

#[test]
fn a_client_stays_with_its_instance_and_moves_when_that_is_gone() {
    let (a, b) = (instance("a"), instance("b"));
    let gateway = gateway(&quoted(&[&a, &b]), "balance: sticky home, retry: 1", "", &[]);
    let first = gateway.client().get("/");
    let home = first.text();
    let line = first.one("set-cookie").unwrap();
    assert!(line.starts_with("home=") && line.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{line}");
    let cookie = cookie_of(&first).unwrap();
    for _ in 0..10 {
        let next = with_cookie(&mut gateway.client(), &cookie);
        assert_eq!((next.text(), next.one("set-cookie")), (home.clone(), None));
    }
    let seen: Vec<u8> = [&a, &b].iter().flat_map(|i| i.recorded()).flat_map(|c| c.bytes).collect();
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(seen.contains("own=1") && !seen.contains("home="), "the cookie is the gateway's own: {seen}");
    // Nobody makes one up: whoever tries is sent where it pleases the gateway, and given a right one.
    let forged = format!("home={}", "A".repeat(22));
    let answer = with_cookie(&mut gateway.client(), &forged);
    assert_ne!(cookie_of(&answer), Some(forged));
    assert!(cookie_of(&answer).is_some());
    // Its instance goes: another one, and a new cookie, without the client noticing.
    drop(if home == "a" { a } else { b });
    let moved = with_cookie(&mut gateway.client(), &cookie);
    assert_eq!(moved.status, 200);
    assert_ne!(moved.text(), home);
    let new = cookie_of(&moved).unwrap();
    assert_ne!(new, cookie);
    assert_eq!(with_cookie(&mut gateway.client(), &new).one("set-cookie"), None);
}

#[test]
fn gateways_with_the_same_key_send_a_client_to_the_same_instance() {
    let (a, b) = (instance("a"), instance("b"));
    let rest = "balance: { sticky: { cookie: home, key: \"${env:STICKY}\", max_age: 1h } }";
    let secret = [("STICKY", "0123456789abcdef0123456789abcdef")];
    let gateways = [(); 2].map(|()| gateway(&quoted(&[&a, &b]), rest, "", &secret));
    for _ in 0..6 {
        let first = gateways[0].client().get("/");
        assert!(first.one("set-cookie").unwrap().contains("; Max-Age=3600;"));
        let cookie = cookie_of(&first).unwrap();
        let other = with_cookie(&mut gateways[1].client(), &cookie);
        assert_eq!((other.text(), other.one("set-cookie")), (first.text(), None));
    }
}

#[test]
fn the_own_zone_comes_first_and_others_help_when_it_is_gone() {
    let (near, far) = (instance("n"), instance("f"));
    let to = [target(&near, "zone: eu-1a"), target(&far, "zone: eu-1b")];
    for (top, environment) in [("zone: eu-1a", vec![]), ("", vec![("TOLLGATE_ZONE", "eu-1a")])] {
        let gateway = gateway(&to, "outlier: { consecutive: 1, eject_for: 5m, ceiling: 100% }", top, &environment);
        assert_eq!(answers(&gateway, 12), "n".repeat(12));
        let status = gateway.status();
        assert_eq!(status["services"][0]["instances"][0]["zone"].as_str().map(|zone| &zone[..4]), Some("eu-1"));
    }
    let gateway = gateway(&to, "outlier: { consecutive: 1, eject_for: 5m, ceiling: 100% }", "zone: eu-1a", &[]);
    drop(near);
    assert_eq!(answers(&gateway, 6), "f".repeat(6));
    assert!(gateway.metric("tollgate_balance_spilled_total{service=\"s\",to=\"zone\"}") >= 6.0);
}

#[test]
fn a_later_group_is_asked_when_the_first_is_out() {
    let (first, later) = (instance("1"), instance("2"));
    let to = [target(&first, "group: 0"), target(&later, "group: 1, weight: 5")];
    let gateway = gateway(&to, "outlier: { consecutive: 1, eject_for: 5m, ceiling: 100% }", "", &[]);
    assert_eq!(answers(&gateway, 12), "1".repeat(12));
    drop(first);
    assert_eq!(answers(&gateway, 6), "2".repeat(6));
    assert!(gateway.metric("tollgate_balance_spilled_total{service=\"s\",to=\"group\"}") >= 6.0);
}

#[test]
fn in_panic_those_that_fail_their_checks_are_used_too() {
    let is_well = Arc::new(AtomicBool::new(true));
    let ill = |name: &'static str| {
        let is_well = Arc::clone(&is_well);
        Recorder::answering(move |taken: &Taken| match taken.target.as_str() {
            "/healthz" if !is_well.load(SeqCst) => Script::reply("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            _ => Script::ok(taken, name),
        })
    };
    let (a, b, c) = (instance("a"), ill("b"), ill("c"));
    let health = "health: { path: /healthz, interval: 30ms, timeout: 10s, healthy: 1, unhealthy: 1 }";
    let gateways =
        ["panic: 50%, ", ""].map(|panic| gateway(&quoted(&[&a, &b, &c]), &format!("{panic}{health}"), "", &[]));
    is_well.store(false, SeqCst);
    for gateway in &gateways {
        gateway.await_metric("tollgate_service_instances{service=\"s\",state=\"unhealthy\"}", |ill| ill == 2.0);
    }
    let all = answers(&gateways[0], 12);
    assert_eq!((count(&all, "a"), count(&all, "b"), count(&all, "c")), (4, 4, 4), "{all}");
    assert!(gateways[0].metric("tollgate_balance_spilled_total{service=\"s\",to=\"panic\"}") >= 12.0);
    assert_eq!(answers(&gateways[1], 12), "a".repeat(12), "without it, only those that are well");
}

#[test]
fn an_instance_that_comes_starts_slowly() {
    let (a, b) = (instance("a"), instance("b"));
    let config = |to: &[String]| {
        format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n\
             services: {{ s: {{ to: [{}], slow_start: 10m }} }}\nroutes: {{ /**: s }}\n",
            to.join(", ")
        )
    };
    let gateway = Gateway::start(TOLLGATE, &config(&quoted(&[&a])), &[]);
    assert_eq!(answers(&gateway, 4), "aaaa");
    gateway.reload(&config(&quoted(&[&a, &b])), &[]);
    wait_until("it gets its first", || answers(&gateway, 10).contains('b'));
    let all = answers(&gateway, 200);
    // A tenth of its share, which is a half: one of eleven; three times the standard deviation around 18.
    assert!((4..=34).contains(&count(&all, "b")), "{all}");
}
