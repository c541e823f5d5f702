//! E2: copies of requests for another service, which change nothing for whoever asks.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use tollgate_testkit::http2::{Frame, FrameClient, hpack};
use tollgate_testkit::{Cli, Gate, Gateway, Recorder, Script, Step, free_port};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// A gateway whose only route sends to `main`, with these options, and may name `shadow`.
fn gateway(main: &Recorder, shadow: &str, options: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         services: {{ main: {{ to: \"{}\", retry: 1 }}, shadow: \"{shadow}\" }}\n\
         routes: {{ /**: {{ to: main, {options} }}, /shadow: shadow }}\n",
        main.address()
    );
    Gateway::start(TOLLGATE, &config, &[])
}

fn of(recorder: &Recorder) -> String {
    recorder.address().to_string()
}

fn copied(result: &str) -> String {
    format!("tollgate_mirrored_requests_total{{service=\"shadow\",result=\"{result}\"}}")
}

/// Waits until so many copies came to this end.
fn until(gateway: &Gateway, result: &str, count: f64) {
    gateway.await_metric(&copied(result), |have| have == count);
}

/// All that came, in the order of connections.
fn all(recorder: &Recorder) -> String {
    recorder.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect()
}

fn post(body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_copy_is_what_the_service_gets_without_what_lets_the_client_in() {
    let (main, shadow) = (Recorder::start(), Recorder::answering(|taken| Script::ok(taken, "unseen")));
    let options = "mirror: { to: shadow, without: X-Session }, rewrite: /items/x, headers: { request: { set: { X-Set: 1, \
                   X-Api-Key: set } } }";
    let gateway = gateway(&main, &of(&shadow), options);
    let request = "GET /a?b=1&access_token=s1&c=2 HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer s2\r\nCookie: s3=1\r\n\
                   X-Auth-Token: s4\r\nX-Session: s5\r\nIdempotency-Key: k\r\nReferer: https://shop.test/p?sig=s7&a=1\r\nConnection: X-Hop\r\nX-Hop: s6\r\n\r\n";
    let response = gateway.client().call(request);
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    until(&gateway, "answered", 1.0);
    let (sent, copy) = (all(&main), all(&shadow));
    assert!(copy.starts_with("GET /items/x?b=1&c=2 HTTP/1.1\r\nHost: shop.test\r\n"), "{copy}");
    for line in ["X-Set: 1\r\n", "Idempotency-Key: k\r\n", "Via: 1.1 tollgate\r\n", "X-Forwarded-For: 127.0.0.1\r\n"] {
        assert!(copy.contains(line) && sent.contains(line), "{line}: {copy}");
    }
    for secret in ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "X-Api-Key"] {
        assert!(!copy.contains(secret), "{secret}: {copy}");
        assert_eq!(sent.contains(secret), secret != "s6", "{secret}: {sent}");
    }
    assert!(copy.contains("Referer: https://shop.test/p?a=1\r\n"), "{copy}");
    let line = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    assert_eq!(line(&copy, "X-Correlation-ID"), line(&sent, "X-Correlation-ID"));
    // One line in the log for one request; the copy is counted where it went.
    assert_eq!(gateway.access_line("of the request", |line| line["path"] == "/a")["service"], "main");
    assert_eq!(gateway.metric("tollgate_attempts_total{service=\"shadow\",outcome=\"ok\"}"), 1.0);
}

#[test]
fn credentials_are_copied_if_that_is_asked_for() {
    let (main, shadow) = (Recorder::start(), Recorder::start());
    let gateway = gateway(&main, &of(&shadow), "mirror: { to: shadow, credentials: keep, without: [X-Own] }");
    gateway.client().call("GET /a?token=s1 HTTP/1.1\r\nHost: g\r\nAuthorization: s2\r\nX-Own: s3\r\n\r\n");
    until(&gateway, "answered", 1.0);
    let copy = all(&shadow);
    assert!(copy.contains("token=s1") && copy.contains("Authorization: s2") && !copy.contains("s3"), "{copy}");
}

#[test]
fn a_body_is_copied_whole_or_not_at_all() {
    let (main, shadow) = (Recorder::answering(|_| Script(vec![Step::Echo])), Recorder::start());
    let gateway = gateway(&main, &of(&shadow), "mirror: { to: shadow, body: 8B }");
    let mut client = gateway.client();
    assert_eq!(client.call(&post("12345678")).text(), "12345678");
    until(&gateway, "answered", 1.0);
    assert!(all(&shadow).ends_with("12345678") && all(&shadow).contains("Content-Length: 8\r\n"), "{}", all(&shadow));
    let chunked = "POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX: 1\r\n\r\n";
    assert!(client.send_each_byte(chunked.as_bytes()));
    assert_eq!(client.response("POST").unwrap().text(), "abcdefg");
    until(&gateway, "answered", 2.0);
    let copies = all(&shadow);
    assert!(copies.ends_with("\r\n\r\nabcdefg") && copies.contains("Content-Length: 7\r\n"), "{copies}");
    assert!(!copies.contains("chunked"), "{copies}");
    let before = all(&shadow);
    assert_eq!(client.call(&post("123456789")).text(), "123456789");
    until(&gateway, "too_large", 1.0);
    let chunked = "POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n";
    assert_eq!(client.call(chunked).text(), "123456789");
    until(&gateway, "too_large", 2.0);
    assert_eq!(all(&shadow), before);
}

#[test]
fn nothing_of_a_shadow_reaches_the_client() {
    let main = Recorder::start();
    let gate = Gate::new();
    let opened = gate.clone();
    let silent = Recorder::answering(move |_| Script(vec![Step::ReadRequest, Step::Wait(opened.clone()), Step::Reset]));
    for (shadow, failed_first) in [(of(&silent), false), (format!("127.0.0.1:{}", free_port()), true)] {
        let gateway = gateway(&main, &shadow, "mirror: { to: shadow, timeout: 60s }");
        let mut client = gateway.client();
        for _ in 0..3 {
            assert_eq!(client.get("/a").text(), "ok");
            assert_eq!(client.call(&post("hello")).text(), "ok");
        }
        if !failed_first {
            gate.open();
        }
        until(&gateway, "failed", 6.0);
        assert_eq!(gateway.metric("tollgate_requests_total{api=\"\",route=\"/**\",status=\"2xx\"}"), 6.0);
    }
}

#[test]
fn a_copy_has_its_own_time() {
    let (main, shadow) = (Recorder::start(), Recorder::answering(|_| Script(vec![Step::ReadRequest, Step::Silence])));
    let gateway = gateway(&main, &of(&shadow), "mirror: { to: shadow, timeout: 50ms }");
    assert_eq!(gateway.client().get("/a").text(), "ok");
    until(&gateway, "failed", 1.0);
}

#[test]
fn so_many_copies_at_a_time_and_no_more() {
    let (main, gate) = (Recorder::start(), Gate::new());
    let opened = gate.clone();
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let steps = move |_: &_| Script(vec![Step::ReadRequest, Step::Wait(opened.clone()), Step::Send(ok.clone())]);
    let shadow = Recorder::answering(steps);
    let gateway = gateway(&main, &of(&shadow), "mirror: { to: shadow, at_once: 2 }");
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.get("/a").text(), "ok");
    }
    until(&gateway, "crowded", 3.0);
    gate.open();
    until(&gateway, "answered", 2.0);
    assert_eq!(client.get("/a").text(), "ok");
    until(&gateway, "answered", 3.0);
}

#[test]
fn a_share_of_the_requests_is_copied() {
    let (main, shadow) = (Recorder::start(), Recorder::start());
    let gateway = gateway(&main, &of(&shadow), "mirror: { to: shadow, share: 50% }");
    let mut client = gateway.client();
    for _ in 0..200 {
        assert_eq!(client.get("/a").text(), "ok");
    }
    // Less than 20 or more than 180 of 200 by chance: once in 10^30 runs.
    gateway.await_metric(&copied("answered"), |count| count >= 20.0);
    assert!(all(&shadow).matches("GET /a").count() <= 180);
}

#[test]
fn a_request_that_is_tried_again_is_copied_once() {
    let main = Recorder::answering(|taken| match taken.number {
        0 => Script(vec![Step::ReadRequest, Step::Reset]),
        _ => Script(vec![Step::Echo]),
    });
    let shadow = Recorder::start();
    let gateway = gateway(&main, &of(&shadow), "mirror: shadow");
    let put = "PUT /a HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(gateway.client().call(put).text(), "hello");
    until(&gateway, "answered", 1.0);
    assert_eq!(all(&main).matches("PUT /a").count(), 2);
    let copy = all(&shadow);
    assert!(copy.matches("PUT /a").count() == 1 && copy.ends_with("\r\n\r\nhello"), "{copy}");
}

#[test]
fn a_body_that_does_not_come_to_its_end_is_not_copied() {
    let early = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly".to_vec();
    let main = Recorder::answering(move |taken| match taken.number {
        0 => Script(vec![Step::ReadRequest, Step::Silence]),
        _ => Script(vec![Step::Send(early.clone()), Step::Close]),
    });
    let shadow = Recorder::start();
    let gateway = gateway(&main, &of(&shadow), "mirror: shadow");
    let begun = "POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 60000\r\n\r\nhel";
    let mut client = gateway.client();
    assert!(client.send(begun));
    main.wait_for("the first bytes", |connections| connections.iter().any(|c| c.bytes.ends_with(b"hel")));
    client.reset();
    until(&gateway, "incomplete", 1.0);
    let mut client = gateway.client();
    assert!(client.send(begun));
    assert_eq!(client.response("POST").unwrap().text(), "early");
    drop(client);
    until(&gateway, "incomplete", 2.0);
    assert!(shadow.recorded().is_empty(), "{}", all(&shadow));
}

#[test]
fn over_http2_it_is_the_same() {
    let (main, shadow) = (Recorder::answering(|_| Script(vec![Step::Echo])), Recorder::start());
    let gateway = gateway(&main, &of(&shadow), "mirror: shadow");
    let mut client = FrameClient::open(gateway.address(), &[]);
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":path", "/a?sig=1"), (":authority", "g"), ("cookie", "s1")];
    assert!(client.send(&Frame::headers(1, false, hpack::block(&fields))));
    assert!(client.send(&Frame::data(1, false, "hel")) && client.send(&Frame::data(1, true, "lo")));
    assert_eq!(client.answer(1).text(), "hello");
    until(&gateway, "answered", 1.0);
    let copy = all(&shadow);
    assert!(copy.starts_with("POST /a HTTP/1.1\r\nHost: g\r\n") && copy.ends_with("\r\n\r\nhello"), "{copy}");
    assert!(copy.contains("Content-Length: 5\r\n") && copy.contains("Via: 2.0 tollgate\r\n") && !copy.contains("s1"));
}

