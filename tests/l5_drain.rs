//! L5: stopping loses nothing that was begun, and takes as long as the file allows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::{Gate, Gateway, RawClient, ReadError, Recorder, Script, Signal, Step, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const GET: &str = "GET /a HTTP/1.1\r\nHost: g\r\n\r\n";

struct Bench {
    backend: Recorder,
    gateway: Gateway,
    gate: Gate,
}

impl Bench {
    /// A gateway with these sections; a request for `/wait` is answered once the gate is open, the second half of the
    /// body of `/stream` too.
    fn new(sections: &str) -> Self {
        let gate = Gate::new();
        let inner = gate.clone();
        let backend = Recorder::answering(move |taken| match taken.target.as_str() {
            "/wait" => {
                let mut script = Script::ok(taken, "late");
                script.0.insert(1, Step::Wait(inner.clone()));
                script
            }
            "/stream" => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
                .then(Step::Wait(inner.clone()))
                .then(Step::Send(b"after".to_vec())),
            "/hang" => Script(vec![Step::ReadRequest, Step::Silence]),
            _ => Script::ok(taken, "ok"),
        });
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n{sections}\nroutes: {{ /**: \"{{{{backend}}}}\" }}\n"
        );
        let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
        Self { backend, gateway, gate }
    }

    /// A client whose request has reached the backend.
    fn sent(&self, target: &str) -> RawClient {
        let mut client = self.gateway.client();
        let request = format!("GET {target} HTTP/1.1\r\n");
        client.send(format!("{request}Host: g\r\n\r\n"));
        self.backend.wait_for("the request", |all| {
            all.iter().any(|c| c.bytes.windows(request.len()).any(|w| w == request.as_bytes()))
        });
        client
    }

    fn takes_no_more(&self) {
        wait_until("nothing new is taken", || !RawClient::is_accepted(self.gateway.address()));
    }
}

fn is_cut(ended: &Result<tollgate_testkit::Response, ReadError>) -> bool {
    matches!(ended, Err(ReadError::Closed(_) | ReadError::Reset(_)))
}

/// RFC 9112 §8: an answer without a length ends with its connection, and would look whole after an orderly close.
#[test]
fn an_answer_that_is_cut_by_the_end_of_the_drain_does_not_look_whole() {
    let mut bench = Bench::new("drain: 200ms");
    let mut client = bench.gateway.client();
    client.send("GET /stream HTTP/1.0\r\nHost: g\r\n\r\n");
    client.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
    bench.gateway.signal(Signal::TERM);
    let ended = client.response("GET");
    assert!(matches!(ended, Err(ReadError::Reset(_))), "{ended:?}");
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn what_is_in_flight_finishes_and_the_gateway_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut bench = Bench::new("");
        let (mut waiting, mut streaming) = (bench.sent("/wait"), bench.sent("/stream"));
        streaming.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
        bench.gateway.signal(signal);
        bench.takes_no_more();
        bench.gate.open();
        let late = waiting.response("GET").unwrap();
        assert_eq!((late.text().as_str(), late.one("connection").as_deref()), ("late", Some("close")));
        assert_eq!(waiting.end(), ReadError::Closed(Vec::new()));
        assert_eq!(streaming.response("GET").unwrap().text(), "firstafter");
        drop((waiting, streaming));
        assert_eq!(bench.gateway.ended().code(), Some(0));
    }
}

#[test]
fn connections_at_rest_are_closed_in_order() {
    let mut bench = Bench::new("");
    let mut used = bench.gateway.client();
    assert_eq!(used.call(GET).text(), "ok");
    let mut unused = bench.gateway.client();
    let mut health = RawClient::connect(bench.gateway.health_address());
    assert_eq!(health.get("/health/ready").status, 200);
    bench.gateway.terminate();
    for client in [&mut used, &mut unused, &mut health] {
        assert_eq!(client.end(), ReadError::Closed(Vec::new()));
    }
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn while_it_drains_nobody_new_is_taken_and_it_is_not_ready() {
    let mut bench = Bench::new("workers: 1");
    let mut waiting = bench.sent("/wait");
    assert_eq!(bench.gateway.health("/health/ready").status, 200);
    bench.gateway.terminate();
    bench.takes_no_more();
    for _ in 0..3 {
        let answer = bench.gateway.health("/health/ready");
        assert_eq!((answer.status, answer.one("connection").as_deref()), (503, Some("close")));
        assert_eq!(answer.json()["type"], "urn:tollgate:problem:health/not-ready");
        assert_eq!(bench.gateway.health("/health/live").status, 200);
    }
    bench.gate.open();
    assert_eq!(waiting.response("GET").unwrap().text(), "late");
    drop(waiting);
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn a_request_that_came_before_the_signal_is_answered() {
    let mut bench = Bench::new("");
    let mut resting = bench.gateway.client();
    assert_eq!(resting.call(GET).text(), "ok");
    bench.gateway.freeze();
    resting.send(GET);
    bench.gateway.terminate();
    bench.gateway.thaw();
    let answer = resting.response("GET").expect("it was there before the signal");
    assert_eq!(answer.text(), "ok");
    assert_eq!(resting.end(), ReadError::Closed(Vec::new()));
    drop(resting);
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn connections_that_wait_to_be_accepted_are_served() {
    let mut bench = Bench::new("");
    bench.gateway.freeze();
    let mut clients: Vec<RawClient> = (0..20).map(|_| bench.gateway.client()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    bench.gateway.terminate();
    bench.gateway.thaw();
    for mut client in clients {
        assert_eq!(client.response("GET").expect("it was queued before the signal").text(), "ok");
    }
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

/// The kernel makes connections that no worker has taken yet.
#[test]
fn whoever_got_through_while_it_stops_is_answered() {
    for _ in 0..3 {
        let mut bench = Bench::new("workers: 2");
        let address = bench.gateway.address();
        let (answered, gateway) = (AtomicUsize::new(0), &bench.gateway);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                        stream.write_all(b"GET /a HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer).expect("an answer");
                        assert!(answer.ends_with("ok"), "{answer:?}");
                        answered.fetch_add(1, Ordering::AcqRel);
                    }
                });
            }
            wait_until("they are answered", || answered.load(Ordering::Acquire) > 100);
            gateway.terminate();
        });
        assert_eq!(bench.gateway.ended().code(), Some(0));
    }
}

#[test]
fn what_a_client_sends_that_has_just_connected_is_waited_for() {
    let mut bench = Bench::new("");
    let mut client = bench.gateway.client();
    bench.gateway.terminate();
    wait_until("it is not ready", || bench.gateway.health("/health/ready").status == 503);
    client.send(GET);
    assert_eq!(client.response("GET").expect("it had only just connected").text(), "ok");
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

/// Balancers ask until the end.
#[test]
fn questions_about_health_that_wait_to_be_accepted_are_answered() {
    let mut bench = Bench::new("");
    bench.gateway.freeze();
    let mut asking: Vec<RawClient> = (0..20).map(|_| RawClient::connect(bench.gateway.health_address())).collect();
    for client in &mut asking {
        client.send("GET /health/ready HTTP/1.1\r\nHost: g\r\n\r\n");
    }
    bench.gateway.terminate();
    bench.gateway.thaw();
    for mut client in asking {
        // Whether it still was ready depends on whether the signal or the question was seen first.
        let status = client.response("GET").expect("it was queued before the end").status;
        assert!(matches!(status, 200 | 503), "{status}");
    }
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn requests_that_came_together_are_all_answered() {
    let mut bench = Bench::new("");
    let mut client = bench.gateway.client();
    client.send(format!("GET /wait HTTP/1.1\r\nHost: g\r\n\r\n{GET}"));
    bench.backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\n")));
    bench.gateway.terminate();
    bench.takes_no_more();
    bench.gate.open();
    let first = client.response("GET").unwrap();
    assert_eq!(first.text(), "late");
    // The second may be refused, but only in so many words: with `close`, the client knows that it was not served.
    match first.one("connection").as_deref() {
        Some("close") => assert_eq!(client.end(), ReadError::Closed(Vec::new())),
        _ => assert_eq!(client.response("GET").unwrap().text(), "ok"),
    }
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn what_hangs_is_cut_when_the_time_is_over() {
    let mut bench = Bench::new("drain: 300ms");
    let mut hanging = bench.sent("/hang");
    let (code, took) = timed(|| {
        bench.gateway.terminate();
        bench.gateway.ended().code()
    });
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    assert!(is_cut(&hanging.response("GET")));
    assert!(bench.gateway.log().contains("drain time is over"), "{}", bench.gateway.log());
}

/// What was begun is told, also if it had no end.
#[test]
fn what_is_cut_has_its_line_in_the_access_log() {
    let mut bench = Bench::new("drain: 200ms");
    let (_hanging, mut streaming) = (bench.sent("/hang"), bench.sent("/stream"));
    streaming.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
    bench.gateway.signal(Signal::TERM);
    assert_eq!(bench.gateway.ended().code(), Some(0));
    let line = bench.gateway.access_line("of what hung", |line| line["path"] == "/hang");
    assert_eq!((line["status"].as_u64(), line["attempts"].as_u64()), (None, Some(1)));
    assert!(line["cause"].as_str().is_some_and(|cause| cause.contains("drain")), "{line}");
    let line = bench.gateway.access_line("of what streamed", |line| line["path"] == "/stream");
    assert_eq!(line["status"], 200);
    assert!(line["bytes_out"].as_u64().is_some_and(|bytes| bytes > 5), "{line}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut bench = Bench::new("drain: 1h");
        let mut hanging = bench.sent("/hang");
        bench.gateway.terminate();
        bench.takes_no_more();
        bench.gateway.signal(second);
        assert_eq!(bench.gateway.ended().code(), Some(1));
        assert!(is_cut(&hanging.response("GET")));
        assert!(bench.gateway.log().contains("further signal"), "{}", bench.gateway.log());
    }
}

/// Balancers see that it will stop while nothing is refused yet.
#[test]
fn with_a_lead_it_serves_on_while_it_is_not_ready() {
    let mut bench = Bench::new("drain: { lead: 1h, time: 1h }");
    let mut resting = bench.gateway.client();
    assert_eq!(resting.call(GET).text(), "ok");
    bench.gateway.terminate();
    wait_until("it is not ready", || bench.gateway.health("/health/ready").status == 503);
    for client in [&mut resting, &mut bench.gateway.client()] {
        let answer = client.call(GET);
        assert_eq!((answer.text().as_str(), answer.one("connection")), ("ok", None), "as before");
    }
    let mut waiting = bench.sent("/wait");
    // A second signal begins what a third one would end.
    bench.gateway.terminate();
    bench.takes_no_more();
    assert_eq!(resting.end(), ReadError::Closed(Vec::new()));
    bench.gate.open();
    assert_eq!(waiting.response("GET").unwrap().text(), "late");
    drop(waiting);
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

#[test]
fn after_the_lead_it_drains() {
    let mut bench = Bench::new("drain: { lead: 300ms, time: 1h }");
    let (code, took) = timed(|| {
        bench.gateway.terminate();
        bench.gateway.ended().code()
    });
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_third_signal_ends_it_at_once() {
    let mut bench = Bench::new("drain: { lead: 1h, time: 1h }");
    let mut hanging = bench.sent("/hang");
    bench.gateway.terminate();
    wait_until("it is not ready", || bench.gateway.health("/health/ready").status == 503);
    bench.gateway.terminate();
    bench.takes_no_more();
    bench.gateway.terminate();
    assert_eq!(bench.gateway.ended().code(), Some(1));
    assert!(is_cut(&hanging.response("GET")));
}

#[test]
fn the_last_lines_of_the_access_log_are_written() {
    let mut bench = Bench::new("");
    let mut client = bench.gateway.client();
    for n in 0..100 {
        assert_eq!(client.get(&format!("/n{n}")).status, 200);
    }
    drop(client);
    bench.gateway.terminate();
    assert_eq!(bench.gateway.ended().code(), Some(0));
    // The pipe is read by another thread.
    wait_until("all lines", || {
        let lines = bench.gateway.access_log();
        lines.iter().filter(|line| line["path"].as_str().is_some_and(|path| path.starts_with("/n"))).count() == 100
    });
}
