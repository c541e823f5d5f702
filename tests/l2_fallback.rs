//! L2: what takes the place of an answer that cannot be had, and what is never replaced.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use tollgate_testkit::http2::{Frame, FrameClient, hpack};
use tollgate_testkit::recorder::shown;
use tollgate_testkit::{Cli, Gateway, ReadError, Recorder, Response, Script, Step, free_port};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A gateway with the services `main` and `second`, and a route to the first.
fn gateway(main: &str, second: &str, service: &str, route: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         services: {{ main: {{ to: \"{main}\", retry: 0, {service} }}, second: {{ to: \"{second}\", retry: 0 }} }}\n\
         routes: {{ /**: {{ to: main, {route} }}, /second: second }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[])
}

fn of(recorder: &Recorder) -> String {
    recorder.address().to_string()
}

fn dead() -> String {
    format!("127.0.0.1:{}", free_port())
}

fn named(name: &'static str) -> Recorder {
    Recorder::answering(move |taken| Script::ok(taken, name))
}

fn slug(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

fn post(gateway: &Gateway) -> Response {
    gateway.client().call("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello")
}

const FALLBACKS: &str = "tollgate_fallbacks_total{service=\"main\"}";

#[test]
fn another_service_stands_in_for_one_that_cannot_be_reached() {
    let second = named("second");
    for (service, route) in [("fallback: second", ""), ("", "fallback: second"), ("fallback: 204", "fallback: second")]
    {
        let main = dead();
        let gateway = gateway(&main, &of(&second), service, route);
        assert_eq!(gateway.client().get("/a").text(), "second");
        // Nothing of it was sent, so that even a POST may go there.
        assert_eq!(post(&gateway).text(), "second");
        let line = gateway.access_line("of the fallback", |line| line["service"] == "second");
        assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(200), Some(2)), "{line}");
        let cause = line["cause"].as_str().unwrap();
        assert!(cause.starts_with(&format!("in place of main: upstream/connect-failed: connect to {main}")), "{cause}");
        assert_eq!(line["problem"], serde_json::Value::Null, "{line}");
        gateway.await_metric(FALLBACKS, |count| count == 2.0);
    }
}

#[test]
fn the_whole_request_goes_to_whoever_stands_in() {
    let main = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Reset]));
    let second = Recorder::answering(|_| Script(vec![Step::Echo]));
    let gateway = gateway(&of(&main), &of(&second), "fallback: second", "");
    let put = "PUT /a?b=c HTTP/1.1\r\nHost: g\r\nX-Own: 1\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(gateway.client().call(put).text(), "hello");
    let recorded = String::from_utf8(second.recorded()[0].bytes.clone()).unwrap();
    assert!(recorded.starts_with("PUT /a?b=c HTTP/1.1\r\n") && recorded.contains("X-Own: 1\r\n"), "{recorded}");
}

#[test]
fn a_post_that_was_sent_goes_nowhere_else() {
    let main = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Reset]));
    let second = named("second");
    let gateway = gateway(&of(&main), &of(&second), "fallback: second", "");
    assert_eq!(slug(&post(&gateway)), "upstream/reset");
    assert!(second.recorded().is_empty());
    assert_eq!(gateway.client().get("/a").text(), "second");
}

