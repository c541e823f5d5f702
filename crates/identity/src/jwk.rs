//! Public keys as providers publish them (RFC 7517), each good for the algorithms of its own kind only (RFC 8725 §3.1).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// Most keys of a set that are looked at.
const MOST_KEYS: usize = 100;

/// How a token may be signed (RFC 7518 §3.1, RFC 8037 §3.1): with key pairs only, never with a secret that two share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// With SHA-384.
    Rs384,
    /// With SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// With SHA-384.
    Ps384,
    /// With SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// On P-384 with SHA-384.
    Es384,
    /// On P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// As it stands in `alg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name. `Ed25519` is the newer word for what `EdDSA` means here (RFC 9864 §2.2).
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Self::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => None,
        }
    }
}

/// One key of a set.
pub struct Key {
    /// Its `kid`.
    pub id: Option<Box<str>>,
    /// Ready to be used, per algorithm that it is good for.
    verifying: Vec<(Algorithm, ParsedPublicKey)>,
    /// As it was published: two are the same if these are.
    written: Map<String, Value>,
    /// The provider publishes it no more.
    gone: AtomicBool,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Key {
    /// Reads a key. `None`: it is not for checking signatures, or of a kind that is not known.
    #[must_use]
    pub fn read(jwk: &Map<String, Value>) -> Option<Self> {
        Self::read_of(jwk, &Algorithm::ALL)
    }

    /// The same for this algorithm alone, which costs less than for all of its kind.
    pub(crate) fn read_for(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Self> {
        Self::read_of(jwk, &[algorithm])
    }

    fn read_of(jwk: &Map<String, Value>, algorithms: &[Algorithm]) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let is_for_signatures = text("use").is_none_or(|usage| usage == "sig")
            && jwk
                .get("key_ops")
                .is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")));
        if !is_for_signatures {
            return None;
        }
        let bytes = |name: &str| BASE64URL_NOPAD.decode(text(name)?.trim_end_matches('=').as_bytes()).ok();
        let mut verifying = match text("kty")? {
            "RSA" => rsa(&bytes("n")?, &bytes("e")?, algorithms),
            "EC" => curve(text("crv")?, &bytes("x")?, &bytes("y")?)?,
            "OKP" if text("crv") == Some("Ed25519") => {
                vec![(Algorithm::EdDsa, ParsedPublicKey::new(&signature::ED25519, bytes("x")?).ok()?)]
            }
            // Shared secrets among them: whoever reads them here could make tokens.
            _ => return None,
        };
        verifying.retain(|(algorithm, _)| algorithms.contains(algorithm));
        if let Some(only) = jwk.get("alg") {
            let only = only.as_str().and_then(Algorithm::of)?;
            verifying.retain(|(algorithm, _)| *algorithm == only);
        }
        let id = text("kid").map(Into::into);
        (!verifying.is_empty()).then(|| Self { id, verifying, written: jwk.clone(), gone: AtomicBool::new(false) })
    }

    /// In whose name it signs, if it says so (Entra's keys do).
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.written.get("issuer").and_then(Value::as_str)
    }

    /// Whether it is good for this algorithm.
    #[must_use]
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.verifying.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether it made this signature of these bytes.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let key = self.verifying.iter().find(|(own, _)| *own == algorithm);
        key.is_some_and(|(_, key)| key.verify_sig(signed, signature).is_ok())
    }

    /// It is published no more: what was remembered of it is forgotten.
    pub fn retire(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether it is published no more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

fn rsa(n: &[u8], e: &[u8], algorithms: &[Algorithm]) -> Vec<(Algorithm, ParsedPublicKey)> {
    // Some providers pad the number.
    let significant = |number: &'_ [u8]| number.iter().position(|b| *b != 0).map_or(0, |first| first);
    let (n, e) = (&n[significant(n)..], &e[significant(e)..]);
    // RFC 7518 §3.3: 2048 bits or more; what is larger than 8192 costs more than it is worth.
    if !(2048 / 8..=8192 / 8).contains(&n.len()) {
        return Vec::new();
    }
    let components = RsaPublicKeyComponents { n, e };
    let parsed = algorithms
        .iter()
        .copied()
        .filter_map(|algorithm| Some((algorithm, components.to_parsed_public_key(algorithm.rsa()?).ok()?)));
    parsed.collect()
}

fn curve(name: &str, x: &[u8], y: &[u8]) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let (algorithm, verifying, size): (_, &'static dyn VerificationAlgorithm, _) = match name {
        "P-256" => (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED, 48),
        "P-521" => (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED, 66),
        _ => return None,
    };
    // RFC 7518 §6.2.1.2: always the full size.
    if x.len() != size || y.len() != size {
        return None;
    }
    // SEC 1 §2.3.3, not compressed. That it lies on the curve is looked at as it is parsed.
    let point = [&[4], x, y].concat();
    Some(vec![(algorithm, ParsedPublicKey::new(verifying, point).ok()?)])
}

