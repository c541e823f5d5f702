//! E1: services that speak HTTP/2, with clients of both versions in front. The service is a program of its own, by another
//! library; a second opinion is nginx.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod python;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tollgate_testkit::{Authority, Gateway, wait_until};

use python::{Service, run};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const MIB: usize = 1 << 20;

struct Bench {
    gateway: Gateway,
    _service: Service,
}

impl Bench {
    fn new(arguments: &[&str]) -> Self {
        let service = Service::start("http2_service.py", arguments);
        let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\n\
            services: { s: { to: \"{{s}}\", protocol: http2 } }\n\
            defaults: { timeout: 3s, body: 100MB }\nroutes: { /**: s, /short: { to: s, timeout: 300ms, rewrite: /hang } }\n";
        let gateway = Gateway::start(TOLLGATE, config, &[("s", service.address.clone())]);
        Self { gateway, _service: service }
    }

    fn curl(&self, path: &str, arguments: &[&str], input: &[u8]) -> String {
        let url = format!("http://{}{path}", self.gateway.address());
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "30"]).args(arguments).arg(url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("curl: {error}; `./test` installs it"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// By which fault the last request at this path was answered or ended.
    fn problem(&self, path: &str) -> String {
        let line = self.gateway.access_line("the request", |line| line["path"] == path);
        line["problem"].as_str().unwrap_or_default().to_owned()
    }

    fn connects(&self) -> f64 {
        self.gateway.metric("tollgate_service_connects_total{service=\"s\"}")
    }
}

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let bench = Bench::new(&[]);
    let body = "0123456789abcdef".repeat(3 * MIB / 16);
    for version in VERSIONS {
        for framing in [&["--data-binary", "@-"][..], &["-T", "-", "-X", "POST"]] {
            let echoed = bench.curl("/echo", &[&[version], framing].concat(), body.as_bytes());
            assert!(echoed == body, "{version} {framing:?}: {} bytes", echoed.len());
        }
        let told = bench.curl("/echo", &[version, "-i", "-d", "four"], b"").to_ascii_lowercase();
        assert!(told.contains("x-bytes: 4"), "the trailer: {told}");
        assert!(told.contains("set-cookie: a=1") && told.contains("set-cookie: b=2"), "{told}");
    }
    assert_eq!(bench.connects(), 1.0, "one connection carried all");
}

#[test]
fn the_head_that_arrives_is_one_of_http2() {
    let bench = Bench::new(&[]);
    for version in VERSIONS {
        let hops = ["-H", "Connection: X-Hop", "-H", "X-Hop: 1"];
        let hops = if version == "--http1.1" { &hops[..] } else { &[] };
        let sent = [&[version, "-H", "Host: shop.example", "-H", "Cookie: a=1; b=2", "-H", "X-Kept: 2"], hops].concat();
        let head: Vec<(String, String)> = serde_json::from_str(&bench.curl("/head?q=%20", &sent, b"")).unwrap();
        let all = |name: &str| -> Vec<&str> {
            head.iter().filter(|(have, _)| have == name).map(|(_, value)| &**value).collect()
        };
        for (name, value) in [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "shop.example"),
            (":path", "/head?q=%20"),
            ("x-kept", "2"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "shop.example"),
        ] {
            assert_eq!(all(name), [value], "{name} in {head:?}");
        }
        assert!(head.iter().all(|(name, _)| *name == name.to_ascii_lowercase()), "{head:?}");
        for gone in ["host", "connection", "x-hop", "transfer-encoding", "upgrade", "keep-alive"] {
            assert!(all(gone).is_empty(), "{gone} in {head:?}");
        }
    }
}

#[test]
fn targets_that_http2_has_no_place_for_are_encoded() {
    let bench = Bench::new(&[]);
    for (sent, arrives) in [("/a|b?c=^d", "/a%7Cb?c=%5Ed"), ("/%7Ea", "/~a")] {
        let said = bench.curl(sent, &["--http1.1", "-g", "-o", "/dev/null", "-w", "%{http_code}"], b"");
        let line = bench.gateway.access_line("the request", |line| line["status"] == 200);
        assert_eq!(said, "200", "{sent} should arrive as {arrives}: {line}");
    }
}

#[test]
fn an_interim_answer_passes() {
    let bench = Bench::new(&[]);
    for version in VERSIONS {
        let told = bench.curl("/hints", &[version, "-i"], b"").to_ascii_lowercase();
        assert!(told.contains(" 103") && told.contains("link: </a.css>") && told.ends_with("ok"), "{told}");
    }
}

#[test]
fn head_has_a_length_and_no_body() {
    let bench = Bench::new(&[]);
    for version in VERSIONS {
        let told = bench.curl("/x", &[version, "-I"], b"").to_ascii_lowercase();
        assert!(told.contains(" 200") && told.contains("content-length: 12"), "{told}");
    }
}

#[test]
fn an_early_answer_is_passed_on_whole() {
    let bench = Bench::new(&[]);
    let body = vec![b'x'; 4 * MIB];
    assert_eq!(bench.curl("/early", &["--http1.1", "--data-binary", "@-"], &body), "enough");
    // curl 7.88 throws away an answer that RST_STREAM with NO_ERROR follows (RFC 9113 §8.1).
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&body).unwrap();
    let url = format!("http://{}/early", bench.gateway.address());
    let nghttp = Command::new("nghttp").arg("-d").arg(file.path()).arg(url).output().expect("./test installs nghttp");
    assert_eq!(String::from_utf8_lossy(&nghttp.stdout), "enough");
}

