//! E1 over HTTP/2: what clients do with one connection and many streams. The frames themselves are tests/http2.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::http2::frame::Code;
use tollgate_testkit::http2::{Frame, FrameClient, hpack};
use tollgate_testkit::recorder::Taken;
use tollgate_testkit::strict::{self, Framing, Request};
use tollgate_testkit::{Gate, Gateway, RawClient, Recorder, Script, Signal, Step, wait_until};

use support::before;

const MIB: usize = 1 << 20;

/// What all tests here talk to, by path.
fn service(taken: &Taken, gate: &Gate) -> Script {
    match taken.target.as_str() {
        "/echo" => Script(vec![Step::Echo]),
        "/continue" => Script(vec![Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), Step::Echo]),
        "/large" => Script::ok(taken, &"x".repeat(MIB)),
        "/huge" => Script::ok(taken, &"x".repeat(32 * MIB)),
        "/trailers" => Script::parts([
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "5\r\nhello\r\n",
            "0\r\nX-Sum: abc\r\n\r\n",
        ]),
        "/hints" => Script(vec![Step::Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".to_vec())])
            .then(Step::ReadRequest)
            .then(Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())),
        "/wait" => {
            let mut script = Script::ok(taken, "late");
            script.0.insert(1, Step::Wait(gate.clone()));
            script
        }
        "/stream" => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .then(Step::Wait(gate.clone()))
            .then(Step::Send(b"after".to_vec())),
        "/hang" => Script(vec![Step::ReadRequest, Step::Silence]),
        "/cut-length" => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .then(Step::Wait(gate.clone()))
            .then(Step::Close),
        "/cut-chunks" => Script::reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .then(Step::Wait(gate.clone()))
            .then(Step::Close),
        "/cut-reset" => Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
            .then(Step::Wait(gate.clone()))
            .then(Step::Reset),
        "/until-close" => Script::reply("HTTP/1.1 200 OK\r\n\r\nall of it").then(Step::Close),
        "/nothing" => Script::reply("HTTP/1.1 204 No Content\r\n\r\n"),
        "/unchanged" => Script::reply("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
        "/hops" => Script::reply(
            "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: a\r\nKeep-Alive: 3\r\nUpgrade: h2c\r\nX-Upper: b\r\n\
             Content-Length: 2\r\n\r\nok",
        ),
        "/flaky" => Script(vec![Step::ReadRequest, Step::Reset]),
        _ => Script::ok(taken, "ok"),
    }
}

struct Bench {
    backend: Recorder,
    gateway: Gateway,
    gate: Gate,
}

impl Bench {
    fn new() -> Self {
        let gate = Gate::new();
        let inner = gate.clone();
        let backend = Recorder::answering(move |taken| service(taken, &inner));
        let gateway = before(&backend);
        Self { backend, gateway, gate }
    }

    fn client(&self) -> FrameClient {
        FrameClient::open(self.gateway.address(), &[])
    }

    fn curl(&self, path: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let url = format!("http://{}{path}", self.gateway.address());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "--http2-prior-knowledge"]).args(arguments).arg(url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("curl: {error}; `./test` installs it"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?} ended with {}: {told}", output.status);
        output.stdout
    }

    fn text(&self, path: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.curl(path, arguments, b"")).unwrap()
    }

    /// The only request that the backend has seen since the last look.
    fn seen(&self) -> Request {
        let recorded = self.backend.take();
        let bytes: Vec<u8> = recorded.into_iter().flat_map(|connection| connection.bytes).collect();
        let (mut requests, rest) = strict::requests(&bytes).unwrap();
        assert!(requests.len() == 1 && rest.is_empty());
        requests.remove(0)
    }

    /// Waits until a request for this target is at the backend.
    fn arrived(&self, target: &str) {
        let line = format!(" {target} HTTP/1.1\r\n");
        let has = |bytes: &[u8]| bytes.windows(line.len()).any(|w| w == line.as_bytes());
        self.backend.wait_for("the request", |all| all.iter().any(|c| has(&c.bytes)));
    }
}

fn post(stream: u32, path: &str) -> Frame {
    Frame::headers(stream, false, hpack::request("POST", path))
}

