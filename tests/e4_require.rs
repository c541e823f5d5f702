//! E4: what a house asks of all its APIs at once, with the exceptions that it names.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::process::Command;

use serde_json::Value;
use tollgate_testkit::http2::{Frame, FrameClient, hpack};
use tollgate_testkit::{Authority, Gateway, Response};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
const CONFIG: &str = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nworkers: 1\n\
    trust: { proxies: [127.0.0.1] }\n\
    defaults:\n  require:\n    tls: required\n    headers: X-Correlation-ID\n    length: required\n\
    \x20   at_most: { target: 100B, fields: 10 }\n    except: [/health/**, GET /public/**, 'ip == \"192.0.2.7\"']\n\
    apis:\n  shop: { routes: { /**: { reply: 200 ok }, /orders: { reply: 201, require: X-Tenant } } }\n\
    \x20 open: { hosts: [open.example], defaults: { require: none }, routes: { /**: { reply: 200 open } } }\n";

fn ask(gateway: &Gateway, request: &str) -> Response {
    gateway.client().call(&format!("{request}\r\n\r\n"))
}

fn slug(answer: &Response) -> String {
    let problem: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
    let slug = problem["type"].as_str().unwrap_or_default().trim_start_matches("urn:tollgate:problem:").to_owned();
    format!("{} {slug}", answer.status)
}

#[test]
fn all_apis_ask_for_the_same_and_exceptions_have_names() {
    let gateway = Gateway::start(TOLLGATE, CONFIG, &[]);
    let secure = "X-Forwarded-Proto: https\r\nX-Correlation-ID: a";
    let long = "x".repeat(100);
    for (request, answer) in [
        (format!("GET / HTTP/1.1\r\nHost: g\r\n{secure}"), "200 "),
        ("GET / HTTP/1.1\r\nHost: g\r\nX-Correlation-ID: a".to_owned(), "403 require/tls"),
        ("GET / HTTP/1.1\r\nHost: g\r\nX-Forwarded-Proto: http\r\nX-Correlation-ID: a".to_owned(), "403 require/tls"),
        ("GET / HTTP/1.1\r\nHost: g\r\nX-Forwarded-Proto: https".to_owned(), "400 require/header"),
        (format!("GET /orders HTTP/1.1\r\nHost: g\r\n{secure}"), "400 require/header"),
        (format!("GET /orders HTTP/1.1\r\nHost: g\r\n{secure}\r\nX-Tenant: a"), "201 "),
        (format!("GET /{long} HTTP/1.1\r\nHost: g\r\n{secure}"), "414 require/target"),
        (format!("GET /a?{long} HTTP/1.1\r\nHost: g\r\n{secure}"), "414 require/target"),
        (format!("GET / HTTP/1.1\r\nHost: g\r\n{secure}{}", "\r\nX-A: b".repeat(8)), "431 require/head"),
        (
            format!("POST / HTTP/1.1\r\nHost: g\r\n{secure}\r\nTransfer-Encoding: chunked\r\n\r\n0"),
            "411 require/length",
        ),
        ("GET /health/live HTTP/1.1\r\nHost: g".to_owned(), "200 "),
        ("GET /public/a HTTP/1.1\r\nHost: g".to_owned(), "200 "),
        ("DELETE /public/a HTTP/1.1\r\nHost: g".to_owned(), "403 require/tls"),
        ("GET /x/../health/live HTTP/1.1\r\nHost: g".to_owned(), "200 "),
        ("GET /health/../orders HTTP/1.1\r\nHost: g".to_owned(), "403 require/tls"),
        ("GET / HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: 192.0.2.7".to_owned(), "200 "),
        ("GET / HTTP/1.1\r\nHost: open.example".to_owned(), "200 "),
    ] {
        assert_eq!(slug(&ask(&gateway, &request)), answer, "{request}");
    }
    gateway.await_metric("tollgate_problems_total{api=\"shop\",slug=\"require/tls\"}", |count| count == 4.0);
}

#[test]
fn http2_is_asked_for_the_same() {
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        routes: { /**: { reply: 200, require: { length: required, at_most: { target: 20B, fields: 3 } } } }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[]);
    let mut client = FrameClient::open(gateway.address(), &[]);
    client.get(1, "/");
    assert_eq!(client.answer(1).status, 200);
    client.get(3, "/a-target-that-is-too-long");
    assert_eq!(client.answer(3).status, 414);
    client.send(&Frame::headers(5, false, hpack::request("POST", "/")));
    client.send(&Frame::data(5, true, b"abc"));
    assert_eq!(client.answer(5).status, 411);
}

#[test]
fn a_version_of_tls_is_that_of_who_speaks_it_with_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test CA");
    let (cert, key) = authority.server(&["shop.example"]).write(folder.path(), "shop");
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": {{ tls: {{ cert: {}, key: {} }} }}, \"{{{{health}}}}\": health }}\n\
         routes: {{ /any: {{ reply: 200, require: {{ tls: required }} }}, /new: {{ reply: 200, require: {{ tls: 1.3 }} }} }}\n",
        cert.display(),
        key.display()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let curl = |path: &str, most: &str| {
        let url = format!("https://{}{path}", gateway.address());
        let ran = Command::new("curl")
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--tls-max", most, &url])
            .output()
            .expect("curl");
        String::from_utf8(ran.stdout).unwrap()
    };
    assert_eq!(
        [curl("/any", "1.2"), curl("/any", "1.3"), curl("/new", "1.3"), curl("/new", "1.2")],
        ["200", "200", "200", "403"]
    );
    let line = gateway.access_line("who was refused", |line| line["problem"] == "require/tls");
    assert_eq!(line["cause"], "by TLSv1.2");
}

#[test]
fn a_shadow_refuses_nobody_and_is_counted() {
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        routes: { /**: { reply: 200, require: { tls: required, shadow: true } } }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[]);
    assert_eq!(gateway.client().get("/").status, 200);
    gateway.await_metric("tollgate_shadowed_total{api=\"\",slug=\"require/tls\"}", |count| count == 1.0);
}
