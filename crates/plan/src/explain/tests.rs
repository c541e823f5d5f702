//! What is told about requests, word for word.

use super::*;
use crate::compile::compile;
use crate::testing::{KINDS, exchange, loaded};

const SHOP: &str = r#"
services:
  orders: { to: [10.0.0.1:8080, 10.0.0.2:8080 weight 3], balance: hash header X-User }
  stock: { to: 10.0.0.3:8080, host: stock.internal, retry: 0 }
defaults: { timeout: 5s, guard: { says: addresses of the house }, tag: { says: marks ROUTE } }
apis:
  shop:
    hosts: [shop.example.com, "*.shop.example.com"]
    routes:
      GET /orders/{id}:
        - to: { orders: 95%, stock: 5% }
          when: ['header("X-Beta") == "1"', 'query("page") != ""']
          rewrite: /internal/{id}
          login: { says: token of idp }
          total: 1m
          body: unlimited
        - { to: orders, retry: 3 }
      POST /orders/{id}: orders
      /orders/**: { reply: { status: 404, body: gone, headers: { X-Why: moved } } }
      /old/**: { redirect: "https://{host}/new/{**}{query}", tag: none, guard: none }
routes:
  /own: { to: [10.0.0.9:80] }
"#;

fn explained(lines: &[&str]) -> Explained {
    let loaded = loaded(SHOP);
    let compiled = compile(
        &loaded.config,
        KINDS,
        &tollgate_core::principal::Sources::default(),
        &tollgate_observe::metrics::Metrics::new(1),
        1,
    )
    .unwrap();
    explain(&loaded.config, &compiled, &exchange(lines))
}

/// Lines as they are shown; the golden texts are indented for the reader.
fn golden(text: &str) -> String {
    text.lines().skip(1).map(|line| format!("{}\n", line.trim_end().strip_prefix("        ").unwrap_or(line))).collect()
}

macro_rules! shows {
    ($lines:expr, $text:literal) => {
        assert_eq!(explained(&$lines).to_string(), golden($text).trim_end_matches("    \n"));
    };
}

#[test]
fn a_request_that_is_sent_on() {
    shows!(
        ["GET //orders/%37?page=2", "Host: Shop.Example.com:8080", "X-Beta: 1"],
        "
        request    GET //orders/%37?page=2
        path       /orders/7 (normalised)
        host       shop.example.com (from Shop.Example.com:8080)
        route      shop: GET /orders/{id} (t.yaml:12:11)
                   wins over shop: GET /orders/{id} #2 (t.yaml:18:11): more conditions: 2 beat 0
        when       header(\"X-Beta\") == \"1\": holds
                   query(\"page\") != \"\": holds
        policies   1. guard (edge): addresses of the house
                   2. login (authenticate): token of idp
                   3. tag (transform): marks shop: GET /orders/{id}
        sends to   orders, 95% of the requests: 10.0.0.1:8080, 10.0.0.2:8080 weight 3; by a hash of the header X-User; Host: Shop.Example.com:8080; retries: 1
                   stock, 5% of the requests: 10.0.0.3:8080; Host: stock.internal; retries: 0
        as path    /internal/7
        timeout    5s to the head of the answer, 60s between bytes, 60s in all
        body       any size
        not        shop: POST /orders/{id} (t.yaml:19:7): it takes POST
    "
    );
}

#[test]
fn a_condition_that_does_not_hold() {
    shows!(
        ["GET /orders/7", "Host: a.shop.example.com", "X-Beta: 1"],
        "
        request    GET /orders/7
        host       a.shop.example.com
        route      shop: GET /orders/{id} #2 (t.yaml:18:11)
                   wins over shop: /orders/** (t.yaml:20:7): parameter `{id}` beats `**`
        policies   1. guard (edge): addresses of the house
                   2. tag (transform): marks shop: GET /orders/{id} #2
        sends to   orders: 10.0.0.1:8080, 10.0.0.2:8080 weight 3; by a hash of the header X-User; Host: a.shop.example.com; retries: 3
        as path    /orders/7
        timeout    5s to the head of the answer, 60s between bytes
        body       at most 10MB
        not        shop: GET /orders/{id} (t.yaml:12:11): this does not hold: query(\"page\") != \"\"
                   shop: POST /orders/{id} (t.yaml:19:7): it takes POST
    "
    );
}

#[test]
fn answers_of_the_gateways_own() {
    shows!(
        ["GET /old/a?b", "Host: shop.example.com"],
        "
        request    GET /old/a?b
        host       shop.example.com
        route      shop: /old/** (t.yaml:21:7)
        policies   none
        redirects  308 to https://shop.example.com/new/a?b
        body       at most 10MB
    "
    );
    shows!(
        ["OPTIONS /orders/a/b", "Host: shop.example.com", "Origin: https://a", "Access-Control-Request-Method: PUT"],
        "
        request    OPTIONS /orders/a/b
        host       shop.example.com
        preflight  matched by the method it asks for: PUT
        route      shop: /orders/** (t.yaml:20:7)
        policies   1. guard (edge): addresses of the house
                   2. tag (transform): marks shop: /orders/**
        answers    404 with a body of 4 bytes
                   Content-Type: text/plain; charset=utf-8
                   X-Why: moved
        body       at most 10MB
    "
    );
    shows!(
        ["OPTIONS *", "Host: shop.example.com"],
        "
        request    OPTIONS *
        host       shop.example.com
        route      OPTIONS *
        policies   none
        answers    204 with a body of 0 bytes
        body       at most 1MiB
    "
    );
}

#[test]
fn a_request_that_no_route_takes() {
    shows!(
        ["GET /old/", "Host: shop.example"],
        "
        request    GET /old/
        host       shop.example
        route      none
        answer     404 route/not-found: no route for shop.example/old/
        not        shop: /old/** (t.yaml:21:7): the host would have to be shop.example.com
    "
    );
    shows!(
        ["GET /own/"],
        "
        request    GET /own/
        host       none was sent
        route      none
        answer     404 route/not-found: no route for /own/
        not        /own (t.yaml:23:3): the path would have to be /own
    "
    );
}

#[test]
fn who_asks_is_told_where_it_is_not_who_connects() {
    let loaded = loaded(SHOP);
    let compiled = compile(
        &loaded.config,
        KINDS,
        &tollgate_core::principal::Sources::default(),
        &tollgate_observe::metrics::Metrics::new(1),
        1,
    )
    .unwrap();
    let mut x = exchange(&["GET /own", "Host: h", "x-forwarded-for: 192.0.2.7", "X-Real-IP: 192.0.2.8", "X-Beta: 1"]);
    x.head.fields.drop_received(|field, _| field.known.tells_of_client());
    let told = explain(&loaded.config, &compiled, &x);
    let text = told.to_string();
    assert!(
        text.contains("\nignored    x-forwarded-for, X-Real-IP: 127.0.0.1 is no proxy of `trust`\nroute"),
        "{text}"
    );
    let json = told.to_json();
    assert_eq!((&json["client"], &json["ignored"][1]), (&"127.0.0.1".into(), &"X-Real-IP".into()));
    let mut x = exchange(&["GET /own", "Host: h", "Forwarded: for=192.0.2.9", "X_Real_IP: 192.0.2.9"]);
    (x.peer, x.client) = (Peer::Proxy, "192.0.2.7".parse().unwrap());
    x.head.fields.drop_received(|_, name| name != b"Host");
    let text = explain(&loaded.config, &compiled, &x).to_string();
    let expected = "(so says 127.0.0.1, a proxy of `trust`)\n\
                    ignored    Forwarded: not what `trust.headers` says that 127.0.0.1 writes\n\
                    \u{20}          X_Real_IP: some services read `_` as `-`\nroute";
    assert!(text.contains(expected), "{text}");
    let mut x = exchange(&["GET /own", "Host: h", "X-Forwarded-For: 192.0.2.7"]);
    (x.peer, x.client) = (Peer::Proxy, "192.0.2.7".parse().unwrap());
    let told = explain(&loaded.config, &compiled, &x);
    let text = told.to_string();
    assert!(text.contains("\nclient     192.0.2.7 (so says 127.0.0.1, a proxy of `trust`)\nroute"), "{text}");
    let json = told.to_json();
    assert_eq!((&json["client"], &json["peer"]), (&"192.0.2.7".into(), &"127.0.0.1".into()));
    assert_eq!(json["ignored"].as_array().map(Vec::len), Some(0));
}

#[test]
fn json_says_the_same() {
    let told = explained(&["GET //orders/%37?page=2", "Host: shop.example.com", "X-Beta: 1"]).to_json();
    assert_eq!((&told["path"], &told["normalised"]), (&"/orders/7".into(), &true.into()));
    assert_eq!(told["route"]["place"], "t.yaml:12:11");
    assert_eq!(told["wins_over"]["because"], "more conditions: 2 beat 0");
    assert_eq!(told["conditions"][1]["holds"], true);
    assert_eq!(told["policies"][1]["stage"], "authenticate");
    let services = &told["action"]["services"];
    assert_eq!((&services[1]["share"], &services[1]["host"]), (&"5%".into(), &"stock.internal".into()));
    assert_eq!((&told["action"]["path"], &told["body"]), (&"/internal/7".into(), &serde_json::Value::Null));
    assert_eq!(told["not"][0]["because"], "it takes POST");
    let told = explained(&["PUT /own/", "Host: a"]).to_json();
    assert_eq!((&told["answer"]["status"], &told["route"]), (&404.into(), &serde_json::Value::Null));
}

#[test]
fn a_wrong_method_is_told_with_those_that_are_right() {
    let told = explained(&["DELETE /orders/1", "Host: other"]).to_string();
    assert!(told.contains("404") && told.contains("shop.example.com"), "{told}");
    let text = "routes:\n  GET /a: { reply: 204 }\n  PUT /a: { reply: 204 }\n";
    let loaded = loaded(text);
    let compiled = compile(
        &loaded.config,
        KINDS,
        &tollgate_core::principal::Sources::default(),
        &tollgate_observe::metrics::Metrics::new(1),
        1,
    )
    .unwrap();
    let told = explain(&loaded.config, &compiled, &exchange(&["POST /a", "Host: h"])).to_string();
    let expected = "
        request    POST /a
        host       h
        route      none
        answer     405 route/method-not-allowed: POST is not taken here
                   Allow: GET, HEAD, PUT
        not        GET /a (t.yaml:3:3): it takes GET, HEAD
                   PUT /a (t.yaml:4:3): it takes PUT
    ";
    assert_eq!(told, golden(expected).trim_end_matches("    \n"));
}
