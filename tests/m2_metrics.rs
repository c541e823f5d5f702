//! M2: what a scraper is told, and that it is right.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use tollgate_testkit::{Gate, Gateway, RawClient, Recorder, Script, Step, free_port};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
services: { s: { to: "{{backend}}", health: tcp every 50ms, outlier: on }, dead: { to: "{{dead}}", retry: none } }
apis:
  shop:
    hosts: [shop.test]
    routes: { GET /a: { reply: 204, name: 'odd "name" \ here' } }
routes:
  /s/**: { to: s, body: 5 }
  /dead: dead
  GET /own: { reply: 200 own }
"#;

/// A gateway in front of a backend, which waits at the gate on `/s/wait`.
fn gateway(gate: &Gate) -> (Gateway, Recorder) {
    let gate = gate.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "0123456789");
        if taken.target == "/s/wait" {
            script.0.insert(1, Step::Wait(gate.clone()));
        }
        script
    });
    let values = [("backend", backend.address().to_string()), ("dead", format!("127.0.0.1:{}", free_port()))];
    (Gateway::start(TOLLGATE, CONFIG, &values), backend)
}

/// One of each kind of answer.
fn traffic(gateway: &Gateway) {
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.get("/s/a").status, 200);
    }
    assert_eq!(client.get("/own").status, 200);
    assert_eq!(client.get("/dead").status, 502);
    assert_eq!(client.get("/nothing").status, 404);
    assert_eq!(client.call("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").status, 204);
    assert_eq!(client.call("POST /s/a HTTP/1.1\r\nHost: g\r\nContent-Length: 6\r\n\r\n123456").status, 413);
    assert_eq!(gateway.client().call("nonsense\r\n\r\n").status, 400);
}

/// Waits for what comes last, since an answer is counted once it is out.
fn counted(gateway: &Gateway) {
    gateway.await_metric("tollgate_problems_total{api=\"\",slug=\"http/malformed\"}", |count| count == 1.0);
    gateway.await_metric("tollgate_problems_total{api=\"\",slug=\"http/body-too-large\"}", |count| count == 1.0);
}

/// The page in the form that the scraper asks for.
fn page(gateway: &Gateway, accept: &str) -> (String, String) {
    let address = gateway.health_address();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    let response = RawClient::connect(address).call(&request);
    assert_eq!(response.one("vary").as_deref(), Some("Accept"));
    (response.one("content-type").unwrap_or_default(), response.text())
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let (gateway, _backend) = gateway(&Gate::new());
    for loaded in [false, true] {
        if loaded {
            traffic(&gateway);
            counted(&gateway);
        }
        let (_, page) = page(&gateway, "*/*");
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut promtool = command.spawn().expect("promtool does not start; `./test` installs it (Debian: prometheus)");
        promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success() && text.trim().is_empty(), "{text}\n{page}");
    }
}

#[test]
fn the_form_is_the_one_asked_for() {
    let (gateway, _backend) = gateway(&Gate::new());
    traffic(&gateway);
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (kind, open) = page(&gateway, prometheus);
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    assert!(open.ends_with("\n# EOF\n") && open.contains("# TYPE tollgate_requests counter"), "{open}");
    let (kind, text) = page(&gateway, "text/plain");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(!text.contains("# EOF") && text.contains("# TYPE tollgate_requests_total counter"), "{text}");
}

#[test]
fn counts_are_those_of_the_traffic() {
    let (gateway, _backend) = gateway(&Gate::new());
    traffic(&gateway);
    counted(&gateway);
    for (sample, expected) in [
        ("tollgate_requests_total{api=\"\",route=\"/s/**\",status=\"2xx\"}", 5.0),
        ("tollgate_requests_total{api=\"\",route=\"/s/**\",status=\"4xx\"}", 1.0),
        ("tollgate_requests_total{api=\"\",route=\"GET /own\",status=\"2xx\"}", 1.0),
        ("tollgate_requests_total{api=\"\",route=\"/dead\",status=\"5xx\"}", 1.0),
        ("tollgate_requests_total{api=\"\",route=\"(none)\",status=\"4xx\"}", 2.0),
        ("tollgate_request_duration_seconds_count{api=\"\",route=\"/s/**\"}", 6.0),
        ("tollgate_request_duration_seconds_bucket{le=\"+Inf\",api=\"\",route=\"/s/**\"}", 6.0),
        ("tollgate_attempts_total{service=\"s\",outcome=\"ok\"}", 5.0),
        ("tollgate_attempts_total{service=\"dead\",outcome=\"connect_failed\"}", 1.0),
        ("tollgate_retries_total{service=\"s\"}", 0.0),
        ("tollgate_service_connects_total{service=\"s\"}", 1.0),
        ("tollgate_service_reuses_total{service=\"s\"}", 4.0),
        ("tollgate_service_connections{service=\"s\",state=\"idle\"}", 1.0),
        ("tollgate_service_connections{service=\"s\",state=\"busy\"}", 0.0),
        ("tollgate_config_revision", 1.0),
        ("tollgate_config_reload_successful", 1.0),
    ] {
        assert_eq!(gateway.metric(sample), expected, "{sample}");
    }
    for slug in ["route/not-found", "upstream/connect-failed", "http/body-too-large", "http/malformed"] {
        assert_eq!(gateway.metric(&format!("tollgate_problems_total{{api=\"\",slug=\"{slug}\"}}")), 1.0, "{slug}");
    }
    let sent = gateway.metric("tollgate_sent_bytes_total{api=\"\",route=\"/s/**\"}");
    let received = gateway.metric("tollgate_received_bytes_total{api=\"\",route=\"/s/**\"}");
    assert!(sent > 5.0 * 110.0 && received > 5.0 * 35.0, "{sent} {received}");
}

