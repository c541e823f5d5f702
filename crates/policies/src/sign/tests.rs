use tollgate_testkit::bench::Bench;

use super::*;
use crate::backend_token::BackendTokenConfig;

#[test]
fn whoever_signs_is_told_of_to_those_who_send_and_the_clients_own_is_gone() {
    let bench = Bench::of::<SignConfig>("bucket");
    let sent = bench.request("GET", "/", &[("X-Stamp", "mine"), ("X-Other", "1")]).passes();
    assert!(sent.request_headers("x-stamp").is_empty() && sent.request_headers("x-other") == ["1"]);
    assert_eq!(
        sent.exchange().onward.signer.as_ref().map(|signer| signer.name().to_owned()),
        Some("bucket".to_owned())
    );
    assert_eq!(bench.describe(), ["bucket: with a stamp"]);
}

#[test]
fn bodies_are_wanted_as_far_as_they_are_signed() {
    let bench = Bench::of::<SignConfig>("bucket");
    assert!(bench.hooks().iter().all(|hooks| hooks.content && hooks.request));
    assert_eq!(Sign { signer: signer() }.wants_content(bench.get("/").exchange()), Some(10));
}

fn signer() -> Arc<dyn Signer> {
    Arc::clone(&tollgate_testkit::bench::sources(&[]).signers[0])
}

#[test]
fn signing_is_the_last_thing_that_is_done() {
    let bench =
        Bench::of::<SignConfig>("bucket").and::<BackendTokenConfig>("{ send: pass, headers: { X-Stamp: principal } }");
    let sent = bench.get("/").attempt("orders");
    assert!(sent.exchange().onward.signer.is_some(), "what an attempt says of the caller does not take it away");
}

#[test]
fn names_that_nobody_has_are_mistakes() {
    assert_eq!(Bench::mistakes::<SignConfig>("buckets"), ["nobody called `buckets` signs (did you mean `bucket`?)"]);
    assert!(Bench::mistakes::<SignConfig>("somebody")[0].contains("under `signers`"));
}
