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

/// What a listener counts and refuses; its address is `{{http}}` of the config.
fn refused_at(gateway: &Gateway, reason: &str) -> String {
    format!("tollgate_listener_refused_total{{listener=\"{}\",reason=\"{reason}\"}}", gateway.address())
}

#[test]
fn a_listener_has_so_many_connections_and_no_other_one_suffers() {
    let gateway = gateway("", "connections: 2");
    let clients = [
        RawClient::connect_from([127, 0, 0, 5], gateway.address()),
        RawClient::connect_from([127, 0, 0, 6], gateway.address()),
    ];
    let mut clients = clients.map(|mut client| {
        assert!(is_served(&mut client));
        client
    });
    for refused in 1..=3 {
        assert!(!admits(&gateway));
        gateway.await_metric(&refused_at(&gateway, "listener_limit"), |count| count == f64::from(refused));
    }
    let open = format!("tollgate_listener_connections{{listener=\"{}\"}}", gateway.address());
    assert_eq!(gateway.metric(&open), 2.0);
    assert_eq!(gateway.metric("tollgate_connections_closed_total{reason=\"listener_limit\"}"), 3.0);
    assert!(clients.iter_mut().all(is_served), "those that are there stay");
    assert_eq!(gateway.health("/health/live").status, 200);
    let [first, _second] = clients;
    drop(first);
    wait_until("the place of one that left is free", || admits(&gateway));
}

#[test]
fn a_listener_may_be_stricter_with_an_address_than_all_together() {
    let gateway = gateway("", "connections_per_address: 1");
    let _first = served(&gateway);
    assert!(!admits(&gateway));
    gateway.await_metric(&refused_at(&gateway, "address_limit"), |count| count == 1.0);
    assert!(is_served(&mut RawClient::connect_from([127, 0, 0, 9], gateway.address())), "another address");
}

#[test]
fn a_health_listener_can_be_limited_too() {
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": { kind: health, connections_per_address: 20 } }\n\
        workers: 1\nroutes: { /**: { reply: 200 ok } }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[]);
    let address = gateway.health_address();
    let live = |client: &mut RawClient| {
        client.send("GET /health/live HTTP/1.1\r\nHost: g\r\n\r\n");
        client.response("GET").is_ok_and(|answer| answer.status == 200)
    };
    let mut there: Vec<RawClient> = (0..20).map(|_| RawClient::connect_from([127, 0, 0, 5], address)).collect();
    assert!(there.iter_mut().all(live));
    assert!(!RawClient::try_connect_from([127, 0, 0, 5], address).is_ok_and(|mut client| live(&mut client)));
    assert!(live(&mut RawClient::connect_from([127, 0, 0, 6], address)));
}

/// Many at once never are more than there may be.
#[test]
fn however_many_come_at_once_no_more_are_in_than_may() {
    let gateway = gateway("", "connections: 5");
    let served: usize = std::thread::scope(|scope| {
        let one = |n: u8| {
            let address = gateway.address();
            scope.spawn(move || {
                let mut clients: Vec<RawClient> =
                    (1..=10).filter_map(|more| RawClient::try_connect_from([127, 0, n, more], address).ok()).collect();
                let served = clients.iter_mut().map(is_served).filter(|served| *served).count();
                (served, clients)
            })
        };
        let threads: Vec<_> = (1..=4).map(one).collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        ended.iter().map(|(served, _)| served).sum()
    });
    assert_eq!(served, 5);
}
