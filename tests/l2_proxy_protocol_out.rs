//! L2: services are told whom a connection is for, and from which address we come, against nginx and HAProxy.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use tollgate_testkit::{Authority, Cli, Gateway, Peer, RawClient, free_port, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const IDLE: &str = "tollgate_service_connections{service=\"app\",state=\"idle\"}";

/// What nginx says: whom it was told of, and which of its connections this is.
const TOLD: &str = "return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port $connection\";";

/// nginx that wants a PROXY header; `options` of its listener beside that.
fn nginx(options: &str) -> (Peer, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let nginx =
        Peer::nginx(&format!("server {{ listen {address} proxy_protocol {options}; location / {{ {TOLD} }} }}"));
    wait_until("nginx listens", || RawClient::is_accepted(address));
    (nginx, address)
}

/// A gateway whose only service is `app` with these options.
fn gateway(app: &str, listener: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": {{ {listener} }}, \"{{{{health}}}}\": health }}\nworkers: 1\n\
         trust: {{ proxies: [127.0.0.8] }}\nservices: {{ app: {{ {app} }} }}\nroutes: {{ /**: app }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[])
}

/// A client that connects from this address.
fn client(from: [u8; 4], gateway: &Gateway) -> RawClient {
    RawClient::connect_from(from, gateway.address())
}

/// What the service says that it was told, word by word.
fn told(client: &mut RawClient) -> Vec<String> {
    client.get("/a").text().split(' ').map(str::to_owned).collect()
}

#[test]
fn nginx_hears_of_the_client_in_both_versions_and_connections_are_not_shared() {
    for version in ["v1", "v2"] {
        let (_nginx, app) = nginx("");
        let gateway = gateway(&format!("to: \"{app}\", proxy_protocol: {version}"), "");
        let mut clients = [client([127, 0, 0, 9], &gateway), client([127, 0, 0, 10], &gateway)];
        let port = gateway.address().port().to_string();
        // In turn, so that each would get the other's connection if that were shared.
        let rounds: Vec<Vec<Vec<String>>> = (0..3).map(|_| clients.iter_mut().map(told).collect()).collect();
        for (client, address) in ["127.0.0.9", "127.0.0.10"].into_iter().enumerate() {
            let own = clients[client].port().to_string();
            for round in &rounds {
                assert_eq!(round[client][..3], [address, &own, &port], "{version}");
                assert_eq!(round[client][3], rounds[0][client][3], "{version}: one connection for one client");
            }
        }
        assert_ne!(rounds[0][0][3], rounds[0][1][3], "{version}: two clients, two connections");
        assert_eq!(gateway.metric("tollgate_service_connects_total{service=\"app\"}"), 2.0);
        // Who is gone needs its connection no more, though it could rest for 55 s.
        gateway.await_metric(IDLE, |idle| idle == 2.0);
        drop(clients);
        gateway.await_metric(IDLE, |idle| idle == 0.0);
    }
}

#[test]
fn a_client_that_asks_gets_the_place_of_one_that_rests() {
    let (_nginx, app) = nginx("");
    let gateway = gateway(&format!("to: \"{app}\", proxy_protocol: v1, connections: 1, queue: 0"), "");
    let mut clients = [client([127, 0, 0, 9], &gateway), client([127, 0, 0, 10], &gateway)];
    for _ in 0..3 {
        assert_eq!(told(&mut clients[0])[0], "127.0.0.9");
        assert_eq!(told(&mut clients[1])[0], "127.0.0.10");
    }
    assert_eq!(gateway.metric("tollgate_service_connects_total{service=\"app\"}"), 6.0);
}

#[test]
fn who_was_named_to_us_is_named_on() {
    let (_nginx, app) = nginx("");
    let gateway = gateway(&format!("to: \"{app}\", proxy_protocol: v2"), "proxy_protocol: on");
    let mut proxy = client([127, 0, 0, 8], &gateway);
    proxy.send("PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n");
    assert_eq!(told(&mut proxy)[..3], ["2001:db8::7", "40000", "443"]);
}

