//! T3: HTTP/2 frames that cost their sender nothing end the connection before they cost the others something.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

mod support;

use std::process::{Command, Stdio};

use tollgate_testkit::http2::frame::{Code, flag};
use tollgate_testkit::http2::{Frame, FrameClient, Kind, hpack};
use tollgate_testkit::{Gateway, Recorder, Script, Step, wait_until};

use support::before;

const ENHANCE_YOUR_CALM: Code = Code(11);
/// Far more than any kind is allowed at once.
const MANY: usize = 5_000;

/// A gateway; requests for `/hold` are never answered.
fn bench() -> (Gateway, Recorder) {
    let backend = Recorder::answering(|taken| match taken.target.as_str() {
        "/hold" => Script(vec![Step::ReadRequest, Step::Silence]),
        _ => Script::ok(taken, "ok"),
    });
    (before(&backend), backend)
}

/// Sends `frames` until the gateway has had enough, while another connection is served; gives how many were sent.
fn flood(kind: &str, opening: &[Frame], frames: impl Fn(u32) -> Vec<u8>) -> usize {
    let (gateway, _backend) = bench();
    let mut other = FrameClient::open(gateway.address(), &[]);
    let mut plain = gateway.client();
    let mut bad = FrameClient::open(gateway.address(), &[]);
    for frame in opening {
        bad.send(frame);
    }
    let mut sent = 0;
    for round in 0..u32::try_from(MANY / 50).unwrap() {
        let bytes: Vec<u8> = (0..50).flat_map(|n| frames(round * 50 + n)).collect();
        if !bad.send_bytes(&bytes) {
            break;
        }
        sent += 50;
        // All the while the others are answered.
        let stream = 2 * round + 1;
        other.get(stream, "/echo");
        assert_eq!(other.answer(stream).text(), "ok", "{kind}: another connection of HTTP/2");
        assert_eq!(plain.get("/echo").text(), "ok", "{kind}: a connection of HTTP/1.1");
    }
    let came = bad.until("the end of the flood", |came| came.ended.is_some());
    let told: Vec<Code> = came.goaways.iter().map(|(_, code)| *code).collect();
    assert_eq!(told, [ENHANCE_YOUR_CALM], "{kind}");
    // h2 may have had enough before we had, and does not always say of what.
    let counted = |kind: &&str| gateway.metric(&format!("tollgate_http2_floods_total{{frame=\"{kind}\"}}"));
    let kinds = [kind, "other"];
    let kinds = if kind == "other" { &kinds[1..] } else { &kinds };
    wait_until("the flood is counted", || kinds.iter().map(counted).sum::<f64>() == 1.0);
    gateway.await_metric("tollgate_connections_closed_total{reason=\"flood\"}", |count| count == 1.0);
    wait_until("the log tells", || gateway.log().contains("HTTP/2 flood"));
    // Whoever did nothing is still served, on the connection that was there and on a new one.
    other.get(9_999, "/echo");
    assert_eq!(other.answer(9_999).status, 200);
    let mut new = FrameClient::open(gateway.address(), &[]);
    new.get(1, "/echo");
    assert_eq!(new.answer(1).status, 200);
    assert_eq!(gateway.stop().code(), Some(0));
    sent
}

fn post(stream: u32) -> Frame {
    Frame::headers(stream, false, hpack::request("POST", "/hold"))
}

/// CVE-2023-44487.
#[test]
fn requests_that_are_reset_at_once_end_the_connection() {
    flood("rst_stream", &[], |n| {
        let stream = 2 * n + 1;
        let request = Frame::headers(stream, true, hpack::request("GET", "/hold"));
        [request.bytes(), Frame::reset(stream, Code(8)).bytes()].concat()
    });
}

/// CVE-2019-9512.
#[test]
fn pings_end_the_connection() {
    flood("ping", &[], |n| Frame::ping(u64::from(n).to_be_bytes()).bytes());
}

/// CVE-2019-9515.
#[test]
fn settings_end_the_connection() {
    flood("settings", &[], |_| Frame::settings(&[(3, 100)]).bytes());
}

/// CVE-2019-9513.
#[test]
fn priorities_end_the_connection() {
    flood("priority", &[], |n| Frame::new(Kind::PRIORITY, 0, 2 * n + 1, [0, 0, 0, 0, 7]).bytes());
}

/// CVE-2019-9518.
#[test]
fn empty_data_ends_the_connection() {
    flood("empty_data", &[post(1)], |_| Frame::data(1, false, []).bytes());
}

/// The same with padding, which makes a frame longer and says nothing.
#[test]
fn data_of_nothing_but_padding_ends_the_connection() {
    flood("empty_data", &[post(1)], |_| Frame::new(Kind::DATA, flag::PADDED, 1, [3, 0, 0, 0]).bytes());
}

