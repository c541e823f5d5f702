//! S9: others ask the gateway whether a caller may pass: nginx before it lets a request through, and services about a token.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::net::SocketAddr;

use serde_json::Value;
use tollgate_testkit::{Cli, Gateway, Peer, Provider, RawClient, Recorder, Response, free_port, verify, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

fn gateway(provider: &Provider) -> Gateway {
    let issuer = provider.issuer();
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         auth:\n  idp: {{ issuer: \"{issuer}\", audience: shop }}\n  \
         opaque: {{ issuer: \"{issuer}\", audience: shop, introspection: {{ client: shop, secret: \"${{env:SECRET}}\" }} }}\n\
         issuer: {{ url: \"https://api.example\" }}\n\
         routes:\n  /check/**: {{ serve: check, auth: idp or opaque, allow: [orders.read], backend_token: {{ send: mint, audience: app, headers: {{ X-Who: principal }} }} }}\n  \
         /introspect: {{ serve: introspect, auth: idp or opaque, allow: [orders.write] }}\n  \
         /jwks: {{ serve: jwks }}\n"
    );
    Gateway::start_with(TOLLGATE, &config, &[], &[("SECRET", "shop-secret")])
}

/// nginx in front of an app, which asks the gateway first.
fn nginx(gateway: &Gateway, app: &Recorder) -> (Peer, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let nginx = Peer::nginx(&format!(
        "server {{ listen {address};\n\
           location / {{ auth_request /gate; auth_request_set $token $upstream_http_authorization;\n\
             auth_request_set $who $upstream_http_x_who; proxy_set_header Authorization $token; proxy_set_header X-Who $who;\n\
             proxy_pass http://{}; }}\n\
           location = /gate {{ internal; proxy_pass http://{}/check$request_uri; proxy_pass_request_body off;\n\
             proxy_set_header Content-Length \"\"; proxy_set_header X-Original-Method $request_method; }}\n\
         }}",
        app.address(),
        gateway.address()
    ));
    wait_until("nginx listens", || RawClient::is_accepted(address));
    (nginx, address)
}

fn ask(at: SocketAddr, request: &str, token: &str) -> Response {
    RawClient::connect(at).call(&format!("{request} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"))
}

#[test]
fn nginx_lets_through_whom_the_gateway_lets_through() {
    let (provider, app) = (Provider::start(), Recorder::start());
    let gateway = gateway(&provider);
    let (_nginx, at) = nginx(&gateway, &app);
    for kind in ["ES256", "opaque"] {
        let token = provider.token("shop", "orders.read", kind);
        assert_eq!(ask(at, "GET /orders/1?a=b", &token).status, 200, "{kind}");
        let taken = app.take();
        let head = String::from_utf8(taken.last().unwrap().bytes.clone()).unwrap();
        assert!(
            head.starts_with("GET /orders/1?a=b ") && head.contains("X-Who: shop") && !head.contains(&token),
            "{head}"
        );
        let minted = head.split("Authorization: Bearer ").nth(1).unwrap().lines().next().unwrap().to_owned();
        let jwks = format!("http://{}/jwks", gateway.address());
        assert_eq!(verify(&minted, &jwks, "https://api.example", "app").unwrap()["claims"]["sub"], "shop");
    }
    assert_eq!(RawClient::connect(at).get("/orders/1").status, 401);
    assert_eq!(ask(at, "GET /orders/1", "never-given-out").status, 401);
    assert_eq!(ask(at, "GET /orders/1", &provider.token("shop", "orders.write", "ES256")).status, 403);
    // What ended since the last look is told, too.
    assert!(app.take().iter().all(|c| c.bytes.is_empty()), "nobody else reached the app");
}

#[test]
fn whoever_asks_directly_is_told_of_the_caller() {
    let provider = Provider::start();
    let gateway = gateway(&provider);
    let yes = ask(gateway.address(), "GET /check/x", &provider.token("shop", "orders.read", "ES256"));
    assert_eq!((yes.status, yes.one("x-auth-request-user").as_deref()), (200, Some("shop")));
    assert_eq!(yes.one("x-auth-request-scopes").as_deref(), Some("orders.read"));
    assert_eq!(yes.one("cache-control").as_deref(), Some("no-store"));
    let no = gateway.client().get("/check/x");
    assert_eq!(no.one("www-authenticate").as_deref(), Some("Bearer realm=\"idp\", Bearer realm=\"opaque\""));
}

#[test]
fn services_ask_about_a_token() {
    let provider = Provider::start();
    let gateway = gateway(&provider);
    let own = provider.token("shop", "orders.write", "ES256");
    let about = |token: &str, by: &str| {
        let form = format!("token={token}&token_type_hint=access_token");
        let mut client = gateway.client();
        client.send(format!(
            "POST /introspect HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {by}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        ));
        client.response("POST").unwrap()
    };
    for kind in ["ES256", "opaque"] {
        let said: Value =
            serde_json::from_str(&about(&provider.token("shop", "orders.read", kind), &own).text()).unwrap();
        assert_eq!(
            (&said["active"], &said["sub"], &said["scope"]),
            (&true.into(), &"shop".into(), &"orders.read".into()),
            "{said}"
        );
        assert!(said["exp"].is_u64(), "{said}");
    }
    for token in [
        "never-given-out",
        &provider.token("other", "orders.read", "ES256"),
        &provider.token("other", "orders.read", "opaque"),
    ] {
        assert_eq!(about(token, &own).text().trim(), "{\"active\":false}", "{token}");
    }
    // Not for everybody: whoever may ask can try tokens.
    assert_eq!(about(&own, &provider.token("shop", "orders.read", "ES256")).status, 403);
    let bare = gateway.client().call("POST /introspect HTTP/1.1\r\nHost: g\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(bare.status, 401);
    let empty = gateway.client().call(&format!(
        "POST /introspect HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {own}\r\nContent-Length: 0\r\n\r\n"
    ));
    assert_eq!(empty.status, 400);
    let get = ask(gateway.address(), "GET /introspect", &own);
    assert_eq!((get.status, get.one("allow").as_deref()), (405, Some("POST")));
}

#[test]
fn nobody_is_told_without_saying_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.yaml");
    for word in ["check", "introspect"] {
        std::fs::write(&file, format!("listen: 8080\nroutes: {{ /x: {{ serve: {word} }} }}\n")).unwrap();
        let ran = Cli::new(TOLLGATE).run(&["check", "-c", file.to_str().unwrap()]);
        assert!(ran.code == 2 && ran.err.contains("without `auth` tells everybody"), "{}", ran.err);
    }
}
