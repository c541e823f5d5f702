//! C1: TLS with services, as another program speaks it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tollgate_testkit::{Authority, Gateway, RawClient, Response, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// `openssl s_server`: answers with a page that tells of the session, as `orders.internal` to whoever asks for that, and as
/// `nobody.internal` else.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-www", "-quiet", "-accept", &format!("127.0.0.1:{port}")]);
        command.args(["-cert", "nobody.pem", "-key", "nobody.key", "-servername", "orders.internal"]);
        command.args(["-cert2", "orders.pem", "-key2", "orders.key"]).args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("openssl runs");
        wait_until("s_server", || RawClient::is_accepted(([127, 0, 0, 1], port).into()));
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pin of `orders.internal`, and a folder with all that is needed.
fn house() -> (String, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("Test CA");
    authority.write(folder.path(), "ca.pem");
    Authority::new("Another CA").write(folder.path(), "other.pem");
    authority.server(&["nobody.internal"]).write(folder.path(), "nobody");
    let orders = authority.server(&["orders.internal", "127.0.0.1"]);
    orders.write(folder.path(), "orders");
    authority.client("gateway").write(folder.path(), "gateway");
    (orders.pin, folder)
}

/// A gateway with a service per line, each at `/NAME`.
fn gateway(folder: &Path, server: &Server, services: &[(&str, String)]) -> Gateway {
    let mut config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nservices:\n".to_owned();
    for (name, tls) in services {
        config.push_str(&format!("  {name}: {{ to: \"127.0.0.1:{}\", tls: {tls}, retry: none }}\n", server.port));
    }
    config.push_str("routes:\n");
    services.iter().for_each(|(name, _)| config.push_str(&format!("  /{name}: {name}\n")));
    Gateway::start(TOLLGATE, &config.replace("PKI/", &format!("{}/", folder.display())), &[])
}

fn get(gateway: &Gateway, name: &str) -> Response {
    gateway.client().call(&format!("GET /{name} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"))
}

fn slug(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap_or_default().to_owned();
    kind.trim_start_matches("urn:tollgate:problem:").to_owned()
}

#[test]
fn a_service_is_believed_by_root_name_and_pin() {
    let (pin, folder) = house();
    let server = Server::start(folder.path(), &[]);
    let other_pin = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let services = [
        ("good", "{ ca: PKI/ca.pem, name: orders.internal }".to_owned()),
        ("pinned", format!("{{ ca: PKI/ca.pem, name: orders.internal, pin: [\"{other_pin}\", \"{pin}\"] }}")),
        ("blind", "{ verify: off }".to_owned()),
        ("pinned_only", format!("{{ verify: off, name: orders.internal, pin: \"{pin}\" }}")),
        ("system", "on".to_owned()),
        ("wrong_ca", "{ ca: PKI/other.pem, name: orders.internal }".to_owned()),
        ("wrong_name", "{ ca: PKI/ca.pem, name: stock.internal }".to_owned()),
        ("wrong_pin", format!("{{ ca: PKI/ca.pem, name: orders.internal, pin: \"{other_pin}\" }}")),
    ];
    let gateway = gateway(folder.path(), &server, &services);
    for name in ["good", "pinned", "blind", "pinned_only"] {
        let response = get(&gateway, name);
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        assert!(response.text().contains("TLSv1.3"), "{name}: {}", response.text());
    }
    for (name, why) in [
        ("system", "UnknownIssuer"),
        ("wrong_ca", "UnknownIssuer"),
        ("wrong_name", "not valid for name"),
        ("wrong_pin", "not one of those in `pin`"),
    ] {
        let response = get(&gateway, name);
        assert_eq!((response.status, slug(&response).as_str()), (502, "upstream/tls-failed"), "{name}");
        assert!(!response.text().contains(why) && !response.text().contains("127.0.0.1:"), "{}", response.text());
        let line = gateway.access_line(name, |line| line["route"] == format!("/{name}"));
        assert!(line["cause"].as_str().unwrap_or_default().contains(why), "{name}: {line}");
    }
}

#[test]
fn the_gateway_shows_who_it_is() {
    let (_, folder) = house();
    let server = Server::start(folder.path(), &["-Verify", "1", "-verify_return_error", "-CAfile", "ca.pem"]);
    let services = [
        ("known", "{ ca: PKI/ca.pem, name: orders.internal, cert: PKI/gateway.pem, key: PKI/gateway.key }".to_owned()),
        ("unknown", "{ ca: PKI/ca.pem, name: orders.internal }".to_owned()),
    ];
    let gateway = gateway(folder.path(), &server, &services);
    let known = get(&gateway, "known");
    assert_eq!(known.status, 200, "{}", known.text());
    assert!(known.text().replace(' ', "").contains("CN=gateway"), "{}", known.text());
    assert_eq!(get(&gateway, "unknown").status, 502);
}

#[test]
fn a_service_that_speaks_no_tls_is_a_fault_of_its_own() {
    let (_, folder) = house();
    let backend = tollgate_testkit::Recorder::start();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         services: {{ plain: {{ to: \"{}\", tls: {{ ca: {}/ca.pem }}, retry: none, connect_timeout: 500ms }} }}\n\
         routes: {{ /plain: plain }}\n",
        backend.address(),
        folder.path().display()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let response = get(&gateway, "plain");
    assert_eq!(response.status, 502);
    assert!(
        ["upstream/tls-failed", "upstream/connect-failed"].contains(&slug(&response).as_str()),
        "{}",
        response.text()
    );
}

#[test]
fn connections_under_tls_are_used_again() {
    let (_, folder) = house();
    let backend = tollgate_testkit::Recorder::start();
    let authority = folder.path().display().to_string();
    // Another gateway stands before the backend: a server that keeps connections open.
    let inner = format!(
        "listen: {{ \"{{{{http}}}}\": {{ tls: {{ cert: {authority}/orders.pem, key: {authority}/orders.key }} }}, \
         \"{{{{health}}}}\": health }}\nroutes: {{ /**: \"{}\" }}\n",
        backend.address()
    );
    let inner = Gateway::start(TOLLGATE, &inner, &[]);
    let outer = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         services: {{ inner: {{ to: \"{}\", tls: {{ ca: {authority}/ca.pem }} }} }}\nroutes: {{ /**: inner }}\n",
        inner.address()
    );
    let outer = Gateway::start(TOLLGATE, &outer, &[]);
    for _ in 0..5 {
        assert_eq!(get(&outer, "a").text(), "ok");
    }
    let handshakes = inner.metric("tollgate_tls_handshakes_total{outcome=\"ok\"}");
    assert_eq!(handshakes, 1.0);
    assert_eq!(outer.metric("tollgate_service_reuses_total{service=\"inner\"}"), 4.0);
}
