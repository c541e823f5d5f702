//! E1 against the clients that people use. `./test` installs them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tollgate_testkit::recorder::Taken;
use tollgate_testkit::strict::{self, Framing, Request};
use tollgate_testkit::{Gate, Gateway, Recorder, Script, Step};

use support::before;

/// What all clients here talk to, by path.
fn service(taken: &Taken, gate: &Gate) -> Script {
    let path = taken.target.split('?').next().unwrap_or_default();
    match path {
        "/echo" => Script(vec![Step::Echo]),
        "/continue" => Script(vec![Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()), Step::Echo]),
        "/chunks" => Script::parts([
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "5\r\nhello\r\n",
            "8;a=b\r\n, world!\r\n0\r\nX-Sum: abc\r\n\r\n",
        ]),
        "/range" => {
            Script::reply("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/9\r\nContent-Length: 3\r\n\r\ncde")
        }
        "/nothing" => Script::reply("HTTP/1.1 204 No Content\r\n\r\n"),
        "/unchanged" => Script::reply("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
        "/events" => Script::reply("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            .then(Step::Send(b"data: 1\n\n".to_vec()))
            .then(Step::Wait(gate.clone()))
            .then(Step::Send(b"data: 2\n\n".to_vec()))
            .then(Step::Close),
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

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30"]).args(arguments).arg(self.url(path));
        text(&run(command, b""))
    }

    /// Runs a script of tests/clients with the gateway's address.
    fn script(&self, interpreter: &Path, name: &str) {
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients")).join(name);
        let mut command = Command::new(interpreter);
        command.arg(file).arg(self.gateway.address().to_string());
        assert_eq!(text(&run(command, b"")), "ok\n");
    }

    /// The only request that the backend has seen since the last look.
    fn seen(&self) -> Request {
        let recorded = self.backend.take();
        let (mut requests, rest) = strict::requests(&recorded[0].bytes).unwrap();
        assert!(requests.len() == 1 && rest.is_empty());
        requests.remove(0)
    }
}

fn run(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; `./test` installs it"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {told}{}", output.status, text(&output));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The Python that has the packages `./test` installs, or else whatever is on the path.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_tollgate")).ancestors().nth(2).unwrap();
    let ours = target.join("tools/python/bin/python3");
    if ours.exists() { ours } else { "python3".into() }
}

#[test]
fn curl_uploads_in_chunks() {
    let bench = Bench::new();
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-T", "-", "-H", "Expect:"]).arg(bench.url("/echo"));
    let body = "0123456789abcdef".repeat(20_000);
    assert_eq!(text(&run(command, body.as_bytes())), body);
    let seen = bench.seen();
    assert_eq!((seen.line().as_str(), seen.content.framing), ("PUT /echo HTTP/1.1", Framing::Chunked));
    assert!(seen.content.body == body.as_bytes());
}

#[test]
fn curl_waits_to_be_told_to_continue() {
    let bench = Bench::new();
    let arguments = ["-H", "Expect: 100-continue", "--expect100-timeout", "25", "-d", "hello", "-w", " %{time_total}"];
    let answer = bench.curl("/continue", &arguments);
    let (body, seconds) = answer.split_once(' ').unwrap();
    assert_eq!(body, "hello");
    assert!(seconds.parse::<f64>().unwrap() < 20.0, "curl was not told to continue");
}

#[test]
fn curl_reads_chunks_and_trailers() {
    let bench = Bench::new();
    let answer = bench.curl("/chunks", &["-i", "-H", "TE: trailers", "-H", "Connection: TE"]);
    assert!(answer.contains("hello, world!"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("x-sum: abc"), "{answer}");
}

#[test]
fn curl_asks_for_ranges_heads_and_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.curl("/range", &["-r", "2-4", "-w", " %{http_code}"]), "cde 206");
    assert_eq!(bench.seen().one("range").as_deref(), Some("bytes=2-4"));
    let head = bench.curl("/a", &["-I"]);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.to_ascii_lowercase().contains("content-length: 2\r\n"),
        "{head}"
    );
    assert_eq!(bench.curl("/nothing", &["-w", "%{http_code}"]), "204");
    assert_eq!(bench.curl("/unchanged", &["-w", "%{http_code}"]), "304");
    assert_eq!(bench.curl("/a", &["-0", "-w", " %{http_version}"]), "ok 1.1");
}

#[test]
fn curl_keeps_one_connection() {
    let bench = Bench::new();
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-w", "%{num_connects},"]);
    for path in ["/chunks", "/a", "/nothing", "/unchanged", "/range", "/a"] {
        command.args(["-o", "/dev/null"]).arg(bench.url(path));
    }
    assert_eq!(text(&run(command, b"")), "1,0,0,0,0,0,");
    let backends = bench.backend.recorded().len();
    assert_eq!(backends, 1, "one connection to the backend as well");
}

#[test]
fn curl_sees_the_first_event_at_once() {
    let bench = Bench::new();
    let mut command = Command::new("curl");
    command.args(["-sSN", "--max-time", "30"]).arg(bench.url("/events")).stdout(Stdio::piped());
    let mut child = command.spawn().expect("curl; `./test` installs it");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "data: 1");
    // Only now does the backend write the second one.
    bench.gate.open();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(rest, ["", "data: 2", ""]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn pythons_http_client_works() {
    Bench::new().script(&python(), "http_client.py");
}

#[test]
fn aiohttp_works() {
    let bench = Bench::new();
    bench.gate.open();
    bench.script(&python(), "aiohttp_client.py");
}

#[test]
fn nodes_fetch_works() {
    let bench = Bench::new();
    bench.gate.open();
    bench.script(Path::new("node"), "fetch.mjs");
}

#[test]
fn h2load_sees_no_failure() {
    let bench = Bench::new();
    let mut command = Command::new("h2load");
    command.args(["--h1", "-n", "3000", "-c", "20", "-m", "4"]).arg(bench.url("/a"));
    let told = text(&run(command, b""));
    assert!(told.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    assert!(told.contains("3000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{told}");
}
