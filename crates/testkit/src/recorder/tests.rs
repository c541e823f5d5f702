use super::*;
use crate::gate::Gate;
use crate::raw_client::{RawClient, ReadError};

#[test]
fn the_exact_bytes_are_kept_and_answered() {
    let backend = Recorder::start();
    let mut client = RawClient::connect(backend.address());
    let bytes = b"POST /a HTTP/1.1\r\nhOST: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.send_each_byte(bytes);
    assert_eq!(client.response("POST").unwrap().text(), "ok");
    assert_eq!(backend.recorded()[0].bytes, bytes);
    assert_eq!(backend.take()[0].bytes, bytes);
    assert!(backend.take().is_empty());
}

#[test]
fn pipelined_requests_are_told_apart() {
    let backend = Recorder::answering(|taken| Script::ok(taken, &taken.target));
    let mut client = RawClient::connect(backend.address());
    client.send(b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\n\r\n");
    assert_eq!(client.response("POST").unwrap().text(), "/a");
    assert_eq!(client.response("GET").unwrap().text(), "/b");
    drop(client);
    backend.wait_for("the end", |all| all[0].ended == Some(Ended::Closed));
}

#[test]
fn a_script_can_wait_for_the_test() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |_| {
        Script::reply("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            .then(Step::Wait(inner.clone()))
            .then(Step::Send(b"hi".to_vec()))
    });
    let mut client = RawClient::connect(backend.address());
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    client.head().unwrap();
    gate.open();
    assert_eq!(client.response("GET").unwrap().text(), "hi");
}

#[test]
fn a_script_can_close_and_reset() {
    for (step, seen) in [(Step::Close, ReadError::Closed(Vec::new())), (Step::Reset, ReadError::Reset(Vec::new()))] {
        let backend = Recorder::answering(move |_| Script(vec![step.clone()]));
        let mut client = RawClient::connect(backend.address());
        client.send(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.response("GET"), Err(seen));
    }
}
