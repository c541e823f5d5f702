//! T4: who is let in by the country of their address, by a database in MaxMind's format that another program wrote.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "python.rs"]
mod python;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tollgate_testkit::{Cli, Gateway, RawClient, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = "listen: { \"{{http}}\": { deny: [country US] }, \"{{health}}\": health }\nworkers: 1\n\
    trust: { proxies: [127.0.0.1] }\ngeo: \"{{geo}}\"\n\
    routes:\n  /**: { reply: 200, ip: { allow: [country DE, country AT, 10.0.0.0/8, unix], deny: [198.51.100.128/25] } }\n\
    \x20 /limited: { reply: 200, limit: 1/h per country }\n";

struct Bench {
    gateway: Gateway,
    folder: TempDir,
}

/// Writes the database anew, at once.
fn write(folder: &TempDir, networks: &[&str]) -> PathBuf {
    let (file, new) = (folder.path().join("countries.mmdb"), folder.path().join("new.mmdb"));
    let name = new.display().to_string();
    python::output("mmdb.py", &[&[name.as_str()], networks].concat());
    fs::rename(new, &file).unwrap();
    file
}

impl Bench {
    fn new(networks: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = write(&folder, networks);
        let gateway = Gateway::start(TOLLGATE, CONFIG, &[("geo", file.display().to_string())]);
        Self { gateway, folder }
    }

    fn status(&self, target: &str, client: &str) -> u16 {
        let request = format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: {client}\r\n\r\n");
        self.gateway.client().call(&request).status
    }

    /// Whether a connection from there is served.
    fn lets_in(&self, from: [u8; 4]) -> bool {
        // A reset may be faster than the client.
        let Ok(mut client) = RawClient::try_connect_from(from, self.gateway.address()) else { return false };
        client.send("GET /limited HTTP/1.1\r\nHost: g\r\n\r\n");
        client.response("GET").is_ok()
    }
}

const WORLD: [&str; 7] = [
    "192.0.2.0/24=DE",
    "198.51.100.0/24=AT",
    "203.0.113.0/24=FR",
    "2001:db8::/32=DE",
    "2001:db8:1::/48=FR",
    "100.64.0.0/10=",
    "127.0.0.7/32=US",
];

#[test]
fn clients_are_let_in_by_their_country() {
    let bench = Bench::new(&WORLD);
    for (client, status) in [
        ("192.0.2.1", 200),
        ("198.51.100.1", 200),
        ("198.51.100.129", 403),
        ("203.0.113.1", 403),
        ("2001:db8::1", 200),
        ("2001:db8:1::1", 403),
        ("2001:db8:2::1", 200),
        ("::ffff:192.0.2.9", 200),
        ("100.64.0.1", 403),
        ("10.1.2.3", 200),
        ("8.8.8.8", 403),
    ] {
        assert_eq!(bench.status("/", client), status, "{client}");
    }
    let limited = ["192.0.2.1", "2001:db8::1", "203.0.113.1", "8.8.8.8", "100.64.0.1"];
    assert_eq!(limited.map(|client| bench.status("/limited", client)), [200, 429, 200, 200, 429]);
    let geo = &bench.gateway.status()["geo"][0];
    assert_eq!(geo["state"], "good");
    assert!(geo["name"].as_str().unwrap().contains("GeoLite2-Country"), "{geo}");
}

#[test]
fn a_listener_keeps_countries_out() {
    let bench = Bench::new(&WORLD);
    assert!(bench.lets_in([127, 0, 0, 8]));
    assert!(!bench.lets_in([127, 0, 0, 7]));
    assert_eq!(bench.gateway.metric("tollgate_connections_closed_total{reason=\"denied\"}"), 1.0);
}

#[test]
fn a_database_holds_as_soon_as_it_changes_and_a_bad_one_harms_nobody() {
    let bench = Bench::new(&["192.0.2.0/24=DE"]);
    assert_eq!((bench.status("/", "192.0.2.1"), bench.status("/", "203.0.113.1")), (200, 403));
    let file = write(&bench.folder, &["203.0.113.0/24=DE"]);
    wait_until("it is read again", || bench.status("/", "203.0.113.1") == 200);
    assert_eq!(bench.status("/", "192.0.2.1"), 403);
    let whole = fs::read(&file).unwrap();
    for broken in [&b"nonsense"[..], &whole[..whole.len() / 2], &[]] {
        fs::write(&file, broken).unwrap();
        wait_until("that is told", || bench.gateway.status()["geo"][0]["state"] == "stale");
        assert_eq!(bench.status("/", "203.0.113.1"), 200, "what it said before holds");
        fs::write(&file, &whole).unwrap();
        wait_until("it is good again", || bench.gateway.status()["geo"][0]["state"] == "good");
    }
}

#[test]
fn what_names_countries_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, &["192.0.2.0/24=DE"]);
    let config = |geo: &str, ip: &str| {
        format!(
            "listen: 8080\n{geo}routes: {{ /a: {{ reply: 204, ip: {ip} }} }}\n\
             tests: {{ expect: [GET /a from 192.0.2.1 -> 204, GET /a from 192.0.3.1 -> 403 ip/denied] }}\n"
        )
    };
    let geo = format!("geo: {}\n", file.display());
    let cli = Cli::with(TOLLGATE, &config(&geo, "country DE"));
    let ran = cli.run(&["check"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for (geo, ip, told) in [
        ("", "country DE", "GeoLite2-Country.mmdb"),
        (geo.as_str(), "country Germany", "two letters"),
        ("geo: ./nowhere.mmdb\n", "country DE", "countries from"),
        ("geo: ./tollgate.yaml\n", "country DE", "in MaxMind's format"),
        ("geo: [a]\n", "country DE", "geo"),
    ] {
        cli.write("tollgate.yaml", &config(geo, ip));
        let ran = cli.run(&["check"]);
        assert!(ran.code == 2 && ran.err.contains(told), "{geo} {ip}: {}", ran.err);
    }
}
