//! E5: a changed config comes into force as a whole, or not at all, and disturbs nothing that stays.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tollgate_testkit::{Gate, Gateway, RawClient, Recorder, Script, Signal, Step, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const LISTEN: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n";

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn start(sections: &str) -> Gateway {
    Gateway::start(TOLLGATE, &format!("{LISTEN}{sections}\n"), &[])
}

fn reload(gateway: &Gateway, sections: &str) {
    gateway.reload(&format!("{LISTEN}{sections}\n"), &[]);
}

fn at(recorder: &Recorder) -> String {
    recorder.address().to_string()
}

#[test]
fn other_routes_are_in_force_at_once_for_connections_that_were_there() {
    let gateway = start("routes: { /a: { reply: 200 one } }");
    let mut client = gateway.client();
    assert_eq!(client.get("/a").text(), "one");
    reload(&gateway, "routes: { /a: { reply: 200 two }, /b: { reply: 204 } }");
    assert_eq!((client.get("/a").text().as_str(), client.get("/b").status), ("two", 204));
    assert_eq!(gateway.metric("tollgate_config_revision"), 2.0);
    assert_eq!(gateway.metric("tollgate_requests_total{api=\"\",route=\"/a\",status=\"2xx\"}"), 2.0, "counters go on");
}

#[test]
fn connections_to_the_gateways_own_listeners_have_the_new_rules_too() {
    let gateway = start("routes: { /a: { reply: 200 one } }");
    let mut asking = RawClient::connect(gateway.health_address());
    let id = |response: &tollgate_testkit::Response, name: &str| response.one(name).is_some();
    assert!(id(&asking.get("/nothing"), "x-correlation-id"));
    reload(&gateway, "correlation: { header: X-Id }\nroutes: { /a: { reply: 200 one } }");
    let answer = asking.get("/nothing");
    assert!(id(&answer, "x-id") && !id(&answer, "x-correlation-id"), "{answer:?}");
}

#[test]
fn changed_files_are_noticed_without_a_signal() {
    let gateway = start("routes: { /a: { reply: 200 one } }");
    gateway.write_config(&format!("{LISTEN}routes: {{ /a: {{ reply: 200 two }} }}\n"), &[]);
    wait_until("the files are read again", || gateway.revision() == 2);
    assert_eq!(gateway.client().get("/a").text(), "two");
}

#[test]
fn a_config_that_is_refused_leaves_everything_as_it_was() {
    let gateway = start("routes: { /a: { reply: 200 one } }");
    let mut client = gateway.client();
    let taken = Recorder::start();
    let port = taken.address();
    for (config, why) in [
        (format!("{LISTEN}routes: {{ /a: {{ reply: 700 }} }}\n"), "`700` is no status"),
        (format!("{LISTEN}routes: {{ /a: {{ reply: 204, nonsense: 1 }} }}\n"), "unknown key `nonsense`"),
        (
            format!(
                "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health, \"{port}\": http }}\nroutes: {{ /a: {{ reply: 204 }} }}\n"
            ),
            "cannot listen on",
        ),
        ("routes: {".to_owned(), "this is not YAML"),
    ] {
        gateway.write_config(&config, &[]);
        gateway.signal(Signal::HUP);
        let told =
            |gateway: &Gateway| gateway.status()["config"]["refused"]["why"].as_str().unwrap_or_default().to_owned();
        wait_until(why, || told(&gateway).contains(why));
        assert_eq!((gateway.revision(), client.get("/a").text().as_str()), (1, "one"), "{why}");
        assert_eq!(gateway.metric("tollgate_config_reload_successful"), 0.0);
        for text in [why, "the config before stays in force"] {
            wait_until(text, || gateway.log().contains(text));
        }
    }
    // Back to what is in force: nothing is wrong any more.
    gateway.write_config(&format!("{LISTEN}routes: {{ /a: {{ reply: 200 one }} }}\n"), &[]);
    gateway.signal(Signal::HUP);
    wait_until("nothing is refused", || gateway.status()["config"]["refused"].is_null());
    assert_eq!(gateway.metric("tollgate_config_reload_successful"), 1.0);
    reload(&gateway, "routes: { /a: { reply: 200 two } }");
    assert_eq!(client.get("/a").text(), "two");
    assert_eq!(gateway.metric("tollgate_config_reload_successful"), 1.0);
    assert!(gateway.status()["config"]["refused"].is_null());
}

