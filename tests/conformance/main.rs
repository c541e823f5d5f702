//! The gateway held against the conformance cases: raw bytes in, and what the backend may have seen of them.
//! README.md here describes the case files.
#![allow(clippy::print_stdout, reason = "the number of cases is a part of the result")]

use std::path::Path;

use tollgate_testkit::conformance::run::{self, Cut};
use tollgate_testkit::conformance::{Case, case};
use tollgate_testkit::{Gateway, Recorder};

const CONFIG: &str = r#"
listen:
  "{{http}}": http
  "{{health}}": health
limits: { target: 2000, head: 8000, fields: 50 }
defaults: { body: 1000 }
routes:
  /private/**: { reply: 204 }
  /**: "{{backend}}"
"#;

fn cases() -> Vec<Case> {
    case::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/cases")))
}

fn hold(cut: Cut) {
    let backend = Recorder::start();
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollgate"), CONFIG, &values);
    let cases = cases();
    let failures = run::all(&cases, gateway.address(), &backend, cut);
    let twins = cases.iter().filter(|case| case.twin.is_some()).count();
    println!("conformance, {cut:?}: {} cases and {twins} twins, {} failed", cases.len(), failures.len());
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(gateway.stop().success());
}

#[test]
fn every_case_holds() {
    hold(Cut::Whole);
}

#[test]
fn every_case_holds_byte_by_byte() {
    hold(Cut::Small);
}