/// CVE-2019-9511: room for one byte more, each time.
#[test]
fn room_by_the_byte_ends_the_connection() {
    let request = Frame::headers(1, true, hpack::request("GET", "/hold"));
    flood("window_update", &[request], |_| Frame::new(Kind::WINDOW_UPDATE, 0, 1, 1_u32.to_be_bytes()).bytes());
}

/// RFC 9113 §5.5: what is not known is passed over, but not without end.
#[test]
fn frames_that_nobody_knows_end_the_connection() {
    flood("extension", &[], |n| Frame::new(Kind(0xB0), 0, n % 7, *b"noise").bytes());
}

/// CVE-2025-8671 (MadeYouReset): requests that the server has to reset itself, since more room is given than there can be.
#[test]
fn requests_that_we_have_to_reset_end_the_connection() {
    flood("other", &[], |n| {
        let stream = 2 * n + 1;
        let request = Frame::headers(stream, true, hpack::request("GET", "/hold"));
        let room = Frame::new(Kind::WINDOW_UPDATE, 0, stream, (u32::MAX >> 1).to_be_bytes());
        [request.bytes(), room.bytes()].concat()
    });
}

/// CVE-2019-9516: names without a letter. None is kept, and none reaches a service.
#[test]
fn names_without_a_letter_are_refused() {
    let (gateway, backend) = bench();
    let mut bad = FrameClient::open(gateway.address(), &[]);
    let block =
        hpack::block(&[(":method", "GET"), (":scheme", "http"), (":authority", "g"), (":path", "/echo"), ("", "")]);
    for n in 0..50 {
        let stream = 2 * n + 1;
        bad.send(&Frame::headers(stream, true, block.clone()));
        let came = bad.until("its refusal", |came| came.is_over(stream) || came.ended.is_some());
        let answer = came.answer(stream);
        assert!(answer.status == 400 || answer.reset.is_some() || came.ended.is_some(), "{came}");
    }
    assert!(backend.recorded().is_empty());
    assert_eq!(gateway.client().get("/echo").text(), "ok");
    assert_eq!(gateway.stop().code(), Some(0));
}

/// A field of the table of HPACK (RFC 7541 §2.3.2) that is named a thousand times over: 16 KiB that would be 16 MiB.
#[test]
fn a_field_that_is_named_over_and_over_is_too_large() {
    let (gateway, backend) = bench();
    let mut bad = FrameClient::open(gateway.address(), &[]);
    let before = gateway.resident_kib();
    for n in 0..50 {
        // Literal with indexing: a new name, then a value, of 7-bit lengths and more (RFC 7541 §6.2.1, §5.1).
        let mut block = hpack::request("GET", "/echo");
        block.extend(b"\x40\x03x-a\x7F\x81\x1E");
        block.extend([b'a'; 4096 - 128]);
        let first = Frame::new(Kind::HEADERS, flag::END_STREAM, 2 * n + 1, block);
        let more = Frame::new(Kind::CONTINUATION, flag::END_HEADERS, 2 * n + 1, vec![0xBE; 12_000]);
        if !bad.send_bytes(&[first.bytes(), more.bytes()].concat()) {
            break;
        }
        let stream = 2 * n + 1;
        let came = bad.until("its refusal", |came| came.is_over(stream) || came.ended.is_some());
        assert!(
            came.answer(stream).status == 431 || came.answer(stream).reset.is_some() || came.ended.is_some(),
            "{came}"
        );
        if came.ended.is_some() {
            break;
        }
    }
    let grown = gateway.peak_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more in memory");
    assert!(backend.recorded().is_empty());
    assert_eq!(gateway.client().get("/echo").text(), "ok");
    assert_eq!(gateway.stop().code(), Some(0));
}

/// RFC 9113 §8.4: a client cannot push.
#[test]
fn a_promise_by_a_client_ends_the_connection() {
    let (gateway, backend) = bench();
    let mut bad = FrameClient::open(gateway.address(), &[]);
    bad.get(1, "/hold");
    let promised = [&2_u32.to_be_bytes()[..], &hpack::request("GET", "/echo")].concat();
    bad.send(&Frame::new(Kind::PUSH_PROMISE, flag::END_HEADERS, 1, promised));
    let came = bad.until("the end", |came| came.ended.is_some());
    let told: Vec<Code> = came.goaways.iter().map(|(_, code)| *code).collect();
    assert_eq!(told, [Code(1)], "{came}");
    gateway.await_metric("tollgate_connections_closed_total{reason=\"error\"}", |count| count == 1.0);
    assert!(backend.recorded().iter().all(|c| !c.bytes.windows(5).any(|w| w == b"/echo")));
    assert_eq!(gateway.client().get("/echo").text(), "ok");
    assert_eq!(gateway.stop().code(), Some(0));
}