#[test]
fn a_service_that_stays_keeps_its_connections_whatever_changes_beside_it() {
    let (kept, other) = (Recorder::start(), Recorder::start());
    let config = |more: &str, service: &str, routes: &str| {
        format!("services: {{ kept: {{ to: \"{}\"{service} }}, {more} }}\nroutes: {{ /a: kept, {routes} }}", at(&kept))
    };
    let other_at = at(&other);
    let gateway = start(&config("", "", ""));
    let mut client = gateway.client();
    assert_eq!(client.get("/a").status, 200);
    let more = format!("other: \"{other_at}\"");
    // Beside it, of its routes, and what only requests depend on; then one instance more.
    let two = format!("other: \"{other_at}\", third: 127.0.0.1:9");
    for sections in [
        config(&more, "", "/b: other"),
        config(&more, ", retry: 3, try_timeout: 5s, fallback: other", "/b: { to: other, timeout: 3s }"),
        config(&two, "", "/b: third"),
    ] {
        reload(&gateway, &sections);
        assert_eq!(client.get("/a").status, 200);
        assert_eq!(kept.recorded().len(), 1, "the same connection, {sections}");
    }
    let both = format!("services: {{ kept: [\"{}\", \"{other_at}\"] }}\nroutes: {{ /a: kept }}", at(&kept));
    reload(&gateway, &both);
    wait_until("the new instance is asked", || {
        assert_eq!(client.get("/a").status, 200);
        !other.recorded().is_empty()
    });
    assert_eq!(kept.recorded().len(), 1);
    // What connections are made of has changed: new ones are made, the old one is closed.
    reload(&gateway, &config("", ", keep_alive: { idle: 5 }", ""));
    assert_eq!(client.get("/a").status, 200);
    assert_eq!(kept.recorded().len(), 2);
    kept.wait_for("the end of the old one", |all| all[0].ended.is_some());
}

#[test]
fn what_is_on_its_way_comes_to_its_end_under_the_config_it_began_with() {
    let gate = Gate::new();
    let opened = gate.clone();
    let old = Recorder::answering(move |taken| match taken.target.as_str() {
        "/slow" => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .then(Step::Wait(opened.clone()))
            .then(Step::Send(b"after".to_vec())),
        _ => Script::ok(taken, "old"),
    });
    let new = Recorder::answering(|taken| Script::ok(taken, "new"));
    let gateway = start(&format!("routes: {{ /**: \"{}\" }}", at(&old)));
    let mut slow = gateway.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: g\r\n\r\n");
    slow.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
    for _ in 0..3 {
        reload(&gateway, &format!("routes: {{ /**: \"{}\" }}", at(&new)));
        assert_eq!(gateway.client().get("/a").text(), "new");
        reload(&gateway, &format!("routes: {{ /**: {{ to: \"{}\", timeout: 9s }} }}", at(&new)));
    }
    gate.open();
    assert_eq!(slow.response("GET").unwrap().text(), "firstafter");
    assert_eq!(slow.get("/a").text(), "new");
}

/// Nobody serves that any more; it may take the drain time to end.
#[test]
fn what_is_on_its_way_on_a_route_that_is_gone_ends() {
    let gate = Gate::new();
    let opened = gate.clone();
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let backend = Recorder::answering(move |taken| match taken.target.rsplit('/').next() {
        Some("hangs") => Script(vec![Step::ReadRequest, Step::Silence]),
        Some("ws") => Script(vec![
            Step::ReadRequest,
            Step::Send(agreed.into()),
            Step::Send(b"\x81\x05first".to_vec()),
            Step::Silence,
        ]),
        _ => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .then(Step::Wait(opened.clone()))
            .then(Step::Send(b"after".to_vec())),
    });
    let route = |names: &[&str]| {
        let routes = names.iter().map(|name| format!("/{name}/**: {{ to: \"{}\", upgrade: websocket }}", at(&backend)));
        format!("drain: 300ms\nroutes: {{ {} }}", routes.collect::<Vec<_>>().join(", "))
    };
    let gateway = start(&route(&["stays", "goes"]));
    let open = |target: &str| {
        let mut client = gateway.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: g\r\n{UPGRADE}\r\n"));
        client.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
        client
    };
    let [mut stays, mut goes] = ["/stays/slow", "/goes/slow"].map(open);
    let [mut ws_stays, mut ws_goes] = ["/stays/ws", "/goes/ws"].map(open);
    let mut asks = gateway.client();
    asks.send("GET /goes/hangs HTTP/1.1\r\nHost: g\r\n\r\n");
    backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.starts_with(b"GET /goes/hangs")));
    reload(&gateway, &route(&["stays", "other"]));
    ws_goes.wait_for_bytes(|bytes| bytes.ends_with(b"\x88\x02\x03\xE9")).unwrap();
    assert!(goes.response("GET").is_err(), "cut, and it does not look whole");
    assert_eq!(asks.response("GET").unwrap().status, 404, "of what has no answer yet");
    let line = gateway.access_line("of what was cut", |line| line["path"] == "/goes/slow");
    assert_eq!(line["route"], "/goes/**");
    gate.open();
    assert_eq!(stays.response("GET").unwrap().text(), "firstafter");
    // Masked text.
    ws_stays.send(b"\x81\x82\0\0\0\0hi");
    backend.wait_for("what was sent", |all| all.iter().any(|c| c.bytes.ends_with(b"hi")));
}

