//! The control of the conformance cases, without the gateway: what a gateway must refuse as ambiguous truly is.
#![allow(clippy::print_stdout, reason = "the number of cases is a part of the result")]

use std::path::Path;

use tollgate_testkit::conformance::case::{self, Exchange};
use tollgate_testkit::conformance::readers::{Reader, Understood};
use tollgate_testkit::{RawClient, Recorder};

/// Sends the bytes straight to a backend, and gives what each reader understands of what it recorded.
fn readings(exchange: &Exchange) -> [Vec<Understood>; 2] {
    let (bytes, backend) = (exchange.bytes(), Recorder::start());
    let mut client = RawClient::connect(backend.address());
    client.send(&bytes);
    client.half_close();
    backend.wait_for("the end of what was sent", |all| all.first().is_some_and(|c| c.ended.is_some()));
    let recorded = backend.take();
    assert_eq!(recorded[0].bytes, bytes, "the recorder keeps every byte");
    [Reader::Loose, Reader::Literal].map(|reader| reader.read(&recorded[0].bytes))
}

#[test]
fn what_is_refused_as_ambiguous_is_understood_in_two_ways_and_its_twin_in_one() {
    let cases = case::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/cases")));
    let mut wrong = Vec::new();
    for case in &cases {
        let [loose, literal] = readings(&case.exchange);
        if case.ambiguous && loose == literal {
            wrong.push(format!("{:?} is not ambiguous: both understand {loose:?}", case.name));
        }
        if case.alike.is_some() && loose != literal {
            wrong.push(format!("{:?} is ambiguous: {loose:?} / {literal:?}", case.name));
        }
        if let Some(twin) = &case.twin {
            let [loose, literal] = readings(twin);
            if loose != literal {
                wrong.push(format!("the twin of {:?} is ambiguous: {loose:?} / {literal:?}", case.name));
            }
        }
    }
    let refusals = cases.iter().filter(|case| case.twin.is_some()).count();
    let ambiguous = cases.iter().filter(|case| case.ambiguous).count();
    println!("{} cases, {refusals} of them refusals, {ambiguous} of those ambiguous", cases.len());
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.len() >= 110 && ambiguous >= 60);
}
