//! T5: bodies of JSON and XML, looked at while they pass.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::process::Command;

use tollgate_testkit::recorder::{Recorded, Taken};
use tollgate_testkit::strict::{self, Request};
use tollgate_testkit::{Cli, Gate, Gateway, Recorder, Response, Script, Step, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

const CONFIG: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
workers: 1
defaults: { body: 1GB }
services:
  one: "{{backend}}"
  two: { to: "{{inside}}", protocol: http2 }
apis:
  shop:
    defaults: { payload: [json, xml] }
    routes:
      /one/**: one
      /two/**: two
      /wide/**: { to: one, payload: { json: { items: 10000000, values: 10000000 } } }
      /packed: { to: one, decompress: on }
      /shadow: { to: one, payload: { json: { depth: 3 }, shadow: true } }
      /free: { to: one, payload: none }
"#;

const INSIDE: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
defaults: { body: 1GB }
routes: { /**: "{{backend}}" }
"#;

struct Bench {
    backend: Recorder,
    /// Between the gateway and the backend for those that speak HTTP/2 to their service.
    _inside: Gateway,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Self {
        Self::answering(|taken| Script::ok(taken, "ok"))
    }

    fn answering(answer: impl Fn(&Taken) -> Script + Send + Sync + 'static) -> Self {
        let backend = Recorder::answering(answer);
        let own = ("backend", backend.address().to_string());
        let inside = Gateway::start(TOLLGATE, INSIDE, std::slice::from_ref(&own));
        let gateway = Gateway::start(TOLLGATE, CONFIG, &[own, ("inside", inside.address().to_string())]);
        Self { backend, _inside: inside, gateway }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    /// What curl is told, with the status behind it.
    fn curl(&self, path: &str, kind: &str, more: &[&str]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30", "-H", &format!("Content-Type: {kind}"), "-w", "\n%{http_code}"]);
        let output = command.args(more).arg(self.url(path)).output().expect("curl; `./test` installs it");
        format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout))
    }

    /// A body of JSON, its length told.
    fn post(&self, path: &str, body: &str) -> Response {
        self.gateway.client().call(&request("POST", path, body))
    }

    /// The requests that came whole.
    fn whole(&self) -> Vec<Request> {
        self.backend.recorded().iter().flat_map(whole).collect()
    }
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn whole(connection: &Recorded) -> Vec<Request> {
    strict::requests(&connection.bytes).map(|(requests, _)| requests).unwrap_or_default()
}

fn slug(answer: &Response) -> String {
    let kind = answer.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

#[test]
fn a_bomb_is_refused_long_before_its_end() {
    let bench = Bench::new();
    let mut client = bench.gateway.client();
    client
        .send("POST /one/ HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("13\r\n[[[[[[[[[[[[[[[[[[[\r\n");
    // As far as it is allowed, it goes on at once.
    bench.backend.wait_for("the start of the bomb", |all| all.iter().any(|c| c.bytes.ends_with(b"[[[\r\n")));
    // 100,000 levels in all; the end never comes.
    for _ in 0..100 {
        if !client.send(format!("3e8\r\n{}\r\n", "[".repeat(1000))) {
            break;
        }
    }
    let answer = client.response("POST").unwrap();
    assert_eq!((answer.status, slug(&answer).as_str()), (400, "payload/json"));
    let problem = answer.json();
    assert_eq!(problem["detail"], "more than 20 levels of objects and arrays, at byte 20");
    assert_eq!(
        (problem["limit"].as_str(), problem["allowed"].as_u64(), problem["offset"].as_u64()),
        (Some("depth"), Some(20), Some(20))
    );
    bench.backend.wait_for("the end of its connection", |all| all.iter().all(|c| c.ended.is_some()));
    assert!(bench.whole().is_empty());
    bench.gateway.await_metric("tollgate_problems_total{api=\"shop\",slug=\"payload/json\"}", |count| count == 1.0);
    let line = bench.gateway.access_line("the bomb", |line| line["problem"] == "payload/json");
    assert_eq!(line["cause"], "more than 20 levels of objects and arrays, at byte 20");
    assert_eq!(bench.post("/one/", "[1]").status, 200, "others are still served");
}

#[test]
fn no_version_of_http_lets_a_bad_body_look_whole() {
    const LAUGHS: &str = "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol1 \"&lol;&lol;\">]><lolz>&lol1;</lolz>";
    let bench = Bench::new();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for path in ["/one/x", "/two/x"] {
            for chunked in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
                for (kind, body, expected) in [
                    ("application/xml", LAUGHS, "payload/xml"),
                    ("application/soap+xml; charset=utf-8", "<a>&x;</a>", "payload/xml"),
                    ("application/json", "{\"a\": [1, 2}", "payload/malformed"),
                    // What is wrong with it shows at its end alone.
                    ("application/json", "{\"a\": [1, 2]", "payload/malformed"),
                    ("text/xml", "<a><b></b>", "payload/malformed"),
                    ("application/json", "[\"\u{1}\"]", "payload/malformed"),
                ] {
                    let mut more = vec![version, "--data-binary", body];
                    // HTTP/2 has no such field.
                    if version == "--http1.1" {
                        more.extend(chunked);
                    }
                    let told = bench.curl(path, kind, &more);
                    assert!(
                        told.ends_with("\n400") && told.contains(expected),
                        "{version} {path} {kind} {body}: {told}"
                    );
                }
            }
        }
    }
    let told = bench.curl("/one/x", "application/json; charset=utf-16", &["-d", "[1]"]);
    assert!(told.ends_with("\n415") && told.contains("payload/type"), "{told}");
    assert!(bench.whole().is_empty(), "{:?}", bench.whole());
    for path in ["/one/x", "/two/x"] {
        assert_eq!(bench.curl(path, "text/xml", &["-d", "<a>&lt;</a>"]), "ok\n200");
        assert_eq!(bench.curl(path, "text/plain", &["-d", "{"]), "ok\n200", "what says it is something else passes");
    }
    assert_eq!(bench.curl("/free", "application/json", &["-d", "{"]), "ok\n200");
}

#[test]
fn a_large_body_passes_unchanged_with_its_length_and_is_not_kept() {
    let bench = Bench::new();
    let rows =
        (0..).map(|n| format!("{{\"id\": {n}, \"name\": \"Zo\u{eb} \\u00e9\", \"tags\": [true, null, -1.5e3]}}"));
    let mut body = "[".to_owned();
    for row in rows {
        body.push_str(&row);
        if body.len() > 20_000_000 {
            break;
        }
        body.push_str(",\n");
    }
    body.push(']');
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let sent = format!("@{}", file.path().display());
    assert_eq!(bench.post("/wide/warm", "[1]").status, 200);
    let before = bench.gateway.resident_kib();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        assert_eq!(
            bench.curl("/wide/x", "application/json", &[version, "--data-binary", &sent]),
            "ok\n200",
            "{version}"
        );
        let seen = bench.whole();
        let last = seen.last().unwrap();
        assert!(last.content.body == body.as_bytes(), "{version}");
        assert_eq!(last.one("content-length"), Some(body.len().to_string()), "{version}");
        assert_eq!(last.one("transfer-encoding"), None, "{version}");
    }
    let most = bench.gateway.peak_kib();
    assert!(most < before + 10_000, "{before} KiB before, {most} KiB at most");
    // The same, cut off before its end: with the length that was told it must not look whole.
    let seen = bench.whole().len();
    let answer = bench.post("/wide/x", &body[..body.len() - 1]);
    assert_eq!((answer.status, slug(&answer).as_str()), (400, "payload/malformed"));
    assert_eq!(answer.json()["offset"], body.len() - 1);
    bench.backend.wait_for("the end of its connection", |all| all.iter().any(|c| c.ended.is_some()));
    assert_eq!(bench.whole().len(), seen);
}

#[test]
fn what_is_compressed_does_not_get_around_it() {
    let bench = Bench::new();
    let bomb = "[".repeat(100_000);
    let pack = |coding: &str| {
        let script = format!("import sys,gzip,zlib; sys.stdout.buffer.write({coding}(b'{}'))", &bomb[..1000]);
        let packed = Command::new("python3").args(["-c", &script]).output().expect("python3").stdout;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), packed).unwrap();
        file
    };
    let file = pack("gzip.compress");
    let sent = format!("@{}", file.path().display());
    let told =
        bench.curl("/one/x", "application/json", &["-i", "-H", "Content-Encoding: gzip", "--data-binary", &sent]);
    assert!(
        told.contains("payload/coding") && told.contains("Accept-Encoding: identity\r\n") && told.ends_with("\n415"),
        "{told}"
    );
    for coding in ["gzip", "deflate"] {
        let file = pack(if coding == "gzip" { "gzip.compress" } else { "zlib.compress" });
        let sent = format!("@{}", file.path().display());
        let field = format!("Content-Encoding: {coding}");
        let told = bench.curl("/packed", "application/json", &["-H", &field, "--data-binary", &sent]);
        assert!(told.contains("payload/json") && told.ends_with("\n400"), "{told}");
    }
    assert!(bench.whole().is_empty());
}

#[test]
fn in_shadow_all_are_served_and_those_beyond_are_counted() {
    let bench = Bench::new();
    for (body, slug) in [("[[1]]", None), ("[[[[1]]]]", Some("payload/json")), ("{\"a\"", Some("payload/malformed"))] {
        assert_eq!(bench.post("/shadow", body).status, 200, "{body}");
        assert_eq!(bench.whole().last().unwrap().content.body, body.as_bytes());
        if let Some(slug) = slug {
            let sample = format!("tollgate_shadowed_total{{api=\"shop\",slug=\"{slug}\"}}");
            bench.gateway.await_metric(&sample, |count| count == 1.0);
            let line = bench.gateway.access_line(slug, |line| line["shadow"] == slug);
            let cause = line["cause"].as_str().unwrap_or_default().to_owned();
            assert!(cause.contains("at byte") && line["status"] == 200 && line["problem"].is_null(), "{line}");
        }
    }
}

#[test]
fn nonsense_costs_the_service_no_connection() {
    let bench = Bench::new();
    assert_eq!(bench.post("/one/x", "[1]").status, 200);
    for _ in 0..5 {
        assert_eq!(bench.post("/one/x", "[1").status, 400);
        assert_eq!(bench.post("/one/x", "[2]").status, 200);
    }
    let recorded = bench.backend.recorded();
    assert_eq!(recorded.len(), 1, "one connection, and nothing but whole requests on it");
    assert_eq!(strict::requests(&recorded[0].bytes).map(|(all, rest)| (all.len(), rest.len())), Ok((6, 0)));
}

#[test]
fn a_body_that_was_looked_at_can_be_sent_once_more() {
    let backend = Recorder::answering(|taken: &Taken| match taken.number {
        0 => Script(vec![Step::ReadRequest, Step::Reset]),
        _ => Script::ok(taken, "well"),
    });
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\n\
        services: { s: { to: \"{{backend}}\", retry: 1 } }\nroutes: { /**: { to: s, payload: json } }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    let answer = gateway.client().call(&request("PUT", "/a", "{\"a\": [1, 2]}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "well"));
    let bodies: Vec<Vec<u8>> = backend.recorded().iter().flat_map(whole).map(|seen| seen.content.body).collect();
    assert_eq!(bodies, [b"{\"a\": [1, 2]}", b"{\"a\": [1, 2]}"]);
}

#[test]
fn what_shows_once_the_answer_has_begun_ends_both_and_is_counted() {
    let gate = Gate::new();
    let inner = gate.clone();
    let bench = Bench::answering(move |_| {
        Script(vec![
            Step::ReadBody(2),
            Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nso far".to_vec()),
            Step::Wait(inner.clone()),
        ])
    });
    let mut client = bench.gateway.client();
    client.send("POST /one/x HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n");
    client.wait_for_bytes(|bytes| bytes.ends_with(b"so far")).unwrap();
    client.send("2\r\n}]\r\n0\r\n\r\n");
    assert!(client.response("POST").is_err(), "it must not look whole");
    bench
        .gateway
        .await_metric("tollgate_problems_total{api=\"shop\",slug=\"payload/malformed\"}", |count| count == 1.0);
    gate.open();
    wait_until("the service's connection to end", || bench.backend.recorded().iter().all(|c| c.ended.is_some()));
    assert!(bench.whole().is_empty());
}

#[test]
fn explain_tells_the_limits() {
    let config = "listen: 18080\nservices: { s: 10.0.0.1:80 }\nroutes:\n  \
        /**: { to: s, decompress: on, payload: { json: { depth: 7 }, shadow: true } }\n";
    let ran = Cli::with(TOLLGATE, config).run(&["explain", "POST", "http://a.test/"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (unpacks, looks) = (ran.out.find("decompress"), ran.out.find("payload"));
    assert!(unpacks.is_some() && unpacks < looks, "{}", ran.out);
    let expected = "json: depth 7, keys 1000, items 10000, key 256, string 65536, number 64, values 100000 (shadow: refuses nobody)";
    assert!(ran.out.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected), "{}", ran.out);
}
