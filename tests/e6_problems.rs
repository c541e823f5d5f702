//! E6: what the gateway answers by itself when something is wrong.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use tollgate_testkit::{Gate, Gateway, ReadError, Recorder, Response, Script, Step, free_port};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// What a backend does about a request, by its path.
fn backend(gate: &Gate) -> Recorder {
    let gate = gate.clone();
    Recorder::answering(move |taken| match taken.target.as_str() {
        "/reset" => Script(vec![Step::ReadRequest, Step::Reset]),
        "/close" => Script(vec![Step::ReadRequest, Step::Close]),
        "/nonsense" => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        "/slow" => Script(vec![Step::ReadRequest, Step::Silence]),
        "/busy" => {
            let mut script = Script::ok(taken, "done");
            script.0.insert(1, Step::Wait(gate.clone()));
            script
        }
        _ => Script::ok(taken, "ok"),
    })
}

const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
dns: { servers: ["127.0.0.1:{{nobody}}"], timeout: 200ms }
services:
  backend: { to: "{{backend}}", retry: none }
  busy: { to: "{{backend}}", connections: 1, queue: 0 }
  dead: { to: "127.0.0.1:{{dead}}", retry: none }
  nowhere: nowhere.internal:80
routes:
  /**: { to: backend, timeout: 10s, body: 10 }
  /slow: { to: backend, timeout: 200ms }
  /dead: dead
  /nowhere: nowhere
  /busy: busy
  GET,PUT /only: { reply: 204 }
  /own: { reply: 200 own }
"#;

fn gateway(backend: &Recorder) -> Gateway {
    let port = || free_port().to_string();
    let values = [("backend", backend.address().to_string()), ("dead", port()), ("nobody", port())];
    // Without the route for all paths, so that there is something to be not found.
    let config = CONFIG.replace("  /**: {", "  /b/**: { strip: /b,");
    Gateway::start(TOLLGATE, &config, &values)
}

/// Asserts that the answer is a problem with this status and slug, whole and consistent with itself.
fn is_problem(response: &Response, status: u16, slug: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.one("content-type").as_deref(), Some("application/problem+json"), "{response:?}");
    assert_eq!(response.one("cache-control").as_deref(), Some("no-store"), "{response:?}");
    let object = response.json();
    assert_eq!(object["type"], format!("urn:tollgate:problem:{slug}"), "{object}");
    assert_eq!(object["status"], status, "{object}");
    assert_eq!(object["policy"].as_str(), slug.split('/').next(), "{object}");
    assert!(object["title"].as_str().is_some_and(|title| !title.is_empty()), "{object}");
    assert_eq!(object["correlation_id"].as_str(), response.one("x-correlation-id").as_deref(), "{object}");
    let known = ["type", "title", "status", "detail", "policy", "correlation_id"];
    let members: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert!(members.iter().all(|member| known.contains(&member.as_str())), "{object}");
    // What stands behind the gateway is nobody's business.
    let text = response.text();
    assert!(!text.contains("127.0.0.1") && !text.contains("os error") && !text.contains(".internal"), "{text}");
}

#[test]
fn each_fault_has_its_status_and_slug() {
    let backend = backend(&Gate::new());
    let gateway = gateway(&backend);
    for (method, target, status, slug) in [
        ("GET", "/nothing", 404, "route/not-found"),
        ("DELETE", "/only", 405, "route/method-not-allowed"),
        ("GET", "/b/reset", 502, "upstream/reset"),
        ("POST", "/b/close", 502, "upstream/reset"),
        ("GET", "/b/nonsense", 502, "upstream/invalid-answer"),
        ("GET", "/dead", 502, "upstream/connect-failed"),
        ("GET", "/nowhere", 503, "upstream/no-instance"),
        ("GET", "/slow", 504, "upstream/timeout"),
    ] {
        let response = gateway.client().call(&format!("{method} {target} HTTP/1.1\r\nHost: g\r\n\r\n"));
        is_problem(&response, status, slug);
        assert_eq!(response.all("allow").len(), usize::from(status == 405));
        gateway.await_metric(&format!("tollgate_problems_total{{api=\"\",slug=\"{slug}\"}}"), |count| count >= 1.0);
    }
}

#[test]
fn a_body_that_is_too_large_is_a_413_whether_its_length_is_told_or_not() {
    let backend = backend(&Gate::new());
    let gateway = gateway(&backend);
    let mut client = gateway.client();
    let fits = "POST /b/a HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(client.call(fits).status, 200);
    client.send("POST /b/a HTTP/1.1\r\nHost: g\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
    let refused = client.response("POST").unwrap();
    is_problem(&refused, 413, "http/body-too-large");
    assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.contains("10 bytes")));
    let mut client = gateway.client();
    let chunks =
        "POST /b/a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890\r\n0\r\n\r\n";
    is_problem(&client.call(chunks), 413, "http/body-too-large");
}

#[test]
fn a_service_at_its_limit_is_a_503_at_once() {
    let gate = Gate::new();
    let backend = backend(&gate);
    let gateway = gateway(&backend);
    let mut first = gateway.client();
    first.send("GET /busy HTTP/1.1\r\nHost: g\r\n\r\n");
    backend.wait_for("the first request", |all| !all.is_empty() && all[0].bytes.ends_with(b"\r\n\r\n"));
    is_problem(&gateway.client().get("/busy"), 503, "upstream/limit");
    gate.open();
    assert_eq!(first.response("GET").unwrap().text(), "done");
}

#[test]
fn a_head_that_is_refused_is_a_problem_and_ends_the_connection() {
    let backend = backend(&Gate::new());
    let gateway = gateway(&backend);
    for (request, status, slug) in [
        ("GET /own HTTP/1.1\r\n\r\n", 400, "http/malformed"),
        (
            "GET /own HTTP/1.1\r\nHost: g\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "http/malformed",
        ),
        ("GET /a%00 HTTP/1.1\r\nHost: g\r\n\r\n", 400, "http/path"),
        ("GET /own HTTP/2.0\r\nHost: g\r\n\r\n", 505, "http/version"),
        ("POST /own HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "http/transfer-coding"),
        ("GET /own HTTP/1.1\r\nHost: g\r\nExpect: tea\r\n\r\n", 417, "http/expectation"),
        ("CONNECT g:443 HTTP/1.1\r\nHost: g:443\r\n\r\n", 501, "http/connect"),
    ] {
        let mut client = gateway.client();
        let response = client.call(request);
        is_problem(&response, status, slug);
        assert_eq!(response.one("connection").as_deref(), Some("close"), "{request:?}");
        assert_eq!(client.end(), ReadError::Closed(Vec::new()), "{request:?}");
    }
}

#[test]
fn head_gets_the_fields_of_a_problem_and_no_body() {
    let backend = backend(&Gate::new());
    let gateway = gateway(&backend);
    let mut client = gateway.client();
    for (target, status) in [("/nothing", 404), ("/dead", 502)] {
        let head = client.call(&format!("HEAD {target} HTTP/1.1\r\nHost: g\r\n\r\n"));
        assert_eq!((head.status, head.content.body.len()), (status, 0));
        assert_eq!(head.one("content-type").as_deref(), Some("application/problem+json"));
        let get = client.get(target);
        let length = |r: &Response| r.one("content-length").and_then(|n| n.parse::<usize>().ok());
        assert!(length(&head).is_some_and(|n| n > 100), "{head:?}");
        assert_eq!(length(&get), Some(get.content.body.len()));
    }
    assert_eq!(client.get("/own").text(), "own", "the connection stays");
}

#[test]
fn a_problem_with_the_route_or_the_service_keeps_the_connection() {
    let backend = backend(&Gate::new());
    let gateway = gateway(&backend);
    let mut client = gateway.client();
    let body = "Content-Length: 5\r\n\r\nhello";
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: g\r\n\r\n".to_owned(), 404),
        (format!("POST /nothing HTTP/1.1\r\nHost: g\r\n{body}"), 404),
        (format!("POST /only HTTP/1.1\r\nHost: g\r\n{body}"), 405),
        ("POST /nothing HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(), 404),
        (format!("POST /dead HTTP/1.1\r\nHost: g\r\n{body}"), 502),
        (format!("PUT /own HTTP/1.1\r\nHost: g\r\n{body}"), 200),
        ("GET /b/reset HTTP/1.1\r\nHost: g\r\n\r\n".to_owned(), 502),
    ] {
        let response = client.call(&request);
        assert_eq!((response.status, response.all("connection")), (status, vec![]), "{request:?}");
    }
    assert_eq!(client.get("/own").text(), "own");
}

#[test]
fn what_a_service_answers_is_passed_on_as_it_is() {
    let answer = "HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy";
    let backend = Recorder::answering(move |_| Script::reply(answer));
    let gateway = gateway(&backend);
    let response = gateway.client().get("/b/a");
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
    assert_eq!(response.one("content-type").as_deref(), Some("text/html"));
    assert_eq!(response.one("retry-after").as_deref(), Some("3"));
}

#[test]
fn the_log_tells_the_cause_that_the_client_is_not_told() {
    let backend = backend(&Gate::new());
    let gateway = gateway(&backend);
    assert_eq!(gateway.client().get("/dead").status, 502);
    let line = gateway.access_line("of the failure", |line| line["problem"] == "upstream/connect-failed");
    assert!(line["cause"].as_str().is_some_and(|c| c.contains("refused") && c.contains("127.0.0.1:")), "{line}");
    assert_eq!((line["status"].as_u64(), line["service"].as_str()), (Some(502), Some("dead")));
}
