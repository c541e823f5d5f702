//! T4: a proxy in front says for whom it speaks, and is believed only if the file says so.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::process::{Child, Command, Stdio};

use tollgate_testkit::port::free_port;
use tollgate_testkit::{Authority, Cli, Gateway, RawClient, ReadError, Recorder, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const GET: &str = "GET /a HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";

/// A gateway that takes PROXY headers from these addresses, before a backend.
fn gateway(trusted: &str, more: &str) -> (Gateway, Recorder) {
    let backend = Recorder::start();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": {{ proxy_protocol: on{more} }}, \"{{{{health}}}}\": health }}\n\
         trust: {{ proxies: [{trusted}] }}\nlimits: {{ handshake_timeout: 500ms }}\nroutes: {{ /**: \"{{{{backend}}}}\" }}\n"
    );
    (Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]), backend)
}

fn forwarded_for(backend: &Recorder) -> String {
    let seen = String::from_utf8_lossy(&backend.recorded().last().unwrap().bytes).into_owned();
    let line = seen.lines().find_map(|line| line.strip_prefix("X-Forwarded-For: "));
    line.unwrap_or_else(|| panic!("{seen}")).to_owned()
}

#[test]
fn the_client_is_whom_a_believed_proxy_names() {
    let (gateway, backend) = gateway("127.0.0.1", "");
    let mut client = gateway.client();
    client.send(format!("PROXY TCP4 203.0.113.7 10.0.0.1 40000 80\r\n{GET}"));
    assert_eq!(client.response("GET").unwrap().status, 200);
    // And it is a client like any other: what it says of itself is not believed.
    assert_eq!(forwarded_for(&backend), "203.0.113.7");
    let _ = gateway.access_line("of the client", |line| line["client"] == "203.0.113.7");
    // The header is said once; the connection goes on as usual.
    assert_eq!(client.call(GET).status, 200);
}

#[test]
fn whoever_is_not_believed_is_taken_at_its_word_for_nothing() {
    let (gateway, _backend) = gateway("10.0.0.0/8", "");
    assert_eq!(gateway.client().call(GET).status, 200);
    let mut client = gateway.client();
    client.send(format!("PROXY TCP4 203.0.113.7 10.0.0.1 40000 80\r\n{GET}"));
    assert_eq!(client.response("GET").unwrap().status, 400, "a request line like any other");
}

#[test]
fn a_believed_proxy_that_says_nothing_is_not_served() {
    let (gateway, backend) = gateway("127.0.0.1", "");
    let mut client = gateway.client();
    client.send(GET);
    assert!(matches!(client.end(), ReadError::Closed(_) | ReadError::Reset(_)));
    let mut silent = RawClient::connect(gateway.address());
    assert!(matches!(silent.end(), ReadError::Closed(_)), "not for longer than the handshake may take");
    assert!(backend.recorded().is_empty());
}

/// HAProxy as it stands before gateways, and curl, which can speak for others too.
struct HaProxy(Child);

impl HaProxy {
    fn start(folder: &std::path::Path, port: u16, gateway: &Gateway, how: &str) -> Self {
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
             listen front\n  bind 127.0.0.1:{port}\n  source 127.0.0.1\n  server gateway {} {how}\n",
            gateway.address()
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let mut command = Command::new("haproxy");
        command.env("PATH", path).arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("haproxy runs"))
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn haproxy_in_front_speaks_both_versions() {
    for how in ["send-proxy", "send-proxy-v2"] {
        let (gateway, backend) = gateway("127.0.0.1", "");
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let _proxy = HaProxy::start(folder.path(), port, &gateway, how);
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        wait_until("haproxy listens", || RawClient::is_accepted(address));
        let ran = Cli::new("/usr/bin/curl").run(&["-sS", "--interface", "127.0.0.9", &format!("http://{address}/a")]);
        assert_eq!((ran.code, forwarded_for(&backend).as_str()), (0, "127.0.0.9"), "{how}: {}", ran.err);
    }
}

#[test]
fn the_header_stands_before_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test CA");
    authority.write(folder.path(), "ca.pem");
    authority.server(&["shop.example"]).write(folder.path(), "shop");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!(", tls: {{ cert: {}, key: {} }}", file("shop.pem"), file("shop.key"));
    let (gateway, backend) = gateway("127.0.0.1", &tls);
    let (address, ca) = (gateway.address(), file("ca.pem"));
    let resolve = format!("shop.example:{}:127.0.0.1", address.port());
    let url = format!("https://shop.example:{}/a", address.port());
    let ran =
        Cli::new("/usr/bin/curl").run(&["-sS", "--haproxy-protocol", "--cacert", &ca, "--resolve", &resolve, &url]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ok"), "{}", ran.err);
    assert_eq!(forwarded_for(&backend), "127.0.0.1");
}
