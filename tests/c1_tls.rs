//! C1: TLS with clients, as other programs speak it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

#[path = "c1_tls/peers.rs"]
mod peers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tollgate_testkit::deadline::timed;
use tollgate_testkit::pki::Validity;
use tollgate_testkit::{Authority, Cli, Gateway, ReadError, Recorder, wait_until};

use peers::{curl, s_client};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A folder with an authority (`ca.pem`), and certificates for `shop.example` (`shop.*`) and `*.wild.example` (`wild.*`).
struct House {
    folder: TempDir,
    authority: Authority,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("Test CA");
        authority.write(folder.path(), "ca.pem");
        authority.server(&["shop.example", "www.shop.example"]).write(folder.path(), "shop");
        authority.server(&["*.wild.example"]).write(folder.path(), "wild");
        Self { folder, authority }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A gateway with this as its listener's `tls`, in which `PKI/` is the folder, and these further lines.
    fn gateway(&self, tls: &str, more: &str) -> Gateway {
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": {{ tls: {tls} }}, \"{{{{health}}}}\": health }}\nworkers: 2\n{more}\n"
        );
        let more = if more.contains("routes:") { "" } else { "routes: { /**: { reply: 200 hello } }\n" };
        let config = (config + more).replace("PKI/", &format!("{}/", self.path().display()));
        Gateway::start(TOLLGATE, &config, &[])
    }
}

const SHOP: &str = "{ cert: PKI/shop.pem, key: PKI/shop.key }";
const BOTH: &str =
    "{ certificates: [{ cert: PKI/shop.pem, key: PKI/shop.key }, { cert: PKI/wild.pem, key: PKI/wild.key }] }";

fn handshakes(gateway: &Gateway, outcome: &str, count: f64) {
    gateway.await_metric(&format!("tollgate_tls_handshakes_total{{outcome=\"{outcome}\"}}"), |have| have == count);
}

#[test]
fn the_certificate_is_the_one_for_the_name_asked_for() {
    let house = House::new();
    let gateway = house.gateway(BOTH, "");
    for name in ["shop.example", "www.shop.example", "a.wild.example", "B.WILD.example"] {
        let ran = curl(&gateway, name, "/", &["--cacert", &house.path().join("ca.pem").display().to_string()]);
        assert_eq!((ran.code, ran.out.as_str()), (0, "hello200"), "{name}: {}", ran.err);
    }
    let wrong =
        curl(&gateway, "a.b.wild.example", "/", &["--cacert", &house.path().join("ca.pem").display().to_string()]);
    assert_ne!(wrong.code, 0, "a wildcard is one label");
    for (arguments, subject) in [
        (["-servername", "a.wild.example"].as_slice(), "CN=*.wild.example"),
        (["-servername", "nobody.example"].as_slice(), "CN=shop.example"),
        (["-noservername"].as_slice(), "CN=shop.example"),
    ] {
        let said = s_client(&gateway, arguments);
        assert!(
            said.lines().any(|line| line.starts_with("subject=") && line.replace(' ', "").contains(subject)),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn policies_say_which_versions_are_spoken() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "");
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&gateway, &[version]);
        assert!(said.contains("hello") && said.contains(&format!("New, {shown}, Cipher is")), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1") || !said.contains("ALPN protocol"), "{said}");
        let _ = gateway.access_line(shown, |line| line["tls"] == shown && line["protocol"] == "HTTP/1.1");
    }
    let old = s_client(&gateway, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    assert!(!old.contains("hello"), "{old}");
    handshakes(&gateway, "no_version", 1.0);
    handshakes(&gateway, "ok", 2.0);
    let modern = house.gateway("{ cert: PKI/shop.pem, key: PKI/shop.key, policy: modern }", "");
    let said = s_client(&modern, &["-tls1_2"]);
    assert!(!said.contains("hello") && said.contains("alert protocol version"), "{said}");
    assert!(s_client(&modern, &["-tls1_3"]).contains("hello"));
    handshakes(&modern, "no_version", 1.0);
}

#[test]
fn a_service_learns_that_the_client_came_by_https() {
    let house = House::new();
    let backend = Recorder::start();
    let gateway = house.gateway(SHOP, &format!("routes: {{ /**: \"{}\" }}", backend.address()));
    let said = s_client(&gateway, &[]);
    assert!(said.contains("ok"), "{said}");
    let seen = String::from_utf8_lossy(&backend.recorded()[0].bytes).to_ascii_lowercase();
    assert!(seen.contains("x-forwarded-proto: https") && seen.contains("proto=https"), "{seen}");
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let house = House::new();
    house.authority.client("alice").write(house.path(), "alice");
    Authority::new("Stranger").client("mallory").write(house.path(), "mallory");
    let show = |name: &str| {
        let file = |ending: &str| house.path().join(format!("{name}.{ending}")).display().to_string();
        ["-cert".to_owned(), file("pem"), "-key".to_owned(), file("key")]
    };
    let call = |gateway: &Gateway, name: Option<&str>, version: &str| {
        let shown = name.map(show);
        let mut arguments: Vec<&str> = shown.iter().flatten().map(String::as_str).collect();
        arguments.push(version);
        s_client(gateway, &arguments)
    };
    let tls = "{ cert: PKI/shop.pem, key: PKI/shop.key, client: PKI/ca.pem }";
    let required = house.gateway(tls, "");
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(call(&required, Some("alice"), version).contains("hello"));
        assert!(!call(&required, None, version).contains("hello"));
        assert!(!call(&required, Some("mallory"), version).contains("hello"));
    }
    handshakes(&required, "ok", 2.0);
    handshakes(&required, "no_certificate", 2.0);
    handshakes(&required, "bad_certificate", 2.0);
    let line = required.access_line("of alice", |line| line["path"] == "/" && line["status"] == 200);
    assert_eq!(line["certificate"], "CN=alice, O=Tests");
    let tls = "{ cert: PKI/shop.pem, key: PKI/shop.key, client: { ca: PKI/ca.pem, required: false } }";
    let optional = house.gateway(tls, "");
    assert!(call(&optional, Some("alice"), "-tls1_3").contains("hello"));
    assert!(call(&optional, None, "-tls1_3").contains("hello"));
    assert!(!call(&optional, Some("mallory"), "-tls1_3").contains("hello"));
    let line = optional.access_line("of nobody", |line| line["path"] == "/" && line.get("certificate").is_none());
    assert_eq!(line["tls"], "TLSv1.3");
}

