//! E1 when the backend misbehaves: a cut off body never looks whole, a malformed answer never gets through, and a
//! stale connection is not the client's concern.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use tollgate_testkit::recorder::Ended;
use tollgate_testkit::{RawClient, ReadError, Recorder, Response, Script, Step, free_port, strict};

use support::{before, with};

const GET: &str = "GET /a HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2\r\n\r\nhi";

fn ends_with_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

/// Whether this is a problem of the gateway's own with this status.
fn is_problem(response: &Response, status: u16) -> bool {
    let kind = response.one("content-type");
    response.status == status && kind.as_deref() == Some("application/problem+json")
}

#[test]
fn a_body_that_the_backend_cuts_off_never_looks_whole() {
    let truncated = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!0\r\n\r\n",
    ];
    for answer in truncated {
        for end in [Step::Close, Step::Reset] {
            let backend = Recorder::answering(move |_| Script::reply(answer).then(end.clone()));
            let gateway = before(&backend);
            let mut client = gateway.client();
            client.send(GET);
            match client.response("GET") {
                Err(ReadError::Closed(_) | ReadError::Reset(_)) => {}
                // Nothing of the answer was sent on yet: then the gateway may say that it failed.
                Ok(response) => assert!(is_problem(&response, 502), "{answer:?}: {response:?}"),
                Err(other) => panic!("{answer:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_cut_off_body_is_reset_where_only_the_close_would_tell_its_end() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let backend = Recorder::answering(move |_| Script::reply(answer).then(Step::Close));
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.0\r\nHost: g\r\n\r\n");
    match client.response("GET") {
        Err(ReadError::Reset(_)) => {}
        Ok(response) => assert!(is_problem(&response, 502), "{response:?}"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_reset_is_no_end_of_a_body_that_runs_until_the_close() {
    let backend = Recorder::answering(|_| Script::reply("HTTP/1.0 200 OK\r\n\r\nhello").then(Step::Reset));
    let gateway = before(&backend);
    let mut client = gateway.client();
    client.send(GET);
    match client.response("GET") {
        Err(ReadError::Closed(_) | ReadError::Reset(_)) => {}
        Ok(response) => assert!(is_problem(&response, 502), "{response:?}"),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn malformed_answers_are_a_502_and_the_connection_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let backend = Recorder::answering(move |taken| match taken.number {
            0 => Script::reply(answer),
            _ => Script::ok(taken, "well"),
        });
        let gateway = before(&backend);
        let mut client = gateway.client();
        let response = client.call(GET);
        assert!(is_problem(&response, 502), "{answer:?}: {response:?}");
        assert_eq!(client.call(GET).text(), "well");
        backend.wait_for("the end of the bad connection", |all| all[0].ended.is_some());
        assert_eq!(backend.recorded().len(), 2, "{answer:?}");
    }
}

#[test]
fn bytes_behind_an_answer_are_given_to_nobody() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let backend = Recorder::answering(move |taken| match taken.number {
        0 => Script::reply(poison),
        _ => Script::ok(taken, "own"),
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    assert_eq!(client.call(GET).text(), "hi");
    assert_eq!(client.call(GET).text(), "own");
    assert_eq!(backend.recorded().len(), 2);
}

#[test]
fn an_answer_that_nobody_asked_for_is_given_to_nobody() {
    let sent = tollgate_testkit::Gate::new();
    let tell = sent.clone();
    let backend = Recorder::answering(move |taken| match taken.number {
        0 => Script::ok(taken, "first")
            .then(Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison".to_vec()))
            .then(Step::Open(tell.clone())),
        _ => Script::ok(taken, "own"),
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    assert_eq!(client.call(GET).text(), "first");
    assert!(sent.pass());
    assert_eq!(client.call(GET).text(), "own");
}

#[test]
fn a_connection_that_the_backend_closed_while_idle_is_not_noticed_by_the_client() {
    let backend = Recorder::answering(|taken| match taken.number % 2 {
        0 => Script::ok(taken, "even").then(Step::Close),
        _ => Script::ok(taken, "odd"),
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    assert_eq!(client.call(GET).text(), "even");
    backend.wait_for("the close", |all| all[0].ended.is_some());
    // Not idempotent, but nothing of it was sent: it goes over a new connection.
    assert_eq!(client.call(POST).text(), "odd");
}

#[test]
fn a_reused_connection_that_dies_is_tried_again_only_if_that_is_safe() {
    let backend = Recorder::answering(|taken| match (taken.number, taken.method.as_str()) {
        (1, _) => Script(vec![Step::ReadRequest, Step::Close]),
        (_, "POST") if taken.number > 2 => Script(vec![Step::ReadRequest, Step::Close]),
        _ => Script::ok(taken, "well"),
    });
    let gateway = before(&backend);
    let mut client = gateway.client();
    assert_eq!(client.call(GET).text(), "well");
    assert_eq!(client.call(GET).text(), "well", "a GET is sent once more");
    assert!(is_problem(&client.call(POST), 502), "a POST is not");
    let posts = backend.recorded().iter().map(|c| c.bytes.windows(5).filter(|w| *w == b"POST ").count()).sum::<usize>();
    assert_eq!(posts, 1);
}

#[test]
fn nobody_listening_is_a_502() {
    let backend = Recorder::start();
    let config = support::ONE_ROUTE.replace("{{backend}}", &format!("127.0.0.1:{}", free_port()));
    let gateway = with(&config, &backend);
    let mut client = gateway.client();
    assert!(is_problem(&client.call(GET), 502));
    assert!(is_problem(&client.call(GET), 502), "and the client's connection stays");
}

#[test]
fn an_answer_that_does_not_come_is_a_504() {
    let backend = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let config = support::ONE_ROUTE.replace("defaults: {", "defaults: { timeout: 300ms, retry: none,");
    let gateway = with(&config, &backend);
    let mut client = gateway.client();
    assert!(is_problem(&client.call(POST), 504));
    backend.wait_for("the end of the attempt", |all| {
        all[0].ended == Some(Ended::Closed) || all[0].ended == Some(Ended::Reset)
    });
}

#[test]
fn a_request_in_flight_is_finished_before_the_gateway_ends() {
    let gate = tollgate_testkit::Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "finished");
        script.0.insert(1, Step::Wait(inner.clone()));
        script
    });
    let mut gateway = before(&backend);
    let mut client = gateway.client();
    client.send(GET);
    backend.wait_for("the request", |all| all.first().is_some_and(|c| ends_with_head(&c.bytes)));
    gateway.terminate();
    tollgate_testkit::wait_until("no new connections are taken", || !RawClient::is_accepted(gateway.address()));
    gate.open();
    let response = client.response("GET").unwrap();
    assert_eq!((response.text().as_str(), response.one("connection").as_deref()), ("finished", Some("close")));
    assert!(gateway.ended().success());
    let (requests, rest) = (strict::requests(&backend.recorded()[0].bytes).unwrap().0.len(), backend.recorded().len());
    assert_eq!((requests, rest), (1, 1));
}
