//! R4: a service by name, asked of a real name server (dnsmasq).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

#[path = "instances.rs"]
mod instances;

use instances::{answering, everywhere, set, state};
use tollgate_testkit::{Gateway, NameServer, Recorder, Script, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn gateway(server: &NameServer, to: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         dns: {{ servers: [\"{}\"], timeout: 500ms, min_ttl: 1s, max_ttl: 1s }}\n\
         services: {{ s: {{ to: [{to}] }} }}\nroutes: {{ /**: s }}\n",
        server.address()
    );
    Gateway::start(TOLLGATE, &config, &[])
}

#[test]
fn all_addresses_of_a_name_are_instances_and_a_change_is_followed() {
    let (_backend, port) = everywhere();
    let server = NameServer::start("127.0.0.1 orders.internal\n127.0.0.2 orders.internal\n");
    let gateway = gateway(&server, &format!("\"orders.internal:{port}\""));
    // Looked up before the first request is taken.
    assert_eq!(answering(&gateway), set(&["127.0.0.1", "127.0.0.2"]));
    assert_eq!(state(&gateway), ("fresh".to_owned(), vec![format!("127.0.0.1:{port}"), format!("127.0.0.2:{port}")]));
    server.change("127.0.0.3 orders.internal\n");
    wait_until("the new address", || answering(&gateway) == set(&["127.0.0.3"]));
    assert_eq!(state(&gateway).1, [format!("127.0.0.3:{port}")]);
}

#[test]
fn a_name_and_addresses_can_stand_together() {
    let (_backend, port) = everywhere();
    let server = NameServer::start("127.0.0.1 orders.internal\n127.0.0.2 orders.internal\n");
    let gateway = gateway(&server, &format!("\"Orders.Internal.:{port}\", \"127.0.0.4:{port}\""));
    assert_eq!(answering(&gateway), set(&["127.0.0.1", "127.0.0.2", "127.0.0.4"]));
}

#[test]
fn without_its_name_server_a_service_goes_on_and_says_so() {
    let (_backend, port) = everywhere();
    let mut server = NameServer::start("127.0.0.1 orders.internal\n");
    let gateway = gateway(&server, &format!("\"orders.internal:{port}\""));
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    server.stop();
    let mut client = gateway.client();
    wait_until("the failure shows", || {
        assert_eq!(client.get("/a").text(), "127.0.0.1");
        state(&gateway).0 == "stale"
    });
    let status = gateway.status();
    assert!(status["services"][0]["error"].as_str().is_some_and(|error| error.contains("orders.internal")), "{status}");
    assert!(status["services"][0]["stale_seconds"].is_u64(), "{status}");
    gateway.await_metric("tollgate_dns_stale{name=\"orders.internal\"}", |stale| stale == 1.0);
    gateway.await_metric("tollgate_dns_failures_total{name=\"orders.internal\"}", |failures| failures >= 1.0);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    server.resume();
    wait_until("it is fresh again", || state(&gateway).0 == "fresh");
    gateway.await_metric("tollgate_dns_stale{name=\"orders.internal\"}", |stale| stale == 0.0);
}

#[test]
fn a_name_that_vanishes_keeps_its_addresses() {
    let (_backend, port) = everywhere();
    let server = NameServer::start("127.0.0.1 orders.internal\n");
    let gateway = gateway(&server, &format!("\"orders.internal:{port}\""));
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    server.change("127.0.0.1 other.internal\n");
    wait_until("the failure shows", || state(&gateway).0 == "stale");
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
}

#[test]
fn a_name_that_is_not_there_yet_is_a_503_until_it_is() {
    let (_backend, port) = everywhere();
    let server = NameServer::start("");
    let gateway = gateway(&server, &format!("\"orders.internal:{port}\""));
    let answer = gateway.client().get("/a");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (503, Some("urn:tollgate:problem:upstream/no-instance"))
    );
    assert_eq!(gateway.health("/health/ready").status, 200, "other routes are not harmed");
    server.change("127.0.0.2 orders.internal\n");
    wait_until("it is found", || gateway.client().get("/a").status == 200);
    assert_eq!(answering(&gateway), set(&["127.0.0.2"]));
}

/// Not even if it is all there is.
#[test]
fn an_instance_without_weight_gets_nothing_while_the_others_are_not_found() {
    let (backend, port) = everywhere();
    let server = NameServer::start("");
    let gateway =
        gateway(&server, &format!("\"orders.internal:{port}\", {{ address: \"127.0.0.3:{port}\", weight: 0 }}"));
    let answer = gateway.client().get("/a");
    assert_eq!(answer.json()["type"], "urn:tollgate:problem:upstream/no-instance");
    assert!(backend.recorded().is_empty());
    server.change("127.0.0.2 orders.internal\n");
    wait_until("it is found", || gateway.client().get("/a").status == 200);
    assert_eq!(answering(&gateway), set(&["127.0.0.2"]));
}

#[test]
fn what_leaves_the_list_finishes_what_it_has_begun() {
    let gate = tollgate_testkit::Gate::new();
    let inner = gate.clone();
    let backend = Recorder::everywhere(move |taken| {
        let mut script = Script::ok(taken, &taken.local.ip().to_string());
        if taken.target == "/wait" {
            script.0.insert(1, tollgate_testkit::Step::Wait(inner.clone()));
        }
        script
    });
    let port = backend.address().port();
    let server = NameServer::start("127.0.0.1 orders.internal\n");
    let gateway = gateway(&server, &format!("\"orders.internal:{port}\""));
    let mut waiting = gateway.client();
    waiting.send("GET /wait HTTP/1.1\r\nHost: g\r\n\r\n");
    backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.ends_with(b"\r\n\r\n")));
    server.change("127.0.0.2 orders.internal\n");
    wait_until("the new address", || answering(&gateway) == set(&["127.0.0.2"]));
    gate.open();
    assert_eq!(waiting.response("GET").unwrap().text(), "127.0.0.1");
    // And its connection does not rest.
    backend.wait_for("the old connection is closed", |all| all[0].ended.is_some());
}

