//! L2: no request is sent twice that must not be: every method, in every state of being sent, with every way to fail.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::collections::HashSet;
use std::sync::Mutex;

use tollgate_testkit::recorder::Taken;
use tollgate_testkit::{Gateway, Recorder, Script, Step};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// RFC 9110 §9.2.2, and some that it does not know.
const METHODS: [(&str, bool); 10] = [
    ("GET", true),
    ("HEAD", true),
    ("OPTIONS", true),
    ("TRACE", true),
    ("PUT", true),
    ("DELETE", true),
    ("POST", false),
    ("PATCH", false),
    ("LOCK", false),
    ("get", false),
];
const FAILURES: [&str; 5] = ["reset", "reset-in-body", "close", "silence", "503"];
const BODIES: [&str; 3] = ["none", "known", "chunked"];

/// Fails the first request of each target as its path says, once that much of it has come.
fn failing() -> Recorder {
    let seen = Mutex::new(HashSet::new());
    Recorder::answering(move |taken: &Taken| {
        if !seen.lock().unwrap().insert(taken.target.clone()) {
            return Script::ok(taken, "well");
        }
        let read = Step::ReadRequest;
        match taken.target.split('/').nth(2).unwrap() {
            "reset" => Script(vec![read, Step::Reset]),
            "reset-in-body" => Script(vec![Step::ReadBody(0), Step::Reset]),
            "close" => Script(vec![read, Step::Close]),
            "silence" => Script(vec![read, Step::Silence]),
            _ => Script::reply("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        }
    })
}

#[test]
fn only_what_does_no_harm_twice_is_sent_twice() {
    let backend = failing();
    let on = "on: [connect, reset, timeout, 503], budget: 100%, min: 1000, backoff: 1ms";
    let (to, try_timeout) = (backend.address(), "try_timeout: 150ms");
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\nservices:\n  \
         plain: {{ to: \"{to}\", {try_timeout}, retry: {{ retries: 3, {on} }} }}\n  \
         keys: {{ to: \"{to}\", {try_timeout}, retry: {{ retries: 3, {on}, idempotency_key: true }} }}\n\
         routes: {{ /plain/**: plain, /keys/**: {{ to: keys, hedge: 100ms }} }}\n"
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let mut asked = Vec::new();
    for (method, is_idempotent) in METHODS {
        for (failure, body) in FAILURES.iter().flat_map(|failure| BODIES.map(|body| (failure, body))) {
            for (service, has_key) in [("plain", false), ("plain", true), ("keys", false), ("keys", true)] {
                if method == "TRACE" && body != "none" {
                    continue;
                }
                let target = format!("/{service}/{failure}/{method}/{body}/{has_key}");
                let key = if has_key { "Idempotency-Key: \"k\"\r\n" } else { "" };
                let rest = match body {
                    "none" => "\r\n",
                    "known" => "Content-Length: 5\r\n\r\nhello",
                    _ => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                };
                let mut client = gateway.client();
                client.send(format!("{method} {target} HTTP/1.1\r\nHost: g\r\n{key}{rest}"));
                let answered = client.response(method).unwrap().status;
                asked.push((target, is_idempotent || (service == "keys" && has_key), body, answered));
            }
        }
    }
    let sent = backend.recorded();
    for (target, is_harmless, body, answered) in asked {
        let line = format!(" {target} HTTP/1.1");
        let times: usize =
            sent.iter().map(|c| c.bytes.windows(line.len()).filter(|w| *w == line.as_bytes()).count()).sum();
        // A body in chunks is gone once any of it was looked at.
        let may_be = is_harmless && body != "chunked";
        assert!(times == 1 || is_harmless, "{target}: sent {times} times, answered {answered}");
        if may_be {
            assert_eq!((times, answered), (2, 200), "{target}");
        }
    }
}
