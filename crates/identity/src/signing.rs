//! Keys of the gateway's own that sign JWTs (RFC 7515): read from PEM or made here.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use crate::jwk::Algorithm;

/// A key pair.
pub struct SigningKey {
    pair: Pair,
    /// Its public half as a JWK (RFC 7517), with `kid`, `alg` and `use`; not that of an RSA key.
    public: Map<String, Value>,
    /// RFC 7638: the same for whoever computes it.
    id: String,
    /// The header of a token, encoded.
    header: String,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// A new key. What is returned beside it (PKCS #8) makes it again.
    ///
    /// # Errors
    /// The algorithm is none that keys are made for here (ES256, EdDSA), or the system has no random numbers.
    pub fn generate(algorithm: Algorithm, kind: &str) -> Result<(Self, Vec<u8>), String> {
        let made = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()),
            other => return Err(format!("no keys are made for {other:?}")),
        };
        let document = made.map_err(|_| "the system has no random numbers".to_owned())?.as_ref().to_vec();
        Ok((Self::from_pkcs8(&document, kind)?, document))
    }

    /// All keys of a text in PEM (RFC 7468): PKCS #8, for P-256, Ed25519 or RSA. `kind`: what the tokens say they are (`typ`).
    ///
    /// # Errors
    /// There is none, or one that cannot be used; never with a part of the text.
    pub fn from_pem(text: &str, kind: &str) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        for key in PrivateKeyDer::pem_slice_iter(text.as_bytes()) {
            match key {
                Ok(PrivateKeyDer::Pkcs8(key)) => keys.push(Self::from_pkcs8(key.secret_pkcs8_der(), kind)?),
                Ok(_) => {
                    return Err("a private key in an older form: `openssl pkcs8 -topk8 -nodes` rewrites it".to_owned());
                }
                Err(_) => return Err("no private key in PEM (`-----BEGIN PRIVATE KEY-----`)".to_owned()),
            }
        }
        if keys.is_empty() { Err("no private key in PEM (`-----BEGIN PRIVATE KEY-----`)".to_owned()) } else { Ok(keys) }
    }

    /// A key from its PKCS #8 document (RFC 5958).
    ///
    /// # Errors
    /// It is for another kind of signature.
    pub fn from_pkcs8(document: &[u8], kind: &str) -> Result<Self, String> {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document) {
            return Ok(Self::of(Pair::Ec(pair), kind));
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(document) {
            return Ok(Self::of(Pair::Ed(pair), kind));
        }
        match RsaKeyPair::from_pkcs8(document) {
            Ok(pair) if pair.public_modulus_len() >= 256 => Ok(Self::of(Pair::Rsa(pair), kind)),
            Ok(_) => Err("an RSA key of less than 2048 bits".to_owned()),
            Err(_) => Err("a private key that is neither P-256 nor Ed25519 nor RSA".to_owned()),
        }
    }

    fn of(pair: Pair, kind: &str) -> Self {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        // The members that RFC 7638 §3.2 counts, in its order, which is that of their names.
        let (algorithm, members) = match &pair {
            Pair::Ec(pair) => {
                // RFC 5480 §2.2: 4, then both coordinates.
                let (x, y) = pair.public_key().as_ref().get(1..).unwrap_or_default().split_at(32);
                ("ES256", json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) }))
            }
            Pair::Ed(pair) => {
                ("EdDSA", json!({ "crv": "Ed25519", "kty": "OKP", "x": encode(pair.public_key().as_ref()) }))
            }
            // Its public half is somewhere else already: with whoever verifies what is signed.
            Pair::Rsa(_) => ("RS256", json!({})),
        };
        let id = encode(digest::digest(&digest::SHA256, members.to_string().as_bytes()).as_ref());
        let header = match pair {
            Pair::Rsa(_) => json!({ "alg": algorithm, "typ": kind }),
            Pair::Ec(_) | Pair::Ed(_) => json!({ "alg": algorithm, "kid": id, "typ": kind }),
        };
        let header = encode(header.to_string().as_bytes());
        let mut public = match members {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        for (name, value) in [("kid", id.as_str()), ("alg", algorithm), ("use", "sig")] {
            public.insert(name.to_owned(), json!(value));
        }
        Self { pair, public, id, header }
    }

    /// Its name, the thumbprint of RFC 7638.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public half as a JWK; an RSA key's is not told.
    #[must_use]
    pub fn public(&self) -> &Map<String, Value> {
        &self.public
    }

    /// A token that says this, in its compact form (RFC 7515 §3.1).
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, String> {
        let none = |_| "the system has no random numbers".to_owned();
        let mut text = String::with_capacity(1024);
        text.push_str(&self.header);
        text.push('.');
        let claims = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
        BASE64URL_NOPAD.encode_append(&claims, &mut text);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, text.as_bytes()).map_err(none)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).map_err(none)?;
                signature
            }
        };
        text.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut text);
        Ok(text)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A name that nothing else has: 128 random bits.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn unique() -> Result<String, String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwk::Key;
    use crate::jwt::Token;

    #[test]
    fn what_it_signs_its_public_half_verifies() {
        let Value::Object(claims) = json!({ "sub": "alice" }) else { panic!() };
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (key, document) = SigningKey::generate(algorithm, "at+jwt").unwrap();
            let again = SigningKey::from_pkcs8(&document, "at+jwt").unwrap();
            assert_eq!(key.id(), again.id());
            let (text, public) = (again.sign(&claims).unwrap(), Key::read(key.public()).unwrap());
            let token = Token::read(&text).unwrap();
            assert!(token.is_signed_by(&public) && token.key.as_deref() == Some(key.id()), "{text}");
            assert!(!format!("{key:?}").contains("pair"));
            assert!(!key.public().contains_key("d"), "the private half stays here");
        }
        assert!(SigningKey::generate(Algorithm::Rs256, "").is_err());
    }

    #[test]
    fn the_name_is_the_thumbprint() {
        // RFC 8037 §A.1 to §A.3.
        let seed = BASE64URL_NOPAD.decode(b"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let public = BASE64URL_NOPAD.decode(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public).unwrap();
        let key = SigningKey::of(Pair::Ed(pair), "JWT");
        assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in ["", "nothing", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let why = SigningKey::from_pem(text, "JWT").unwrap_err();
            assert!(!why.contains("AAAA"), "{why}");
        }
    }
}
