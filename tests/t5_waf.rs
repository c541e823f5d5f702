//! T5: rules of SecLang, by the Core Rule Set as Debian has it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::fs;

use tollgate_testkit::{Gateway, Recorder, Signal, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

const BROWSER: &str = "Host: shop.example\r\nUser-Agent: Mozilla/5.0 Firefox/130.0\r\nAccept: */*\r\n";

fn body(content_type: &str, body: &str) -> String {
    format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn attacks_reach_no_service_and_what_an_api_does_passes() {
    let backend = Recorder::start();
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        defaults: { waf: crs }\n\
        apis:\n  shop:\n    routes:\n      /**: \"{{backend}}\"\n      \
        /search/**: { to: \"{{backend}}\", waf: { exclude: [{ rule: 942100, argument: q }] } }\n      \
        /looks-on/**: { to: \"{{backend}}\", waf: { shadow: true, body: 1KiB } }\n      \
        /free/**: { to: \"{{backend}}\", waf: none }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("backend", backend.address().to_string())]);
    let json = |text: &str| body("application/json", text);
    let large = |start: &str| format!("{start}&{}", "text=lorem+ipsum+dolor+&".repeat(400));
    let form = "application/x-www-form-urlencoded";
    let multipart =
        "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.php\"\r\n\r\n<?php ?>\r\n--X--\r\n";
    let mut passed = 0;
    for (line, more, expected) in [
        ("GET /?q=red+shoes", "\r\n".to_owned(), 200),
        ("GET /?id=1'%20OR%20'1'='1", "\r\n".to_owned(), 403),
        ("GET /?f=../../../../etc/passwd", "\r\n".to_owned(), 403),
        ("GET /", "Cookie: a=<script>alert(1)</script>\r\n\r\n".to_owned(), 403),
        ("GET /", "X-Test: () { :; }; /bin/bash -c id\r\n\r\n".to_owned(), 403),
        ("PUT /orders/1", json("{\"n\": 1, \"note\": \"please ring the bell\"}"), 200),
        ("DELETE /orders/1", "\r\n".to_owned(), 200),
        ("PATCH /orders/1", body("application/merge-patch+json", "{\"n\": 2}"), 200),
        ("POST /orders", json("{\"a\": {\"b\": \"1' OR '1'='1\"}}"), 403),
        ("POST /orders", json("{\"a\": "), 403),
        ("POST /login", body(form, "user=admin&pass=' OR 1=1--"), 403),
        ("POST /login", body(form, "user=jane.doe%40example.com&pass=Tr0ub4dor%263"), 200),
        ("POST /x", body("text/xml", "<a><b>1' OR '1'='1</b></a>"), 403),
        ("POST /x", body("multipart/form-data; boundary=X", multipart), 403),
        // Beside the worker.
        ("POST /x", body(form, &large("a=1")), 200),
        ("POST /x", body(form, &large("a=1'+OR+'1'='1")), 403),
        ("POST /x", body(form, &"a".repeat(200_000)), 413),
        // What is left out on a route, and who only looks on.
        ("GET /search/a?q=1'%20OR%20'1'='1", "\r\n".to_owned(), 200),
        ("GET /search/a?id=1'%20OR%20'1'='1", "\r\n".to_owned(), 403),
        ("GET /looks-on/a?id=1'%20OR%20'1'='1", "\r\n".to_owned(), 200),
        ("POST /looks-on/b", body(form, &"a".repeat(2000)), 200),
        ("GET /free/a?id=1'%20OR%20'1'='1", "\r\n".to_owned(), 200),
    ] {
        let answer = gateway.client().call(&format!("{line} HTTP/1.1\r\n{BROWSER}{more}"));
        assert_eq!(answer.status, expected, "{line} {more:.200}\n{}", gateway.log());
        passed += usize::from(expected == 200);
    }
    let chunked = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = "5\r\nid=1'\r\nc\r\n OR '1'='1--\r\n0\r\n\r\n";
    assert_eq!(gateway.client().call(&format!("POST /c HTTP/1.1\r\n{BROWSER}{chunked}{chunks}")).status, 403);
    let seen =
        backend.recorded().iter().map(|c| c.bytes.windows(9).filter(|w| *w == b" HTTP/1.1").count()).sum::<usize>();
    assert_eq!(seen, passed, "what is refused reaches no service");
    told(&gateway);
}

/// What the log, the security events and the counters say.
fn told(gateway: &Gateway) {
    let cause = "942100 (ARGS:id); score 5, refused from 5";
    let line = gateway.access_line("the rule", |line| line["cause"] == cause && line["problem"] == "waf/blocked");
    assert_eq!(line["status"].as_u64(), Some(403));
    let shadow = gateway.access_line("the shadow", |line| line["shadow"] == "waf/blocked");
    assert_eq!((shadow["cause"].as_str(), shadow["status"].as_u64()), (Some(cause), Some(200)));
    let _ = gateway
        .access_line("a body that is none", |line| line["cause"].as_str().is_some_and(|c| c.starts_with("200002")));
    assert!(gateway.log().contains(cause), "a security event\n{}", gateway.log());
    gateway.await_metric("tollgate_problems_total{api=\"shop\",slug=\"waf/blocked\"}", |count| count == 12.0);
    gateway.await_metric("tollgate_shadowed_total{api=\"shop\",slug=\"waf/blocked\"}", |count| count == 1.0);
}

#[test]
fn a_broken_file_of_rules_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (config, rules) = (folder.path().join("gateway.yaml"), folder.path().join("own.conf"));
    fs::write(&config, "listen: 8080\nroutes:\n  /**: { reply: 200 ok, waf: { rules: [own.conf] } }\n").unwrap();
    let check = || {
        let output = std::process::Command::new(TOLLGATE).args(["check", "-c"]).arg(&config).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (is_well, told) = check();
    assert!(!is_well && told.contains("there is no such file"), "{told}");
    fs::write(&rules, "SecRule ARGS \\\n  \"@streqs x\" \\\n  \"id:1,phase:2,deny\"\n").unwrap();
    let (is_well, told) = check();
    assert!(!is_well && told.contains("own.conf:2:4: there is no operator `@streqs` here"), "{told}");
    fs::write(&rules, "SecRule ARGS \"@streq x\" \"id:1,phase:2,deny\"\n").unwrap();
    let (is_well, told) = check();
    assert!(is_well, "{told}");
}

#[test]
fn a_reload_reads_the_rules_again_also_if_the_config_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("own.conf");
    let write =
        |word: &str| fs::write(&rules, format!("SecRule ARGS:x \"@streq {word}\" \"id:1,phase:2,deny\"\n")).unwrap();
    write("one");
    let config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\n\
        routes:\n  /**: { reply: 200 ok, waf: { rules: [\"{{rules}}\"] } }\n";
    let gateway = Gateway::start(TOLLGATE, config, &[("rules", rules.display().to_string())]);
    let status = |target: &str| gateway.client().get(target).status;
    assert_eq!((status("/?x=one"), status("/?x=two!!")), (403, 200));
    write("two!!");
    assert_eq!(status("/?x=one"), 403, "nothing changes by itself");
    gateway.signal(Signal::HUP);
    wait_until("the rules are read again", || gateway.revision() == 2);
    assert_eq!((status("/?x=one"), status("/?x=two!!")), (200, 403));
    // What is wrong leaves what there is in force.
    fs::write(&rules, "SecRulez\n").unwrap();
    gateway.signal(Signal::HUP);
    wait_until("it is refused", || gateway.log().contains("own.conf:1:1: there is no directive `SecRulez` here"));
    assert_eq!((status("/?x=one"), status("/?x=two!!"), gateway.revision()), (200, 403, 2));
}