#[test]
fn names_with_odd_characters_are_escaped() {
    let (gateway, _backend) = gateway(&Gate::new());
    traffic(&gateway);
    counted(&gateway);
    let label = r#"route="shop: odd \"name\" \\ here""#;
    let (_, page) = page(&gateway, "*/*");
    assert!(page.contains(&format!("tollgate_requests_total{{api=\"shop\",{label},status=\"2xx\"}} 1\n")), "{page}");
}

#[test]
fn what_is_in_flight_is_seen_and_at_rest_there_is_nothing() {
    let gate = Gate::new();
    let (gateway, backend) = gateway(&gate);
    let in_flight = "tollgate_requests_in_flight{api=\"\",route=\"/s/**\"}";
    let mut clients: Vec<RawClient> = (0..3).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send("GET /s/wait HTTP/1.1\r\nHost: g\r\n\r\n");
    }
    backend.wait_for("three requests", |all| all.iter().filter(|c| c.bytes.ends_with(b"\r\n\r\n")).count() == 3);
    assert_eq!(gateway.metric(in_flight), 3.0);
    assert_eq!(gateway.metric("tollgate_service_connections{service=\"s\",state=\"busy\"}"), 3.0);
    assert_eq!(gateway.status()["services"][0]["instances"][0]["in_flight"], 3);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").unwrap().status, 200);
    }
    gateway.await_metric(in_flight, |count| count == 0.0);
    // A client that leaves in the middle, and a head that is no request, leave nothing behind either.
    let stuck = Gate::new();
    let (gateway, backend) = self::gateway(&stuck);
    let mut client = gateway.client();
    client.send("GET /s/wait HTTP/1.1\r\nHost: g\r\n\r\n");
    backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\n")));
    client.reset();
    assert_eq!(gateway.client().call("nonsense\r\n\r\n").status, 400);
    gateway.await_metric(in_flight, |count| count == 0.0);
    gateway.await_metric("tollgate_requests_in_flight{api=\"\",route=\"(none)\"}", |count| count == 0.0);
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"cancelled\"}", |count| count == 1.0);
    gateway.await_metric("tollgate_requests_total{api=\"\",route=\"/s/**\",status=\"none\"}", |count| count == 1.0);
    gateway.await_metric("tollgate_service_connections{service=\"s\",state=\"busy\"}", |count| count == 0.0);
}

#[test]
fn labels_do_not_grow_with_what_clients_ask_for() {
    let (gateway, _backend) = gateway(&Gate::new());
    let mut client = gateway.client();
    let series = |gateway: &Gateway| -> BTreeSet<String> {
        let page = gateway.health("/metrics").text();
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name.to_owned())).collect()
    };
    let ask = |client: &mut RawClient, n: usize| {
        let method = if n.is_multiple_of(2) { "GET".to_owned() } else { format!("M{n}") };
        let _ = client.call(&format!("{method} /s/{n}?q={n} HTTP/1.1\r\nHost: h{n}.test\r\nX-A: {n}\r\n\r\n"));
        let _ = client.call(&format!("{method} /none/{n} HTTP/1.1\r\nHost: h{n}.test\r\n\r\n"));
    };
    (0..4).for_each(|n| ask(&mut client, n));
    let before = series(&gateway);
    (4..60).for_each(|n| ask(&mut client, n));
    assert_eq!(series(&gateway), before);
}
