use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// 2026-01-01.
const NOW: u64 = 1_767_225_600;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap())
    }

    fn key(&self) -> Key {
        let point = self.0.public_key().as_ref();
        let (x, y) = (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]));
        Key::read(json!({ "kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y }).as_object().unwrap()).unwrap()
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

const HEADER: &str = r#"{"alg":"ES256","kid":"1","typ":"at+jwt"}"#;

fn claims() -> Value {
    json!({ "iss": "https://idp.example", "sub": "alice", "aud": "orders", "exp": NOW + 60, "iat": NOW, "nbf": NOW })
}

fn expected() -> Expected {
    let (issuers, audiences) = (vec!["https://idp.example".to_owned()], vec!["orders".to_owned(), "stock".to_owned()]);
    let (skew, profile) = (Duration::from_secs(30), Profile::default());
    Expected { issuers, audiences, kind: None, skew, profile, tenants: None, domains: Vec::new() }
}

/// What is said of a token with these claims; empty: it is good.
fn judged(expected: &Expected, header: &str, claims: &Value, now: u64) -> &'static str {
    let signer = Signer::new();
    let text = signer.sign(header, &claims.to_string());
    let token = match Token::read(&text) {
        Ok(token) => token,
        Err(problem) => return problem.fault.slug,
    };
    assert!(token.is_signed_by(&signer.key()));
    expected.judge(&token, at(now)).map_or_else(|problem| problem.fault.slug, |_| "")
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn a_good_token_is_good_until_it_ends() {
    let ends = |claims: &Value| judged(&expected(), HEADER, claims, NOW);
    assert_eq!(ends(&claims()), "");
    assert_eq!(judged(&expected(), HEADER, &claims(), NOW + 89), "", "clocks may differ");
    assert_eq!(judged(&expected(), HEADER, &claims(), NOW + 90), "jwt/expired");
    assert_eq!(ends(&with("exp", json!(NOW as f64 + 0.5))), "");
    for (name, slug) in
        [("exp", "jwt/claim"), ("iss", "jwt/issuer"), ("aud", "jwt/audience"), ("sub", ""), ("nbf", ""), ("iat", "")]
    {
        assert_eq!(ends(&without(name)), slug, "without {name}");
    }
}

#[test]
fn claims_that_do_not_fit_are_told_apart() {
    for (name, value, slug) in [
        ("iss", json!("https://idp.example/"), "jwt/issuer"),
        ("iss", json!("https://other.example"), "jwt/issuer"),
        ("iss", json!(["https://idp.example"]), "jwt/issuer"),
        ("aud", json!("other"), "jwt/audience"),
        ("aud", json!([]), "jwt/audience"),
        ("aud", json!(["other", "stock"]), ""),
        ("aud", json!(["orders", 1]), "jwt/claim"),
        ("aud", json!({ "orders": true }), "jwt/claim"),
        ("aud", json!("Orders"), "jwt/audience"),
        ("exp", json!(NOW - 31), "jwt/expired"),
        ("exp", json!("2030-01-01"), "jwt/claim"),
        ("exp", json!(-1), "jwt/claim"),
        ("exp", json!(1e300), "jwt/claim"),
        ("exp", json!(null), "jwt/claim"),
        ("nbf", json!(NOW + 31), "jwt/not-yet-valid"),
        ("nbf", json!(NOW + 29), ""),
        ("nbf", json!("soon"), "jwt/claim"),
        ("iat", json!(NOW + 3600), "jwt/not-yet-valid"),
        ("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }), ""),
        ("cnf", json!({ "kid": "1" }), "jwt/bound"),
        ("cnf", json!(null), "jwt/bound"),
    ] {
        assert_eq!(judged(&expected(), HEADER, &with(name, value.clone()), NOW), slug, "{name}: {value}");
    }
    let anybody = Expected { audiences: Vec::new(), ..expected() };
    assert_eq!(judged(&anybody, HEADER, &without("aud"), NOW), "");
}

#[test]
fn what_is_made_for_something_else_is_refused() {
    let header = |kind: &str| format!(r#"{{"alg":"ES256","typ":"{kind}"}}"#);
    let wanting = |kind: &str| Expected { kind: Some(kind.to_owned()), ..expected() };
    for (expected, kind, slug) in [
        (expected(), "JWT", ""),
        (expected(), "application/at+jwt", ""),
        (expected(), "logout+jwt", "jwt/type"),
        (expected(), "DPoP+JWT", "jwt/type"),
        (wanting("at+jwt"), "at+jwt", ""),
        (wanting("at+jwt"), "Application/AT+JWT", ""),
        (wanting("at+jwt"), "JWT", "jwt/type"),
    ] {
        assert_eq!(judged(&expected, &header(kind), &claims(), NOW), slug, "{kind}");
    }
    assert_eq!(judged(&wanting("at+jwt"), r#"{"alg":"ES256"}"#, &claims(), NOW), "jwt/type");
}

#[test]
fn what_is_for_the_client_alone_opens_nothing() {
    for (name, value) in [
        ("at_hash", json!("x")),
        ("c_hash", json!("x")),
        ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("token_use", json!("id")),
    ] {
        for header in [HEADER.replace("at+jwt", "JWT"), r#"{"alg":"ES256"}"#.to_owned()] {
            assert_eq!(judged(&expected(), &header, &with(name, value.clone()), NOW), "jwt/type", "{name}");
        }
    }
    for (name, value) in [("typ", "Bearer"), ("token_use", "access"), ("nonce", "x")] {
        assert_eq!(judged(&expected(), HEADER, &with(name, json!(value)), NOW), "", "{name}");
    }
}

#[test]
fn headers_that_ask_for_what_is_not_done_are_refused() {
    for (header, slug) in [
        (r#"{"alg":"none"}"#, "jwt/algorithm"),
        (r#"{"alg":"None"}"#, "jwt/algorithm"),
        (r#"{"alg":"HS256"}"#, "jwt/algorithm"),
        (r#"{"alg":"es256"}"#, "jwt/algorithm"),
        (r#"{"alg":""}"#, "jwt/algorithm"),
        (r#"{"alg":["ES256"]}"#, "jwt/malformed"),
        (r#"{}"#, "jwt/malformed"),
        (r#"{"alg":"ES256","alg":"none"}"#, "jwt/malformed"),
        (r#"{"alg":"ES256","jwk":{"kty":"oct","k":"AA"}}"#, "jwt/header"),
        (r#"{"alg":"ES256","jku":"https://evil.example"}"#, "jwt/header"),
        (r#"{"alg":"ES256","x5u":"https://evil.example"}"#, "jwt/header"),
        (r#"{"alg":"ES256","crit":["exp"]}"#, "jwt/header"),
        (r#"{"alg":"ES256","crit":[]}"#, "jwt/header"),
        (r#"{"alg":"ES256","kid":1}"#, "jwt/malformed"),
        (r#"{"alg":"ES256","typ":{}}"#, "jwt/malformed"),
    ] {
        assert_eq!(judged(&expected(), header, &claims(), NOW), slug, "{header}");
    }
}

#[test]
fn only_the_whole_token_as_it_was_signed_holds() {
    let signer = Signer::new();
    let (text, key) = (signer.sign(HEADER, &claims().to_string()), signer.key());
    let holds = |text: &str| Token::read(text).is_ok_and(|token| token.is_signed_by(&key));
    assert!(holds(&text));
    let parts: Vec<&str> = text.split('.').collect();
    let other = BASE64URL_NOPAD.encode(with("sub", json!("root")).to_string().as_bytes());
    for changed in [
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{text}.x"),
        format!("{}.{other}.{}", parts[0], parts[2]),
        format!("{text}=="),
        format!("{text}\n"),
        text.replace('.', " ."),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..parts[2].len() - 4]),
        // The number zero twice signed everything in a famous library.
        format!("{}.{}.{}", parts[0], parts[1], BASE64URL_NOPAD.encode(&[0; 64])),
        // As OpenSSL writes it (ASN.1), not as RFC 7518 §3.4 does.
        format!("{}.{}.{}", parts[0], parts[1], BASE64URL_NOPAD.encode(&[0x30, 6, 2, 1, 1, 2, 1, 1])),
        String::new(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{}.{}.{}.x.y", parts[0], parts[1], parts[2]),
    ] {
        assert!(!holds(&changed), "{changed}");
    }
    assert!(!Token::read(&text).unwrap().is_signed_by(&Signer::new().key()), "somebody else's key");
}

#[test]
fn a_key_is_used_as_what_it_is_only() {
    let (document, random) = (Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap(), Signer::new());
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let x = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
    let key = Key::read(json!({ "kty": "OKP", "crv": "Ed25519", "x": x }).as_object().unwrap()).unwrap();
    let sign = |header: &str| {
        let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(b"{}"));
        format!("{signed}.{}", BASE64URL_NOPAD.encode(pair.sign(signed.as_bytes()).as_ref()))
    };
    for (header, holds) in [
        (r#"{"alg":"EdDSA"}"#, true),
        (r#"{"alg":"Ed25519"}"#, true),
        (r#"{"alg":"ES256"}"#, false),
        (r#"{"alg":"RS256"}"#, false),
    ] {
        assert_eq!(Token::read(&sign(header)).unwrap().is_signed_by(&key), holds, "{header}");
    }
    assert!(!Token::read(&random.sign(HEADER, "{}")).unwrap().is_signed_by(&key));
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(text in r"[A-Za-z0-9_\-.]{0,200}") {
        let _ = Token::read(&text);
    }

    #[test]
    fn no_bit_of_a_token_can_be_changed(at in any::<prop::sample::Index>(), bit in 0..6u8) {
        let signer = Signer::new();
        let (text, key) = (signer.sign(HEADER, &claims().to_string()), signer.key());
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assume!(changed != text);
            prop_assert!(!Token::read(&changed).is_ok_and(|token| token.is_signed_by(&key)), "{}", changed);
        }
    }
}
