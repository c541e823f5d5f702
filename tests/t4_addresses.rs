//! T4: who is let in by their address; lists in files hold as soon as they change.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fmt::Write;
use std::fs;

use tempfile::TempDir;
use tollgate_testkit::{Cli, Gateway, RawClient, ReadError, Recorder, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
    trust: { proxies: [127.0.0.1] }\n\
    lists: { office: [192.0.2.0/24, \"2001:db8::/32\"], blocked: \"{{blocked}}\" }\n\
    defaults: { ip: { deny: [blocked] } }\n\
    routes: { /**: \"{{backend}}\", /admin: { to: \"{{backend}}\", ip: [office, 198.51.100.7] } }\n";

struct Bench {
    gateway: Gateway,
    backend: Recorder,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let (backend, folder) = (Recorder::start(), tempfile::tempdir().unwrap());
        let file = folder.path().join("blocked.txt");
        fs::write(&file, "# known to be bad\n203.0.113.0/24 ; SBL1\n192.0.2.66\n").unwrap();
        let values = [("backend", backend.address().to_string()), ("blocked", file.display().to_string())];
        Self { gateway: Gateway::start(TOLLGATE, CONFIG, &values), backend, folder }
    }

    fn status(&self, target: &str, client: &str) -> u16 {
        let request = format!("GET {target} HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: {client}\r\n\r\n");
        self.gateway.client().call(&request).status
    }

    fn block(&self, text: &str) {
        let (file, new) = (self.folder.path().join("blocked.txt"), self.folder.path().join("new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, file).unwrap();
    }
}

#[test]
fn clients_are_let_in_or_kept_out_by_the_address_that_a_trusted_proxy_names() {
    let bench = Bench::new();
    for (target, client, status) in [
        ("/", "192.0.2.1", 200),
        ("/", "203.0.113.9", 403),
        ("/", "192.0.2.66", 403),
        ("/admin", "192.0.2.1", 200),
        ("/admin", "2001:db8::9", 200),
        ("/admin", "198.51.100.7", 200),
        ("/admin", "198.51.100.8", 403),
        ("/admin", "192.0.2.66", 403),
        // The last proxy that is trusted says who came to it; what stands before that is anybody's word.
        ("/admin", "192.0.2.1, 203.0.113.9", 403),
    ] {
        assert_eq!(bench.status(target, client), status, "{target} {client}");
    }
    let sent =
        bench.backend.recorded().iter().map(|c| c.bytes.windows(5).filter(|w| *w == b"GET /").count()).sum::<usize>();
    assert_eq!(sent, 4, "who is kept out reaches no service");
    let line = bench.gateway.access_line("who was refused", |line| line["problem"] == "ip/denied");
    assert_eq!((&line["cause"], line["status"].as_u64()), (&line["client"], Some(403)));
    bench.gateway.await_metric("tollgate_problems_total{api=\"\",slug=\"ip/denied\"}", |count| count == 5.0);
    assert!(bench.gateway.log().contains("ip/denied"), "a security event tells who");
}

#[test]
fn a_list_in_a_file_holds_as_soon_as_it_changes_and_a_bad_one_harms_nobody() {
    let bench = Bench::new();
    assert_eq!(bench.status("/", "192.0.2.1"), 200);
    let mut long = String::from("192.0.2.1\n");
    for n in 0..200_000_u32 {
        writeln!(long, "{}/28", std::net::Ipv4Addr::from_bits(0x0a00_0000 + (n << 4))).unwrap();
    }
    bench.block(&long);
    wait_until("the list is read again", || bench.status("/", "192.0.2.1") == 403);
    assert_eq!((bench.status("/", "10.0.0.1"), bench.status("/", "203.0.113.9")), (403, 200));
    bench.block("nonsense\n");
    wait_until("that is told", || bench.gateway.status()["lists"][1]["state"] == "stale");
    assert_eq!(bench.status("/", "192.0.2.1"), 403, "what it said before holds");
    assert!(bench.gateway.status()["lists"][1]["error"].as_str().unwrap().contains("line 1: `nonsense` is no network"));
    bench.block("");
    wait_until("the list is read again", || bench.status("/", "192.0.2.1") == 200);
}

#[test]
fn lists_are_checked_and_tests_of_a_config_go_by_them() {
    let cli = Cli::with(
        TOLLGATE,
        "listen: 8080\nlists: { blocked: ./blocked.txt }\nroutes: { /a: { reply: 204, ip: { deny: [blocked] } } }\n\
         tests: { expect: [GET /a from 203.0.113.1 -> 403 ip/denied, GET /a -> 204] }\n",
    );
    let ran = cli.run(&["check"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("the list `blocked` cannot be used") && ran.err.contains("tollgate.yaml:2:"),
        "{}",
        ran.err
    );
    cli.write("blocked.txt", "203.0.113.0/24\n");
    let ran = cli.run(&["test"]);
    assert!(ran.out.ends_with("2 passed, 0 failed\n"), "{}{}", ran.out, ran.err);
    cli.write("blocked.txt", "203.0.113.0/240\n");
    assert!(cli.run(&["check"]).err.contains("line 1: `203.0.113.0/240` is no network"));
}

/// A gateway whose listener has these options; its health listener is open to all. In the config, `BLOCKED` is a file.
struct Door {
    gateway: Gateway,
    folder: TempDir,
}

impl Door {
    fn new(options: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("blocked.txt"), "127.0.0.66\n").unwrap();
        let door = |config: &str| Gateway::start(TOLLGATE, config, &[]);
        Self { gateway: door(&Self::config(&folder, options, more)), folder }
    }

    fn config(folder: &TempDir, options: &str, more: &str) -> String {
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": {{ {options} }}, \"{{{{health}}}}\": health }}\nworkers: 2\n{more}\n\
             lists: {{ blocked: BLOCKED, office: [127.0.0.0/28] }}\nroutes: {{ /**: {{ reply: 200 ok }} }}\n"
        );
        config.replace("BLOCKED", &folder.path().join("blocked.txt").display().to_string())
    }

    fn reload(&self, options: &str) {
        self.gateway.reload(&Self::config(&self.folder, options, ""), &[]);
    }

    /// Whether a connection from there is served. One that is not sees nothing but its end.
    fn lets_in(&self, from: [u8; 4]) -> bool {
        // A reset may be faster than the client.
        let client = RawClient::try_connect_from(from, self.gateway.address());
        client.is_ok_and(|mut client| self.serves(&mut client, ""))
    }

    fn serves(&self, client: &mut RawClient, before: &str) -> bool {
        client.send(format!("{before}GET / HTTP/1.1\r\nHost: g\r\n\r\n"));
        match client.response("GET") {
            Ok(answer) => answer.status == 200,
            Err(ReadError::Closed(came) | ReadError::Reset(came)) => {
                assert!(came.is_empty(), "an answer that nobody asked for: {}", came.escape_ascii());
                false
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn refused(&self) -> f64 {
        self.gateway.metric(&format!(
            "tollgate_listener_refused_total{{listener=\"{}\",reason=\"denied\"}}",
            self.gateway.address()
        ))
    }
}

#[test]
fn a_listener_lets_in_by_address_before_anything_is_said() {
    let door = Door::new("allow: [office, 127.0.0.66], deny: [127.0.0.9, blocked]", "");
    assert!(door.lets_in([127, 0, 0, 1]) && door.lets_in([127, 0, 0, 8]));
    for from in [[127, 0, 0, 9], [127, 0, 0, 66], [127, 0, 0, 99]] {
        assert!(!door.lets_in(from), "{from:?}");
    }
    assert_eq!(door.refused(), 3.0);
    assert_eq!(door.gateway.metric("tollgate_connections_closed_total{reason=\"denied\"}"), 3.0);
    assert!(door.gateway.log().contains("not let in by its address"), "a security event tells who");
    assert_eq!(door.gateway.health("/health/live").status, 200, "the other listener is open");
}

#[test]
fn a_listener_follows_lists_and_reloads_and_who_is_in_stays() {
    let door = Door::new("deny: [blocked]", "");
    let mut client = RawClient::connect_from([127, 0, 0, 7], door.gateway.address());
    assert!(door.serves(&mut client, ""));
    fs::write(door.folder.path().join("blocked.txt"), "127.0.0.7\n").unwrap();
    wait_until("the list is read again", || !door.lets_in([127, 0, 0, 7]));
    assert!(door.lets_in([127, 0, 0, 66]));
    assert!(door.serves(&mut client, ""), "who is in stays");
    door.reload("allow: [127.0.0.66]");
    assert!(!door.lets_in([127, 0, 0, 1]) && door.lets_in([127, 0, 0, 66]));
    assert!(door.serves(&mut client, ""), "who is in stays");
    door.reload("");
    assert!(door.lets_in([127, 0, 0, 7]));
}

#[test]
fn with_the_proxy_protocol_whom_the_proxy_names_is_judged() {
    let door = Door::new("proxy_protocol: on, allow: [192.0.2.0/24, 127.0.0.5]", "trust: { proxies: [127.0.0.1] }");
    let named = |ip: &str| {
        let before = format!("PROXY TCP4 {ip} 10.0.0.1 40000 80\r\n");
        door.serves(&mut RawClient::connect_from([127, 0, 0, 1], door.gateway.address()), &before)
    };
    assert!(named("192.0.2.7"));
    assert!(!named("203.0.113.7") && !named("127.0.0.1"));
    // Whoever is no proxy is judged by its own address, and at once.
    assert!(door.lets_in([127, 0, 0, 5]) && !door.lets_in([127, 0, 0, 6]));
    assert_eq!(door.refused(), 3.0);
}

#[test]
fn lists_of_listeners_are_checked() {
    let cli = Cli::with(
        TOLLGATE,
        "listen: { 8080: { allow: [offices] }, 9090: { kind: health, connections: 300 } }\nlists: { office: [192.0.2.0/24] }\n\
         routes: { /a: { reply: 204 } }\n",
    );
    assert!(cli.run(&["check"]).err.contains("take 256"));
    cli.write(
        "tollgate.yaml",
        "listen: { 8080: { allow: [offices] } }\nlists: { office: [192.0.2.0/24] }\nroutes: { /a: { reply: 204 } }\n",
    );
    let ran = cli.run(&["check"]);
    assert!(
        ran.code == 2 && ran.err.contains("did you mean `office`?") && ran.err.contains("tollgate.yaml:1:"),
        "{}",
        ran.err
    );
}
