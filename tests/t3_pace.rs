//! T3: who is slower than `limits.pace` is cut off, and nobody else is.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::thread;
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::http2::frame::{Code, flag};
use tollgate_testkit::http2::{Frame, FrameClient, Kind, hpack};
use tollgate_testkit::{
    Backends, Companions, Deadline, Gate, Gateway, RawClient, ReadError, Recorder, Script, Step, wait_until,
};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const PACE: &str = "pace: { request: 1kB/s, response: 1kB/s, grace: 600ms }";
/// Longer than the grace, and than what an allowance of the grace gives.
const LONG: Duration = Duration::from_millis(1500);
const MOMENT: Duration = Duration::from_millis(100);
const ENHANCE_YOUR_CALM: Code = Code(11);
/// More than fits into all that stands between two ends.
const MUCH: usize = 24 << 20;
const SLOW: &str = "tollgate_connections_closed_total{reason=\"slow\"}";

/// A gateway with these limits in front of this backend.
fn gateway(limits: &str, backend: &Recorder) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\nlimits: {{ {limits} }}\n\
         defaults: {{ body: 1GB }}\nroutes: {{ /**: {{ to: \"{{{{backend}}}}\", upgrade: websocket }} }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())])
}

fn paced(backend: &Recorder) -> Gateway {
    gateway(PACE, backend)
}

fn pass(time: Duration) {
    let end = Deadline::after(time);
    wait_until("time passes", || end.left().is_none());
}

fn slug(response: &tollgate_testkit::Response) -> String {
    response.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:tollgate:problem:").to_owned()
}

/// What is counted, told and logged of an exchange that was too slow.
fn is_told(gateway: &Gateway, problem: &str) {
    let line = gateway.access_line(problem, |line| line["problem"] == problem);
    assert_eq!(line["path"], "/a", "{line}");
    gateway.await_metric(&format!("tollgate_problems_total{{api=\"\",slug=\"{problem}\"}}"), |count| count >= 1.0);
    wait_until("a line of the log", || {
        gateway.log().lines().any(|line| line.contains("too slow") && line.contains(problem))
    });
}

/// An answer of this type with much in it.
fn much(kind: &str) -> Script {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {MUCH}\r\n\r\n");
    Script::parts([head.into_bytes(), vec![b'm'; MUCH]])
}

fn post(client: &mut RawClient, length: usize) {
    client.send(format!("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: {length}\r\n\r\n"));
}

#[test]
fn a_body_that_dribbles_is_answered_408_and_its_connection_closed() {
    let backend = Recorder::start();
    let gateway = paced(&backend);
    let mut client = gateway.client().patience(MOMENT);
    post(&mut client, 4096);
    let (response, took) = timed(|| {
        loop {
            client.send("x");
            match client.response("POST") {
                Err(ReadError::TimedOut(_)) => {}
                ended => break ended.expect("an answer before the end"),
            }
        }
    });
    assert_eq!((response.status, slug(&response).as_str()), (408, "http/slow-body"));
    assert_eq!(response.one("connection").as_deref(), Some("close"));
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(client.patience(Duration::from_secs(20)).end(), ReadError::Closed(Vec::new()));
    gateway.await_metric(SLOW, |count| count == 1.0);
    is_told(&gateway, "http/slow-body");
}

/// The gateway reads it whole before anything is sent on, to sign it.
#[test]
fn a_body_that_the_gateway_itself_wants_is_held_to_the_pace() {
    let backend = Recorder::start();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlimits: {{ {PACE} }}\n\
         signers: {{ own: {{ sigv4: AKIDEXAMPLE, secret: \"${{env:SECRET}}\", region: here, service: any }} }}\n\
         services: {{ judge: \"{}\" }}\nroutes: {{ /**: {{ to: judge, sign: own }} }}\n",
        backend.address()
    );
    let gateway = Gateway::start_with(TOLLGATE, &config, &[], &[("SECRET", "0123456789abcdef0123456789abcdef")]);
    let mut client = gateway.client();
    post(&mut client, 10);
    client.send("x");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, slug(&response).as_str()), (408, "http/slow-body"));
    is_told(&gateway, "http/slow-body");
    assert!(backend.recorded().is_empty());
    // And what comes in time is served.
    let mut client = gateway.client();
    post(&mut client, 3);
    pass(2 * MOMENT);
    client.send("abc");
    assert_eq!(client.response("POST").unwrap().status, 200);
}

#[test]
fn a_body_that_does_not_come_is_no_faster() {
    let backend = Recorder::start();
    let gateway = paced(&backend);
    let mut client = gateway.client();
    post(&mut client, 10);
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, slug(&response).as_str()), (408, "http/slow-body"));
}

#[test]
fn a_body_at_the_pace_takes_as_long_as_it_takes() {
    let backend = Recorder::answering(|taken| Script::ok(taken, "ok"));
    let gateway = paced(&backend);
    let mut client = gateway.client();
    post(&mut client, 30 * 200);
    for _ in 0..30 {
        client.send([b'x'; 200]);
        pass(MOMENT);
    }
    assert_eq!(client.response("POST").unwrap().status, 200);
    // A pause within the grace is forgiven each time, since it is made up for.
    post(&mut client, 4 * 10_000);
    for _ in 0..4 {
        client.send([b'x'; 10_000]);
        pass(4 * MOMENT);
    }
    assert_eq!(client.response("POST").unwrap().status, 200);
}

#[test]
fn what_was_sent_faster_before_is_no_credit() {
    let backend = Recorder::start();
    let gateway = paced(&backend);
    let mut client = gateway.client();
    post(&mut client, 1_000_001);
    client.send(vec![b'x'; 1_000_000]);
    let (response, took) = timed(|| client.response("POST").unwrap());
    assert_eq!((response.status, slug(&response).as_str()), (408, "http/slow-body"));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// The service takes nothing for long: no fault of the client's.
#[test]
fn a_client_that_has_to_wait_is_not_slow() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "ok");
        script.0.insert(0, Step::Wait(inner.clone()));
        script
    });
    let gateway = paced(&backend);
    let mut client = gateway.client();
    post(&mut client, MUCH);
    thread::scope(|scope| {
        scope.spawn(|| {
            pass(LONG);
            gate.open();
        });
        client.send(vec![b'x'; MUCH]);
    });
    assert_eq!(client.response("POST").unwrap().status, 200);
}

/// Nor is one whose service makes it wait for the answer, or for the rest of it.
#[test]
fn a_client_that_waits_for_its_answer_is_not_slow() {
    let gates = [Gate::new(), Gate::new()];
    let [first, second] = gates.clone();
    let backend = Recorder::answering(move |_| {
        Script(vec![
            Step::ReadRequest,
            Step::Wait(first.clone()),
            Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec()),
            Step::Wait(second.clone()),
            Step::Send(b"cd".to_vec()),
        ])
    });
    let gateway = paced(&backend);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    for gate in gates {
        pass(LONG);
        gate.open();
    }
    assert_eq!(client.response("GET").unwrap().text(), "abcd");
}

/// An answer in two parts that does not wait for its request.
fn early(gate: &Gate) -> Script {
    Script(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec()),
        Step::Wait(gate.clone()),
        Step::Send(b"cd".to_vec()),
    ])
}

/// Nor is one that was never told to send its body (RFC 9110 §10.1.1).
#[test]
fn a_client_that_holds_its_body_back_is_not_slow() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |_| early(&inner));
    let gateway = paced(&backend);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
    pass(LONG);
    gate.open();
    assert_eq!(client.final_response("POST").unwrap().1.text(), "abcd");
}

/// It has begun, so there is no other.
#[test]
fn an_answer_that_came_before_the_end_of_a_slow_body_is_cut() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |_| early(&inner));
    let gateway = paced(&backend);
    let mut client = gateway.client();
    post(&mut client, 4096);
    client.send("x");
    client.head().unwrap();
    assert!(matches!(client.end(), ReadError::Reset(_)));
    gateway.await_metric(SLOW, |count| count == 1.0);
    is_told(&gateway, "http/slow-body");
    gate.open();
}

#[test]
fn an_answer_that_is_not_read_is_cut() {
    let backend = Recorder::answering(|_| much("text/plain"));
    let gateway = paced(&backend);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    gateway.await_metric(SLOW, |count| count == 1.0);
    is_told(&gateway, "http/slow-reader");
    let line = gateway.access_line("its end", |line| line["status"] == 200);
    assert!(line["bytes_out"].as_u64().unwrap() < MUCH as u64, "{line}");
    assert!(client.skip(MUCH) < MUCH);
}

/// Nor is there more patience for what is the gateway's own.
#[test]
fn a_file_that_is_not_read_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), vec![b'm'; MUCH]).unwrap();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlimits: {{ {PACE} }}\n\
         routes: {{ /**: {{ files: \"{}\" }} }}\n",
        folder.path().display()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    gateway.await_metric(SLOW, |count| count == 1.0);
    is_told(&gateway, "http/slow-reader");
    assert!(client.skip(MUCH) < MUCH);
}

#[test]
fn an_answer_that_is_read_at_the_pace_comes_whole() {
    let backend = Recorder::answering(|_| much("text/plain"));
    let gateway = paced(&backend);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    client.head().unwrap();
    let mut left = MUCH;
    while left > 0 {
        let part = left.min(4 << 20);
        assert_eq!(client.skip(part), part);
        left -= part;
        pass(3 * MOMENT);
    }
    assert_eq!(gateway.metric(SLOW), 0.0);
}

/// They have the route's `idle` time.
#[test]
fn events_may_be_read_slowly() {
    let backend = Recorder::answering(|_| much("text/event-stream; charset=utf-8"));
    let gateway = paced(&backend);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    client.head().unwrap();
    pass(LONG);
    let whole = MUCH;
    assert_eq!(client.skip(whole), whole);
}

/// They have their own idle time.
#[test]
fn websockets_say_what_they_like_when_they_like() {
    let backends = Backends::start(1);
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlimits: {{ {PACE} }}\n\
         services: {{ live: \"{}\", calls: {{ to: \"{}\", protocol: http2 }} }}\n\
         routes: {{ /ws: {{ to: live, upgrade: websocket }}, /stream: calls, /a: live }}\n",
        backends.address(0),
        backends.http2_address()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    // 9 to 14 bytes each 100 ms: less than the pace.
    let websockets = Companions::websockets(2, gateway.address(), "/ws");
    let calls = Companions::streams(2, gateway.address(), "/stream");
    pass(LONG);
    websockets.await_rounds(3);
    calls.await_rounds(3);
    // The same is too slow for what only says that it is a call: its service speaks HTTP/1.1.
    let mut client = FrameClient::open(gateway.address(), &[]);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "g"),
        (":path", "/a"),
        ("content-type", "application/grpc"),
    ];
    client.send(&Frame::headers(1, false, hpack::block(&fields)));
    let answer = client.answer(1);
    assert!(answer.fields.iter().any(|field| field.name == "grpc-status") || answer.status == 408, "{answer:?}");
    gateway.await_metric("tollgate_problems_total{api=\"\",slug=\"http/slow-body\"}", |count| count == 1.0);
}

fn post_frames(client: &mut FrameClient, stream: u32) {
    client.send(&Frame::headers(stream, false, hpack::request("POST", "/a")));
}

#[test]
fn a_slow_body_over_http2_ends_its_stream_alone() {
    let backend = Recorder::answering(|taken| Script::ok(taken, "ok"));
    let gateway = paced(&backend);
    let mut client = FrameClient::open(gateway.address(), &[]);
    post_frames(&mut client, 1);
    client.send(&Frame::data(1, false, *b"x"));
    assert_eq!(client.answer(1).status, 408);
    client.get(3, "/b");
    assert_eq!(client.answer(3).text(), "ok");
    is_told(&gateway, "http/slow-body");
    assert_eq!(gateway.metric(SLOW), 0.0);
}

/// Nothing of a frame is read before all of it is there: what counts is what comes.
#[test]
fn a_large_frame_over_a_slow_line_is_at_the_pace() {
    let backend = Recorder::answering(|taken| Script::ok(taken, "ok"));
    let gateway = paced(&backend);
    let mut client = FrameClient::open(gateway.address(), &[]);
    post_frames(&mut client, 1);
    for piece in Frame::data(1, true, vec![b'x'; 6000]).bytes().chunks(200) {
        client.send_bytes(piece);
        pass(MOMENT);
    }
    assert_eq!(client.answer(1).text(), "ok");
}

#[test]
fn a_stream_without_room_is_reset_and_others_go_on() {
    let backend = Recorder::answering(|taken| match taken.target.as_str() {
        "/a" => much("text/plain"),
        _ => Script::ok(taken, "ok"),
    });
    let gateway = paced(&backend);
    let mut client = FrameClient::open(gateway.address(), &[(4, 1000)]);
    client.get(1, "/a");
    let came = client.until("the reset", |came| came.answer(1).reset.is_some());
    assert_eq!((came.answer(1).reset, came.answer(1).body.len()), (Some(ENHANCE_YOUR_CALM), 1000));
    client.get(3, "/b");
    assert_eq!(client.answer(3).text(), "ok");
    is_told(&gateway, "http/slow-reader");
    assert_eq!(gateway.metric(SLOW), 0.0);
}

#[test]
fn a_connection_with_many_such_streams_is_closed() {
    let backend = Recorder::answering(|_| much("text/plain"));
    let gateway = paced(&backend);
    let mut client = FrameClient::open(gateway.address(), &[(4, 0)]);
    (0..12).for_each(|n| client.get(2 * n + 1, "/a"));
    let came = client.until("the end", |came| came.ended.is_some());
    assert!(came.goaways.iter().any(|(_, code)| *code == ENHANCE_YOUR_CALM), "{came}");
    gateway.await_metric(SLOW, |count| count == 1.0);
}

/// What it asked for is over for the service, and waits for its socket.
#[test]
fn a_connection_that_reads_nothing_is_closed_whatever_it_asked_for() {
    let backend = Recorder::answering(|taken| Script::ok(taken, &"m".repeat(100_000)));
    let gateway = paced(&backend);
    let mut client = FrameClient::open(gateway.address(), &[(4, 1 << 30)]);
    client.send(&Frame::new(Kind::WINDOW_UPDATE, 0, 0, (1_u32 << 30).to_be_bytes()));
    for n in 0..400 {
        client.get(2 * n + 1, "/b");
        if n % 100 == 99 {
            pass(MOMENT);
        }
    }
    gateway.await_metric(SLOW, |count| count == 1.0);
    drop(client);
    wait_until("the log tells", || gateway.log().contains("too slow"));
}

/// Neither their stream nor their connection ends for it: with its window shut, and with its socket full.
#[test]
fn events_over_http2_may_be_read_slowly() {
    let backend = Recorder::answering(|_| much("text/event-stream"));
    let gateway = paced(&backend);
    let mut shut = FrameClient::open(gateway.address(), &[(4, 1000)]);
    let mut full = FrameClient::open(gateway.address(), &[(4, 1 << 30)]);
    full.send(&Frame::new(Kind::WINDOW_UPDATE, 0, 0, (1_u32 << 30).to_be_bytes()));
    [&mut shut, &mut full].into_iter().for_each(|client| client.get(1, "/a"));
    pass(LONG);
    for stream in [0, 1] {
        shut.send(&Frame::new(Kind::WINDOW_UPDATE, 0, stream, (1_u32 << 30).to_be_bytes()));
    }
    for client in [&mut shut, &mut full] {
        let answer = client.answer(1);
        assert_eq!((answer.reset, answer.body.len()), (None, MUCH));
    }
    assert_eq!(gateway.metric(SLOW), 0.0);
}

/// Not only the first head has its time, and an exchange that goes on meanwhile buys none.
#[test]
fn a_head_over_http2_has_its_time_whatever_else_there_is() {
    let backend = Recorder::answering(|taken| match taken.target.as_str() {
        "/hold" => Script(vec![Step::ReadRequest, Step::Silence]),
        _ => Script::ok(taken, "ok"),
    });
    let gateway = gateway("head_timeout: 600ms, keep_alive: 1h", &backend);
    let mut client = FrameClient::open(gateway.address(), &[]);
    client.get(1, "/a");
    assert_eq!(client.answer(1).text(), "ok");
    client.get(3, "/hold");
    let head = Frame::new(Kind::HEADERS, flag::END_STREAM, 5, hpack::request("GET", "/a"));
    client.send(&head);
    let mut n = 0;
    let (_, took) = timed(|| {
        while client.came.ended.is_none() {
            let more = Frame::new(Kind::CONTINUATION, 0, 5, hpack::block(&[(&format!("x-{n}"), "x")]));
            client.send(&more);
            n += 1;
            assert!(n < 100, "still there");
            // h2 takes no more than a few such frames for a head of this size.
            let _ = client.until_by(Deadline::after(2 * MOMENT), &|came| came.ended.is_some());
        }
    });
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(10), "{took:?}");
    assert!(client.came.goaways.iter().any(|(_, code)| *code == ENHANCE_YOUR_CALM), "{}", client.came);
    gateway.await_metric("tollgate_connections_closed_total{reason=\"timeout\"}", |count| count == 1.0);
    wait_until("the log tells", || gateway.log().contains("http/head-timeout"));
}

/// The control of all of this.
#[test]
fn without_a_pace_there_is_none() {
    let backend = Recorder::answering(|taken| match taken.target.as_str() {
        "/much" => much("text/plain"),
        _ => Script::ok(taken, "ok"),
    });
    for limits in ["pace: none", "pace: { request: none, response: none, grace: 1ms }"] {
        let gateway = gateway(limits, &backend);
        let (mut sender, mut reader) = (gateway.client(), gateway.client());
        post(&mut sender, 2);
        reader.send("GET /much HTTP/1.1\r\nHost: g\r\n\r\n");
        pass(LONG);
        sender.send("xx");
        assert_eq!(sender.response("POST").unwrap().status, 200);
        reader.head().unwrap();
        assert_eq!(reader.skip(MUCH), MUCH);
    }
}