#[test]
fn listeners_come_and_go() {
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let inner = gates.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "ok");
        if let Some(number) = taken.target.strip_prefix("/wait/") {
            script.0.insert(1, Step::Wait(inner[number.parse::<usize>().unwrap()].clone()));
        }
        script
    });
    let routes = format!("drain: 2s\nroutes: {{ /**: \"{}\" }}\n", at(&backend));
    let second = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let one = format!("{LISTEN}{routes}");
    let two = format!("listen: {{ \"{{{{http}}}}\": http, \"{second}\": http, \"{{{{health}}}}\": health }}\n{routes}");
    let gateway = Gateway::start(TOLLGATE, &one, &[]);
    assert!(!RawClient::is_accepted(second));
    for (number, gate) in gates.iter().enumerate() {
        gateway.reload(&two, &[]);
        let (mut busy, mut idle, mut stays) =
            (RawClient::connect(second), RawClient::connect(second), gateway.client());
        assert_eq!((idle.get("/a").text().as_str(), stays.get("/a").text().as_str()), ("ok", "ok"));
        let line = format!("GET /wait/{number} ");
        busy.send(format!("{line}HTTP/1.1\r\nHost: g\r\n\r\n"));
        backend.wait_for("the request", |all| all.iter().any(|c| String::from_utf8_lossy(&c.bytes).contains(&line)));
        gateway.reload(&one, &[]);
        wait_until("nobody is accepted there", || !RawClient::is_accepted(second));
        // A connection that rested is not hung up on: its client might just be asking.
        let last = idle.get("/a");
        assert_eq!((last.text().as_str(), last.one("connection").as_deref()), ("ok", Some("close")));
        gate.open();
        let late = busy.response("GET").unwrap();
        assert_eq!((late.text().as_str(), late.one("connection").as_deref()), ("ok", Some("close")));
        assert_eq!(stays.get("/a").text(), "ok");
    }
    // What asks for nothing is closed once the time is over.
    gateway.reload(&two, &[]);
    let (mut idle, mut stays) = (RawClient::connect(second), gateway.client());
    assert_eq!((idle.get("/a").status, stays.get("/a").status), (200, 200));
    gateway.reload(&one, &[]);
    assert!(idle.response("GET").is_err());
    assert_eq!(stays.get("/a").status, 200);
}

#[test]
fn workers_come_and_go_without_a_request_lost() {
    let backend = Recorder::start();
    let config = |workers: usize| format!("workers: {workers}\nroutes: {{ /**: \"{}\" }}", at(&backend));
    let gateway = start(&config(1));
    under_load(&gateway, || {
        for workers in [3, 1, 2, 4, 1, 2] {
            reload(&gateway, &config(workers));
            assert_eq!(gateway.status()["workers"], workers);
        }
    });
}

#[test]
fn reloads_under_load_lose_nothing() {
    let (one, two) = (Recorder::start(), Recorder::start());
    let gateway = start(&format!("services: {{ s: \"{}\" }}\nroutes: {{ /**: s }}", at(&one)));
    under_load(&gateway, || {
        for n in 0..30 {
            let (first, second) = (at(&one), at(&two));
            let service = match n % 3 {
                0 => format!("[\"{first}\", \"{second}\"]"),
                1 => format!("{{ to: \"{first}\", connections: 64 }}"),
                _ => format!("\"{second}\""),
            };
            reload(
                &gateway,
                &format!(
                    "services: {{ s: {service} }}\nroutes: {{ /**: {{ to: s, headers: {{ response: {{ set: {{ X-N: {n} }} }} }} }} }}"
                ),
            );
        }
    });
}

/// Clients that ask all the while, half of them with a new connection each time; none may see anything but an answer.
fn under_load(gateway: &Gateway, change: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let asked: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let over = &over;
                scope.spawn(move || {
                    let (mut client, mut asked) = (gateway.client(), 0);
                    while !over.load(Ordering::Acquire) {
                        if number % 2 == 0 {
                            client = gateway.client();
                        }
                        client.send(format!("GET /{number}/{asked} HTTP/1.1\r\nHost: g\r\n\r\n"));
                        let response = client.response("GET").unwrap_or_else(|e| panic!("/{number}/{asked}: {e:?}"));
                        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
                        asked += 1;
                        if response.one("connection").as_deref() == Some("close") {
                            client = gateway.client();
                        }
                    }
                    asked
                })
            })
            .collect();
        change();
        over.store(true, Ordering::Release);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(asked > 100, "{asked} requests");
}

#[test]
fn the_access_log_moves_with_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str| {
        format!("log: {{ access: {}/{name} }}\nroutes: {{ /a: {{ reply: 204 }} }}", folder.path().display())
    };
    let gateway = start(&config("first"));
    let mut client = gateway.client();
    assert_eq!(client.get("/a").status, 204);
    reload(&gateway, &config("second"));
    assert_eq!(client.get("/a").status, 204);
    let lines = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"path\":\"/a\"")).count()
    };
    wait_until("a line in each", || lines("first") == 1 && lines("second") == 1);
}

#[test]
fn a_config_that_says_the_same_changes_nothing() {
    let gateway = start("routes: { /a: { reply: 204 } }");
    gateway.write_config(&format!("# with a remark\n{LISTEN}routes:\n  /a:\n    reply: 204\n"), &[]);
    gateway.signal(Signal::HUP);
    wait_until("it is read", || gateway.log().contains("nothing changes"));
    assert_eq!(gateway.revision(), 1);
}
