//! E1: bodies stream both ways with back-pressure; the gateway's memory does not grow with them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod support;

use std::thread;

use tollgate_testkit::{Gate, Gateway, Recorder, Script, Step, strict};

use support::before;

const MIB: usize = 1024 * 1024;
const SIZE: usize = 64 * MIB;
/// What the gateway may take beyond what it has when idle, in KiB.
const ROOM: u64 = 20 * 1024;

fn assert_stays_small(gateway: &Gateway, before: u64) {
    let peak = gateway.peak_kib();
    assert!(peak < before + ROOM, "memory grew from {before} KiB to {peak} KiB");
}

/// `SIZE` bytes whose every part is different, so that a mix-up would show.
fn pattern() -> Vec<u8> {
    (0..SIZE / 8).flat_map(|n| (n as u64).to_le_bytes()).collect()
}

#[test]
fn a_large_upload_waits_for_a_backend_that_does_not_read() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |taken| {
        let mut script = Script::ok(taken, "got it");
        script.0.insert(0, Step::Wait(inner.clone()));
        script
    });
    let gateway = before(&backend);
    let idle = gateway.resident_kib();
    let mut client = gateway.client();
    client.send(format!("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: {SIZE}\r\n\r\n"));
    let sender = thread::spawn(move || {
        let body = pattern();
        // Far more than the sockets between can hold waits here until the gate opens.
        assert!(client.send(&body[..8 * MIB]) && client.send(&body[8 * MIB..]));
        client.response("POST").unwrap().text()
    });
    backend.wait_for("the head", |all| !all.is_empty());
    gate.open();
    assert_eq!(sender.join().unwrap(), "got it");
    assert_stays_small(&gateway, idle);
    let recorded = backend.take();
    let (requests, rest) = strict::requests(&recorded[0].bytes).unwrap();
    assert!(rest.is_empty() && requests[0].content.body == pattern(), "every byte arrived, in order");
}

#[test]
fn a_large_chunked_upload_arrives_whole() {
    let backend = Recorder::start();
    let gateway = before(&backend);
    let idle = gateway.resident_kib();
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (number, part) in pattern().chunks(999_983).enumerate() {
        // Chunks large and small, in one write and in several.
        let (small, large) = part.split_at(part.len().min(number));
        if !small.is_empty() {
            client.send([format!("{:x}\r\n", small.len()).as_bytes(), small, b"\r\n"].concat());
        }
        client.send(format!("{:X};n={number}\r\n", large.len()));
        client.send(large);
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response("POST").unwrap().text(), "ok");
    assert_stays_small(&gateway, idle);
    let recorded = backend.take();
    let (requests, _) = strict::requests(&recorded[0].bytes).unwrap();
    assert!(requests[0].content.body == pattern(), "every byte arrived, in order");
}

#[test]
fn a_large_download_waits_for_a_client_that_does_not_read() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
    let sent = Gate::new();
    let tell = sent.clone();
    let backend = Recorder::answering(move |_| {
        let steps = [Step::Send(head.clone().into()), Step::Send(pattern()), Step::Open(tell.clone())];
        Script([Step::ReadRequest].into_iter().chain(steps).collect())
    });
    let gateway = before(&backend);
    let idle = gateway.resident_kib();
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    let head = client.head().unwrap();
    assert!(head.to_ascii_lowercase().contains(&format!("content-length: {SIZE}")), "{head}");
    // Some of it was read with the head; from here on nobody reads, and what is under way must fit into the sockets.
    assert!(!sent.is_open(), "the backend could write {SIZE} bytes to a client that does not read");
    assert_eq!(client.skip(head.len() + SIZE), head.len() + SIZE);
    assert!(sent.pass());
    assert_stays_small(&gateway, idle);
}
