//! E1 over HTTP/1.1: connections, framing both ways, interim answers, streaming.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use tollgate_testkit::recorder::Ended;
use tollgate_testkit::strict::{self, Framing};
use tollgate_testkit::{Gate, Gateway, ReadError, Recorder, Script, Step};

use support::before;

const GET: &str = "GET /a HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

/// A backend that answers every request, once it is whole, with these bytes in these pieces.
fn answering(parts: &[&str]) -> Recorder {
    let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    Recorder::answering(move |_| Script::parts(&parts))
}

#[test]
fn connections_are_kept_on_both_sides() {
    let backend = Recorder::start();
    let gateway = before(&backend);
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.call(GET).text(), "ok");
    }
    let recorded = backend.recorded();
    assert_eq!(recorded.len(), 1, "one connection to the backend");
    assert_eq!(strict::requests(&recorded[0].bytes).unwrap().0.len(), 5);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Recorder::answering(|taken| Script::ok(taken, &taken.target));
    let gateway = before(&backend);
    let mut client = gateway.client();
    let request = |n: usize| match n % 3 {
        0 => format!("GET /{n} HTTP/1.1\r\nHost: g\r\n\r\n"),
        1 => format!("POST /{n} HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\nabc"),
        _ => format!("PUT /{n} HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
    };
    client.send((0..60).map(request).collect::<String>());
    for n in 0..60 {
        assert_eq!(client.response("GET").unwrap().text(), format!("/{n}"));
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 12\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let backend = answering(&[answer]);
        let gateway = before(&backend);
        let mut client = gateway.client();
        for _ in 0..3 {
            let response = client.call(&format!("{method} /a HTTP/1.1\r\nHost: g\r\n\r\n"));
            assert!(response.content.body.is_empty());
            assert_eq!(answer.contains("Content-Length: 12"), response.one("content-length").as_deref() == Some("12"));
        }
        assert_eq!(backend.recorded().len(), 1, "{answer:?}");
    }
}

#[test]
fn a_chunked_answer_arrives_whole_however_it_was_cut() {
    let answer = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5;a=b\r\nhello\r\n02\r\n, \r\n6\r\nworld!\r\n0\r\nX-Sum: abc\r\nContent-Length: 9\r\n\r\n";
    let bytes: Vec<String> = answer.chars().map(String::from).collect();
    for parts in [vec![answer.to_owned()], bytes] {
        let backend = Recorder::answering(move |_| Script::parts(&parts));
        let gateway = before(&backend);
        let mut client = gateway.client();
        let request = "GET /a HTTP/1.1\r\nHost: g\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
        for _ in 0..2 {
            let response = client.call(request);
            assert_eq!(response.text(), "hello, world!");
            assert_eq!(strict::all(&response.content.trailers, "x-sum"), ["abc"]);
            assert_eq!(response.content.trailers.len(), 1, "a length is no trailer");
        }
        assert_eq!(client.call(GET).text(), "hello, world!");
    }
}

