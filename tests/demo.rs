//! The demo: what a newcomer runs first works from its first line to Ctrl-C.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate_testkit::{Cli, RawClient};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// The demo has ports of its own, so there is one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_demo_sends_its_eight_requests_and_ends_well() {
    let _alone = alone();
    let ran = Cli::new(TOLLGATE).run(&["demo", "--try"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let tries: Vec<&str> = ran.out.split("# ").filter(|part| part.contains("\n$ curl ")).collect();
    assert_eq!(tries.len(), 8, "{}", ran.out);
    for (attempt, (answer, shows)) in tries.iter().zip([
        ("200 OK", "/orders/2"),
        ("200 OK", "X-Correlation-ID"),
        ("308 Permanent Redirect", "Location: "),
        ("404 Not Found", "urn:tollgate:problem:route/not-found"),
        ("502 Bad Gateway", "urn:tollgate:problem:upstream/"),
        ("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"people\""),
        ("200 OK", "\"user\":\"alice\""),
        ("200 OK", "requests_total"),
    ]) {
        let lines: Vec<&str> = attempt.lines().collect();
        assert_eq!(lines[2], answer, "{attempt}");
        assert!(attempt.to_lowercase().contains(&shows.to_lowercase()), "{attempt}");
    }
}

#[test]
fn ctrl_c_ends_the_demo_well() {
    let _alone = alone();
    let mut demo = Command::new(TOLLGATE)
        .arg("demo")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the demo");
    let mut lines = BufReader::new(demo.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("Ctrl-C ends the demo")), "{:?}", demo.wait_with_output());
    let gateway = SocketAddr::from(([127, 0, 0, 1], 8080));
    let answer = RawClient::connect(gateway).call("GET /orders/1 HTTP/1.1\r\nHost: demo\r\n\r\n");
    assert_eq!(answer.status, 200);
    let told = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().expect("kill");
    assert!(told.success());
    // Its output ends when it does.
    let rest: Vec<String> = lines.collect();
    let ended = demo.wait_with_output().expect("its end");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
    assert!(rest.iter().any(|line| line.contains("\"path\":\"/orders/1\"")), "{rest:?}");
    assert_eq!(rest.last().map(String::as_str), Some("stopped"));
}