/// The thumbprint of a public key (RFC 7638 §3, RFC 8037 §2): the SHA-256 of what makes it the key that it is. `None`: it is of no kind that is
/// known, or written otherwise than in base64url.
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<[u8; 32]> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    // In the order of their names.
    let names: &[&str] = match text("kty")? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let mut told = String::from("{");
    for name in names {
        let value = text(name)?;
        // None of these needs to be escaped, so that there is one way to write them.
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        told.push_str(&format!("{}\"{name}\":\"{value}\"", if told.len() > 1 { "," } else { "" }));
    }
    told.push('}');
    Some(crate::remembered::digest(&told))
}

/// Reads a set (RFC 7517 §5): the keys that can be used, however many others there are.
///
/// # Errors
/// It is no set, or has none that can be used.
pub fn set(text: &[u8]) -> Result<Vec<Key>, String> {
    let set = crate::json::object(text)?;
    let Some(Value::Array(keys)) = set.get("keys") else { return Err("no JWK set: it has no `keys`".to_owned()) };
    let usable: Vec<Key> = keys.iter().take(MOST_KEYS).filter_map(|key| Key::read(key.as_object()?)).collect();
    if usable.is_empty() {
        return Err(format!("none of its {} keys can be used to check signatures", keys.len()));
    }
    Ok(usable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(key: Value) -> Option<Key> {
        Key::read(key.as_object().unwrap())
    }

    fn p256() -> Value {
        // RFC 7517 Appendix A.1.
        json!({ "kty": "EC", "crv": "P-256", "kid": "1",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn a_key_is_for_the_algorithms_of_its_kind() {
        let key = read(p256()).unwrap();
        let good: Vec<_> = Algorithm::ALL.into_iter().filter(|algorithm| key.is_for(*algorithm)).collect();
        assert_eq!(good, [Algorithm::Es256]);
        assert!(read(with(p256(), "alg", json!("ES256"))).is_some());
        for (name, value) in [
            ("alg", json!("RS256")),
            ("alg", json!("HS256")),
            ("alg", json!("none")),
            ("alg", json!(1)),
            ("use", json!("enc")),
            ("key_ops", json!(["sign"])),
            ("key_ops", json!("verify")),
            ("crv", json!("secp256k1")),
            ("crv", json!("P-384")),
            ("x", json!("AAAA")),
            // Not on the curve.
            ("y", json!("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4")),
            ("kty", json!("oct")),
        ] {
            assert!(read(with(p256(), name, value.clone())).is_none(), "{name}: {value}");
        }
    }

    #[test]
    fn shared_secrets_and_small_keys_are_no_keys() {
        assert!(read(json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" })).is_none());
        let small = BASE64URL_NOPAD.encode(&[0xab; 128]);
        assert!(read(json!({ "kty": "RSA", "n": small, "e": "AQAB" })).is_none());
    }

    #[test]
    fn a_thumbprint_is_of_what_makes_the_key() {
        let of = |key: &Value| thumbprint(key.as_object().unwrap()).map(|print| BASE64URL_NOPAD.encode(&print));
        // RFC 7638 §3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let rsa = json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" });
        assert_eq!(of(&rsa).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
        // RFC 8037 Appendix A.3.
        let okp = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        assert_eq!(of(&okp).as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
        // RFC 9449 §4.2 and §6.1.
        let ec = json!({ "kty": "EC", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "crv": "P-256" });
        assert_eq!(of(&ec).as_deref(), Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
        for (name, value) in [("x", json!("a\",\"y")), ("y", json!(1)), ("kty", json!("oct")), ("crv", json!("P 256"))]
        {
            assert_eq!(of(&with(ec.clone(), name, value)), None, "{name}");
        }
        let only = Key::read_for(rsa.as_object().unwrap(), Algorithm::Ps256);
        assert!(only.is_none(), "it is for RS256");
        assert!(Key::read_for(ec.as_object().unwrap(), Algorithm::Es256).is_some());
        assert!(Key::read_for(ec.as_object().unwrap(), Algorithm::EdDsa).is_none());
    }

    #[test]
    fn of_a_set_what_can_be_used_is_taken() {
        let set = |keys: Value| super::set(json!({ "keys": keys }).to_string().as_bytes());
        assert_eq!(set(json!([{ "kty": "oct", "k": "AA" }, p256(), {}, "x"])).unwrap().len(), 1);
        assert_eq!(set(json!([])).unwrap_err(), "none of its 0 keys can be used to check signatures");
        assert_eq!(super::set(b"{}").unwrap_err(), "no JWK set: it has no `keys`");
        assert!(super::set(b"<html>").is_err());
    }
}