#[test]
fn the_client_is_told_to_continue_by_the_backend() {
    let backend = Recorder::answering(|taken| {
        let mut script = Script::ok(taken, "thanks");
        script.0.insert(0, Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
        script
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.response("POST").unwrap().status, 100);
        client.send("hello");
        assert_eq!(client.response("POST").unwrap().text(), "thanks");
    }
    let recorded = backend.recorded();
    let (requests, _) = strict::requests(&recorded[0].bytes).unwrap();
    assert_eq!(requests[0].one("expect").as_deref(), Some("100-continue"));
    assert_eq!(requests[1].content.body, b"hello");
}

#[test]
fn a_refusal_instead_of_continue_reaches_the_client_without_its_body() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let backend = Recorder::answering(|_| Script(vec![Step::Send(refusal.to_vec()), Step::Close]));
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[test]
fn other_interim_answers_are_passed_on_but_not_to_http_1_0() {
    let backend = answering(&[
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ]);
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send(GET);
    let (interim, response) = client.final_response("GET").unwrap();
    assert_eq!((interim.len(), response.text().as_str()), (2, "hi"));
    assert_eq!(interim[1].one("link").as_deref(), Some("</b.css>; rel=preload"));
    let mut old = gateway.client();
    old.send("GET /a HTTP/1.0\r\nHost: g\r\n\r\n");
    assert_eq!(old.response("GET").unwrap().status, 200);
}

#[test]
fn an_answer_may_come_before_the_body_ends() {
    let early = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop";
    let backend = Recorder::answering(|_| Script(vec![Step::ReadBody(10), Step::Send(early.to_vec()), Step::Close]));
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 1000000\r\n\r\n0123456789");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str()), (413, "stop"));
    // The rest of such a body is not waited for, and that is said beforehand.
    assert_eq!(response.one("connection").as_deref(), Some("close"));
    assert_eq!(client.end(), ReadError::Closed(Vec::new()));
}

#[test]
fn an_early_answer_does_not_stop_a_body_that_goes_on() {
    let backend = Recorder::answering(|taken| {
        if taken.method == "GET" {
            return Script::ok(taken, "ok");
        }
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        Script(vec![
            Step::ReadBody(5),
            Step::Send(head.into()),
            Step::ReadRequest,
            Step::Send(b"6\r\nsecond\r\n0\r\n\r\n".to_vec()),
        ])
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nhello");
    client.wait_for_bytes(|bytes| bytes.ends_with(b"first\r\n")).unwrap();
    client.send("world");
    let response = client.response("POST").unwrap();
    assert_eq!(response.text(), "firstsecond");
    // Whether the body would end well was not known when the head left; but what it says must hold.
    match response.one("connection").as_deref() {
        Some("close") => assert_eq!(client.end(), ReadError::Closed(Vec::new())),
        _ => assert_eq!(client.call(GET).status, 200),
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "late");
        script.0.insert(0, Step::Wait(inner.clone()));
        script
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send(GET);
    client.half_close();
    backend.wait_for("the request", |all| all.first().is_some_and(|c| c.bytes.ends_with(b"\r\n\r\n")));
    gate.open();
    assert_eq!(client.response("GET").unwrap().text(), "late");
    assert_eq!(client.end(), ReadError::Closed(Vec::new()));
}

#[test]
fn http_1_0_clients_get_a_body_that_ends_with_the_connection() {
    let backend = answering(&["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]);
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.0\r\nHost: g\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response("GET").unwrap();
    assert_eq!((response.text().as_str(), response.content.framing), ("hi", Framing::Close));
    assert!(response.all("transfer-encoding").is_empty());
}

#[test]
fn a_body_that_ends_with_the_backends_connection_arrives_whole() {
    for head in ["HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: close"] {
        let answer = format!("{head}\r\nX-A: b\r\n\r\nhello");
        let backend = Recorder::answering(move |_| Script::reply(&answer).then(Step::Close));
        let gateway = before(&backend);
        let mut client = gateway.client();
        for _ in 0..2 {
            let response = client.call(GET);
            assert_eq!(response.text(), "hello");
            assert_eq!((response.version.as_str(), response.content.framing), ("HTTP/1.1", Framing::Chunked));
        }
    }
}

#[test]
fn fields_of_the_backends_hop_do_not_reach_the_client() {
    let backend =
        answering(&["HTTP/1.1 200 OK\r\nConnection: X-Hop, Keep-Alive\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
                               Proxy-Connection: x\r\nUpgrade: h2c\r\nX-A: b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                               Content-Length: 2\r\n\r\nhi"]);
    let gateway = before(&backend);
    let response = gateway.client().call(GET);
    for name in ["Connection", "Keep-Alive", "X-Hop", "Proxy-Connection", "Upgrade"] {
        assert!(response.all(name).is_empty(), "{name}");
    }
    assert_eq!((response.one("x-a").as_deref(), response.all("set-cookie").len()), (Some("b"), 2));
    assert!(response.one("date").is_some());
}

#[test]
fn the_first_event_of_a_stream_arrives_at_once() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |_| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        Script::reply(head)
            .then(Step::Send(b"9\r\ndata: 1\n\n\r\n".to_vec()))
            .then(Step::Wait(inner.clone()))
            .then(Step::Send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n".to_vec()))
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send(GET);
    // The second event is not even written yet.
    client.wait_for_bytes(|bytes| bytes.windows(9).any(|w| w == b"data: 1\n\n")).unwrap();
    gate.open();
    assert_eq!(client.response("GET").unwrap().text(), "data: 1\n\ndata: 2\n\n");
}

#[test]
fn a_client_that_is_gone_frees_the_backend() {
    let backend = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send(GET);
    backend.wait_for("the request", |all| all.first().is_some_and(|c| c.bytes.ends_with(b"\r\n\r\n")));
    client.reset();
    backend.wait_for("the end of the abandoned request", |all| all[0].ended.is_some_and(|end| end != Ended::ByUs));
}

/// RFC 9110 §9.3.8: what lets somebody in is reflected to nobody, and neither is what only services are to see.
#[test]
fn a_trace_shows_what_was_received_and_no_secret() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        routes: { /**: { to: \"{{backend}}\", headers: { request: { set: { X-Inner: canary-1, X-Plain: canary-2 }, remove: [X-Gone] } } } }\n";
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollgate"), config, &[("backend", backend.address().to_string())]);
    let answer = gateway.client().call(
        "TRACE /a?b=c HTTP/1.1\r\nHost: g\r\nMax-Forwards: 0\r\nX-Shown: here\r\nX-Api-Key: canary-3\r\nAuthorization: Bearer canary-4\r\n\
         Cookie: a=canary-5\r\nX-Auth-Token: canary-6\r\nX-Gone: away\r\n\r\n",
    );
    let told = answer.text();
    assert_eq!((answer.status, answer.one("content-type").as_deref()), (200, Some("message/http")), "{told}");
    assert!(told.starts_with("TRACE /a?b=c HTTP/1.1\r\n") && told.contains("X-Shown: here\r\n"), "{told}");
    assert!(!told.contains("canary") && !told.contains("away"), "{told}");
    assert!(backend.recorded().is_empty());
}