#[test]
fn a_session_is_taken_up_again_by_any_worker() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "");
    for version in ["-tls1_2", "-tls1_3"] {
        let session = house.path().join(format!("session{version}")).display().to_string();
        assert!(s_client(&gateway, &[version, "-sess_out", &session]).contains("New, TLS"));
        for _ in 0..12 {
            let said = s_client(&gateway, &[version, "-sess_in", &session]);
            assert!(said.contains("Reused, TLS") && said.contains("hello"), "{said}");
        }
    }
    let accepted = |worker| gateway.metric(&format!("tollgate_connections_accepted_total{{worker=\"{worker}\"}}"));
    assert!(accepted(0) > 0.0 && accepted(1) > 0.0, "one worker got them all");
}

#[test]
fn a_certificate_replaced_on_disk_is_shown_and_a_broken_one_is_not() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "");
    let of = format!("of=\"listener {}\"", gateway.address());
    let pem = house.path().join("shop.pem");
    let shown = || {
        let said = s_client(&gateway, &["-servername", "shop.example"]);
        let begin = said.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
        said[begin..].split("-----END").next().expect("its end").trim().replace('\r', "")
    };
    let is_shown = || fs::read_to_string(&pem).expect("the file").starts_with(&shown());
    assert!(is_shown());
    house.authority.server(&["shop.example", "new.example"]).write(house.path(), "shop");
    gateway.await_metric(&format!("tollgate_tls_reloads_total{{{of},result=\"ok\"}}"), |count| count == 1.0);
    assert!(is_shown());
    let good = shown();
    fs::write(&pem, "nonsense").expect("written");
    gateway.await_metric(&format!("tollgate_tls_stale{{{of}}}"), |stale| stale == 1.0);
    assert_eq!(gateway.metric(&format!("tollgate_tls_reloads_total{{{of},result=\"failed\"}}")), 1.0);
    assert_eq!(shown(), good);
    wait_until("the warning", || gateway.log().contains("certificate files are not right"));
    assert!(gateway.log().contains("no certificate in it"), "{}", gateway.log());
    house.authority.server(&["shop.example"]).write(house.path(), "shop");
    gateway.await_metric(&format!("tollgate_tls_stale{{{of}}}"), |stale| stale == 0.0);
    assert!(is_shown());
    let expiry = format!("tollgate_tls_certificate_expiry_timestamp_seconds{{file=\"{}\"}}", pem.display());
    assert!(gateway.metric(&expiry) > 4_000_000_000.0);
}

#[test]
fn a_handshake_has_its_time() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "limits: { handshake_timeout: 300ms }");
    for begun in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
        let mut client = gateway.client();
        let (ended, took) = timed(|| {
            client.send(begun);
            client.end()
        });
        assert!(matches!(ended, ReadError::Closed(_) | ReadError::Reset(_)), "{ended:?}");
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    }
    handshakes(&gateway, "timeout", 2.0);
    assert!(s_client(&gateway, &[]).contains("hello"));
}

#[test]
fn who_waits_for_a_handshake_counts_as_a_connection() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "limits: { connections: 1, handshake_timeout: 500ms }");
    let silent = gateway.client();
    let (said, took) = timed(|| s_client(&gateway, &[]));
    assert!(said.contains("hello") && took >= Duration::from_millis(300), "{took:?}: {said}");
    drop(silent);
}

#[test]
fn http_in_the_clear_is_told_where_it_is() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "");
    for request in ["GET /a HTTP/1.1\r\nHost: g\r\n\r\n", "POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\nhi"]
    {
        let mut client = gateway.client();
        let response = client.call(request);
        assert_eq!(response.status, 400);
        assert_eq!(response.json()["type"], "urn:tollgate:problem:tls/plain-http");
        assert_eq!(response.one("connection").as_deref(), Some("close"));
        assert!(matches!(client.end(), ReadError::Closed(rest) if rest.is_empty()));
    }
    let mut client = gateway.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let response = client.response("GET").expect("an answer of HTTP/1.1");
    assert!(response.status >= 400, "{response:?}");
    handshakes(&gateway, "plain_http", 3.0);
    let _ = gateway.access_line("of it", |line| line["problem"] == "tls/plain-http" && line.get("tls").is_none());
}