#[test]
fn what_was_not_looked_at_is_sent_again_whatever_it_is() {
    let bench = Bench::new(&[]);
    let told = bench.curl("/once", &["-X", "POST", "-d", "a"], b"");
    assert_eq!(told, "connection 1", "REFUSED_STREAM");
    let told = bench.curl("/away", &["-X", "POST", "-d", "a"], b"");
    assert_eq!(told, "connection 2", "GOAWAY");
}

#[test]
fn what_may_have_been_done_is_not_done_twice() {
    let bench = Bench::new(&[]);
    let told = bench.curl("/reset", &["-X", "POST", "-d", "a"], b"");
    assert!(told.contains("urn:tollgate:problem:upstream/reset"), "{told}");
}

#[test]
fn half_an_answer_does_not_look_whole() {
    let bench = Bench::new(&[]);
    for (path, version) in [("/cut", VERSIONS[0]), ("/cut", VERSIONS[1])] {
        let told = bench.curl(path, &[version, "-o", "/dev/null", "-w", "%{exitcode}"], b"");
        assert_ne!(told, "0", "{version}: curl took it for whole");
    }
    assert_eq!(bench.problem("/cut"), "upstream/reset");
}

#[test]
fn content_that_is_longer_than_it_says_is_refused() {
    let bench = Bench::new(&[]);
    let told = bench.curl("/lie", &["-o", "/dev/null", "-w", "%{exitcode} %{http_code}"], b"");
    assert_ne!(told, "0 200", "the answer looked whole");
}

#[test]
fn a_stream_that_hangs_times_out_and_the_others_go_on() {
    let bench = Bench::new(&[]);
    assert_eq!(bench.curl("/x", &[], b""), "connection 1");
    let told = bench.curl("/short", &[], b"");
    assert!(told.contains("urn:tollgate:problem:upstream/timeout"), "{told}");
    assert_eq!(bench.curl("/x", &[], b""), "connection 1", "the connection answered when it was asked");
}

#[test]
fn websocket_goes_over_http2_too() {
    let bench = Bench::new(&[]);
    let address = bench.gateway.address().to_string();
    run("websocket_upgrade.py", &[&address, "http1"], &bench.gateway);
    run("websocket_upgrade.py", &[&address, "http2"], &bench.gateway);
}

