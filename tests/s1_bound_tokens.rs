//! S1: tokens that are bound to their senders: to a certificate (RFC 8705), or to a key of which they make proofs (DPoP, RFC 9449). Tokens of a
//! certified provider, proofs by npm `jose`.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]
#![allow(dead_code, reason = "the house of certificates has more than is needed here")]

#[path = "s1_bound_tokens/certificates.rs"]
mod certificates;
#[path = "s6_certificates/house.rs"]
mod house;
#[path = "s1_bound_tokens/maker.rs"]
mod maker;

use std::time::UNIX_EPOCH;

use house::{House, outcome, slug};
use maker::Maker;
use serde_json::{Value, json};
use tollgate_core::clock::Clock;
use tollgate_testkit::{Gateway, Provider, RawClient, Recorder, Response, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

struct Bench {
    maker: Maker,
    provider: Provider,
    gateway: Gateway,
    backend: Recorder,
}

const ROUTES: &str = "routes: { /orders/**: { to: \"{{backend}}\", auth: idp }, /write: { to: \"{{backend}}\", auth: idp, allow: [orders.write] }, \
     /minted: { to: \"{{backend}}\", auth: idp, backend_token: { send: nothing, headers: { X-User: principal } } } }";

fn source(provider: &Provider, more: &str) -> String {
    format!("auth: {{ idp: {{ issuer: \"{}\", audience: orders{more} }} }}", provider.issuer())
}

impl Bench {
    fn new(more: &str, sections: &str) -> Self {
        let (provider, house) = (Provider::start(), House::new());
        let sections = format!("{sections}\n{}\n{ROUTES}", source(&provider, more));
        let (gateway, backend) = house.gateway("http", &sections);
        Self { maker: Maker::start(), provider, gateway, backend }
    }

    /// A token that is bound to the key of this name.
    fn token(&self, key: &str, alg: &str, kind: &str) -> String {
        let claims = json!({ "htm": "POST", "htu": self.provider.token_endpoint() });
        let proof = self.maker.make(&json!({ "key": key, "alg": alg, "claims": claims }));
        self.provider.token_for_key("orders", "orders.read", kind, &proof)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    /// A proof for `GET /orders/1` with this token, changed so.
    fn proof(&self, token: &str, change: Value) -> String {
        let mut asked =
            json!({ "key": "own", "token": token, "claims": { "htm": "GET", "htu": self.url("/orders/1") } });
        for (name, value) in change.as_object().unwrap() {
            match (value, asked.get_mut(name)) {
                (Value::Object(more), Some(Value::Object(have))) => have.extend(more.clone()),
                _ => asked[name] = value.clone(),
            }
        }
        self.maker.make(&asked)
    }

    fn send(&self, target: &str, fields: &str) -> Response {
        let host = self.gateway.address();
        self.gateway.client().call(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
    }

    fn with(&self, token: &str, proof: &str) -> Response {
        self.send("/orders/1", &format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n"))
    }

    /// What becomes of a proof that is changed so.
    fn changed(&self, token: &str, change: Value) -> String {
        outcome(&self.with(token, &self.proof(token, change)))
    }
}

fn now() -> i64 {
    i64::try_from(Clock::real().unix().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn a_token_passes_with_a_proof_of_its_key() {
    let bench = Bench::new(", dpop: {}", "");
    for (key, alg) in [("own", "ES256"), ("rsa", "RS256"), ("pss", "PS256"), ("ed", "EdDSA"), ("large", "ES512")] {
        for kind in ["ES256", "RS256"] {
            let token = bench.token(key, alg, kind);
            // A second time, when the token is known.
            for _ in 0..2 {
                let answer = bench.with(&token, &bench.proof(&token, json!({ "key": key, "alg": alg })));
                assert_eq!(answer.status, 200, "{alg}, {kind}: {}", answer.text());
            }
        }
    }
    // However the URL is written.
    let token = bench.token("own", "ES256", "ES256");
    for htu in ["/orders/1?x=y", "/orders/1#x", "/%6Frders/./1"] {
        assert_eq!(bench.changed(&token, json!({ "claims": { "htu": bench.url(htu) } })), "ok", "{htu}");
    }
    assert_eq!(
        bench.changed(
            &token,
            json!({ "claims": { "htu": bench.url("/orders/1").to_uppercase().replace("ORDERS", "orders") } })
        ),
        "ok"
    );
    // A token that is bound to nothing passes as before.
    let bearer = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(outcome(&bench.send("/orders/1", &format!("Authorization: Bearer {bearer}\r\n"))), "ok");
}

#[test]
fn proofs_that_do_not_hold_are_refused() {
    let bench = Bench::new(", dpop: {}", "");
    let token = bench.token("own", "ES256", "ES256");
    let other = bench.token("own", "ES256", "ES256");
    assert_eq!(bench.changed(&token, json!({})), "ok");
    for (name, change, slug) in [
        ("another method", json!({ "claims": { "htm": "POST" } }), "dpop/request"),
        ("a method in another case", json!({ "claims": { "htm": "get" } }), "dpop/request"),
        ("another path", json!({ "claims": { "htu": bench.url("/orders/2") } }), "dpop/request"),
        ("another host", json!({ "claims": { "htu": "http://evil.example/orders/1" } }), "dpop/request"),
        (
            "another scheme",
            json!({ "claims": { "htu": bench.url("/orders/1").replace("http", "https") } }),
            "dpop/request",
        ),
        ("no URL", json!({ "claims": { "htu": "/orders/1" } }), "dpop/request"),
        ("another token", json!({ "token": other }), "dpop/token"),
        ("no token", json!({ "claims": { "ath": null } }), "dpop/malformed"),
        ("no hash", json!({ "claims": { "ath": "AAAA" } }), "dpop/malformed"),
        ("old", json!({ "claims": { "iat": now() - 100 } }), "dpop/time"),
        ("from the future", json!({ "claims": { "iat": now() + 100 } }), "dpop/time"),
        ("no time", json!({ "claims": { "iat": null } }), "dpop/malformed"),
        ("no id", json!({ "claims": { "jti": null } }), "dpop/malformed"),
        ("an empty id", json!({ "claims": { "jti": "" } }), "dpop/malformed"),
        ("no method", json!({ "claims": { "htm": null } }), "dpop/malformed"),
        ("no type", json!({ "header": { "typ": null } }), "dpop/malformed"),
        ("another type", json!({ "header": { "typ": "at+jwt" } }), "dpop/malformed"),
        ("no key", json!({ "header": { "jwk": null } }), "dpop/key"),
        ("another key", json!({ "key": "stranger" }), "dpop/token"),
        ("signed by another key than it brings", json!({ "by": "other" }), "dpop/signature"),
        ("a private key", json!({ "by": "private" }), "dpop/key"),
        ("alg none", json!({ "by": "none" }), "dpop/algorithm"),
        ("alg HS256", json!({ "by": "secret" }), "dpop/algorithm"),
    ] {
        assert_eq!(bench.changed(&token, change), slug, "{name}");
    }
}

#[test]
fn a_token_and_its_proof_are_sent_in_one_way() {
    let bench = Bench::new(", dpop: {}", "");
    let token = bench.token("own", "ES256", "ES256");
    let proof = || bench.proof(&token, json!({}));
    for (name, fields, slug) in [
        ("no proof", format!("Authorization: DPoP {token}\r\n"), "dpop/missing"),
        (
            "two proofs",
            format!("Authorization: DPoP {token}\r\nDPoP: {}\r\nDPoP: {}\r\n", proof(), proof()),
            "dpop/malformed",
        ),
        ("two in one", format!("Authorization: DPoP {token}\r\nDPoP: {}, {}\r\n", proof(), proof()), "dpop/malformed"),
        ("no JWT", format!("Authorization: DPoP {token}\r\nDPoP: x\r\n"), "dpop/malformed"),
        ("the token itself", format!("Authorization: DPoP {token}\r\nDPoP: {token}\r\n"), "dpop/malformed"),
        ("too long", format!("Authorization: DPoP {token}\r\nDPoP: {}\r\n", "x".repeat(9000)), "dpop/malformed"),
        ("a bound token as bearer's", format!("Authorization: Bearer {token}\r\n"), "bound/scheme"),
        ("the same with a proof", format!("Authorization: Bearer {token}\r\nDPoP: {}\r\n", proof()), "bound/scheme"),
    ] {
        assert_eq!(outcome(&bench.send("/orders/1", &fields)), slug, "{name}");
    }
    let bearer = bench.provider.token("orders", "orders.read", "ES256");
    assert_eq!(outcome(&bench.with(&bearer, &bench.proof(&bearer, json!({})))), "bound/scheme", "bound to nothing");
}

#[test]
fn challenges_say_what_is_wrong_with_which_scheme() {
    let bench = Bench::new(", dpop: {}", "");
    let token = bench.token("own", "ES256", "ES256");
    let refused = bench.send("/orders/1", &format!("Authorization: DPoP {token}\r\n"));
    let challenge = refused.one("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("DPoP realm=\"idp\", algs=\"RS256 ")
            && challenge.contains("error=\"invalid_dpop_proof\""),
        "{challenge}"
    );
    assert_eq!(refused.one("dpop-nonce"), None);
    let refused = bench.send("/orders/1", &format!("Authorization: Bearer {token}\r\n"));
    let challenge = refused.one("www-authenticate").unwrap();
    assert!(
        challenge.starts_with("Bearer realm=\"idp\", error=\"invalid_token\"") && challenge.contains(", DPoP realm"),
        "{challenge}"
    );
    let missing = bench.send("/orders/1", "");
    let challenge = missing.one("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=\"idp\", DPoP realm=\"idp\", algs=\""), "{challenge}");
}

#[test]
fn a_proof_is_good_once() {
    let bench = Bench::new(", dpop: {}", "");
    let token = bench.token("own", "ES256", "ES256");
    let proof = bench.proof(&token, json!({}));
    assert_eq!(outcome(&bench.with(&token, &proof)), "ok");
    for _ in 0..2 {
        assert_eq!(outcome(&bench.with(&token, &proof)), "dpop/replayed");
    }
    let again = bench.proof(&token, json!({ "claims": { "jti": "the same", "iat": now() } }));
    let later = bench.proof(&token, json!({ "claims": { "jti": "the same", "iat": now() - 1 } }));
    assert_eq!(outcome(&bench.with(&token, &again)), "ok");
    assert_eq!(outcome(&bench.with(&token, &later)), "dpop/replayed", "the same id in another proof");
    // Of many that come with the same at a time, one passes.
    let proof = bench.proof(&token, json!({}));
    let outcomes: Vec<String> = std::thread::scope(|threads| {
        let asking: Vec<_> = (0..8).map(|_| threads.spawn(|| outcome(&bench.with(&token, &proof)))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "ok").count(), 1, "{outcomes:?}");
    // One that was refused is not marked: nobody fills the store with what is not good.
    let other = bench.proof(&token, json!({ "claims": { "jti": "mine", "htm": "PUT" } }));
    assert_eq!(outcome(&bench.with(&token, &other)), "dpop/request");
    assert_eq!(bench.changed(&token, json!({ "claims": { "jti": "mine" } })), "ok");
}

#[test]
fn a_store_that_is_full_takes_no_proof() {
    let bench = Bench::new(", dpop: {}", "state: { memory: 64KiB }");
    let token = bench.token("own", "ES256", "ES256");
    // A mark takes some 200 bytes.
    let outcomes: Vec<String> = (0..400).map(|_| bench.changed(&token, json!({}))).collect();
    let taken = outcomes.iter().take_while(|outcome| *outcome == "ok").count();
    assert!((200..400).contains(&taken), "{taken}");
    assert!(outcomes[taken..].iter().all(|outcome| outcome == "dpop/unavailable"), "{outcomes:?}");
    let refused = bench.with(&token, &bench.proof(&token, json!({})));
    assert_eq!((refused.status, refused.one("retry-after").as_deref()), (503, Some("1")), "nobody is to blame");
}

#[test]
fn nonces_are_given_out_and_asked_for() {
    let bench = Bench::new(", bound: dpop, dpop: { nonce: 3s, algorithms: [ES256] }", "");
    let token = bench.token("own", "ES256", "ES256");
    let refused = bench.with(&token, &bench.proof(&token, json!({})));
    assert_eq!((refused.status, slug(&refused.text()).as_str()), (401, "dpop/nonce"));
    let challenge = refused.one("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP realm=\"idp\", algs=\"ES256\", error=\"use_dpop_nonce\""), "{challenge}");
    let nonce = refused.one("dpop-nonce").unwrap();
    assert_eq!(bench.changed(&token, json!({ "claims": { "nonce": nonce } })), "ok");
    // The clock of the client does not matter then.
    assert_eq!(bench.changed(&token, json!({ "claims": { "nonce": nonce, "iat": now() - 1000 } })), "ok");
    for forged in [format!("B{}", &nonce[1..]), "x".to_owned(), String::new()] {
        assert_eq!(bench.changed(&token, json!({ "claims": { "nonce": forged } })), "dpop/nonce", "{forged}");
    }
    wait_until("the nonce is too old", || {
        bench.changed(&token, json!({ "claims": { "nonce": nonce } })) == "dpop/nonce"
    });
    // Only such tokens, and only such algorithms.
    let bearer = bench.provider.token("orders", "orders.read", "ES256");
    let refused = bench.send("/orders/1", &format!("Authorization: Bearer {bearer}\r\n"));
    assert_eq!(slug(&refused.text()), "bound/required");
    let rsa = bench.token("rsa", "RS256", "ES256");
    assert_eq!(bench.changed(&rsa, json!({ "key": "rsa", "alg": "RS256" })), "dpop/algorithm");
    assert!(
        bench.send("/orders/1", "").one("www-authenticate").unwrap().starts_with("DPoP realm"),
        "and no other scheme"
    );
}

#[test]
fn the_provider_tells_to_which_key_an_opaque_token_is_bound() {
    let bench = Bench::new(", dpop: {}, introspection: { client: shop, secret: \"shop-secret\" }", "");
    let token = bench.token("own", "ES256", "opaque");
    assert!(!token.contains('.'), "{token}");
    for _ in 0..2 {
        assert_eq!(bench.changed(&token, json!({})), "ok");
        assert_eq!(bench.changed(&token, json!({ "key": "stranger" })), "dpop/token");
        assert_eq!(outcome(&bench.send("/orders/1", &format!("Authorization: Bearer {token}\r\n"))), "bound/scheme");
        assert_eq!(outcome(&bench.send("/orders/1", &format!("Authorization: DPoP {token}\r\n"))), "dpop/missing");
    }
    assert_eq!(bench.provider.asked("/token/introspection"), 1, "what is known is held against each request");
}

#[test]
fn behind_a_proxy_the_url_is_the_clients_own() {
    let bench = Bench::new(", dpop: {}", "trust: { proxies: [127.0.0.1] }");
    let token = bench.token("own", "ES256", "ES256");
    let told = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: Shop.example\r\n";
    let proof = || bench.proof(&token, json!({ "claims": { "htu": "https://shop.example/orders/1" } }));
    let fields = || format!("Authorization: DPoP {token}\r\nDPoP: {}\r\n{told}", proof());
    assert_eq!(outcome(&bench.send("/orders/1", &fields())), "ok");
    // What anybody else says of that counts for nothing.
    let mut stranger = RawClient::connect_from([127, 0, 0, 9], bench.gateway.address());
    let host = bench.gateway.address();
    let answer = stranger.call(&format!("GET /orders/1 HTTP/1.1\r\nHost: {host}\r\n{}\r\n", fields()));
    assert_eq!(outcome(&answer), "dpop/request");
}

#[test]
fn a_proxy_may_tell_of_the_url_in_the_newer_field() {
    let bench = Bench::new(", dpop: {}", "trust: { proxies: [127.0.0.1], headers: forwarded }");
    let token = bench.token("own", "ES256", "ES256");
    let told = "Forwarded: for=192.0.2.7;proto=https;host=\"Shop.example:8443\"\r\n";
    // What the proxy does not write is its client's own.
    let more = format!("{told}X-Forwarded-Proto: http\r\nX-Forwarded-Host: evil.example\r\n");
    for (htu, slug) in [
        ("https://shop.example:8443/orders/1".to_owned(), "ok"),
        ("http://evil.example/orders/1".to_owned(), "dpop/request"),
        (bench.url("/orders/1"), "dpop/request"),
    ] {
        let proof = bench.proof(&token, json!({ "claims": { "htu": htu } }));
        let answer = bench.send("/orders/1", &format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n{more}"));
        assert_eq!(outcome(&answer), slug, "{htu}");
    }
}

#[test]
fn the_service_gets_what_the_config_says() {
    let bench = Bench::new(", dpop: {}", "");
    let token = bench.token("own", "ES256", "ES256");
    let send = |target: &str| {
        let proof = bench.proof(&token, json!({ "claims": { "htu": bench.url(target) } }));
        let answer = bench.send(target, &format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n"));
        assert!(answer.status == 200 || answer.status == 403, "{}", answer.text());
        (answer, proof)
    };
    let (_, proof) = send("/minted");
    let seen: String =
        bench.backend.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect();
    assert!(seen.contains("X-User: shop") && !seen.contains(&proof) && !seen.contains(&token), "{seen}");
    let (_, proof) = send("/orders/1");
    let seen: String =
        bench.backend.recorded().iter().map(|c| String::from_utf8_lossy(&c.bytes).into_owned()).collect();
    assert!(seen.contains(&proof) && seen.contains(&token), "as it came: {seen}");
    let (refused, _) = send("/write");
    let challenge = refused.one("www-authenticate").unwrap();
    assert!(challenge.starts_with("DPoP realm=\"idp\", error=\"insufficient_scope\""), "{challenge}");
    let told =
        [bench.gateway.log(), bench.gateway.status().to_string(), bench.gateway.health("/metrics").text()].concat();
    assert!(!told.contains(&token) && !told.contains(&proof), "a token is told");
}

#[test]
fn without_proofs_a_token_that_is_bound_to_a_key_is_refused() {
    let bench = Bench::new("", "");
    let token = bench.token("own", "ES256", "ES256");
    assert_eq!(outcome(&bench.send("/orders/1", &format!("Authorization: Bearer {token}\r\n"))), "jwt/bound");
    assert_eq!(outcome(&bench.with(&token, &bench.proof(&token, json!({})))), "auth/missing");
    for cnf in [json!({ "kid": "1" }), json!({ "jwk": {} }), json!(null), json!("x")] {
        let claims =
            json!({ "iss": bench.provider.issuer(), "aud": "orders", "sub": "a", "exp": now() + 60, "cnf": cnf });
        let token = bench.provider.signed(&json!({ "alg": "ES256", "typ": "at+jwt" }), &claims, "");
        assert_eq!(
            outcome(&bench.send("/orders/1", &format!("Authorization: Bearer {token}\r\n"))),
            "jwt/bound",
            "{cnf}"
        );
    }
}

#[test]
fn neither_tokens_nor_proofs_are_told_to_anybody() {
    let bench = Bench::new(", dpop: { nonce: 1m }", "");
    let token = bench.token("own", "ES256", "ES256");
    let mut canaries = vec![token.rsplit('.').next().unwrap().to_owned()];
    let mut texts = Vec::new();
    let mut send = |token: &str, proof: &str| {
        canaries.push(proof.rsplit('.').next().unwrap().to_owned());
        let answer = bench.with(token, proof);
        texts.push(format!("{:?} {}", answer.fields, answer.text()));
        answer
    };
    let nonce = send(&token, &bench.proof(&token, json!({}))).one("dpop-nonce").unwrap();
    let good = bench.proof(&token, json!({ "claims": { "nonce": nonce } }));
    assert_eq!(outcome(&send(&token, &good)), "ok");
    assert_eq!(outcome(&send(&token, &good)), "dpop/replayed");
    for change in [
        json!({ "claims": { "nonce": nonce, "htm": "POST" } }),
        json!({ "claims": { "nonce": nonce, "ath": "canary-of-a-claim" } }),
        json!({ "claims": { "nonce": "canary-of-a-nonce" } }),
        json!({ "key": "rsa", "alg": "RS256", "claims": { "nonce": nonce } }),
    ] {
        assert_ne!(outcome(&send(&token, &bench.proof(&token, change))), "ok");
    }
    for broken in ["canary-of-no-proof", "canary.of.nothing", &good[..good.len() - 8]] {
        assert_ne!(outcome(&send(&token, broken)), "ok");
    }
    assert_ne!(outcome(&send("canary-of-no-token", &good)), "ok");
    canaries.retain(|canary| canary.len() > 8);
    canaries.extend(["canary-of", nonce.as_str()].map(str::to_owned));
    let asked = texts.len();
    wait_until("all is logged", || bench.gateway.access_log().len() > asked);
    let told =
        [bench.gateway.log(), bench.gateway.status().to_string(), bench.gateway.health("/metrics").text()].concat();
    for canary in &canaries {
        assert!(!told.contains(canary), "{canary} is told: {told}");
        // The nonce is for the client to see.
        let seen = texts.iter().find(|text| text.contains(canary) && *canary != nonce);
        assert!(seen.is_none(), "{canary} comes back: {seen:?}");
    }
}
