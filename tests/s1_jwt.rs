//! S1: tokens (JWT) of an OpenID provider: a certified one, which also makes tokens for these tests that none would give out.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::time::SystemTime;

use serde_json::{Value, json};
use tollgate_core::clock::Clock;
use tollgate_testkit::{Gateway, Provider, RawClient, Recorder, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

struct Bench {
    provider: Provider,
    backend: Recorder,
    gateway: Gateway,
}

fn config(provider: &Provider, more: &str, routes: &str) -> String {
    format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         auth: {{ idp: {{ issuer: \"{}\", audience: orders{more} }} }}\n\
         routes: {{ {routes} }}\n",
        provider.issuer()
    )
}

const ROUTES: &str = "/open: { to: \"{{backend}}\" }, /orders/**: { to: \"{{backend}}\", auth: idp }, \
    /write: { to: \"{{backend}}\", auth: idp, allow: [orders.write] }, \
    /mine: { to: \"{{backend}}\", auth: idp, allow: 'claims.sub == query(\"user\") && consumer == \"shop\"' }";

impl Bench {
    /// `more`: further settings of the source of identity.
    fn new(more: &str) -> Self {
        let (provider, backend) = (Provider::start(), Recorder::start());
        let values = [("backend", backend.address().to_string())];
        let gateway = Gateway::start(TOLLGATE, &config(&provider, more, ROUTES), &values);
        Self { provider, backend, gateway }
    }

    fn ask(&self, target: &str, token: &str) -> Response {
        ask(&mut self.gateway.client(), target, token)
    }

    /// What becomes of a token with these claims beside the usual ones, and this header beside its algorithm.
    fn made(&self, header: Value, claims: Value) -> String {
        self.made_by(header, claims, "")
    }

    fn made_by(&self, header: Value, claims: Value, by: &str) -> String {
        let all = merged(json!({ "alg": "ES256", "typ": "at+jwt" }), header);
        let usual = json!({
            "iss": self.provider.issuer(), "aud": "orders", "sub": "alice", "exp": now() + 60, "iat": now()
        });
        slug(&self.ask("/orders/1", &self.provider.signed(&all, &merged(usual, claims), by)))
    }
}

fn merged(mut all: Value, more: Value) -> Value {
    if more.is_string() {
        return more;
    }
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn now() -> u64 {
    Clock::real().unix().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

fn ask(client: &mut RawClient, target: &str, token: &str) -> Response {
    client.call(&format!("GET {target} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"))
}

/// What a problem is about; `ok` if it is none.
fn slug(response: &Response) -> String {
    if response.status == 200 {
        return "ok".to_owned();
    }
    let problem: Value = serde_json::from_str(&response.text()).unwrap();
    problem["type"].as_str().unwrap().strip_prefix("urn:tollgate:problem:").unwrap().to_owned()
}

#[test]
fn tokens_of_every_algorithm_are_taken_and_reach_the_service() {
    let bench = Bench::new("");
    for algorithm in ["ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"] {
        let token = bench.provider.token("orders", "orders.read", algorithm);
        for _ in 0..2 {
            assert_eq!(bench.ask("/orders/1", &token).status, 200, "{algorithm}");
        }
    }
    assert_eq!(bench.provider.asked("/jwks"), 1, "its keys are read once");
}

#[test]
fn without_a_token_the_challenge_says_how() {
    let bench = Bench::new("");
    let mut client = bench.gateway.client();
    let refused = client.get("/orders/1");
    assert_eq!((refused.status, slug(&refused).as_str()), (401, "auth/missing"));
    assert_eq!(refused.one("www-authenticate").as_deref(), Some("Bearer realm=\"idp\""));
    let basic = client.call("GET /orders/1 HTTP/1.1\r\nHost: g\r\nAuthorization: Basic YTpi\r\n\r\n");
    assert_eq!(slug(&basic), "auth/missing");
    assert_eq!(client.get("/open").status, 200);
    let opaque = ask(&mut client, "/orders/1", "pZLkAV0-aHa1tf41KZlULIXs3cdxddQoULrKfXyQlu5");
    assert_eq!((opaque.status, slug(&opaque).as_str()), (401, "jwt/malformed"));
    let challenge = opaque.one("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    let token = bench.provider.token("orders", "orders.read", "ES256");
    let twice = format!("Authorization: Bearer {token}\r\n").repeat(2);
    let twice = client.call(&format!("GET /orders/1 HTTP/1.1\r\nHost: g\r\n{twice}\r\n"));
    assert_eq!((twice.status, slug(&twice).as_str()), (400, "bearer/malformed"));
    // By header only: a token in a query ends up in logs.
    assert_eq!(slug(&client.get(&format!("/orders/1?access_token={token}"))), "auth/missing");
}

#[test]
fn what_the_caller_may_do_is_said_by_scopes_and_conditions() {
    let bench = Bench::new("");
    let reads = bench.provider.token("orders", "orders.read", "ES256");
    let writes = bench.provider.token("orders", "orders.read orders.write", "ES256");
    let refused = bench.ask("/write", &reads);
    assert_eq!((refused.status, slug(&refused).as_str()), (403, "allow/scope"));
    let challenge = refused.one("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"idp\", error=\"insufficient_scope\", scope=\"orders.write\"");
    assert_eq!(bench.ask("/write", &writes).status, 200);
    // Of a client by its own credentials, the subject is the client.
    assert_eq!(bench.ask("/mine?user=shop", &reads).status, 200);
    let refused = bench.ask("/mine?user=alice", &reads);
    assert_eq!((refused.status, slug(&refused).as_str()), (403, "allow/denied"));
}

#[test]
fn a_new_key_is_found_at_once_and_one_that_is_gone_is_not_believed() {
    let bench = Bench::new(", refresh: 1h");
    let first = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(bench.ask("/orders/1", &first).status, 200);
    bench.provider.rotate(false);
    let second = bench.provider.token("orders", "orders.read", "ES256");
    // Not asked for more often than every five seconds.
    wait_until("the new key is found", || bench.ask("/orders/1", &second).status == 200);
    assert_eq!(bench.ask("/orders/1", &first).status, 200, "the old one is published on");
    bench.provider.rotate(true);
    let third = bench.provider.token("orders", "orders.read", "ES256");
    wait_until("the third key is found", || bench.ask("/orders/1", &third).status == 200);
    // It was remembered, and is no more.
    assert_eq!(slug(&bench.ask("/orders/1", &first)), "jwt/unknown-key");
    assert!(bench.provider.asked("/jwks") <= 4, "{} times", bench.provider.asked("/jwks"));
}

#[test]
fn while_the_provider_is_down_known_keys_serve_on_and_what_cannot_be_told_is_our_fault() {
    let mut bench = Bench::new(", timeout: 500ms");
    let known = bench.provider.token("orders", "orders.read", "ES256");
    let later = bench.provider.token("orders", "orders.write", "RS256");
    assert_eq!(bench.ask("/orders/1", &known).status, 200);
    bench.provider.rotate(true);
    let unknown = bench.provider.token("orders", "orders.read", "ES256");
    bench.provider.stop();
    assert_eq!(bench.ask("/orders/1", &known).status, 200);
    assert_eq!(bench.ask("/orders/1", &later).status, 200, "its key is known");
    // Whether that key exists, only the provider could tell.
    wait_until("the provider is found to be down", || {
        slug(&bench.ask("/orders/1", &unknown)) == "jwt/keys-unavailable"
    });
    let refused = bench.ask("/orders/1", &unknown);
    assert_eq!((refused.status, refused.one("retry-after").as_deref()), (503, Some("5")));
    assert_eq!(bench.ask("/orders/1", &known).status, 200);
}

#[test]
fn a_gateway_starts_without_its_provider_and_heals() {
    let (mut provider, backend) = (Provider::start(), Recorder::start());
    let token = provider.token("orders", "orders.read", "ES256");
    provider.stop();
    let values = [("backend", backend.address().to_string())];
    let gateway = Gateway::start(TOLLGATE, &config(&provider, ", timeout: 500ms", ROUTES), &values);
    let mut client = gateway.client();
    let refused = ask(&mut client, "/orders/1", &token);
    assert_eq!((refused.status, slug(&refused).as_str()), (503, "jwt/keys-unavailable"));
    assert!(refused.one("www-authenticate").is_none(), "the client is not to blame");
    assert_eq!(client.get("/open").status, 200, "other routes are not harmed");
    wait_until("the log tells", || gateway.log().contains("the keys of an identity provider cannot be read"));
    provider.again();
    let token = provider.token("orders", "orders.read", "ES256");
    wait_until("it heals", || ask(&mut client, "/orders/1", &token).status == 200);
}

#[test]
fn a_provider_that_hangs_holds_up_only_whoever_needs_it() {
    let bench = Bench::new(", timeout: 1s");
    let known = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(bench.ask("/orders/1", &known).status, 200);
    bench.provider.rotate(false);
    let unknown = bench.provider.token("orders", "orders.read", "ES256");
    wait_until("it may be asked again", || {
        bench.provider.stands_still(true);
        let slug = slug(&bench.ask("/orders/1", &unknown));
        bench.provider.stands_still(false);
        slug == "jwt/keys-unavailable"
    });
    assert_eq!(bench.ask("/orders/1", &known).status, 200);
    wait_until("it heals", || bench.ask("/orders/1", &unknown).status == 200);
}

#[test]
fn a_reload_keeps_keys_and_what_was_checked() {
    let bench = Bench::new("");
    let token = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(bench.ask("/orders/1", &token).status, 200);
    let values = [("backend", bench.backend.address().to_string())];
    bench
        .gateway
        .reload(&config(&bench.provider, "", "/orders/**: { to: \"{{backend}}\", auth: idp, timeout: 9s }"), &values);
    bench.provider.stands_still(true);
    assert_eq!(bench.ask("/orders/1", &token).status, 200);
    bench.provider.stands_still(false);
    assert_eq!(bench.provider.asked("/jwks"), 1);
    // For others, it is another source.
    bench.gateway.reload(&config(&bench.provider, ", algorithms: [RS256]", ROUTES), &values);
    assert_eq!(slug(&bench.ask("/orders/1", &token)), "jwt/algorithm");
}

#[test]
fn keys_may_come_from_a_file_or_a_url() {
    let (provider, backend) = (Provider::start(), Recorder::start());
    let values = [("backend", backend.address().to_string())];
    let url = format!(", jwks: \"{}/jwks\"", provider.issuer());
    let gateway = Gateway::start(TOLLGATE, &config(&provider, &url, ROUTES), &values);
    let token = provider.token("orders", "orders.read", "ES256");
    assert_eq!(ask(&mut gateway.client(), "/orders/1", &token).status, 200);
    let address = provider.issuer().strip_prefix("http://").unwrap().parse().unwrap();
    let file = gateway.folder().join("keys.json");
    std::fs::write(&file, RawClient::connect(address).get("/jwks").text()).unwrap();
    gateway.reload(&config(&provider, ", jwks: ./keys.json", ROUTES), &values);
    assert_eq!(ask(&mut gateway.client(), "/orders/1", &token).status, 200);
    // One that goes bad later keeps the last good ones.
    std::fs::write(&file, "{}").unwrap();
    wait_until("the log tells", || gateway.log().contains("it has no `keys`"));
    let other = provider.token("orders", "orders.write", "ES256");
    assert_eq!(ask(&mut gateway.client(), "/orders/1", &other).status, 200);
    std::fs::remove_file(&file).unwrap();
}

/// What no provider would give out, but somebody may send: each is refused, and for its own reason.
#[test]
fn forged_and_misused_tokens_are_refused() {
    let bench = Bench::new(", type: at+jwt");
    let none = || json!({});
    assert_eq!(bench.made(none(), none()), "ok");
    for (header, claims, by, slug) in [
        // Signatures.
        (json!({ "alg": "none" }), none(), "none", "jwt/algorithm"),
        (json!({ "alg": "nOnE" }), none(), "none", "jwt/algorithm"),
        (json!({ "alg": "HS256" }), none(), "public", "jwt/algorithm"),
        (none(), none(), "none", "jwt/signature"),
        (none(), none(), "stranger", "jwt/signature"),
        (json!({ "alg": "RS256" }), none(), "stranger", "jwt/signature"),
        (json!({ "alg": "RS256" }), none(), "public", "jwt/signature"),
        // Keys: a name that leads elsewhere, one of another kind, one that the token brings.
        (json!({ "kid": "../../../../etc/passwd" }), none(), "", "jwt/unknown-key"),
        (json!({ "kid": "' OR 1=1 --" }), none(), "", "jwt/unknown-key"),
        (json!({ "kid": "http://evil.example/k" }), none(), "", "jwt/unknown-key"),
        (json!({ "kid": 7 }), none(), "", "jwt/malformed"),
        (json!({ "jwk": { "kty": "oct", "k": "AAAA" } }), none(), "", "jwt/header"),
        (json!({ "jku": "http://evil.example/jwks" }), none(), "", "jwt/header"),
        (json!({ "x5u": "http://evil.example/cert" }), none(), "", "jwt/header"),
        (json!({ "crit": ["exp"] }), none(), "", "jwt/header"),
        (json!({ "crit": ["b64"], "b64": false }), none(), "", "jwt/header"),
        // Types.
        (json!({ "typ": "JWT" }), none(), "", "jwt/type"),
        (json!({ "typ": "logout+jwt" }), none(), "", "jwt/type"),
        // Claims.
        (none(), json!({ "iss": "http://evil.example" }), "", "jwt/issuer"),
        (none(), json!({ "iss": format!("{}/", bench.provider.issuer()) }), "", "jwt/issuer"),
        (none(), json!({ "iss": [bench.provider.issuer()] }), "", "jwt/issuer"),
        (none(), json!({ "aud": "stock" }), "", "jwt/audience"),
        (none(), json!({ "aud": ["stock", "orders2"] }), "", "jwt/audience"),
        (none(), json!({ "aud": null }), "", "jwt/claim"),
        (none(), json!({ "exp": now() - 3600 }), "", "jwt/expired"),
        (none(), json!({ "exp": "tomorrow" }), "", "jwt/claim"),
        (none(), json!({ "exp": null }), "", "jwt/claim"),
        (none(), json!({ "nbf": now() + 3600 }), "", "jwt/not-yet-valid"),
        (none(), json!({ "iat": now() + 3600 }), "", "jwt/not-yet-valid"),
        // What two readers may read differently, what is too deep, what is too large.
        (none(), json!("{\"iss\":\"a\",\"iss\":\"b\"}"), "", "jwt/malformed"),
        (none(), json!(format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64))), "", "jwt/malformed"),
        (none(), json!("[]"), "", "jwt/malformed"),
        (none(), json!("nonsense"), "", "jwt/malformed"),
        (none(), json!({ "padding": "x".repeat(10_000) }), "", "jwt/too-large"),
    ] {
        let told = format!("{header} {} by {by:?}", claims.to_string().chars().take(80).collect::<String>());
        assert_eq!(bench.made_by(header, claims, by), slug, "{told}");
    }
    assert!(bench.provider.asked("/jwks") <= 2, "nobody makes the gateway ask all the time");
}

#[test]
fn no_part_of_a_token_can_be_changed_and_none_shows_up_anywhere() {
    let bench = Bench::new("");
    let token = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(bench.ask("/orders/1", &token).status, 200);
    let parts: Vec<&str> = token.split('.').collect();
    for changed in [
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        format!("{token}.{}", parts[2]),
        format!("{token}="),
        format!("{}.{}.{}", parts[0], parts[1], parts[2].chars().rev().collect::<String>()),
    ] {
        assert_eq!(bench.ask("/orders/1", &changed).status, 401, "{changed}");
    }
    wait_until("all are logged", || bench.gateway.access_log().len() >= 7);
    let told =
        [bench.gateway.log(), bench.gateway.health("/metrics").text(), bench.gateway.status().to_string()].concat();
    for part in &parts {
        assert!(!told.contains(part), "a part of a token is told");
    }
}

#[test]
fn of_two_providers_the_one_that_gave_it_out_decides() {
    let (one, other, backend) = (Provider::start(), Provider::start(), Recorder::start());
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\n\
         auth:\n  one: {{ issuer: \"{}\", audience: orders }}\n  other: {{ issuer: \"{}\", audience: [orders, stock] }}\n\
         defaults: {{ auth: one or other }}\n\
         routes: {{ /both: {{ to: \"{{{{backend}}}}\" }}, /open: {{ to: \"{{{{backend}}}}\", auth: none }}, \
         /one: {{ to: \"{{{{backend}}}}\", auth: one }} }}\n",
        one.issuer(),
        other.issuer()
    );
    let gateway = Gateway::start(TOLLGATE, &config, &[("backend", backend.address().to_string())]);
    let mut client = gateway.client();
    let (first, second) = (one.token("orders", "orders.read", "ES256"), other.token("stock", "orders.read", "ES256"));
    assert_eq!((ask(&mut client, "/both", &first).status, ask(&mut client, "/both", &second).status), (200, 200));
    assert_eq!(slug(&ask(&mut client, "/one", &second)), "jwt/issuer");
    assert_eq!(slug(&ask(&mut client, "/both", &one.token("stock", "orders.read", "ES256"))), "jwt/audience");
    let challenge = client.get("/both").one("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"one\", Bearer realm=\"other\"");
    assert_eq!(client.get("/open").status, 200);
}
