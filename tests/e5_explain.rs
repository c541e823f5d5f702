//! E5: `explain` says beforehand what the gateway does.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, Ran};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn fine(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

/// Whether the text has these parts, in this order.
fn has_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?} (after the ones before it) in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}

const EXPLAINED: &str = r#"
listen: 18080
routes:
  /orders/{id}: { to: [10.0.0.1:80, 10.0.0.2:80 weight 3], rewrite: "/x/{id}", timeout: 2s }
  GET /orders/**: 10.0.0.3:80
  /orders/{id}/beta: { when: 'header("X-Beta") == "1"', reply: 204 }
"#;

#[test]
fn a_match_is_explained_with_the_runner_up_and_why_it_lost() {
    let cli = Cli::with(TOLLGATE, EXPLAINED);
    let text = fine(cli.run(&["explain", "GET", "http://shop.test/a/../orders/7?x=1"]));
    has_in_order(&text, &["GET", "shop.test", "/orders/{id}", "./tollgate.yaml:4"]);
    has_in_order(&text, &["GET /orders/**", "parameter `{id}` beats `**`"]);
    has_in_order(&text, &["policies", "none"]);
    has_in_order(&text, &["10.0.0.1:80", "10.0.0.2:80", "weight 3"]);
    assert!(text.contains("/x/7") && text.contains("2s") && text.contains("normal"), "{text}");
    let json: Value = serde_json::from_str(&fine(cli.run(&["explain", "GET", "/orders/7", "--json"]))).unwrap();
    assert_eq!((json["method"].as_str(), json["path"].as_str()), (Some("GET"), Some("/orders/7")));
    assert_eq!(json["route"]["name"], "/orders/{id}");
    assert_eq!(json["route"]["place"], "./tollgate.yaml:4:3");
    assert_eq!(json["wins_over"]["route"]["name"], "GET /orders/**");
    assert_eq!(json["action"]["path"], "/x/7");
    let with = fine(cli.run(&["explain", "GET", "/orders/7/beta", "-H", "X-Beta: 1"]));
    has_in_order(&with, &["/orders/{id}/beta", "204"]);
    let without = fine(cli.run(&["explain", "GET", "/orders/7/beta"]));
    has_in_order(&without, &["GET /orders/**", "/orders/{id}/beta", "does not hold"]);
}

#[test]
fn a_404_and_a_405_are_explained_too() {
    let cli = Cli::with(TOLLGATE, EXPLAINED);
    has_in_order(&fine(cli.run(&["explain", "GET", "/nowhere"])), &["/nowhere", "404", "route/not-found"]);
    let refused = fine(cli.run(&["explain", "POST", "/orders/1/2"]));
    has_in_order(&refused, &["405", "route/method-not-allowed"]);
    has_in_order(&refused, &["Allow: GET, HEAD"]);
    has_in_order(&refused, &["GET /orders/**", "takes GET"]);
    let json: Value = serde_json::from_str(&fine(cli.run(&["explain", "GET", "/nowhere", "--json"]))).unwrap();
    assert_eq!((&json["route"], json["answer"]["status"].as_u64()), (&Value::Null, Some(404)));
    let json: Value = serde_json::from_str(&fine(cli.run(&["explain", "POST", "/orders/1/2", "--json"]))).unwrap();
    assert_eq!(
        (json["answer"]["status"].as_u64(), json["answer"]["headers"]["Allow"].as_str()),
        (Some(405), Some("GET, HEAD"))
    );
    let refused = cli.run(&["explain", "GET", "/../x"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    has_in_order(&refused.err, &["400", "above its root"]);
}

#[test]
fn what_explain_says_is_what_the_gateway_does() {
    let names = ["/a/**", "/a/{x}", "GET /a/b", "~/r/[0-9]+", "/c"];
    let mut config = "listen: { \"{{http}}\": http, \"{{health}}\": health }\nroutes:\n".to_owned();
    for (n, name) in names.iter().enumerate() {
        let when = if *name == "/c" { ", when: 'query(\"v\") == \"1\"'" } else { "" };
        config += &format!("  \"{name}\": {{ reply: {{ body: \"{n}\" }}{when} }}\n");
    }
    let gateway = Gateway::start(TOLLGATE, &config, &[]);
    let cli = Cli::new(TOLLGATE);
    let file = gateway.folder().join("tollgate.yaml");
    let mut client = gateway.client();
    for target in ["/a", "/a/b", "/a/c", "/a/b/c", "//a/./%62", "/r/12", "/r/x", "/c?v=1", "/c?v=2", "/c/"] {
        let told = fine(cli.run(&["explain", "GET", target, "--json", "-c", file.to_str().unwrap()]));
        let told: Value = serde_json::from_str(&told).unwrap();
        let done = client.get(target);
        let route = names.iter().position(|name| told["route"]["name"] == **name);
        match route {
            Some(n) => assert_eq!(done.text(), n.to_string(), "{target}: {told}"),
            None => assert_eq!(Some(u64::from(done.status)), told["answer"]["status"].as_u64(), "{target}: {told}"),
        }
    }
}

/// Who is who by its own account: each reply tells which condition held.
const WHO: &str = r#"
listen: { "{{http}}": http, "{{health}}": health }
trust: { proxies: [{{trusted}}], headers: {{headers}} }
routes:
  /who:
    - { when: 'ip_in("192.0.2.0/24")', reply: { body: inside }, priority: 4 }
    - { when: 'header("X-Real-IP") != ""', reply: { body: real }, priority: 3 }
    - { when: 'header("X-Forwarded-Host") == "a"', reply: { body: host }, priority: 2 }
    - { when: 'ip == "127.0.0.1"', reply: { body: here }, priority: 1 }
    - { reply: { body: elsewhere } }
"#;

#[test]
fn whom_the_gateway_believes_explain_believes_too() {
    let requests: [&[&str]; 9] = [
        &[],
        &["X-Forwarded-For: 192.0.2.7"],
        &["x-forwarded-for: 192.0.2.7, 10.1.1.1"],
        &["X-Forwarded-For: 192.0.2.7, 203.0.113.9"],
        &["X-Forwarded-For: 192.0.2.7, nonsense"],
        &["Forwarded: for=\"192.0.2.7:80\";proto=https", "X-Forwarded-For: 203.0.113.9"],
        &["Forwarded: for=unknown", "X-Forwarded-For: 192.0.2.7"],
        &["X-Real-IP: 192.0.2.7"],
        &["X-Forwarded-Host: a"],
    ];
    let mut answers = Vec::new();
    let near = "\"127.0.0.0/8\", 10.0.0.0/8";
    for (trusted, written) in [(near, "x-forwarded"), (near, "forwarded"), ("10.0.0.0/8", "x-forwarded")] {
        let values = [("trusted", trusted.to_owned()), ("headers", written.to_owned())];
        let gateway = Gateway::start(TOLLGATE, WHO, &values);
        let file = gateway.folder().join("tollgate.yaml");
        let (cli, mut client) = (Cli::new(TOLLGATE), gateway.client());
        for headers in requests {
            let mut arguments = vec!["explain", "GET", "/who", "--json", "-c", file.to_str().unwrap()];
            headers.iter().for_each(|header| arguments.extend(["-H", header]));
            let told: Value = serde_json::from_str(&fine(cli.run(&arguments))).unwrap();
            let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            let done = client.call(&format!("GET /who HTTP/1.1\r\nHost: g\r\n{lines}\r\n")).text();
            // The routes in the order of the file: the first is `/who`, the others have a number behind it.
            let routes = [("/who", "inside"), ("/who #2", "real"), ("/who #3", "host"), ("/who #4", "here")];
            let expected = routes.iter().find(|(name, _)| told["route"]["name"] == *name);
            assert_eq!(done, expected.map_or("elsewhere", |(_, body)| body), "{trusted} {headers:?}: {told}");
            answers.push(done);
        }
    }
    let (believed, others) = answers.split_at(requests.len());
    let expected = ["here", "inside", "inside", "elsewhere", "here", "elsewhere", "inside", "here", "host"];
    assert_eq!(believed, expected);
    let (believed, others) = others.split_at(requests.len());
    let expected = ["here", "here", "here", "here", "here", "inside", "here", "here", "here"];
    assert_eq!(believed, expected);
    assert!(others.iter().all(|answer| answer == "here"), "{others:?}");
}

#[test]
fn explain_tells_whom_it_believes_and_what_it_ignores() {
    let config = WHO.replace("\"{{http}}\": http, \"{{health}}\": health", "18080: http");
    let cli = Cli::with(
        TOLLGATE,
        &config.replace("{{trusted}}", "10.0.0.0/8, \"fd00::/8\"").replace("{{headers}}", "x-forwarded"),
    );
    let ask = |from: &str| {
        let header = "X-Forwarded-For: 192.0.2.7";
        fine(cli.run(&["explain", "GET", "/who", "-H", header, "--from", from]))
    };
    for proxy in ["10.1.2.3", "fd00::1"] {
        let told = ask(proxy);
        has_in_order(&told, &["client     192.0.2.7", proxy, "route      /who (", "ip_in", "holds"]);
        assert!(!told.contains("ignored"), "{told}");
    }
    let told = ask("203.0.113.9");
    has_in_order(&told, &["ignored    X-Forwarded-For: 203.0.113.9 is no proxy of `trust`", "route      /who #5 ("]);
    assert!(!told.contains("client "), "{told}");
    has_in_order(&ask("192.0.2.200"), &["ignored", "route      /who ("]);
    assert_eq!(cli.run(&["explain", "GET", "/who", "--from", "nobody"]).code, 2);
}

#[test]
fn the_scheme_of_the_url_is_that_of_the_request() {
    let routes = r#"
listen: 18080
routes:
  /**:
    - { when: 'request.scheme == "https"', to: "shop.internal:8080" }
    - { redirect: "https://{host}/{**}" }
"#;
    let cli = Cli::with(TOLLGATE, routes);
    let told = fine(cli.run(&["explain", "GET", "https://shop.example/a"]));
    has_in_order(&told, &["scheme     https", "route      /** (", "sends to   /**: shop.internal:8080; in turn; Host"]);
    let told = fine(cli.run(&["explain", "GET", "http://shop.example/a"]));
    has_in_order(&told, &["route      /** #2 (", "redirects  308 to https://shop.example/a"]);
    assert!(!told.contains("\nscheme "), "{told}");
}
