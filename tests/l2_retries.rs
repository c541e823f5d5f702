//! L2: what is tried once more, what never is, and when the time is over.

use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::recorder::{Recorded, Taken};
use tollgate_testkit::{Gate, Gateway, ReadError, Recorder, Response, Script, Step, free_port, strict, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A gateway on one worker, so that its pool is one, with a service `s` that begins with these instances.
fn gateway(to: &[String], service: &str, route: &str) -> Gateway {
    let to: Vec<String> = to.iter().map(|address| format!("\"{address}\"")).collect();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         services: {{ s: {{ to: [{}], {service} }} }}\nroutes: {{ /**: {{ to: s, {route} }} }}\n",
        to.join(", ")
    );
    Gateway::start(TOLLGATE, &config, &[])
}

fn of(recorder: &Recorder) -> String {
    recorder.address().to_string()
}

fn dead() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Sends one request over a connection of its own.
fn ask(gateway: &Gateway, method: &str, body: &str) -> Response {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    gateway.client().call(&format!("{method} /a HTTP/1.1\r\nHost: g\r\n{length}\r\n{body}"))
}

/// How often these bytes were recorded.
fn count(recorded: &[Recorded], bytes: &str) -> usize {
    recorded.iter().map(|c| c.bytes.windows(bytes.len()).filter(|w| *w == bytes.as_bytes()).count()).sum()
}

/// Resets the first requests, as many as `times`, once they are complete; answers the others.
fn resetting(times: usize) -> Recorder {
    Recorder::answering(move |taken: &Taken| match taken.number < times {
        true => Script(vec![Step::ReadRequest, Step::Reset]),
        false => Script::ok(taken, "well"),
    })
}

fn slug(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

#[test]
fn what_one_instance_refuses_another_answers() {
    let alive = Recorder::start();
    let gateway = gateway(&[dead(), of(&alive)], "connect_timeout: 2s", "");
    for method in ["GET", "POST", "PUT"] {
        let body = if method == "GET" { "" } else { "hello" };
        // In turn: one of two goes to the dead one first. Nothing was sent, so that even a POST may be.
        assert_eq!(ask(&gateway, method, body).text(), "ok", "{method}");
        assert_eq!(ask(&gateway, method, body).text(), "ok", "{method}");
    }
    assert_eq!(count(&alive.recorded(), "POST /a"), 2);
    let line = gateway.access_line("of a second attempt", |line| line["attempts"] == 2);
    assert_eq!((line["status"].as_u64(), line["instance"].as_str()), (Some(200), Some(of(&alive).as_str())));
    gateway.await_metric("tollgate_retries_total{service=\"s\"}", |retries| retries == 3.0);
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"connect_failed\"}", |failed| failed == 3.0);
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"ok\"}", |well| well == 6.0);
}

#[test]
fn an_idempotent_request_is_repeated_after_a_reset() {
    for (method, body) in [("GET", ""), ("DELETE", ""), ("PUT", "hello"), ("OPTIONS", "")] {
        let backend = resetting(1);
        let gateway = gateway(&[of(&backend)], "", "");
        assert_eq!(ask(&gateway, method, body).text(), "well", "{method}");
        let recorded = backend.recorded();
        assert_eq!(recorded.len(), 2);
        let (first, second) = (&recorded[0].bytes, &recorded[1].bytes);
        let (first, second) = (strict::requests(first).unwrap().0, strict::requests(second).unwrap().0);
        assert_eq!((first[0].line(), &first[0].content), (second[0].line(), &second[0].content), "{method}");
        assert_eq!(second[0].content.body, body.as_bytes());
        assert_eq!(first[0].one("x-correlation-id"), second[0].one("x-correlation-id"));
    }
}

#[test]
fn a_post_that_was_sent_is_never_repeated() {
    for method in ["POST", "PATCH", "LOCK"] {
        let backend = resetting(1);
        let gateway = gateway(&[of(&backend)], "retry: 5", "");
        let response = ask(&gateway, method, "hello");
        assert_eq!((response.status, slug(&response).as_str()), (502, "upstream/reset"), "{method}");
        assert_eq!(count(&backend.recorded(), "hello"), 1, "{method}");
    }
}

#[test]
fn an_answer_that_has_begun_is_never_asked_for_again() {
    let backend =
        Recorder::answering(|_| Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").then(Step::Reset));
    let gateway = gateway(&[of(&backend)], "retry: 5", "");
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    match client.response("GET") {
        Err(ReadError::Closed(_) | ReadError::Reset(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(count(&backend.recorded(), "GET /a"), 1);
}

#[test]
fn a_nonsensical_answer_is_not_asked_for_again() {
    let backend = Recorder::answering(|_| Script::reply("HTTP/1.1 nonsense\r\n\r\n"));
    let gateway = gateway(&[of(&backend)], "retry: 5", "");
    assert_eq!(slug(&ask(&gateway, "GET", "")), "upstream/invalid-answer");
    assert_eq!(count(&backend.recorded(), "GET /a"), 1);
}

#[test]
fn a_connection_that_died_at_rest_is_not_the_clients_concern() {
    // Every answer is followed by a close, which the gateway may notice before the next request, or after it.
    let backend = Recorder::answering(|taken| Script::ok(taken, "ok").then(Step::Close));
    let gateway = gateway(&[of(&backend)], "retry: none", "");
    let mut client = gateway.client();
    for n in 0..200 {
        assert_eq!(client.get(&format!("/{n}")).text(), "ok");
    }
    let line = "POST /p HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi";
    for _ in 0..3 {
        // Known to be closed: of a POST nothing may have been sent before.
        wait_until("nothing is at rest", || {
            gateway.metric("tollgate_service_connections{service=\"s\",state=\"idle\"}") == 0.0
        });
        assert_eq!(client.call(line).text(), "ok");
    }
    assert_eq!(count(&backend.recorded(), "POST /p"), 3, "and none was sent twice");
}

#[test]
fn a_reset_at_rest_is_not_the_clients_concern_either() {
    let backend = Recorder::answering(|taken| Script::ok(taken, "ok").then(Step::Reset));
    let gateway = gateway(&[of(&backend)], "retry: none", "");
    let mut client = gateway.client();
    for n in 0..100 {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: g\r\n\r\n"));
        match client.response("GET") {
            Ok(response) => assert_eq!(response.status, 200, "{response:?}"),
            // The reset overtook the answer: that is no connection at rest, and the answer had begun.
            Err(_) => client = gateway.client(),
        }
    }
}

#[test]
fn none_means_one_try() {
    for (service, route) in [("retry: none", ""), ("", "retry: none"), ("retry: 3", "retry: 0")] {
        let backend = resetting(1);
        let gateway = gateway(&[of(&backend)], service, route);
        assert_eq!(slug(&ask(&gateway, "GET", "")), "upstream/reset");
        assert_eq!(count(&backend.recorded(), "GET /a"), 1);
    }
}

#[test]
fn as_many_retries_as_the_file_says_and_no_more() {
    for (retries, resets, status) in [(2, 2, 200), (2, 3, 502), (5, 5, 200)] {
        let backend = resetting(resets);
        let gateway = gateway(&[of(&backend)], &format!("retry: {retries}"), "");
        assert_eq!(ask(&gateway, "GET", "").status, status, "{retries} retries, {resets} resets");
        assert_eq!(count(&backend.recorded(), "GET /a"), retries + 1);
        let _ = gateway.access_line("of all attempts", |line| line["attempts"] == retries + 1);
    }
}

#[test]
fn a_spent_budget_ends_all_retries() {
    let backend = resetting(usize::MAX);
    let gateway = gateway(&[of(&backend)], "retry: { retries: 3, budget: 0%, min: 0 }", "");
    for n in 1..4 {
        assert_eq!(slug(&ask(&gateway, "GET", "")), "upstream/reset");
        assert_eq!(count(&backend.recorded(), "GET /a"), n);
    }
    gateway.await_metric("tollgate_retries_total{service=\"s\"}", |retries| retries == 0.0);
}

#[test]
fn the_budget_is_a_share_of_the_requests() {
    let backend = resetting(usize::MAX);
    // Ten seconds' worth of the lower bound: ten; of the hundred requests nearly no retry more.
    let gateway = gateway(&[of(&backend)], "retry: { retries: 1, budget: 10%, min: 1 }", "");
    let mut client = gateway.client();
    for _ in 0..100 {
        assert_eq!(client.get("/a").status, 502);
    }
    let attempts = count(&backend.recorded(), "GET /a");
    // Seldom the window of ten seconds ends in between, and another ten are allowed.
    assert!((110..=135).contains(&attempts), "{attempts}");
}

#[test]
fn a_put_is_sent_again_whole_if_it_is_still_there_and_else_not_at_all() {
    let small = "x".repeat(20_000);
    let backend = resetting(1);
    let gate_way = gateway(&[of(&backend)], "", "");
    assert_eq!(ask(&gate_way, "PUT", &small).text(), "well");
    let recorded = backend.recorded();
    let (requests, rest) = strict::requests(&recorded[1].bytes).unwrap();
    assert_eq!((requests[0].content.body.len(), rest.len()), (small.len(), 0));
    // More than the gateway keeps: it is gone when the reset comes.
    let large = "x".repeat(3_000_000);
    let backend = resetting(1);
    let gate_way = gateway(&[of(&backend)], "", "");
    let response = ask(&gate_way, "PUT", &large);
    assert_eq!((response.status, slug(&response).as_str()), (502, "upstream/reset"));
    assert_eq!(count(&backend.recorded(), "PUT /a"), 1);
}

/// A backend whose first connection serves one request and then, at the head of the next and `body` bytes of what
/// follows it, dies; later connections answer.
fn dying_at_the_second(body: usize) -> Recorder {
    Recorder::answering(move |taken| match (taken.connection, taken.number) {
        (0, 0) => Script::ok(taken, "first"),
        (0, _) => Script(vec![Step::ReadBody(body), Step::Reset]),
        _ => Script::ok(taken, "well"),
    })
}

const CHUNKED: &str = "/a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_chunked_body_that_was_begun_is_never_sent_again() {
    // Half the line of a chunk of 16 bytes and a whole line leave nothing to be sent up yet, but are gone all the same.
    for (method, begun, seen) in [
        ("PUT", "1", 0),
        ("PUT", "5\r\n", 0),
        ("PUT", "5\r\nhello\r\n", 10),
        ("DELETE", "5\r\nhello\r\n", 10),
        ("POST", "1", 0),
    ] {
        let backend = dying_at_the_second(seen);
        let gateway = gateway(&[of(&backend)], "retry: 5", "");
        let mut client = gateway.client();
        assert_eq!(client.get("/first").text(), "first");
        client.send(format!("{method} {CHUNKED}{begun}"));
        let response = client.response(method).unwrap();
        assert_eq!((response.status, slug(&response).as_str()), (502, "upstream/reset"), "{method} {begun:?}");
        // For a client that is still there the gateway would read on a while.
        drop(client);
        let line = gateway.access_line("of the lost request", |line| line["method"] == method);
        assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (Some(502), Some(1)), "{line}");
        // Whatever came after the answer would come before the end.
        assert_eq!(gateway.stop().code(), Some(0));
        let recorded = backend.recorded();
        assert_eq!(recorded.len(), 1, "{method} {begun:?}: {recorded:?}");
        let sent = (count(&recorded, &format!("{method} /a")), count(&recorded, "hello"));
        assert_eq!(sent, (1, usize::from(seen > 0)), "{method} {begun:?}");
    }
}

#[test]
fn a_chunked_body_of_which_nothing_was_read_goes_whole_to_a_fresh_connection() {
    let backend = dying_at_the_second(0);
    // A connection that died at rest costs no retry.
    let gateway = gateway(&[of(&backend)], "retry: none", "");
    let mut client = gateway.client();
    assert_eq!(client.get("/first").text(), "first");
    client.send(format!("PUT {CHUNKED}"));
    backend.wait_for("the head on a fresh connection", |all| {
        all.iter().any(|c| c.number == 1 && c.bytes.ends_with(b"\r\n\r\n"))
    });
    client.send("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.response("PUT").unwrap().text(), "well");
    let recorded = backend.recorded();
    assert_eq!((recorded.len(), count(&recorded, "PUT /a"), count(&recorded, "hello")), (2, 2, 1));
    let (requests, rest) = strict::requests(&recorded[1].bytes).unwrap();
    assert_eq!((requests[0].content.body.as_slice(), rest.len()), (b"hello".as_slice(), 0));
}

#[test]
fn the_timeout_covers_connecting_and_all_attempts() {
    let silent = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let gateway = gateway(&[of(&silent)], "retry: 5", "timeout: 300ms");
    let (response, took) = timed(|| ask(&gateway, "GET", ""));
    assert_eq!((response.status, slug(&response).as_str()), (504, "upstream/timeout"));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(count(&silent.recorded(), "GET /a"), 1, "a time that is over is no reason to ask again");
    silent.wait_for("the end of the attempt", |all| all.iter().all(|c| c.ended.is_some()));
    gateway.await_metric("tollgate_attempts_total{service=\"s\",outcome=\"timeout\"}", |count| count == 1.0);
}

#[test]
fn a_slow_first_attempt_leaves_less_time_for_the_second() {
    let gate = Gate::new();
    let (inner, dropped) = (gate.clone(), Gate::new());
    let tell = dropped.clone();
    let backend = Recorder::answering(move |taken| match taken.number {
        0 => Script(vec![Step::ReadRequest, Step::Open(tell.clone()), Step::Wait(inner.clone()), Step::Reset]),
        _ => Script(vec![Step::ReadRequest, Step::Silence]),
    });
    let gateway = gateway(&[of(&backend)], "retry: 1", "timeout: 700ms");
    let mut client = gateway.client();
    let (response, took) = timed(|| {
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
        assert!(dropped.pass());
        gate.open();
        client.response("GET").unwrap()
    });
    assert_eq!(response.status, 504);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(count(&backend.recorded(), "GET /a"), 2);
}

#[test]
fn an_answer_that_stops_in_the_middle_looks_broken() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let part = if head.starts_with('C') { "hello" } else { "5\r\nhello\r\n" };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}");
        let backend = Recorder::answering(move |_| Script::reply(&answer).then(Step::Silence));
        let gateway = gateway(&[of(&backend)], "", "idle: 200ms");
        let mut client = gateway.client();
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
        match client.response("GET") {
            Err(ReadError::Closed(bytes) | ReadError::Reset(bytes)) => {
                assert!(String::from_utf8_lossy(&bytes).contains("HTTP/1.1 200 OK"), "{}", bytes.escape_ascii());
            }
            other => panic!("{other:?}"),
        }
        backend.wait_for("the end of the attempt", |all| all.iter().all(|c| c.ended.is_some()));
        let line = gateway.access_line("of the broken answer", |line| line["path"] == "/a");
        assert_eq!(
            (line["status"].as_u64(), line["problem"].as_str()),
            (Some(200), Some("upstream/timeout")),
            "{line}"
        );
    }
}

#[test]
fn an_answer_that_keeps_coming_is_not_idle_but_total_ends_it() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let inner = gates.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        if taken.target == "/endless" {
            script.0.push(Step::Silence);
            return script;
        }
        for gate in &inner {
            script = script.then(Step::Wait(gate.clone())).then(Step::Send(b"1\r\nx\r\n".to_vec()));
        }
        script.then(Step::Send(b"0\r\n\r\n".to_vec()))
    });
    let gateway = gateway(&[of(&backend)], "", "timeout: 500ms, idle: 10s, total: 900ms");
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    for (n, gate) in gates.iter().enumerate() {
        gate.open();
        client.wait_for_bytes(|bytes| bytes.windows(6).filter(|w| *w == b"1\r\nx\r\n").count() > n).unwrap();
    }
    assert_eq!(client.response("GET").unwrap().text(), "xxx");
    let mut client = gateway.client();
    let (ended, took) = timed(|| {
        client.send("GET /endless HTTP/1.1\r\nHost: g\r\n\r\n");
        client.response("GET")
    });
    assert!(matches!(ended, Err(ReadError::Closed(_) | ReadError::Reset(_))), "{ended:?}");
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn total_ends_a_request_without_an_answer_too() {
    let backend = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let gateway = gateway(&[of(&backend)], "", "timeout: 1h, total: 300ms");
    let response = ask(&gateway, "GET", "");
    assert_eq!((response.status, slug(&response).as_str()), (504, "upstream/timeout"));
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_a_408() {
    let backend = Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence]));
    let gateway = gateway(&[of(&backend)], "", "idle: 200ms, timeout: 200ms");
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nhello");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, slug(&response).as_str()), (408, "http/body-timeout"));
    assert_eq!(response.one("connection").as_deref(), Some("close"));
    backend.wait_for("the end of the attempt", |all| all.iter().all(|c| c.ended.is_some()));
}

/// Answers the first requests, as many as `times`, with this head; then well.
fn refusing(times: usize, head: &'static str) -> Recorder {
    Recorder::answering(move |taken: &Taken| match taken.number < times {
        true => Script::reply(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n")),
        false => Script::ok(taken, "well"),
    })
}

#[test]
fn statuses_are_tried_again_only_where_the_file_names_them_and_it_is_safe() {
    let backend = refusing(1, "503 Busy");
    assert_eq!(
        ask(&gateway(&[of(&backend)], "retry: 2", ""), "GET", "").status,
        503,
        "by default an answer is an answer"
    );
    for (method, status) in [("GET", 200), ("PUT", 200), ("POST", 503)] {
        let backend = refusing(1, "503 Busy");
        let gateway = gateway(&[of(&backend)], "retry: { retries: 2, on: [502-504] }", "");
        assert_eq!(ask(&gateway, method, "hello").status, status, "{method}");
        assert_eq!(count(&backend.recorded(), " /a "), if status == 200 { 2 } else { 1 }, "{method}");
        assert_eq!(backend.recorded().len(), 1, "an answer that is whole leaves its connection of use");
    }
    let backend = refusing(9, "503 Busy");
    let gateway = gateway(&[of(&backend)], "retry: { retries: 2, on: 5xx }", "");
    assert_eq!(ask(&gateway, "GET", "").status, 503, "the last answer is the client's");
    assert_eq!(count(&backend.recorded(), "GET /a"), 3);
}

#[test]
fn what_the_file_does_not_name_is_not_tried_again() {
    let backend = resetting(1);
    let gateway = gateway(&[of(&backend)], "retry: { retries: 3, on: [connect, 503] }", "");
    assert_eq!(slug(&ask(&gateway, "GET", "")), "upstream/reset");
    assert_eq!(count(&backend.recorded(), "GET /a"), 1);
}

#[test]
fn an_idempotency_key_makes_a_post_safe_for_a_service_that_knows_it() {
    let post = |gateway: &Gateway| {
        let head = "POST /a HTTP/1.1\r\nHost: g\r\nIdempotency-Key: \"8e03978e\"\r\nContent-Length: 5\r\n\r\nhello";
        gateway.client().call(head).status
    };
    for (service, key, status) in [
        ("retry: { retries: 2, idempotency_key: true }", true, 200),
        ("retry: { retries: 2, idempotency_key: true }", false, 502),
        ("retry: 2", true, 502),
    ] {
        let backend = resetting(1);
        let gateway = gateway(&[of(&backend)], service, "");
        let told = if key { post(&gateway) } else { ask(&gateway, "POST", "hello").status };
        assert_eq!(told, status, "{service} {key}");
        assert_eq!(count(&backend.recorded(), "hello"), if status == 200 { 2 } else { 1 }, "{service} {key}");
    }
}

#[test]
fn a_service_says_when_to_come_again_unless_that_is_too_late() {
    let on = "retry: { retries: 1, on: 503 }";
    let backend = refusing(1, "503 Busy\r\nRetry-After: 1");
    let patient = gateway(&[of(&backend)], on, "timeout: 10s");
    let (response, took) = timed(|| ask(&patient, "GET", ""));
    assert_eq!(response.text(), "well");
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let backend = refusing(1, "503 Busy\r\nRetry-After: 30");
    let hurried = gateway(&[of(&backend)], on, "timeout: 5s");
    let response = ask(&hurried, "GET", "");
    assert_eq!((response.status, response.one("Retry-After").unwrap().as_str()), (503, "30"));
    assert_eq!(count(&backend.recorded(), "GET /a"), 1);
    let backend = refusing(1, "503 Busy\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT");
    assert_eq!(ask(&gateway(&[of(&backend)], on, ""), "GET", "").text(), "well", "a date that is over");
}