#[test]
fn a_shadow_may_speak_http2() {
    let (main, behind) = (Recorder::start(), Recorder::start());
    let second = Gateway::start(
        TOLLGATE,
        &format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nroutes: {{ /**: \"{}\" }}\n",
            of(&behind)
        ),
        &[],
    );
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         services: {{ shadow: {{ to: \"{}\", protocol: http2 }} }}\n\
         defaults: {{ mirror: shadow }}\n\
         routes: {{ /**: \"{}\", /without: {{ to: \"{}\", mirror: none }}, /itself: shadow }}\n",
        second.address(),
        of(&main),
        of(&main)
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let mut client = gateway.client();
    assert_eq!(client.call(&post("hello")).text(), "ok");
    until(&gateway, "answered", 1.0);
    let copy = all(&behind);
    assert!(copy.starts_with("POST /a HTTP/1.1\r\n") && copy.ends_with("\r\n\r\nhello"), "{copy}");
    // Whose requests go there anyway needs no copy of them.
    assert_eq!((client.get("/without").text().as_str(), client.get("/itself").text().as_str()), ("ok", "ok"));
    assert_eq!(client.get("/a").text(), "ok");
    until(&gateway, "answered", 2.0);
    let copies = all(&behind);
    assert_eq!((copies.matches("/itself").count(), copies.matches("/without").count()), (1, 0), "{copies}");
}

#[test]
fn explain_tells_of_copies_and_check_of_what_is_wrong_with_them() {
    let services = "listen: 8080\nservices: { main: 127.0.0.1:9, shadow: 127.0.0.1:10 }\nroutes:\n  /a: ";
    let cli =
        Cli::with(TOLLGATE, &format!("{services}{{ to: main, mirror: {{ to: shadow, share: 12.5%, body: 1KiB }} }}\n"));
    let told = cli.run(&["explain", "GET", "/a"]).out;
    let copies = "shadow: 12.5% of the requests, without credentials; bodies up to 1KiB; 100 at a time";
    assert!(told.contains(copies), "{told}");
    for (mirror, mistake) in [
        ("shadw", "there is no service `shadw`"),
        ("main", "`main` cannot mirror itself"),
        ("10.0.0.1:80", "`10.0.0.1:80` is no service"),
        ("{ share: 5% }", "`to` is missing here"),
        ("{ to: shadow, at_once: 0 }", "at_once"),
        ("{ to: shadow, credentials: some }", "one of: strip, keep"),
    ] {
        cli.write("tollgate.yaml", &format!("{services}{{ to: main, mirror: {mirror} }}\n"));
        let ran = cli.run(&["check"]);
        assert!(ran.code == 2 && ran.err.contains(mistake), "{mirror}: {}", ran.err);
    }
}
