//! T5: requests that look as nobody's request here should.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use tollgate_testkit::{Gateway, Recorder};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

#[test]
fn what_a_rule_fits_reaches_no_service_and_our_log_tells_the_rule() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        defaults: { deny: probes }\n\
        apis:\n  shop:\n    routes:\n      /**: { to: \"{{backend}}\", deny: { path: /orders/**, method: DELETE, name: keep } }\n      \
        /looks-on: { to: \"{{backend}}\", deny: { rules: [{ query: '*x=1*' }], shadow: true } }\n      \
        /free/**: { to: \"{{backend}}\", deny: none }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    let status =
        |start: &str, more: &str| gateway.client().call(&format!("{start} HTTP/1.1\r\nHost: g\r\n{more}\r\n")).status;
    for (start, more, expected) in [
        ("GET /orders/1", "", 200),
        ("DELETE /orders/1", "", 403),
        ("GET /.env", "", 403),
        ("GET /a/%2e%65nv/../.env", "", 403),
        ("GET /free/.env", "", 200),
        ("GET /", "User-Agent: sqlmap/1.7\r\n", 403),
        ("GET /", "Referer: ${jndi:ldap://x/a}\r\n", 403),
        ("GET /?f=%2e%2e%2f%2e%2e%2fetc/passwd", "", 403),
        ("GET /looks-on?x=1", "", 200),
    ] {
        assert_eq!(status(start, more), expected, "{start} {more}");
    }
    let seen =
        backend.recorded().iter().map(|c| c.bytes.windows(9).filter(|w| *w == b" HTTP/1.1").count()).sum::<usize>();
    assert_eq!(seen, 3, "what is refused reaches no service");
    let line = gateway.access_line("the rule", |line| line["cause"] == "keep");
    assert_eq!(line["problem"], "deny/matched");
    let _ = gateway.access_line("the set", |line| line["cause"] == "probes (hidden files)");
    gateway.await_metric("tollgate_problems_total{api=\"shop\",slug=\"deny/matched\"}", |count| count == 6.0);
    gateway.await_metric("tollgate_shadowed_total{api=\"shop\",slug=\"deny/matched\"}", |count| count == 1.0);
}