#[test]
fn curl_gets_heads_and_posts() {
    let bench = Bench::new();
    assert_eq!(bench.text("/a", &["-w", " %{http_code} %{http_version}"]), "ok 200 2");
    let seen = bench.seen();
    assert_eq!((seen.line().as_str(), seen.content.framing), ("GET /a HTTP/1.1", Framing::None));
    assert_eq!(seen.one("via").as_deref(), Some("2.0 tollgate"));
    assert_eq!(seen.one("host"), Some(bench.gateway.address().to_string()));
    let head = bench.text("/a", &["-I"]).to_ascii_lowercase();
    assert!(head.starts_with("http/2 200") && head.contains("content-length: 2\r\n"), "{head}");
    assert_eq!(bench.seen().line(), "HEAD /a HTTP/1.1");
    assert_eq!(bench.text("/echo", &["-d", "hello"]), "hello");
    let seen = bench.seen();
    assert_eq!((seen.content.framing, seen.content.body.as_slice()), (Framing::Length(5), &b"hello"[..]));
    assert_eq!(bench.text("/nothing", &["-w", "%{http_code}"]), "204");
    assert_eq!(bench.text("/unchanged", &["-w", "%{http_code}"]), "304");
    assert_eq!(bench.text("/until-close", &[]), "all of it");
}

#[test]
fn curl_uploads_without_a_length() {
    let bench = Bench::new();
    let body: Vec<u8> = (0..MIB).map(|n| u8::try_from(n % 251).unwrap()).collect();
    assert!(bench.curl("/echo", &["-T", "-", "-H", "Expect:"], &body) == body);
    let seen = bench.seen();
    assert_eq!((seen.line().as_str(), seen.content.framing), ("PUT /echo HTTP/1.1", Framing::Chunked));
    assert!(seen.content.body == body);
}

#[test]
fn curl_carries_a_mebibyte_up_and_down() {
    let bench = Bench::new();
    let body = vec![b'y'; MIB];
    assert!(bench.curl("/echo", &["--data-binary", "@-", "-H", "Expect:"], &body) == body);
    assert_eq!(bench.seen().content.framing, Framing::Length(MIB));
    assert_eq!(bench.text("/large", &[]).len(), MIB);
    assert_eq!(bench.text("/huge", &["-o", "/dev/null", "-w", "%{size_download}"]), (32 * MIB).to_string());
}

#[test]
fn curl_is_told_to_continue() {
    let bench = Bench::new();
    let arguments = ["-H", "Expect: 100-continue", "-d", "hello", "-i"];
    let told = bench.text("/continue", &arguments);
    assert!(told.ends_with("hello"), "{told}");
}

#[test]
fn curl_reads_trailers() {
    let bench = Bench::new();
    let told = bench.text("/trailers", &["-i", "-H", "TE: trailers"]);
    assert!(told.contains("hello") && told.to_ascii_lowercase().contains("x-sum: abc"), "{told}");
}

#[test]
fn trailers_go_both_ways() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.send(&post(1, "/echo"));
    client.send(&Frame::data(1, false, b"hello"));
    client.send(&Frame::headers(1, true, hpack::block(&[("x-sum", "abc")])));
    assert_eq!(client.answer(1).text(), "hello");
    let seen = bench.seen();
    assert_eq!(strict::all(&seen.content.trailers, "x-sum"), ["abc"]);
    let mut block = hpack::request("GET", "/trailers");
    block.extend(hpack::block(&[("te", "trailers")]));
    client.send(&Frame::headers(3, true, block));
    let answer = client.answer(3);
    assert_eq!((answer.text().as_str(), strict::all(&answer.trailers, "x-sum")), ("hello", vec!["abc".to_owned()]));
}

#[test]
fn a_client_waits_to_be_told_to_continue() {
    let bench = Bench::new();
    let mut client = bench.client();
    let mut block = hpack::request("POST", "/continue");
    block.extend(hpack::block(&[("expect", "100-continue"), ("content-length", "5")]));
    client.send(&Frame::headers(1, false, block));
    client.until("100", |came| came.answer(1).interim == [100]);
    client.send(&Frame::data(1, true, b"hello"));
    assert_eq!(client.answer(1).text(), "hello");
}

#[test]
fn early_hints_come_through() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.get(1, "/hints");
    let answer = client.answer(1);
    assert_eq!((answer.interim, answer.status), (vec![103], 200));
}

#[test]
fn fields_of_one_hop_stay_there_and_names_come_in_lower_case() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.get(1, "/hops");
    // The client's own reading refuses connection-specific fields and upper case.
    let answer = client.answer(1);
    assert_eq!((answer.one("x-upper").as_deref(), answer.one("x-hop")), (Some("b"), None));
    assert!(answer.one("via").is_none_or(|via| via.ends_with("tollgate")), "{answer:?}");
    assert!(answer.one("date").is_some());
}

