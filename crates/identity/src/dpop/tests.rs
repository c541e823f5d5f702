use std::time::UNIX_EPOCH;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::proof::is_for;
use super::*;
use crate::marks::Marks;

const NOW: u64 = 1_767_225_600;
const TOKEN: &str = "a.token.of-somebody";

struct Client {
    pair: EcdsaKeyPair,
    thumbprint: Digest,
    jwk: Value,
}

impl Client {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y) });
        let thumbprint = crate::jwk::thumbprint(jwk.as_object().unwrap()).unwrap();
        Self { pair, thumbprint, jwk }
    }

    fn proof(&self, id: &str, made: Value) -> String {
        self.changed(|_, claims| (claims["jti"], claims["iat"]) = (json!(id), made.clone()))
    }

    /// A good proof, but for what is changed in its header and claims before it is signed.
    fn changed(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk });
        let ath = BASE64URL_NOPAD.encode(&digest(TOKEN));
        let mut claims = json!({ "jti": "1", "htm": "GET", "htu": "https://shop.example/a", "iat": NOW, "ath": ath });
        change(&mut header, &mut claims);
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

fn dpop(room: usize) -> Dpop {
    let settings = Settings {
        algorithms: Algorithm::ALL.to_vec(),
        age: Duration::from_secs(60),
        skew: Duration::from_secs(30),
        nonce: None,
        secret: None,
    };
    let dpop = Dpop::new(settings, Clock::fake(UNIX_EPOCH + Duration::from_secs(NOW)));
    let marks: Arc<dyn CacheStore> = Arc::new(Marks::new(room));
    dpop.mark_in(&marks);
    dpop
}

async fn outcome(dpop: &Dpop, proof: &str, key: &Digest) -> &'static str {
    let proofs = (Some(proof.as_bytes()), None);
    let asked = Asked { method: "GET", scheme: "https", host: "shop.example", path: "/a", proofs };
    dpop.prove(&asked, TOKEN, key).await.map_or_else(|problem| problem.fault.slug, |()| "ok")
}

#[tokio::test]
async fn a_proof_is_good_once_and_for_a_while() {
    let (dpop, client) = (dpop(100), Client::new());
    for (at, (made, expected)) in [
        (json!(NOW), "ok"),
        (json!(NOW as f64 + 0.5), "ok"),
        (json!(NOW - 89), "ok"),
        (json!(NOW - 90), "dpop/time"),
        (json!(NOW + 30), "ok"),
        (json!(NOW + 31), "dpop/time"),
        (json!(0), "dpop/time"),
        (json!(-1), "dpop/malformed"),
        (json!("1767225600"), "dpop/malformed"),
        (json!(1e300), "dpop/malformed"),
        (json!(null), "dpop/malformed"),
    ]
    .into_iter()
    .enumerate()
    {
        let proof = client.proof(&at.to_string(), made.clone());
        assert_eq!(outcome(&dpop, &proof, &client.thumbprint).await, expected, "{made}");
        if expected == "ok" {
            assert_eq!(outcome(&dpop, &proof, &client.thumbprint).await, "dpop/replayed", "{made}");
        }
    }
    let (other, proof) = (Client::new(), client.proof("x", json!(NOW)));
    assert_eq!(outcome(&dpop, &proof, &other.thumbprint).await, "dpop/token");
    // Two keys may use the same id.
    assert_eq!(outcome(&dpop, &other.proof("0", json!(NOW)), &other.thumbprint).await, "ok");
}

/// RFC 9449 §4.3, 4 to 12.
#[tokio::test]
async fn a_proof_is_for_one_request_with_one_token() {
    let (dpop, client) = (dpop(100), Client::new());
    let slug =
        async |change: fn(&mut Value, &mut Value)| outcome(&dpop, &client.changed(change), &client.thumbprint).await;
    assert_eq!(slug(|_, claims| claims["htm"] = json!("POST")).await, "dpop/request");
    assert_eq!(slug(|_, claims| claims["htu"] = json!("https://shop.example/b")).await, "dpop/request");
    assert_eq!(slug(|_, claims| claims["htu"] = json!("https://evil.example/a")).await, "dpop/request");
    let of_another =
        |_: &mut Value, claims: &mut Value| claims["ath"] = json!(BASE64URL_NOPAD.encode(&digest("another")));
    assert_eq!(slug(of_another).await, "dpop/token");
    assert_eq!(slug(|header, _| header["typ"] = json!("JWT")).await, "dpop/malformed");
    assert_eq!(slug(|header, _| header["crit"] = json!(["x"])).await, "dpop/malformed");
    assert_eq!(slug(|header, _| header["jwk"]["d"] = json!("AAAA")).await, "dpop/key");
    assert_eq!(slug(|header, _| header["alg"] = json!("HS256")).await, "dpop/algorithm");
    assert_eq!(slug(|header, _| header["alg"] = json!("none")).await, "dpop/algorithm");
    assert_eq!(slug(|_, _| ()).await, "ok");
}

#[tokio::test]
async fn without_room_for_a_mark_nothing_passes() {
    let (dpop, client) = (dpop(1), Client::new());
    let proof = |id: &str| client.proof(id, json!(NOW));
    assert_eq!(outcome(&dpop, &proof("1"), &client.thumbprint).await, "ok");
    assert_eq!(outcome(&dpop, &proof("2"), &client.thumbprint).await, "dpop/unavailable");
    let without = Dpop { store: OnceLock::new(), ..dpop };
    assert_eq!(outcome(&without, &proof("3"), &client.thumbprint).await, "dpop/unavailable");
}

proptest! {
    /// Whatever is changed in a proof, it is none any more; and whatever comes as one, nothing panics.
    #[test]
    fn no_other_text_passes(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]", text in "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,4}|.*") {
        let (dpop, client) = (dpop(100), Client::new());
        let proof = client.proof("1", json!(NOW));
        let at = at.index(proof.len());
        let changed = format!("{}{to}{}", &proof[..at], &proof[at + 1..]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert_ne!(runtime.block_on(outcome(&dpop, &text, &client.thumbprint)), "ok");
        if changed != proof {
            prop_assert_ne!(runtime.block_on(outcome(&dpop, &changed, &client.thumbprint)), "ok");
        }
    }
}

#[test]
fn a_url_is_the_same_however_it_is_written() {
    for url in [
        "https://shop.example/a/b",
        "HTTPS://Shop.Example:443/a/b",
        "https://shop.example:/a/b",
        "https://shop.example/a/b?x=1",
        "https://shop.example/a/b#x",
        "https://shop.example/a/./c/../b",
        "https://shop.example/%61/b",
    ] {
        assert!(is_for(url, "https", "shop.example", "/a/b"), "{url}");
    }
    for url in [
        "",
        "/a/b",
        "shop.example/a/b",
        "http://shop.example/a/b",
        "https://shop.example:80/a/b",
        "https://shop.example:8443/a/b",
        "https://shop.example.evil/a/b",
        "https://evil@shop.example/a/b",
        "https://shop.example@evil/a/b",
        "https:///a/b",
        "https://shop.example/a/b/",
        "https://shop.example/a",
        "https://shop.example/A/b",
        "https://shop.example/a%2Fb",
        "https://shop.example/../a/b",
        "https://shop.example\\a/b",
        "https:shop.example/a/b",
    ] {
        assert!(!is_for(url, "https", "shop.example", "/a/b"), "{url}");
    }
    assert!(is_for("http://shop.example", "http", "shop.example:80", "/"));
    assert!(is_for("http://[::1]:8080/", "http", "[::1]:8080", "/"));
    assert!(!is_for("http:///", "http", "", "/"), "no host is no host");
}