#[test]
fn noise_is_counted_and_closed() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "");
    let mut client = gateway.client();
    client.send([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].as_slice());
    assert!(!matches!(client.end(), ReadError::TimedOut(_)));
    handshakes(&gateway, "malformed", 1.0);
    let strict = curl(&gateway, "shop.example", "/", &[]);
    assert_ne!(strict.code, 0, "an authority that the system does not know");
    handshakes(&gateway, "refused_by_client", 1.0);
}

#[test]
fn what_is_wrong_with_a_file_is_told_at_its_place() {
    let house = House::new();
    let cli = Cli::new(TOLLGATE);
    let shop = house.authority.server(&["shop.example"]);
    shop.write(&cli.folder().join("conf/certs"), "shop");
    house.authority.server(&["other.example"]).write(&cli.folder().join("conf/certs"), "other");
    house.authority.server_for(&["old.example"], Validity::Past).write(&cli.folder().join("conf/certs"), "old");
    let config = |tls: &str| {
        let text = format!("listen:\n  \"8443\":\n    tls: {tls}\nroutes: {{ /: {{ reply: 204 }} }}\n");
        cli.write("conf/tollgate.yaml", &text);
        cli.run(&["check", "-c", "conf/tollgate.yaml"])
    };
    // Relative to the config file, wherever the command is called.
    let fine = config("{ cert: ./certs/shop.pem, key: certs/shop.key }");
    assert_eq!((fine.code, fine.err.as_str()), (0, ""));
    let missing = config("{ cert: certs/none.pem, key: certs/shop.key }");
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("`conf/certs/none.pem`: there is no such file"), "{}", missing.err);
    assert!(missing.err.contains("conf/tollgate.yaml:3:18"), "{}", missing.err);
    let foreign = config("{ cert: certs/shop.pem, key: certs/other.key }");
    assert_eq!(foreign.code, 2);
    assert!(foreign.err.contains("this key does not belong to the certificate"), "{}", foreign.err);
    assert!(foreign.err.contains("conf/tollgate.yaml:3:39"), "{}", foreign.err);
    let old = config("{ cert: certs/old.pem, key: certs/old.key }");
    assert_eq!(old.code, 0);
    assert!(old.err.contains("warning") && old.err.contains("the certificate has expired"), "{}", old.err);
    config("{ cert: certs/shop.pem, key: certs/other.key }");
    let run = cli.run(&["run", "-c", "conf/tollgate.yaml"]);
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn http_is_redirected_to_https_for_known_hosts() {
    let house = House::new();
    let port = tollgate_testkit::free_port();
    let folder = house.path().display();
    let config = format!(
        "listen:\n  \"{{{{http}}}}\": redirect to https\n  \"127.0.0.1:{port}\": {{ tls: {{ cert: {folder}/shop.pem, key: {folder}/shop.key }} }}\n  \
         \"{{{{health}}}}\": health\napis:\n  a: {{ hosts: [api.example, \"*.api.example\"], routes: {{ /: {{ reply: 204 }} }} }}\n"
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let ask = |host: &str| {
        gateway.client().call(&format!("POST /a%20b?x=1 HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"))
    };
    for (host, name) in
        [("shop.example", "shop.example"), ("API.example:8080", "api.example"), ("a.b.api.example", "a.b.api.example")]
    {
        let answer = ask(host);
        assert_eq!(answer.status, 308, "{host}");
        assert_eq!(answer.one("location"), Some(format!("https://{name}:{port}/a%20b?x=1")));
    }
    for host in ["evil.example", "shop.example.evil.example", "127.0.0.1"] {
        let answer = ask(host);
        assert_eq!(answer.status, 421, "{host}");
        assert_eq!(answer.json()["type"], "urn:tollgate:problem:redirect/unknown-host");
        assert_eq!(answer.one("location"), None);
    }
}

/// RFC 9113 §3.2.
#[test]
fn http2_is_agreed_upon_by_alpn() {
    let house = House::new();
    let gateway = house.gateway(SHOP, "");
    let ca = house.path().join("ca.pem").display().to_string();
    for (asked, spoken) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let ran = curl(&gateway, "shop.example", "/", &["--cacert", &ca, asked, "-w", "%{http_version}"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, format!("hello{spoken}").as_str()), "{}", ran.err);
    }
    let line = gateway.access_line("over HTTP/2", |line| line["protocol"] == "HTTP/2");
    assert_eq!(
        (line["tls"].as_str(), line["host"].as_str().map(|h| h.starts_with("shop.example"))),
        (Some("TLSv1.3"), Some(true))
    );
    let said = s_client(&gateway, &["-alpn", "h2"]);
    assert!(said.contains("ALPN protocol: h2"), "{said}");
}
