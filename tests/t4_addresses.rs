//! T4: who is let in by their address; lists in files hold as soon as they change.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fmt::Write;
use std::fs;

use tempfile::TempDir;
use tollgate_testkit::{Cli, Gateway, Recorder, wait_until};

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
