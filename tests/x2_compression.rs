//! X2: answers compressed, and request bodies decompressed, on their way.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use tollgate_core::body::{Finish, Recoder};
use tollgate_testkit::recorder::Taken;
use tollgate_testkit::strict::{self, Request};
use tollgate_testkit::{Gate, Gateway, Recorder, Response, Script, Step};
use tollgate_transform::coding::{Bounds, Coding, Compressor, Decompressor, Level};

const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
defaults: { compress: on }
routes:
  /**: "{{backend}}"
  /events: { to: "{{backend}}", compress: { types: [text/event-stream] } }
  /up/**: { to: "{{backend}}", compress: none, decompress: { most: 3MB } }
  /own: { reply: { body: "{{text}}" } }
"#;

const WIDE: Bounds = Bounds { most: u64::MAX, ratio: u64::MAX };

fn text(size: usize) -> String {
    (0..)
        .map(|n| format!("{{\"number\":{n}}}\n"))
        .flat_map(|line| line.chars().collect::<Vec<_>>())
        .take(size)
        .collect()
}

fn service(taken: &Taken, gate: &Gate) -> Script {
    let json =
        |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{head}\r\n\r\n{body}");
    let path = taken.target.split('?').next().unwrap_or_default();
    match path {
        "/large" => {
            let body = if taken.method == "HEAD" { String::new() } else { text(500_000) };
            Script::reply(json("Content-Length: 500000\r\nETag: \"v1\"", &body))
        }
        "/chunks" => Script::parts([
            json("Transfer-Encoding: chunked", "5\r\n[1,2,\r\n"),
            "2\r\n3]\r\n0\r\n\r\n".to_owned(),
        ]),
        "/until-close" => Script::reply(json("Connection: close", "[1,2,3]")).then(Step::Close),
        "/cut" => Script::reply(json("Content-Length: 500000", "[1,2,")).then(Step::Reset),
        "/packed" => Script::reply(json("Content-Encoding: gzip\r\nContent-Length: 2000", &"x".repeat(2000))),
        "/part" => Script::reply(
            "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1999/9000\r\nContent-Length: 2000\r\n\r\n"
                .to_owned()
                + &"x".repeat(2000),
        ),
        "/events" => Script::reply("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            .then(Step::Send(b"data: 1\n\n".to_vec()))
            .then(Step::Wait(gate.clone()))
            .then(Step::Send(b"data: 2\n\n".to_vec()))
            .then(Step::Close),
        "/up/echo" => Script(vec![Step::Echo]),
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
        let gateway = support::with(&CONFIG.replace("{{text}}", &"all the same ".repeat(200)), &backend);
        Self { backend, gateway, gate }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("curl");
        let output = command.args(["-sS", "--max-time", "30"]).args(arguments).arg(self.url(path)).output();
        let output = output.expect("curl; `./test` installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn get(&self, path: &str, accepts: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {accepts}\r\n\r\n");
        self.gateway.client().call(&request)
    }

    /// A body sent up with this `Content-Encoding`, its length known.
    fn send(&self, coding: &str, body: &[u8]) -> Response {
        let length = body.len();
        let head = format!(
            "POST /up/echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut client = self.gateway.client();
        // Refused, it may be cut off before its end.
        let _ = client.send([head.as_bytes(), body].concat());
        client.response("POST").unwrap()
    }

    fn seen(&self) -> Request {
        let recorded = self.backend.take();
        let (mut requests, rest) = strict::requests(&recorded[0].bytes).unwrap();
        assert!(requests.len() == 1 && rest.is_empty());
        requests.remove(0)
    }
}

fn recoded(mut recoder: impl Recoder, mut input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    while !input.is_empty() {
        let taken = recoder.recode(input, &mut output).unwrap();
        input = &input[taken..];
    }
    while recoder.finish(&mut output).unwrap() == Finish::More {}
    output
}

fn compressed(coding: Coding, content: &[u8]) -> Vec<u8> {
    recoded(Compressor::new(coding, Level::default()).unwrap(), content)
}

#[test]
fn curl_reads_every_coding() {
    let bench = Bench::new();
    for coding in ["br", "zstd", "gzip"] {
        let accepts = format!("Accept-Encoding: {coding}");
        let answer = bench.curl("/large", &["--compressed", "-H", &accepts]);
        assert!(answer == text(500_000), "{coding}");
        let size = bench.curl("/large", &["-H", &accepts, "-o", "/dev/null", "-w", "%{size_download}"]);
        assert!(size.parse::<usize>().unwrap() < 200_000, "{coding}: {size}");
    }
}

#[test]
fn the_head_says_what_became_of_the_body() {
    let bench = Bench::new();
    let answer = bench.get("/large", "gzip, br;q=0.9");
    assert_eq!(answer.one("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(answer.one("vary").as_deref(), Some("Accept-Encoding"));
    assert_eq!(answer.one("etag").as_deref(), Some("W/\"v1\""));
    assert_eq!(answer.one("content-length"), None);
    let body = recoded(Decompressor::new(Coding::Gzip, WIDE).unwrap(), &answer.content.body);
    assert!(body == text(500_000).as_bytes());
}

#[test]
fn what_is_not_to_be_compressed_passes_as_it_is() {
    let bench = Bench::new();
    let plain = bench.get("/large", "identity");
    assert_eq!((plain.one("content-encoding"), plain.one("vary").as_deref()), (None, Some("Accept-Encoding")));
    assert!(plain.text() == text(500_000));
    for path in ["/packed", "/part"] {
        let answer = bench.get(path, "br");
        assert_eq!(
            (answer.content.body.len(), answer.one("content-length").as_deref()),
            (2000, Some("2000")),
            "{path}"
        );
    }
    let head = bench.curl("/large", &["-I", "-H", "Accept-Encoding: br"]).to_ascii_lowercase();
    assert!(head.contains("content-length: 500000\r\n") && !head.contains("content-encoding"), "{head}");
}

#[test]
fn bodies_of_every_framing_and_origin_are_compressed() {
    let bench = Bench::new();
    for path in ["/chunks", "/until-close"] {
        assert_eq!(bench.get(path, "zstd").one("content-encoding").as_deref(), Some("zstd"), "{path}");
        assert_eq!(bench.curl(path, &["--compressed"]), "[1,2,3]", "{path}");
        assert_eq!(bench.curl(path, &["--compressed", "-0"]), "[1,2,3]", "{path} for HTTP/1.0");
    }
    let own = bench.get("/own", "gzip");
    let body = recoded(Decompressor::new(Coding::Gzip, WIDE).unwrap(), &own.content.body);
    assert_eq!(body, "all the same ".repeat(200).as_bytes());
}

#[test]
fn a_connection_goes_on_behind_a_compressed_body() {
    let bench = Bench::new();
    let mut client = bench.gateway.client();
    for _ in 0..3 {
        let answer = client.call("GET /large HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\n\r\n");
        let body = recoded(Decompressor::new(Coding::Br, WIDE).unwrap(), &answer.content.body);
        assert!(body == text(500_000).as_bytes());
        assert_eq!(client.get("/other").text(), "ok");
    }
}

#[test]
fn an_answer_that_is_cut_does_not_look_whole() {
    let bench = Bench::new();
    let mut client = bench.gateway.client();
    client.send("GET /cut HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(client.response("GET").is_err());
}

#[test]
fn a_compressed_event_leaves_at_once() {
    let bench = Bench::new();
    for coding in ["gzip", "br", "zstd"] {
        let mut command = Command::new("curl");
        command.args(["-sSN", "--max-time", "30", "--compressed", "-H", &format!("Accept-Encoding: {coding}")]);
        let mut child = command.arg(bench.url("/events")).stdout(Stdio::piped()).spawn().expect("curl");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The first time only now does the backend write the second one.
        assert_eq!(lines.next().unwrap().unwrap(), "data: 1", "{coding}");
        bench.gate.open();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!(rest, ["", "data: 2", ""], "{coding}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_compressed_request_reaches_the_service_plain() {
    let bench = Bench::new();
    let content = text(2_000_000).into_bytes();
    for coding in Coding::ALL {
        let answer = bench.send(coding.name(), &compressed(coding, &content));
        assert_eq!(answer.status, 200, "{coding:?}: {answer:?}");
        let seen = bench.seen();
        assert!(seen.content.body == content, "{coding:?}");
        assert_eq!((seen.one("content-encoding"), seen.one("content-length")), (None, None));
    }
    let twice = compressed(Coding::Br, &compressed(Coding::Gzip, &content));
    assert_eq!(bench.send("gzip, br", &twice).status, 200);
    assert!(bench.seen().content.body == content);
}

#[test]
fn curl_uploads_compressed_chunks() {
    let bench = Bench::new();
    let content = text(100_000);
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-X", "POST", "-T", "-", "-H", "Content-Encoding: gzip"]);
    command.arg(bench.url("/up/echo")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("curl; `./test` installs it");
    child.stdin.take().unwrap().write_all(&compressed(Coding::Gzip, content.as_bytes())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout == content.as_bytes());
}

#[test]
fn a_body_that_is_not_what_it_says_is_refused() {
    let bench = Bench::new();
    let slug = |answer: &Response| answer.json()["type"].as_str().unwrap().to_owned();
    let unknown = bench.send("lzma", b"whatever");
    assert_eq!((unknown.status, slug(&unknown).as_str()), (415, "urn:tollgate:problem:decompress/coding"));
    assert_eq!(unknown.one("accept-encoding").as_deref(), Some("br, zstd, gzip, deflate"));
    let good = compressed(Coding::Gzip, text(1000).as_bytes());
    for bad in [&b"no gzip at all"[..], &good[..good.len() - 1], &[&good[..], b"x"].concat()] {
        let answer = bench.send("gzip", bad);
        assert_eq!((answer.status, slug(&answer).as_str()), (400, "urn:tollgate:problem:decompress/malformed"));
    }
}

#[test]
fn bombs_are_refused() {
    let bench = Bench::new();
    let zeros = vec![0; 50_000_000];
    for coding in Coding::ALL {
        let answer = bench.send(coding.name(), &compressed(coding, &zeros));
        assert_eq!(answer.status, 413, "{coding:?}");
        assert_eq!(answer.json()["type"], "urn:tollgate:problem:decompress/too-large", "{coding:?}");
    }
    assert_eq!(bench.send("gzip", &compressed(Coding::Gzip, b"small")).status, 200, "others are still served");
}
