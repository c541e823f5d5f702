//! T: what a client may send, and for how long it may dawdle.

use std::thread;
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::http2::FrameClient;
use tollgate_testkit::http2::frame::Code;
use tollgate_testkit::{Gate, Gateway, RawClient, ReadError, Recorder, Script, Step};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const GET: &str = "GET /a HTTP/1.1\r\nHost: g\r\n\r\n";

/// A gateway with these limits in front of a backend.
fn gateway(limits: &str) -> (Gateway, Recorder) {
    let backend = Recorder::start();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\nlimits: {{ {limits} }}\n\
         routes: {{ /**: \"{{{{backend}}}}\" }}\n"
    );
    (Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]), backend)
}

fn slug(response: &tollgate_testkit::Response) -> String {
    response.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:tollgate:problem:").to_owned()
}

#[test]
fn a_head_that_is_not_complete_in_time_is_a_408() {
    let (gateway, backend) = gateway("head_timeout: 300ms");
    let mut client = gateway.client();
    let (response, took) = timed(|| {
        client.send("GET /a HTTP/1.1\r\nHost: g\r\n");
        client.response("GET").unwrap()
    });
    assert_eq!((response.status, slug(&response).as_str()), (408, "http/head-timeout"));
    assert_eq!(response.one("connection").as_deref(), Some("close"));
    assert_eq!(client.end(), ReadError::Closed(Vec::new()));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
    assert!(backend.recorded().is_empty());
}

#[test]
fn a_byte_now_and_then_does_not_buy_time() {
    let (gateway, _backend) = gateway("head_timeout: 300ms");
    let mut client = gateway.client().patience(Duration::from_millis(20));
    client.send("GET /a HTTP/1.1\r\nHost: g\r\nX-A: ");
    let (response, took) = timed(|| {
        loop {
            client.send("x");
            match client.response("GET") {
                Err(ReadError::TimedOut(_)) => {}
                ended => break ended.expect("an answer before the end"),
            }
        }
    });
    assert_eq!(response.status, 408);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn who_says_nothing_at_all_is_closed_without_an_answer() {
    let (gateway, _backend) = gateway("head_timeout: 300ms");
    let (ended, took) = timed(|| gateway.client().end());
    assert_eq!(ended, ReadError::Closed(Vec::new()));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn the_head_of_a_later_request_has_its_time_too() {
    let (gateway, _backend) = gateway("head_timeout: 300ms, keep_alive: 1h");
    let mut client = gateway.client();
    assert_eq!(client.call(GET).text(), "ok");
    client.send("G");
    assert_eq!(client.response("GET").unwrap().status, 408);
}

#[test]
fn a_connection_at_rest_is_closed_after_its_time() {
    let (gateway, _backend) = gateway("keep_alive: 300ms");
    let mut client = gateway.client();
    assert_eq!(client.call(GET).text(), "ok");
    assert_eq!(client.call(GET).all("connection"), Vec::<String>::new());
    let (ended, took) = timed(|| client.end());
    assert_eq!(ended, ReadError::Closed(Vec::new()));
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(10), "{took:?}");
    gateway.await_metric("tollgate_connections_closed_total{reason=\"idle\"}", |count| count == 1.0);
}

#[test]
fn a_connection_carries_so_many_requests_and_says_when_it_is_over() {
    let (gateway, backend) = gateway("requests_per_connection: 3");
    let mut client = gateway.client();
    client.send(GET.repeat(5));
    let answers: Vec<Option<String>> = (0..3).map(|_| client.response("GET").unwrap().one("connection")).collect();
    assert_eq!(answers, [None, None, Some("close".to_owned())]);
    match client.end() {
        ReadError::Closed(rest) | ReadError::Reset(rest) => assert!(rest.is_empty(), "{}", rest.escape_ascii()),
        other => panic!("{other:?}"),
    }
    let seen: usize = backend.recorded().iter().map(|c| c.bytes.windows(6).filter(|w| *w == b"GET /a").count()).sum();
    assert_eq!(seen, 3);
}

#[test]
fn the_same_holds_over_http2_where_what_runs_comes_to_its_end() {
    let (gateway, _backend) = gateway("requests_per_connection: 3");
    let mut client = FrameClient::open(gateway.address(), &[]);
    [1, 3, 5].into_iter().for_each(|stream| client.get(stream, "/a"));
    for stream in [1, 3, 5] {
        assert_eq!(client.answer(stream).text(), "ok");
    }
    let came = client.until("the end", |came| came.ended.is_some());
    assert!(came.goaways.iter().all(|(_, code)| *code == Code(0)), "{came}");
    assert!(came.goaways.last().is_some_and(|(last, _)| *last == 5), "{came}");
}

/// RFC 9113 §6.8: it may have been on its way before the client heard of the farewell.
#[test]
fn a_request_that_crosses_the_farewell_is_served_to_its_end() {
    let gate = Gate::new();
    let inner = gate.clone();
    let backend = Recorder::answering(move |taken| match taken.target.as_str() {
        "/wait" => {
            let mut script = Script::ok(taken, "late");
            script.0.insert(1, Step::Wait(inner.clone()));
            script
        }
        _ => Script::ok(taken, "ok"),
    });
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nlimits: { keep_alive: 200ms }\nroutes: { /**: \"{{backend}}\" }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    let mut client = FrameClient::open(gateway.address(), &[]);
    client.get(1, "/a");
    assert_eq!(client.answer(1).text(), "ok");
    client.until("the farewell", |came| !came.goaways.is_empty());
    client.get(3, "/wait");
    backend.wait_for("the request", |all| all.iter().any(|c| c.bytes.windows(6).any(|w| w == b"/wait ")));
    // By then a connection is closed that rested no shorter and has nothing to wait for.
    let mut resting = FrameClient::open(gateway.address(), &[]);
    resting.get(1, "/a");
    resting.until("the end", |came| came.ended.is_some());
    gate.open();
    assert_eq!(client.answer(3).text(), "late");
}

#[test]
fn beyond_the_limit_a_connection_waits_for_another_to_end() {
    let (gateway, backend) = gateway("connections: 2, keep_alive: 1h");
    let mut clients: Vec<RawClient> = (0..2).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.call(GET).text(), "ok");
    }
    let mut waiting: Vec<RawClient> = (0..6).map(|_| gateway.client()).collect();
    for client in &mut waiting {
        client.send("GET /waiting HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n");
    }
    let seen = |what: &[u8]| -> usize {
        backend.recorded().iter().map(|c| c.bytes.windows(what.len()).filter(|w| *w == what).count()).sum()
    };
    for n in 0..50 {
        assert_eq!(clients[n % 2].call(GET).text(), "ok");
    }
    assert_eq!(seen(b"GET /waiting"), 0, "nobody beyond the two is served");
    assert_eq!(gateway.health("/health/ready").status, 200, "and the health listener does not count");
    // One leaves, and all the others come in after each other.
    drop(clients.pop());
    // Each by itself: nobody knows who is next, and whoever was served must go.
    let answers = waiting.into_iter().map(|mut client| thread::spawn(move || client.response("GET").map(|r| r.text())));
    for answer in answers.collect::<Vec<_>>() {
        assert_eq!(answer.join().unwrap().unwrap(), "ok");
    }
    assert_eq!(seen(b"GET /waiting"), 6);
    assert_eq!(clients[0].call(GET).text(), "ok");
}

#[test]
fn a_target_may_be_as_long_as_the_limit_and_no_longer() {
    let (gateway, _backend) = gateway("target: 100, head: 1KiB");
    let target = |length: usize| format!("/{}?{}", "a".repeat(48), "b".repeat(length - 50));
    let mut client = gateway.client();
    assert_eq!(client.get(&target(100)).status, 200);
    let refused = client.get(&target(101));
    assert_eq!((refused.status, slug(&refused).as_str()), (414, "http/target-too-long"));
    assert_eq!(refused.one("connection").as_deref(), Some("close"));
    // Known before the line ends.
    let mut client = gateway.client();
    client.send(format!("GET /{}", "a".repeat(500)));
    assert_eq!(client.response("GET").unwrap().status, 414);
}

/// Whether a little of it, all of it or nothing has come: the answer is the same.
#[test]
fn a_body_that_is_too_large_ends_the_connection() {
    let backend = Recorder::start();
    let config =
        "listen: { \"{{http}}\": http, \"{{health}}\": health }\nroutes: { /**: { to: \"{{backend}}\", body: 10B } }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    for sent in ["", "0123", "0123456789ab"] {
        let mut client = gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 12\r\n\r\n{sent}"));
        let response = client.response("POST").unwrap();
        assert_eq!((response.status, slug(&response).as_str()), (413, "http/body-too-large"), "{sent}");
        assert_eq!(response.one("connection").as_deref(), Some("close"), "{sent}");
        assert_eq!(client.end(), ReadError::Closed(Vec::new()));
    }
    assert!(backend.recorded().is_empty());
}

#[test]
fn a_head_may_be_as_large_as_the_limit_and_no_larger() {
    let (gateway, backend) = gateway("head: 1KiB, target: 100");
    let head = |length: usize| {
        let start = "GET /a HTTP/1.1\r\nHost: g\r\nX-A: ";
        format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
    };
    let mut client = gateway.client();
    assert_eq!(client.call(&head(1024)).status, 200);
    let refused = client.call(&head(1100));
    assert_eq!((refused.status, slug(&refused).as_str()), (431, "http/head-too-large"));
    // Known before it ends.
    let mut client = gateway.client();
    client.send(format!("GET /a HTTP/1.1\r\nHost: g\r\nX-A: {}", "x".repeat(2000)));
    assert_eq!(client.response("GET").unwrap().status, 431);
    assert_eq!(backend.recorded().len(), 1);
}

#[test]
fn a_head_may_have_as_many_fields_as_the_limit_and_no_more() {
    let (gateway, _backend) = gateway("fields: 5");
    let head = |fields: usize| format!("GET /a HTTP/1.1\r\nHost: g\r\n{}\r\n", "X-A: b\r\n".repeat(fields - 1));
    let mut client = gateway.client();
    assert_eq!(client.call(&head(5)).status, 200);
    let refused = client.call(&head(6));
    assert_eq!((refused.status, slug(&refused).as_str()), (431, "http/head-too-large"));
}