#[test]
fn a_post_with_a_key_that_was_sent_once_goes_nowhere_else_even_if_the_last_try_finds_nobody() {
    // Of the tries, those at the other instance find nobody, and nothing of them is sent.
    let main = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Reset]));
    let second = named("second");
    let service =
        "retry: { retries: 3, on: [connect, reset], idempotency_key: true, budget: 100%, min: 100, backoff: 1ms }";
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         services: {{ main: {{ to: [\"{}\", \"{}\"], {service}, fallback: second }}, second: \"{}\" }}\n\
         routes: {{ /**: main }}\n",
        of(&main),
        dead(),
        of(&second)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let keyed = "POST /a HTTP/1.1\r\nHost: g\r\nIdempotency-Key: \"k\"\r\nContent-Length: 5\r\n\r\nhello";
    for _ in 0..4 {
        assert_eq!(gateway.client().call(keyed).status, 502);
    }
    let line = gateway.access_line("of one whose last try found nobody", |line| {
        line["problem"] == "upstream/connect-failed" && line["attempts"] == 4
    });
    assert_eq!(line["service"], "main", "{line}");
    assert!(second.recorded().is_empty());
    assert_eq!(gateway.client().get("/a").text(), "second", "what does no harm twice does");
}

#[test]
fn the_file_says_which_failures_lead_to_the_fallback() {
    let second = named("second");
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let broken = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Reset]));
    for (main, on, leads) in [
        (dead(), "connect", true),
        (dead(), "[timeout, reset, limit, breaker, 5xx]", false),
        (of(&broken), "[connect, reset]", true),
        (of(&broken), "[connect, timeout]", false),
        (of(&silent), "timeout", true),
        (of(&silent), "[connect, reset, 504]", false),
    ] {
        let own = format!("fallback: {{ to: second, on: {on} }}");
        let gateway = gateway(&main, &of(&second), &own, "timeout: 300ms");
        assert_eq!(gateway.client().get("/a").text() == "second", leads, "{on}");
    }
    let alone = gateway(&dead(), &of(&second), "breaker: 1 in a row, fallback: { to: second, on: breaker }", "");
    assert_eq!(slug(&alone.client().get("/a")), "upstream/connect-failed");
    assert_eq!(alone.client().get("/a").text(), "second");
}

#[test]
fn answers_whose_status_the_file_names_are_replaced_where_that_is_safe() {
    let main = Recorder::answering(|taken| match taken.target.as_str() {
        "/whole" => Script::reply("HTTP/1.1 503 Own\r\nContent-Length: 0\r\n\r\n"),
        "/missing" => Script::reply("HTTP/1.1 404 Own\r\nContent-Length: 3\r\n\r\nown"),
        // The rest of it never comes.
        _ => Script::reply("HTTP/1.1 503 Own\r\nContent-Length: 9\r\n\r\nown"),
    });
    let second = Recorder::answering(|_| Script(vec![Step::Echo]));
    let own = "fallback: { to: second, on: [connect, 502-504] }";
    let gate_way = gateway(&of(&main), &of(&second), own, "");
    let put = |path: &str| {
        let put = format!("PUT {path} HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello");
        gate_way.client().call(&put).text()
    };
    assert_eq!((put("/whole"), put("/half"), put("/missing")), ("hello".into(), "hello".into(), "own".into()));
    let line = gate_way.access_line("of the fallback", |line| line["path"] == "/whole");
    assert_eq!((line["service"].as_str(), line["status"].as_u64()), (Some("second"), Some(200)), "{line}");
    assert_eq!(line["cause"], "in place of main: an answer of 503", "{line}");
    gate_way.await_metric(FALLBACKS, |count| count == 2.0);
    let mut client = gate_way.client();
    client.send("POST /whole HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response("POST").unwrap().status, 503, "it was taken, and would be twice");
    // An answer of the file takes nothing twice.
    let reply = "fallback: { status: 203, body: instead, on: 503 }";
    let fixed = gateway(&of(&main), &dead(), reply, "");
    let mut client = fixed.client();
    for path in ["/whole", "/half", "/whole"] {
        let post = format!("POST {path} HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello");
        let answer = client.call(&post);
        assert_eq!((answer.status, answer.text().as_str()), (203, "instead"), "{path}");
    }
}

#[test]
fn a_connection_is_of_use_after_an_answer_that_was_replaced_unless_a_request_is_stuck_in_it() {
    // Half of the body is enough for this answer, after which it goes on reading.
    let main = Recorder::answering(|taken| {
        let answer = Step::Send(b"HTTP/1.1 503 Own\r\nContent-Length: 0\r\n\r\n".to_vec());
        let read = if taken.target == "/early" { Step::ReadBody(4) } else { Step::ReadRequest };
        Script(vec![read, answer])
    });
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\nroutes:\n  \
         /**: {{ to: \"{}\", fallback: {{ status: 203, body: instead, on: 503 }} }}\n",
        of(&main)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let whole = || assert_eq!(post(&gateway).text(), "instead");
    (0..3).for_each(|_| whole());
    assert_eq!(main.recorded().len(), 1, "it goes on being used");
    let mut client = gateway.client();
    client.send("POST /early HTTP/1.1\r\nHost: g\r\nContent-Length: 9\r\n\r\nhell");
    assert_eq!(client.response("POST").unwrap().text(), "instead");
    whole();
    let all = main.recorded();
    assert_eq!(all.len(), 2, "{}", shown(&all));
    assert!(all[0].bytes.ends_with(b"\r\n\r\nhell"), "{}", shown(&all));
}

#[test]
fn an_answer_of_the_file_stands_in_for_whatever_the_request_was() {
    let main = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Reset]));
    let reply = "fallback: { status: 203, body: '{\"items\":[]}', type: application/json, headers: { X-From: file } }";
    let gateway = gateway(&of(&main), &dead(), reply, "");
    let mut client = gateway.client();
    for response in [post(&gateway), client.get("/a"), client.get("/b")] {
        assert_eq!((response.status, response.text().as_str()), (203, "{\"items\":[]}"));
        assert_eq!(response.one("content-type").as_deref(), Some("application/json"));
        assert_eq!(response.one("x-from").as_deref(), Some("file"));
    }
    let line = gateway.access_line("of the fallback", |line| line["method"] == "POST");
    assert_eq!((line["status"].as_u64(), line["problem"].as_str()), (Some(203), Some("upstream/reset")), "{line}");
    gateway.await_metric(FALLBACKS, |count| count == 3.0);
}

#[test]
fn a_timeout_and_a_service_at_its_limit_have_their_fallback_too() {
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let second = named("second");
    let slow = gateway(&of(&silent), &of(&second), "fallback: second", "timeout: 500ms");
    assert_eq!(slow.client().get("/a").text(), "second", "which has a `timeout` of its own");
    let full = gateway(&of(&silent), &of(&second), "connections: 1, queue: 0, fallback: 503 come back later", "");
    let mut first = full.client();
    first.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    silent.wait_for("the first request", |all| all.iter().filter(|c| c.bytes.ends_with(b"\r\n\r\n")).count() == 2);
    let response = full.client().get("/b");
    assert_eq!((response.status, response.text().as_str()), (503, "come back later"));
    // What still waits for it would else keep the gateway from ending.
    drop(silent);
}

#[test]
fn what_a_service_answers_is_never_replaced() {
    let main = Recorder::answering(|_| Script::reply("HTTP/1.1 503 Own\r\nContent-Length: 3\r\n\r\nown"));
    let second = named("second");
    let gateway = gateway(&of(&main), &of(&second), "fallback: second", "");
    let response = gateway.client().get("/a");
    assert_eq!((response.status, response.text().as_str()), (503, "own"));
    assert!(second.recorded().is_empty());
}

#[test]
fn an_answer_that_has_begun_is_never_replaced() {
    let main =
        Recorder::answering(|_| Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").then(Step::Reset));
    let second = named("second");
    let gateway = gateway(&of(&main), &of(&second), "fallback: second", "");
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    assert!(matches!(client.response("GET"), Err(ReadError::Closed(_) | ReadError::Reset(_))));
    assert!(second.recorded().is_empty());
    assert_eq!(gateway.metric(FALLBACKS), 0.0);
}

#[test]
fn a_fallback_has_none_of_its_own_and_its_failure_shows() {
    let c = named("c");
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         services:\n  a: {{ to: \"{}\", fallback: b }}\n  b: {{ to: \"{}\", fallback: c }}\n  c: \"{}\"\n\
         defaults: {{ fallback: 299 by default }}\n\
         routes: {{ /a: {{ to: a, fallback: none }}, /b: b, /c: {{ to: a, fallback: b }} }}\n",
        dead(),
        dead(),
        of(&c)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let mut client = gateway.client();
    assert_eq!(slug(&client.get("/a")), "upstream/connect-failed", "`none` takes away the service's, too");
    assert_eq!(client.get("/b").text(), "by default", "the route's goes before the service's");
    assert_eq!(slug(&client.get("/c")), "upstream/connect-failed", "`b` fell short, and that is the end of it");
}

#[test]
fn no_healthy_instance_is_a_reason_too() {
    let (main, second) = (Recorder::start(), named("second"));
    let service = "health: { path: /healthz, status: 299, interval: 30ms, unhealthy: 1 }, \
                   when_all_fail: refuse, fallback: second";
    let gateway = gateway(&of(&main), &of(&second), service, "");
    gateway.await_metric("tollgate_service_instances{service=\"main\",state=\"unhealthy\"}", |count| count == 1.0);
    assert_eq!(gateway.client().get("/a").text(), "second");
}

#[test]
fn nobody_is_told_that_a_tunnel_is_open_which_leads_nowhere() {
    let gateway = gateway(&dead(), &dead(), "fallback: 200 nothing here", "");
    let mut client = FrameClient::open(gateway.address(), &[]);
    // RFC 8441: a 2xx would mean that WebSocket is spoken from here on.
    let connect = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/a")];
    let fields = [&connect[..], &[(":authority", "gateway.test")]].concat();
    client.send(&Frame::headers(1, false, hpack::block(&fields)));
    assert_eq!(client.answer(1).status, 502);
    client.get(3, "/a");
    assert_eq!(client.answer(3).status, 200);
}

#[test]
fn a_caller_of_grpc_is_told_in_its_own_words_and_no_others() {
    let gateway = gateway(&dead(), &dead(), "fallback: 200 nothing here", "");
    let mut client = FrameClient::open(gateway.address(), &[]);
    let call =
        [(":method", "POST"), (":scheme", "http"), (":path", "/shop.Orders/Get"), (":authority", "gateway.test")];
    let fields = [&call[..], &[("content-type", "application/grpc"), ("te", "trailers")]].concat();
    client.send(&Frame::headers(1, true, hpack::block(&fields)));
    let answer = client.answer(1);
    // 14: UNAVAILABLE.
    assert_eq!((answer.status, answer.one("grpc-status").as_deref()), (200, Some("14")), "{answer:?}");
    assert_eq!(answer.text(), "");
}

#[test]
fn explain_tells_of_fallbacks_and_check_of_those_that_are_not_there() {
    let good = "listen: 8080\nservices: { a: { to: 10.0.0.1:80, fallback: b, try_timeout: 500ms }, b: 10.0.0.2:80 }\n\
                routes: { /a: a, /b: { to: b, fallback: 200 nothing } }\n";
    let cli = Cli::with(TOLLGATE, good);
    assert!(cli.run(&["explain", "GET", "/a"]).out.contains("; each try: 500ms; fallback: b\n"));
    assert!(cli.run(&["explain", "GET", "/b"]).out.contains("; fallback: 200 with a body of 7 bytes\n"));
    let named = Cli::with(TOLLGATE, &good.replace("fallback: b,", "fallback: { to: b, on: [timeout, 502-504] },"));
    assert!(named.run(&["explain", "GET", "/a"]).out.contains("; fallback: b on timeout, 502-504\n"));
    let bad = Cli::with(TOLLGATE, &good.replace("fallback: b,", "fallback: bb,"));
    let ran = bad.run(&["check"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("there is no service `bb`") && ran.err.contains("did you mean `b`?"), "{}", ran.err);
    let itself = Cli::with(TOLLGATE, &good.replace("fallback: b,", "fallback: a,"));
    assert!(itself.run(&["check"]).err.contains("`a` cannot stand in for itself"));
}