/// CVE-2024-27316, with blocks of fields that end, each in many frames.
#[test]
fn continuations_end_the_connection() {
    flood("continuation", &[], |n| {
        let stream = 2 * n + 1;
        let block = hpack::request("GET", "/echo");
        let first = Frame::new(Kind::HEADERS, 1, stream, block);
        let empty = Frame::new(Kind::CONTINUATION, 0, stream, []);
        let last = Frame::new(Kind::CONTINUATION, 4, stream, []);
        [first.bytes(), empty.bytes(), empty.bytes(), empty.bytes(), last.bytes()].concat()
    });
}

/// CVE-2024-27316: one block of fields that does not end. Its bound is that of the head.
#[test]
fn fields_without_end_end_the_connection() {
    let (gateway, backend) = bench();
    let mut bad = FrameClient::open(gateway.address(), &[]);
    bad.send(&Frame::new(Kind::HEADERS, 1, 1, hpack::request("GET", "/echo")));
    let more = Frame::new(Kind::CONTINUATION, 0, 1, hpack::block(&[("x-a", "a".repeat(16_000).as_str())])).bytes();
    let before = gateway.resident_kib();
    let mut sent = 0;
    while sent < 64 << 20 && bad.send_bytes(&more) {
        sent += more.len();
    }
    bad.until("the end", |came| came.ended.is_some());
    let grown = gateway.peak_kib().saturating_sub(before);
    assert!(sent < 64 << 20 && grown < 16 << 10, "{sent} bytes taken, {grown} KiB more in memory");
    assert!(backend.recorded().is_empty());
    let page = gateway.health("/metrics").text();
    let floods: Vec<&str> = page.lines().filter(|line| line.starts_with("tollgate_http2_floods_total{")).collect();
    assert!(matches!(&floods[..], [one] if one.ends_with(" 1")), "{floods:?}");
    assert_eq!(gateway.stop().code(), Some(0));
}

/// RFC 9113 §10.5: answers that nobody reads pile up, so who asks for them must read.
#[test]
fn answers_that_are_not_read_do_not_pile_up() {
    let (gateway, _backend) = bench();
    let mut bad = FrameClient::open(gateway.address(), &[]);
    let before = gateway.resident_kib();
    let pings: Vec<u8> = (0..1000_u64).flat_map(|n| Frame::ping(n.to_be_bytes()).bytes()).collect();
    let mut rounds = 0;
    while rounds < 10_000 && bad.send_bytes(&pings) {
        rounds += 1;
    }
    assert!(rounds < 10_000, "ten million pings were taken");
    let grown = gateway.peak_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB more in memory");
    assert_eq!(gateway.stop().code(), Some(0));
}

fn h2load(gateway: &Gateway, arguments: &[&str]) -> String {
    let mut command = Command::new("h2load");
    command.args(arguments).arg(format!("http://{}/echo", gateway.address())).stdin(Stdio::null());
    let output = command.output().expect("`./test` installs h2load");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn heavy_use_is_no_flood() {
    let (gateway, _backend) = bench();
    for arguments in [&["-n", "1000", "-c", "1", "-m", "128"][..], &["-n", "5000", "-c", "4", "-m", "32"]] {
        let told = h2load(&gateway, arguments);
        let all = arguments[1];
        assert!(told.contains(&format!("{all} succeeded, 0 failed, 0 errored, 0 timeout")), "{told}");
        assert!(told.contains(&format!("{all} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{told}");
    }
    let floods = gateway.health("/metrics").text();
    let floods: Vec<&str> = floods.lines().filter(|line| line.starts_with("tollgate_http2_floods_total")).collect();
    assert!(floods.iter().all(|line| line.ends_with(" 0")), "{floods:?}");
    assert_eq!(gateway.stop().code(), Some(0));
}

// Not by curl: up to 7.88 it cannot use a connection of prior knowledge twice (curl issue 10634).
#[test]
fn a_thousand_requests_by_node_over_one_connection_are_no_flood() {
    let (gateway, backend) = bench();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/clients/http2_many.mjs");
    let mut command = Command::new("node");
    command.args([script, &gateway.address().to_string()]).stdin(Stdio::null());
    let output = command.output().expect("`./test` installs node");
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, "1000\n", "{}", String::from_utf8_lossy(&output.stderr));
    let seen = backend.take().iter().map(|c| c.bytes.windows(5).filter(|w| *w == b"GET /").count()).sum::<usize>();
    assert_eq!(seen, 1000);
    assert_eq!(gateway.stop().code(), Some(0));
}