#[test]
fn other_settings_take_no_instance_away_before_they_find_some() {
    let (_backend, port) = everywhere();
    let server = NameServer::start("127.0.0.1 orders.internal\n");
    let config = |servers: &str, to: &str| {
        format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
             dns: {{ servers: [\"{servers}\"], timeout: 500ms, min_ttl: 1s, max_ttl: 1s }}\n\
             services: {{ s: {{ to: \"{to}:{port}\" }} }}\nroutes: {{ /**: s }}\n"
        )
    };
    let here = server.address().to_string();
    let gateway = Gateway::start(TOLLGATE, &config(&here, "orders.internal"), &[]);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    // Nobody answers there.
    gateway.reload(&config("127.0.0.1:1", "orders.internal"), &[]);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    assert_eq!(state(&gateway), ("stale".to_owned(), vec![format!("127.0.0.1:{port}")]));
    // Nobody has that name.
    gateway.reload(&config(&here, "nobody.internal"), &[]);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
    wait_until("the failure shows", || state(&gateway).0 == "stale");
    server.change("127.0.0.3 nobody.internal\n");
    wait_until("the new name is found", || answering(&gateway) == set(&["127.0.0.3"]));
}

#[test]
fn srv_records_say_where_instances_are_and_changes_are_followed() {
    let (_backend, port) = everywhere();
    let record = |host: &str| format!("_http._tcp.orders.internal,{host}.internal,{port},10,5");
    let mut server = NameServer::start("127.0.0.1 a.internal\n127.0.0.2 b.internal\n");
    server.services(&[record("a"), record("b")]);
    let gateway = gateway(&server, "srv:_http._tcp.orders.internal");
    assert_eq!(answering(&gateway), set(&["127.0.0.1", "127.0.0.2"]));
    server.services(&[record("b")]);
    wait_until("one is gone", || answering(&gateway) == set(&["127.0.0.2"]));
    server.stop();
    wait_until("the failure shows", || state(&gateway).0 == "stale");
    assert_eq!(answering(&gateway), set(&["127.0.0.2"]));
    gateway.await_metric("tollgate_dns_stale{name=\"_http._tcp.orders.internal\"}", |stale| stale == 1.0);
    server.services(&["_http._tcp.orders.internal".to_owned()]);
    wait_until("it is said that there is none", || gateway.client().get("/a").status == 503);
    assert_eq!(state(&gateway), ("fresh".to_owned(), vec![]));
    server.services(&[record("a")]);
    wait_until("it is back", || gateway.client().get("/a").status == 200);
    assert_eq!(answering(&gateway), set(&["127.0.0.1"]));
}