#[test]
fn who_has_no_address_is_unknown() {
    for version in ["v1", "v2"] {
        let (_nginx, app) = nginx("");
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("g.sock");
        let config = format!(
            "listen: {{ \"unix:{}\": http, \"{{{{health}}}}\": health }}\n\
             services: {{ app: {{ to: \"{app}\", proxy_protocol: {version} }} }}\nroutes: {{ /**: app }}\n",
            socket.display()
        );
        let _gateway = Gateway::start(TOLLGATE, &config, &[]);
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // Three words that nginx leaves empty.
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\n\r\n   "), "{version}: {answer}");
    }
}

#[test]
fn the_header_stands_before_tls_and_says_what_the_client_settled() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test CA");
    authority.write(folder.path(), "ca.pem");
    authority.server(&["shop.example", "app.example"]).write(folder.path(), "shop");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key, ca) = (file("shop.pem"), file("shop.key"), file("ca.pem"));
    // HAProxy wants certificate and key in one file.
    let both = std::fs::read_to_string(&cert).unwrap() + &std::fs::read_to_string(&key).unwrap();
    std::fs::write(file("both.pem"), both).unwrap();
    let app = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let _haproxy = Peer::haproxy(&format!(
        "frontend app\n  mode http\n  bind {app} accept-proxy ssl crt {}\n  http-request return status 200 \
         content-type text/plain lf-string \"%[src] %[fc_pp_authority] %[dst_port]\"\n",
        file("both.pem")
    ));
    wait_until("haproxy listens", || RawClient::is_accepted(app));
    let app = format!("to: \"{app}\", proxy_protocol: v2, tls: {{ ca: {ca}, name: app.example }}");
    let gateway = gateway(&app, &format!("tls: {{ cert: {cert}, key: {key} }}"));
    let port = gateway.address().port();
    for protocol in ["--http1.1", "--http2"] {
        let resolve = format!("shop.example:{port}:127.0.0.1");
        let url = format!("https://shop.example:{port}/a");
        let words = ["-sS", protocol, "--interface", "127.0.0.9", "--cacert", &ca, "--resolve", &resolve, &url];
        let ran = Cli::new("/usr/bin/curl").run(&words);
        assert_eq!((ran.code, ran.out), (0, format!("127.0.0.9 shop.example {port}")), "{protocol}: {}", ran.err);
    }
}

#[test]
fn a_service_sees_the_source_address_that_the_file_says() {
    let app = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let _nginx = Peer::nginx(&format!("server {{ listen {app}; location / {{ return 200 \"$remote_addr\"; }} }}"));
    wait_until("nginx listens", || RawClient::is_accepted(app));
    let gateway = gateway(&format!("to: \"{app}\", source_address: 127.0.0.77"), "");
    assert_eq!(gateway.client().get("/a").text(), "127.0.0.77");
}

#[test]
fn a_source_address_that_is_not_ours_is_told_before_anything_starts() {
    let config = |source: &str| {
        format!(
            "listen: 127.0.0.1:{}\nservices:\n  app:\n    to: 127.0.0.1:9\n    source_address: {source}\n\
             routes: {{ /**: app }}\n",
            free_port()
        )
    };
    // 192.0.2.0/24 is for documentation (RFC 5737): nobody has it.
    let cli = Cli::with(TOLLGATE, &config("192.0.2.77"));
    assert_eq!(cli.run(&["check"]).code, 0, "a file may be checked on another machine");
    let ran = cli.run(&["run"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("cannot connect from `192.0.2.77`: "), "{}", ran.err);
    assert!(ran.err.contains("tollgate.yaml:5:"), "{}", ran.err);
    let ran = Cli::with(TOLLGATE, &config("\"::1\"")).run(&["check"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("`127.0.0.1:9` is of the other family than `source_address`"), "{}", ran.err);
}