#[test]
fn slow_streams_do_not_hold_up_the_others() {
    let bench = Bench::new();
    let mut client = bench.client();
    for stream in (1..101).step_by(2) {
        client.get(stream, "/wait");
    }
    bench.arrived("/wait");
    client.get(101, "/echo");
    assert_eq!(client.answer(101).status, 200);
    bench.gate.open();
    for stream in (1..101).step_by(2) {
        assert_eq!(client.answer(stream).text(), "late");
    }
}

#[test]
fn a_client_that_reads_one_stream_no_further_can_read_the_others() {
    let bench = Bench::new();
    // Room for all on the connection; on each stream the initial window, which /huge fills.
    let mut client = bench.client();
    client.send(&Frame::window(0, 0x1000_0000));
    client.get(1, "/huge");
    client.until("the window to be full", |came| came.answer(1).body.len() == 65_535);
    for stream in [3, 5, 7] {
        client.get(stream, "/a");
        assert_eq!(client.answer(stream).text(), "ok");
    }
    client.send(&Frame::window(1, 0x0fff_ffff));
    let answer = client.answer(1);
    assert_eq!(answer.body.len(), 32 * MIB);
}

#[test]
fn a_backend_that_reads_no_further_holds_up_its_own_stream_only() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |taken| match taken.method.as_str() {
        "POST" => Script(vec![Step::Wait(inner.clone()), Step::Echo]),
        _ => Script::ok(taken, "ok"),
    });
    let gateway = before(&backend);
    let mut client = FrameClient::open(gateway.address(), &[]);
    client.send(&post(1, "/slow"));
    // The stream's whole window, and not a byte more.
    let window = client.came.settings[0].iter().find(|(number, _)| *number == 4).map_or(65_535, |(_, size)| *size);
    let mut left = usize::try_from(window).unwrap().min(65_535);
    let all = left;
    while left > 0 {
        let size = left.min(16_384);
        client.send(&Frame::data(1, false, vec![b'a'; size]));
        left -= size;
    }
    client.get(3, "/a");
    assert_eq!(client.answer(3).text(), "ok");
    gate.open();
    client.send(&Frame::data(1, true, []));
    client.send(&Frame::window(0, 1_000_000));
    client.send(&Frame::window(1, 1_000_000));
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.body.len()), (200, all));
}

#[test]
fn a_reset_gives_the_request_at_the_backend_up() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.get(1, "/hang");
    bench.arrived("/hang");
    client.send(&Frame::reset(1, Code(8)));
    bench.backend.wait_for("the end of the connection", |all| all.iter().any(|c| c.ended.is_some()));
    client.get(3, "/a");
    assert_eq!(client.answer(3).text(), "ok");
    let line = bench.gateway.access_line("of what was given up", |line| line["path"] == "/hang");
    assert!(line.get("status").is_none(), "{line}");
}

#[test]
fn a_reset_in_the_middle_of_an_answer_gives_it_up() {
    let bench = Bench::new();
    let mut client = bench.client();
    client.get(1, "/huge");
    client.until("a part of it", |came| !came.answer(1).body.is_empty());
    client.send(&Frame::reset(1, Code(8)));
    bench.backend.wait_for("the end of the connection", |all| all.iter().any(|c| c.ended.is_some()));
    client.send(&Frame::window(0, 1_000_000));
    client.get(3, "/a");
    assert_eq!(client.answer(3).text(), "ok");
}

#[test]
fn a_connection_that_breaks_gives_all_of_its_requests_up() {
    let bench = Bench::new();
    let mut client = bench.client();
    for stream in [1, 3, 5] {
        client.get(stream, "/hang");
    }
    let requests = |bytes: &[u8]| bytes.windows(10).filter(|w| *w == b"GET /hang ").count();
    bench.backend.wait_for("three", |all| all.iter().map(|c| requests(&c.bytes)).sum::<usize>() == 3);
    client.reset();
    bench.backend.wait_for("their end", |all| all.iter().filter(|c| c.ended.is_some()).count() == 3);
}