#[test]
fn a_service_that_does_not_know_rfc_8441_is_told_apart_from_a_broken_one() {
    let bench = Bench::new(&["no-connect"]);
    let upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"];
    let upgrade = [&upgrade[..], &["-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]].concat();
    let told = bench.curl("/ws", &[&["--http1.1"], &upgrade[..]].concat(), b"");
    assert!(told.contains("urn:tollgate:problem:upstream/protocol"), "{told}");
    assert_eq!(bench.curl("/x", &[], b""), "connection 1");
}

#[test]
fn streams_that_are_reset_or_too_slow_count_against_the_instance() {
    let service = Service::start("http2_service.py", &[]);
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\n\
        services: { s: { to: \"{{s}}\", protocol: http2, retry: 0, try_timeout: 500ms, when_all_fail: refuse, \
        outlier: { consecutive: 3, ceiling: 100%, eject_for: 10m, longest: 10m } } }\nroutes: { /**: s }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("s", service.address.clone())]);
    let bench = Bench { gateway, _service: service };
    assert_eq!(bench.curl("/x", &[], b""), "connection 1");
    for (path, problem) in [("/reset", "reset"), ("/hang", "timeout")] {
        assert!(bench.curl(path, &[], b"").contains(&format!("urn:tollgate:problem:upstream/{problem}")));
    }
    assert_eq!(bench.gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}"), 0.0);
    assert!(bench.curl("/reset?again", &[], b"").contains("urn:tollgate:problem:upstream/reset"));
    assert!(bench.curl("/x", &[], b"").contains("urn:tollgate:problem:upstream/unhealthy"));
    assert_eq!(bench.gateway.metric("tollgate_ejections_total{service=\"s\",reason=\"consecutive\"}"), 1.0);
}

#[test]
fn under_tls_alpn_decides() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("test"));
    let (cert, key) = authority.server(&["s.test"]).write(folder.path(), "s");
    let service = Service::start("http2_service.py", &["tls", cert.to_str().unwrap(), key.to_str().unwrap()]);
    let ca = authority.write(folder.path(), "ca").display().to_string();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\nservices:\n  \
         h2: {{ to: \"{{{{s}}}}\", protocol: http2, tls: {{ ca: {ca}, name: s.test }} }}\n  \
         both: {{ to: \"{{{{s}}}}\", protocol: alpn, tls: {{ ca: {ca}, name: s.test }} }}\n  \
         one: {{ to: \"{{{{s}}}}\", tls: {{ ca: {ca}, name: s.test }} }}\n\
         routes: {{ /h2: {{ to: h2, rewrite: /head }}, /both: {{ to: both, rewrite: /head }}, /one: {{ to: one, rewrite: /head }} }}\n"
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[("s", service.address.clone())]);
    let bench = Bench { gateway, _service: service };
    for path in ["/h2", "/both"] {
        let head: Value = serde_json::from_str(&bench.curl(path, &[], b"")).unwrap();
        assert!(head.as_array().unwrap().contains(&serde_json::json!([":scheme", "https"])), "{path}: {head}");
    }
    let told = bench.curl("/one", &[], b"");
    assert!(told.contains("urn:tollgate:problem:upstream/"), "it speaks nothing but HTTP/2: {told}");
}

/// nginx in front of a folder, speaking HTTP/2 in the clear.
#[test]
fn nginx_behind_it_serves_files_over_http2() {
    let bench = Nginx::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        services: { s: { to: \"{{s}}\", protocol: http2, streams: 8 } }\nroutes: { /**: s }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("s", bench.address.clone())]);
    let url = format!("http://{}/file", gateway.address());
    let load = Command::new("h2load").args(["-n", "2000", "-c", "4", "-m", "20", "-t", "1", &url]).output().unwrap();
    let told = String::from_utf8_lossy(&load.stdout).into_owned();
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored"), "{told}");
    let range = Command::new("curl").args(["-sS", "-r", "3-5", &url]).output().unwrap();
    assert_eq!(range.stdout, b"DDD");
}

struct Nginx {
    child: std::process::Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = tollgate_testkit::free_port();
        let at = folder.path().display();
        std::fs::write(folder.path().join("file"), "AAADDDEEE".repeat(10_000)).unwrap();
        let config = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at}; fastcgi_temp_path {at};\n\
             uwsgi_temp_path {at}; scgi_temp_path {at};\n\
             server {{ listen 127.0.0.1:{port} http2; root {at}; http2_max_concurrent_streams 4; }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("nginx");
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap())).arg("-c").arg(&file);
        let child = command.stderr(Stdio::null()).spawn().expect("nginx runs; `./test` installs it");
        let address = format!("127.0.0.1:{port}");
        tollgate_testkit::wait_until("nginx listens", || std::net::TcpStream::connect(&address).is_ok());
        Self { child, address, _folder: folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway before a service of which one instance hangs, asked first, and each of them alone.
fn hedging(hangs: &Service, quick: &Service) -> Gateway {
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\nservices:\n  \
        s: { to: [\"{{hangs}}\", \"{{quick}}\"], protocol: http2, retry: 0 }\n  \
        hangs: { to: \"{{hangs}}\", protocol: http2 }\n\
        routes: { /hedged: { to: s, hedge: 500ms, timeout: 8s }, /resets: hangs }\n";
    Gateway::start(TOLLGATE, config, &[("hangs", hangs.address.clone()), ("quick", quick.address.clone())])
}

#[test]
fn a_second_attempt_over_http2_resets_the_stream_of_the_one_that_is_given_up() {
    let (hangs, quick) = (Service::start("http2_service.py", &["hangs"]), Service::start("http2_service.py", &[]));
    let gateway = hedging(&hangs, &quick);
    for _ in 0..4 {
        let mut client = gateway.client();
        client.send("GET /hedged HTTP/1.1\r\nHost: g\r\n\r\n");
        let hint = client.response("GET").unwrap();
        assert_eq!((hint.status, hint.one("link").unwrap().as_str()), (103, "</a.css>"), "of the one that is used");
        let answer = client.response("GET").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "quick"));
    }
    assert_eq!(gateway.metric("tollgate_hedges_total{service=\"s\",result=\"won\"}"), 2.0);
    wait_until("both streams were reset", || gateway.client().get("/resets").text() == "2");
    let connects = gateway.metric("tollgate_service_connects_total{service=\"s\"}");
    assert_eq!(connects, 2.0, "the connections stay");
}

#[test]
fn reports_of_load_come_in_trailers_of_http2_too() {
    let service = Service::start("http2_service.py", &[]);
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\n\
        services: { s: { to: \"{{s}}\", protocol: http2, balance: load } }\nroutes: { /**: s }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("s", service.address.clone())]);
    wait_until("the load is known", || {
        assert_eq!(gateway.client().get("/load").text(), "loaded");
        gateway.status()["services"][0]["instances"][0]["load"] == 0.5
    });
    let mut client = gateway.client();
    client.send("GET /load HTTP/1.1\r\nHost: g\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    client.wait_for_bytes(|bytes| bytes.ends_with(b"\r\nx-other: 1\r\n\r\n")).unwrap();
    let answer = client.response("GET").unwrap();
    assert!(!format!("{answer:?}").contains("endpoint-load"), "that was for the gateway: {answer:?}");
}
