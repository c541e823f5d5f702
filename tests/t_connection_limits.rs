//! T: how many connections one address may have.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use tollgate_testkit::{Gateway, RawClient, ReadError, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CLOSED: &str = "tollgate_connections_closed_total{reason=\"address_limit\"}";

/// A gateway that allows two connections per address; `more` lines of its config, `options` of its listener.
fn gateway(more: &str, options: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": {{ {options} }}, \"{{{{health}}}}\": health }}\nworkers: 2\n\
         limits: {{ connections_per_address: 2, keep_alive: 1h }}\n{more}\nroutes: {{ /**: {{ reply: 200 ok }} }}\n"
    );
    Gateway::start(TOLLGATE, &config, &[])
}

fn is_served(client: &mut RawClient) -> bool {
    client.send("GET /a HTTP/1.1\r\nHost: g\r\n\r\n");
    match client.response("GET") {
        Ok(answer) => answer.status == 200,
        Err(ReadError::Closed(came) | ReadError::Reset(came)) => {
            assert!(came.is_empty(), "an answer that nobody asked for: {}", came.escape_ascii());
            false
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Whether one more connection is served.
fn admits(gateway: &Gateway) -> bool {
    // A reset may be faster than the client.
    RawClient::try_connect(gateway.address()).is_ok_and(|mut client| is_served(&mut client))
}

fn served(gateway: &Gateway) -> RawClient {
    let mut client = gateway.client();
    assert!(is_served(&mut client));
    client
}

#[test]
fn one_address_has_so_many_connections_and_others_do_not_suffer() {
    let gateway = gateway("", "");
    let (first, mut second) = (served(&gateway), served(&gateway));
    for refused in 1..=3 {
        assert!(!admits(&gateway));
        gateway.await_metric(CLOSED, |count| count == f64::from(refused));
    }
    assert!(is_served(&mut second), "those that are there stay");
    assert!(is_served(&mut RawClient::connect_from([127, 0, 0, 9], gateway.address())), "another address");
    assert_eq!(gateway.health("/health/live").status, 200, "a listener of its own");
    drop(first);
    wait_until("the place of one that left is free", || admits(&gateway));
}

#[test]
fn a_proxy_of_trust_may_have_any_number() {
    let gateway = gateway("trust: { proxies: [127.0.0.1] }", "");
    let clients: Vec<RawClient> = (0..5).map(|_| served(&gateway)).collect();
    assert_eq!(clients.len(), 5);
    assert_eq!(gateway.metric(CLOSED), 0.0);
}

#[test]
fn whom_a_proxy_names_is_who_is_counted() {
    let gateway = gateway("trust: { proxies: [127.0.0.1] }", "proxy_protocol: on");
    let named = |ip: &str| {
        let mut client = gateway.client();
        client.send(format!("PROXY TCP4 {ip} 10.0.0.1 40000 80\r\n"));
        client
    };
    let mut clients: Vec<RawClient> = (0..2).map(|_| named("203.0.113.7")).collect();
    assert!(clients.iter_mut().all(is_served));
    assert!(!is_served(&mut named("203.0.113.7")));
    assert!(is_served(&mut named("203.0.113.8")));
    assert_eq!(gateway.metric(CLOSED), 1.0);
    clients.clear();
    wait_until("its places are free", || is_served(&mut named("203.0.113.7")));
}
