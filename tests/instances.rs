//! What the tests of sources of instances share: a backend at many addresses, and who answers.

use std::collections::BTreeSet;

use tollgate_testkit::{Gateway, Recorder, Script};

/// A backend that answers with its own address as the connection shows it; all of 127.0.0.0/8 leads to it.
pub(crate) fn everywhere() -> (Recorder, u16) {
    let backend = Recorder::everywhere(|taken| Script::ok(taken, &taken.local.ip().to_string()));
    let port = backend.address().port();
    (backend, port)
}

/// Who answers ten requests.
pub(crate) fn answering(gateway: &Gateway) -> BTreeSet<String> {
    let mut client = gateway.client();
    (0..10).map(|_| client.get("/a").text()).collect()
}

pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// How far the list of the service's instances is trusted, and which they are.
pub(crate) fn state(gateway: &Gateway) -> (String, Vec<String>) {
    let status = gateway.status();
    let service = &status["services"][0];
    let instances = service["instances"].as_array().unwrap();
    let addresses = instances.iter().map(|i| i["address"].as_str().unwrap().to_owned()).collect();
    (service["state"].as_str().unwrap().to_owned(), addresses)
}
