//! The gateway held against the cases of HTTP/2: frames in, and what comes back and reaches the backend.
//! README.md here describes the case files.
#![allow(clippy::print_stdout, reason = "the number of cases is a part of the result")]

use std::path::Path;

use tollgate_testkit::http2::case::{self, Case};
use tollgate_testkit::http2::run;
use tollgate_testkit::{Gateway, Recorder, Script, Step};

const CONFIG: &str = r#"
listen:
  "{{http}}": http
  "{{health}}": health
limits: { target: 2000, head: 8000, fields: 50, streams: 8 }
defaults: { body: 1000 }
services: { one: { to: "{{backend}}", connections: 1 } }
routes:
  /private/**: { reply: 204 }
  /large-body: { to: "{{backend}}", body: 1MB }
  /one: { to: one, body: 1GB }
  /hold: { to: "{{backend}}", body: 1GB }
  /**: "{{backend}}"
"#;

fn cases(folder: &str) -> Vec<Case> {
    case::load(&Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/http2")).join(folder))
}

/// Answers every request once it is complete, but for some paths.
fn backend() -> Recorder {
    Recorder::answering(|taken| match taken.target.as_str() {
        "/hold" | "/one" => Script(vec![Step::ReadRequest, Step::Silence]),
        "/large" => {
            let body = "x".repeat(100_000);
            Script::ok(taken, &body)
        }
        "/continue" => {
            let mut script = Script::ok(taken, "ok");
            script.0.insert(0, Step::Send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()));
            script
        }
        "/trailers" => Script::parts([
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
            "2\r\nok\r\n",
            "0\r\nX-Sum: abc\r\n\r\n",
        ]),
        _ => Script::ok(taken, "ok"),
    })
}

fn hold(folder: &str, least: usize) {
    let backend = backend();
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollgate"), CONFIG, &values);
    let cases = cases(folder);
    let failures = run::all(&cases, gateway.address(), &backend);
    let twins = cases.iter().filter(|case| case.twin.is_some()).count();
    let deviations = cases.iter().filter(|case| case.exchange.deviates()).count();
    let (all, failed) = (cases.len(), failures.len());
    println!("http2/{folder}: {all} cases and {twins} twins, {failed} failed, {deviations} known to deviate");
    assert!(failures.is_empty(), "{failed} failed:\n{}", failures.join("\n"));
    assert!(all >= least);
    assert!(gateway.stop().success());
}

#[test]
fn every_frame_is_answered_as_the_standard_says() {
    hold("frames", 150);
}

#[test]
fn nothing_reaches_the_backend_that_it_could_misread() {
    for case in &cases("downgrade") {
        let exchange = &case.exchange;
        assert!(exchange.is_refusal() == case.twin.is_some(), "{:?}: a twin is for refusals", case.name);
        assert!(case.twin.as_ref().is_none_or(|twin| !twin.is_refusal()), "{:?}: its twin is refused", case.name);
        assert!(exchange.is_refusal() || exchange.backend.is_some(), "{:?}: what did the backend see?", case.name);
    }
    hold("downgrade", 60);
}
