//! L5: WebSockets are told that the gateway stops, in their own words, and may answer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod python;

use std::time::Duration;

use python::{Client, Service};
use tollgate_testkit::deadline::timed;
use tollgate_testkit::{Gateway, RawClient, ReadError, Recorder, Script, Signal, Step};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Unmasked text.
const FIRST: &[u8] = b"\x81\x05first";
/// A Close frame with 1001.
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xE9";

fn gateway(service: &str, address: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\ndrain: 1h\n\
         services: {{ chat: {{ to: \"{{{{chat}}}}\"{service} }} }}\n\
         defaults: {{ upgrade: {{ protocols: [websocket, other] }} }}\nroutes: {{ /ws: chat }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[("chat", address.to_owned())])
}

fn opened(gateway: &Gateway, request: &str) -> RawClient {
    let mut client = gateway.client();
    client.send(request);
    assert!(client.head().unwrap().starts_with("HTTP/1.1 101 "));
    client.wait_for_bytes(|bytes| bytes.ends_with(FIRST)).unwrap();
    client
}

#[test]
fn real_clients_and_services_part_in_good_order() {
    let echo = Service::start("websocket_echo.py", &[]);
    let mut gateway = gateway("", &echo.address);
    let client = Client::start("websocket_goodbye.py", &[&gateway.address().to_string(), "http1"], "open");
    gateway.terminate();
    client.ends_well(&gateway);
    assert_eq!(gateway.ended().code(), Some(0));
}

/// RFC 8441, on both sides.
#[test]
fn over_http2_too() {
    let echo = Service::start("http2_service.py", &[]);
    let mut gateway = gateway(", protocol: http2", &echo.address);
    let client = Client::start("websocket_goodbye.py", &[&gateway.address().to_string(), "http2"], "open");
    gateway.terminate();
    client.ends_well(&gateway);
    assert_eq!(gateway.ended().code(), Some(0));
}

/// RFC 6455 §5.2, §5.5.1.
#[test]
fn a_frame_that_was_begun_comes_to_its_end_first() {
    let backend = Recorder::answering(|_| {
        // A frame of eleven bytes, and eight of a masked Close frame.
        let told = Script::reply(AGREED).then(Step::Send(FIRST.to_vec())).then(Step::ReadBody(11 + 8));
        told.then(Step::Send(GOING_AWAY.to_vec())).then(Step::Silence)
    });
    let mut gateway = gateway("", &backend.address().to_string());
    let mut client = opened(&gateway, UPGRADE);
    client.send(b"\x81\x85\0\0\0\0he");
    backend.wait_for("the beginning of a frame", |all| all.iter().any(|c| c.bytes.ends_with(b"he")));
    gateway.terminate();
    client.wait_for_bytes(|bytes| bytes.ends_with(GOING_AWAY)).expect("nothing stands in the way of that");
    // What follows the frame is not passed on any more.
    client.send(b"llo\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xE9");
    // The mask is four bytes of chance (RFC 6455 §5.3): any of them may be a letter of what stands before it.
    let is_told = |bytes: &[u8]| match bytes.split_last_chunk::<8>() {
        Some((before, [0x88, 0x82, mask @ .., a, b])) if before.ends_with(b"hello") => {
            [a ^ mask[0], b ^ mask[1]] == [0x03, 0xE9]
        }
        _ => false,
    };
    backend.wait_for("goodbye behind the frame", |all| all.iter().any(|c| is_told(&c.bytes)));
    assert!(matches!(client.end(), ReadError::Closed(_)));
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn who_does_not_answer_is_not_waited_for_long() {
    let backend = Recorder::answering(|_| Script::reply(AGREED).then(Step::Send(FIRST.to_vec())).then(Step::Silence));
    let mut gateway = gateway("", &backend.address().to_string());
    let mut client = opened(&gateway, UPGRADE);
    let (code, took) = timed(|| {
        gateway.terminate();
        gateway.ended().code()
    });
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(20), "{took:?}");
    client.wait_for_bytes(|bytes| bytes.ends_with(GOING_AWAY)).unwrap();
    assert!(matches!(client.end(), ReadError::Closed(_)));
}

#[test]
fn a_protocol_whose_words_are_not_known_is_cut() {
    let agreed = AGREED.replace("websocket", "other");
    let backend =
        Recorder::answering(move |_| Script::reply(&agreed).then(Step::Send(FIRST.to_vec())).then(Step::Silence));
    let mut gateway = gateway("", &backend.address().to_string());
    let mut client = opened(&gateway, &UPGRADE.replace("Upgrade: websocket", "Upgrade: other"));
    gateway.signal(Signal::TERM);
    let ended = client.end();
    assert!(matches!(&ended, ReadError::Closed(bytes) if !bytes.ends_with(GOING_AWAY)), "{ended:?}");
    assert_eq!(gateway.ended().code(), Some(0));
}
