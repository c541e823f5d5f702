//! E1: WebSocket, with real clients and a real service; and what may pass when another protocol is asked for.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod python;

use python::Service;
use tollgate_testkit::{Gateway, ReadError, Recorder, Script, Step, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn gateway(settings: &str, service: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\n{settings}\n\
         services: {{ chat: {{ to: \"{{{{chat}}}}\", connect_timeout: 20s }} }}\n\
         routes: {{ /ws: {{ to: chat, cors: '*', compress: {{}}, headers: {{ response: {{ set: {{ X-Served: 'yes' }} }} }} }}, /no: {{ to: chat, upgrade: none }}, /hello: {{ reply: 200 hello }} }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[("chat", service.to_owned())])
}

fn run(gateway: &Gateway, name: &str) {
    python::run(name, &[&gateway.address().to_string()], gateway);
}

#[test]
fn the_websockets_client_works_a_thousand_times_at_once() {
    let echo = Service::start("websocket_echo.py", &[]);
    let gateway = gateway("", &echo.address);
    run(&gateway, "websocket_client.py");
    let line = gateway.access_line("the first connection", |line| line["id"] == "ws-1");
    assert_eq!((line["status"].as_u64(), line["route"].as_str()), (Some(101), Some("/ws")));
    assert!(line["bytes_in"].as_u64() > Some(1 << 20) && line["bytes_out"].as_u64() > Some(1 << 20), "{line}");
}

/// RFC 8441.
#[test]
fn websocket_over_http2_reaches_a_service_that_speaks_http1() {
    let echo = Service::start("websocket_echo.py", &[]);
    run(&gateway("", &echo.address), "websocket_http2.py");
}

fn agreeing() -> Recorder {
    Recorder::answering(|taken| match taken.target.as_str() {
        "/ws" => Script::reply(AGREED).then(Step::Send(b"first".to_vec())).then(Step::Silence),
        _ => Script::ok(taken, "plain"),
    })
}

fn starts_tunnel(gateway: &Gateway) -> tollgate_testkit::RawClient {
    let mut client = gateway.client();
    client.send(UPGRADE);
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    // What policies say of answers, they say of this one, too.
    for line in [
        "X-Served: yes\r\n",
        "Upgrade: websocket\r\n",
        "Connection: Upgrade\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ] {
        assert!(head.contains(line), "{head}");
    }
    client.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
    client
}

#[test]
fn what_is_sent_right_behind_the_head_belongs_to_the_other_protocol() {
    let backend = agreeing();
    let gateway = gateway("", &backend.address().to_string());
    let mut client = gateway.client();
    client.send(format!("{UPGRADE}early bytes"));
    client.wait_for_bytes(|bytes| bytes.ends_with(b"first")).unwrap();
    backend.wait_for("the bytes behind the head", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\nearly bytes")));
}

/// RFC 9110 §7.8: a server that does not want to change serves the request as it is.
#[test]
fn a_route_that_does_not_allow_it_and_a_protocol_nobody_named_are_plain_requests() {
    let backend = Recorder::start();
    let gateway = gateway("", &backend.address().to_string());
    for request in [UPGRADE.replace("/ws", "/no"), UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c")] {
        let mut client = gateway.client();
        assert_eq!(client.call(&request).status, 200);
    }
    for connection in backend.recorded() {
        let seen = String::from_utf8_lossy(&connection.bytes).to_ascii_lowercase();
        assert!(!seen.contains("upgrade:") && !seen.contains("connection: upgrade"), "{seen}");
    }
}

#[test]
fn a_101_that_nobody_asked_for_is_a_502() {
    let backend = Recorder::answering(|_| Script::reply(AGREED));
    let gateway = gateway("", &backend.address().to_string());
    for request in ["GET /ws HTTP/1.1\r\nHost: g\r\n\r\n".to_owned(), UPGRADE.replace("/ws", "/no")] {
        assert_eq!(gateway.client().call(&request).status, 502);
    }
}

#[test]
fn a_silent_tunnel_ends_after_its_time() {
    let backend = agreeing();
    let settings = "defaults: { upgrade: { protocols: [websocket], idle: 200ms } }";
    let gateway = gateway(settings, &backend.address().to_string());
    let mut client = starts_tunnel(&gateway);
    assert!(matches!(client.end(), ReadError::Closed(_)));
}

#[test]
fn a_client_that_is_gone_frees_the_service() {
    let backend = agreeing();
    let gateway = gateway("", &backend.address().to_string());
    starts_tunnel(&gateway).reset();
    wait_until("the service's connection is closed", || {
        gateway.metric("tollgate_service_connections{service=\"chat\",state=\"busy\"}") == 0.0
    });
}