#[test]
fn an_answer_that_the_backend_cuts_does_not_look_whole() {
    let bench = Bench::new();
    let mut client = bench.client();
    let cuts = [(1, "/cut-length"), (3, "/cut-chunks"), (5, "/cut-reset")];
    for (stream, path) in cuts {
        client.get(stream, path);
    }
    client.until("the beginnings", |came| cuts.iter().all(|(stream, _)| came.answer(*stream).text() == "first"));
    bench.gate.open();
    for (stream, path) in cuts {
        let answer = client.answer(stream);
        assert!(answer.status == 200 && !answer.ended, "{path}: {answer:?}");
        assert!(answer.reset.is_some_and(|code| code != Code(0)), "{path}: {answer:?}");
    }
    client.get(11, "/a");
    assert_eq!(client.answer(11).text(), "ok");
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut bench = Bench::new();
        let mut client = bench.client();
        client.get(1, "/wait");
        client.get(3, "/stream");
        client.until("the first half", |came| came.answer(3).text() == "first");
        bench.arrived("/wait");
        bench.gateway.signal(signal);
        client.until("a farewell", |came| !came.goaways.is_empty());
        wait_until("nothing new is taken", || !RawClient::is_accepted(bench.gateway.address()));
        bench.gate.open();
        assert_eq!(client.answer(1).text(), "late");
        assert_eq!(client.answer(3).text(), "firstafter");
        let came = client.until("the end", |came| came.ended.is_some());
        assert!(came.goaways.iter().all(|(_, code)| *code == Code(0)), "{came}");
        assert!(came.goaways.last().is_some_and(|(last, _)| *last == 3), "{came}");
        assert_eq!(bench.gateway.ended().code(), Some(0));
    }
}

#[test]
fn stopping_closes_connections_at_rest() {
    let mut bench = Bench::new();
    let mut used = bench.client();
    used.get(1, "/a");
    assert_eq!(used.answer(1).text(), "ok");
    let mut unused = bench.client();
    bench.gateway.terminate();
    for client in [&mut used, &mut unused] {
        let came = client.until("the end", |came| came.ended.is_some());
        assert!(came.goaways.last().is_some_and(|(_, code)| *code == Code(0)), "{came}");
    }
    assert_eq!(bench.gateway.ended().code(), Some(0));
}

/// A client that was suspended, or whose network is gone: it neither answers nor closes.
#[test]
fn stopping_does_not_wait_for_clients_that_rest_and_do_not_answer() {
    let mut bench = Bench::new();
    let mut client = bench.client();
    client.get(1, "/a");
    assert_eq!(client.answer(1).text(), "ok");
    let (code, took) = timed(|| {
        bench.gateway.terminate();
        bench.gateway.ended().code()
    });
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(15), "{took:?} of the 30 s that draining may take");
    assert!(!bench.gateway.log().contains("drain time is over"), "{}", bench.gateway.log());
}

#[test]
fn the_access_log_tells_the_protocol() {
    let backend = Recorder::start();
    let gateway = before(&backend);
    let mut client = FrameClient::open(gateway.address(), &[]);
    client.get(1, "/told?a=b");
    assert_eq!(client.answer(1).status, 200);
    let line = gateway.access_line("of the request", |line| line["path"] == "/told");
    for (key, expected) in [("protocol", "HTTP/2"), ("method", "GET"), ("host", "gateway.test"), ("query", "a=b")] {
        assert_eq!(line[key], expected, "{line}");
    }
    assert_eq!(line["status"].as_u64(), Some(200));
    client.send(&Frame::headers(3, true, hpack::block(&[(":method", "GET"), (":scheme", "http"), (":path", "/x")])));
    assert_eq!(client.answer(3).status, 400);
    let line = gateway.access_line("of what was no request", |line| line["status"] == 400);
    assert_eq!(line["protocol"], "HTTP/2");
}

#[test]
fn a_problem_is_told_like_over_http_1() {
    let backend = Recorder::start();
    let gateway = support::with(
        "listen: { \"{{http}}\": http, \"{{health}}\": health }\nroutes: { /a: \"{{backend}}\" }\n",
        &backend,
    );
    let mut client = FrameClient::open(gateway.address(), &[]);
    client.get(1, "/b");
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.one("content-type").as_deref()), (404, Some("application/problem+json")));
    let told = gateway.client().get("/b");
    assert!(answer.text().contains(told.json()["type"].as_str().unwrap()), "{answer:?}");
    client.send(&Frame::headers(3, true, hpack::request("HEAD", "/b")));
    let answer = client.answer(3);
    assert!(answer.status == 404 && answer.body.is_empty() && answer.ended, "{answer:?}");
}

#[test]
fn a_body_that_was_passed_on_is_not_sent_once_more_without_it() {
    let bench = Bench::new();
    assert_eq!(bench.text("/", &[]), "ok", "now a connection rests");
    let told = bench.text("/flaky", &["-X", "PUT", "-d", "hello"]);
    assert!(told.contains("urn:tollgate:problem:upstream/reset"), "{told}");
    let recorded = bench.backend.take();
    let all: Vec<u8> = recorded.into_iter().flat_map(|connection| connection.bytes).collect();
    let tries = all.windows(11).filter(|bytes| bytes == b"PUT /flaky ").count();
    assert_eq!(tries, 1, "it could not be repeated whole");
    assert_eq!(bench.text("/", &[]), "ok");
}
