//! C1: Unix sockets on both sides, against curl, nginx and HAProxy.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;
use tollgate_testkit::{Authority, Cli, Gateway, Peer, Ran, RawClient, Recorder, Signal, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A folder with room for a socket.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("gateway.sock")
    }

    /// A gateway that listens there with these options, and has these lines in its config.
    fn gateway(&self, options: &str, more: &str, backend: &str) -> Gateway {
        Gateway::start(TOLLGATE, &Self::config(options, more), &self.values(backend))
    }

    fn config(options: &str, more: &str) -> String {
        format!(
            "listen: {{ \"unix:{{{{socket}}}}\": {{ {options} }}, \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
             workers: 3\n{more}\nroutes: {{ /**: \"{{{{backend}}}}\" }}\n"
        )
    }

    fn values(&self, backend: &str) -> [(&'static str, String); 2] {
        [("socket", self.socket().display().to_string()), ("backend", backend.to_owned())]
    }
}

fn curl(arguments: &[&str]) -> Ran {
    Cli::new("/usr/bin/curl").run(&[&["-sS", "--max-time", "10"], arguments].concat())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The value of a field that the backend received last.
fn seen(backend: &Recorder, field: &str) -> String {
    let seen = String::from_utf8_lossy(&backend.recorded().last().unwrap().bytes).into_owned();
    let line = seen.lines().rev().find_map(|line| line.strip_prefix(&format!("{field}: ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {field} in {seen}"))
}

#[test]
fn curl_is_served_on_a_unix_socket_in_both_protocols_and_the_file_goes_with_the_gateway() {
    let (place, backend) = (Place::new(), Recorder::start());
    let gateway = place.gateway("mode: \"0600\"", "", &backend.address().to_string());
    let socket = place.socket();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let forged = ["-H", "X-Forwarded-For: 9.9.9.9", "-H", "Forwarded: for=9.9.9.9"];
        let ran = curl(&[&[protocol, "--unix-socket", &text(&socket), "http://shop.test/a"][..], &forged[..]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (0, "ok"), "{protocol}: {}", ran.err);
        // RFC 7239 §6.3: somebody without an address.
        assert_eq!(seen(&backend, "X-Forwarded-For"), "unknown");
        assert_eq!(seen(&backend, "Forwarded"), "for=unknown;host=shop.test;proto=http");
    }
    let _ = gateway.access_line("of a client without an address", |line| line["client"] == "unix");
    assert_eq!(gateway.status()["listeners"][0]["address"], format!("unix:{}", text(&socket)));
    // A reload changes who may connect, and the socket stays.
    gateway.reload(&Place::config("mode: \"0640\"", ""), &place.values(&backend.address().to_string()));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(gateway.stop().code(), Some(0));
    assert!(!socket.exists(), "the socket's file is still there");
}

#[test]
fn all_workers_take_connections_from_the_one_socket() {
    let (place, backend) = (Place::new(), Recorder::start());
    let gateway = place.gateway("", "", &backend.address().to_string());
    assert_eq!(fs::metadata(place.socket()).unwrap().permissions().mode() & 0o777, 0o660, "the default");
    let socket = place.socket();
    let client = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..40).for_each(|_| client()));
        }
    });
    let accepted =
        |worker: usize| gateway.metric(&format!("tollgate_connections_accepted_total{{worker=\"{worker}\"}}"));
    let each: Vec<f64> = (0..3).map(accepted).collect();
    assert!(each.iter().sum::<f64>() >= 320.0, "{each:?}");
    assert!(each.iter().filter(|count| **count > 0.0).count() > 1, "one worker took them all: {each:?}");
}

#[test]
fn what_waits_in_the_queue_is_still_served_when_the_gateway_stops() {
    let (place, backend) = (Place::new(), Recorder::start());
    let mut gateway = place.gateway("", "", &backend.address().to_string());
    gateway.freeze();
    let mut stream = UnixStream::connect(place.socket()).unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: g\r\n\r\n").unwrap();
    gateway.terminate();
    gateway.thaw();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_socket_in_use_is_an_error_and_one_that_a_crash_left_is_replaced() {
    let (place, backend) = (Place::new(), Recorder::start());
    let mut first = place.gateway("", "", &backend.address().to_string());
    let config = format!("listen: \"unix:{}\"\nroutes: {{ /**: {{ reply: 200 second }} }}\n", text(&place.socket()));
    let ran = Cli::with(TOLLGATE, &config).run(&["run"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains(&format!("cannot listen on unix:{}", text(&place.socket()))), "{}", ran.err);
    assert!(ran.err.contains("another program listens there (`ss -lxp src"), "{}", ran.err);
    let url = ["--unix-socket", &text(&place.socket()), "http://g/a"];
    assert_eq!(curl(&url).out, "ok", "the first one serves on");
    first.signal(Signal::KILL);
    let _ = first.ended();
    assert!(place.socket().exists(), "left by the crash");
    assert_ne!(curl(&url).code, 0);
    let second = place.gateway("", "", &backend.address().to_string());
    assert_eq!(curl(&url).out, "ok");
    drop(second);
    let taken = format!(
        "listen: [\"unix:{}\", \"{}\"]\nroutes: {{ /**: {{ reply: 204 }} }}\n",
        text(&place.socket()),
        backend.address()
    );
    assert_eq!(Cli::with(TOLLGATE, &taken).run(&["run"]).code, 1);
    assert!(!place.socket().exists(), "nothing is left of a start that failed");
    fs::write(place.socket(), "precious").unwrap();
    let ran = Cli::with(TOLLGATE, &config).run(&["run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("that file is no socket, and stays untouched"), "{}", ran.err);
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "precious");
}

#[test]
fn a_service_is_reached_by_a_unix_socket() {
    let nginx = Peer::nginx(
        "server { listen unix:{{folder}}/app.sock; location / { return 200 \"$http_host $connection $request_uri\"; } }",
    );
    let app = nginx.folder().join("app.sock");
    wait_until("nginx listens", || UnixStream::connect(&app).is_ok());
    let place = Place::new();
    let gateway = place.gateway("", "", &format!("unix:{}", text(&app)));
    let mut client = gateway.client();
    let first = client.call("GET /a?b HTTP/1.1\r\nHost: shop.test\r\n\r\n").text();
    assert!(first.starts_with("shop.test ") && first.ends_with(" /a?b"), "{first}");
    let second = client.call("GET /a?b HTTP/1.1\r\nHost: shop.test\r\n\r\n").text();
    assert_eq!(first, second, "the connection is used again");
    // RFC 9112 §3.2 wants a Host even where nobody named one, and a path is none.
    let old = gateway.client().call("GET /old HTTP/1.0\r\n\r\n").text();
    assert!(old.starts_with("localhost "), "{old}");
    let address = format!("unix:{}", text(&app));
    let _ = gateway.access_line("with the instance", |line| line["instance"] == address.as_str());
    assert_eq!(gateway.status()["services"][0]["instances"][0]["address"], address.as_str());
    drop(nginx);
    let ran = curl(&["--unix-socket", &text(&place.socket()), "-o", "/dev/null", "-w", "%{http_code}", "http://g/a"]);
    assert_eq!(ran.out, "502", "{}", ran.err);
    let line = gateway.access_line("of the failure", |line| line["problem"] == "upstream/connect-failed");
    assert!(line["cause"].as_str().unwrap().starts_with(&format!("connect to {address}: ")), "{line}");
}

#[test]
fn a_proxy_on_the_unix_socket_is_believed_only_if_the_file_says_so() {
    for (trust, client) in [("", "unix"), ("trust: { proxies: [unix] }", "192.0.2.7")] {
        let (place, backend) = (Place::new(), Recorder::start());
        let gateway = place.gateway("", trust, &backend.address().to_string());
        let port = free_port();
        let _nginx = Peer::nginx(&format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ proxy_set_header X-Forwarded-For 192.0.2.7; \
             proxy_set_header X-Forwarded-Proto https; proxy_pass http://unix:{}; }} }}",
            text(&place.socket())
        ));
        wait_until("nginx listens", || RawClient::is_accepted(([127, 0, 0, 1], port).into()));
        assert_eq!(curl(&[&format!("http://127.0.0.1:{port}/a")]).out, "ok");
        let _ = gateway.access_line("of the client", |line| line["client"] == client);
        let (told, scheme) = if trust.is_empty() { ("unknown", "http") } else { ("192.0.2.7, unknown", "https") };
        assert_eq!(seen(&backend, "X-Forwarded-For"), told);
        assert_eq!(seen(&backend, "X-Forwarded-Proto"), scheme);
    }
}

#[test]
fn haproxy_tells_on_a_unix_socket_whom_it_speaks_for() {
    let (place, backend) = (Place::new(), Recorder::start());
    let gateway = place.gateway("proxy_protocol: on", "trust: { proxies: [unix] }", &backend.address().to_string());
    let port = free_port();
    let _haproxy = Peer::haproxy(&format!(
        "listen front\n  mode tcp\n  bind 127.0.0.1:{port}\n  server gateway unix@{} send-proxy-v2\n",
        text(&place.socket())
    ));
    wait_until("haproxy listens", || RawClient::is_accepted(([127, 0, 0, 1], port).into()));
    let ran = curl(&["--interface", "127.0.0.9", &format!("http://127.0.0.1:{port}/a")]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ok"), "{}", ran.err);
    assert_eq!(seen(&backend, "X-Forwarded-For"), "127.0.0.9");
    let _ = gateway.access_line("of the client", |line| line["client"] == "127.0.0.9");
}

#[test]
fn tls_works_on_unix_sockets_on_both_sides() {
    let (inner, outer, backend) = (Place::new(), Place::new(), Recorder::start());
    let authority = Authority::new("Test CA");
    authority.write(inner.folder.path(), "ca.pem");
    authority.server(&["shop.example", "localhost"]).write(inner.folder.path(), "shop");
    let file = |name: &str| text(&inner.folder.path().join(name));
    let listener = format!("tls: {{ cert: {}, key: {} }}", file("shop.pem"), file("shop.key"));
    let _inner = inner.gateway(&listener, "", &backend.address().to_string());
    let ca = file("ca.pem");
    let ran = curl(&["--unix-socket", &text(&inner.socket()), "--cacert", &ca, "https://shop.example/a"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ok"), "{}", ran.err);
    // Who answers on a Unix socket is localhost unless the file names it.
    for name in ["", ", name: shop.example"] {
        let service =
            format!("services: {{ app: {{ to: \"unix:{}\", tls: {{ ca: {ca}{name} }} }} }}", text(&inner.socket()));
        let gateway = outer.gateway("", &service, "app");
        assert_eq!(gateway.client().get("/a").text(), "ok");
        assert_eq!(seen(&backend, "X-Forwarded-Proto"), "https");
    }
}

#[test]
fn status_asks_a_health_listener_on_a_unix_socket() {
    let place = Place::new();
    let health = place.folder.path().join("health.sock");
    let listen = format!("\"unix:{}\": health", text(&health));
    let config = format!(
        "listen: {{ {listen}, \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nroutes: {{ /**: {{ reply: 204 }} }}\n"
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let cli = Cli::with(TOLLGATE, &format!("listen: {{ {listen} }}\nroutes: {{ /**: {{ reply: 204 }} }}\n"));
    let ran = cli.run(&["status"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains(&format!("unix:{} health", text(&health))), "{}", ran.out);
    drop(gateway);
    let ran = cli.run(&["status"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains(&format!("no answer from unix:{}", text(&health))), "{}", ran.err);
}
