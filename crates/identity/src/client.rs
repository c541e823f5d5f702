//! Who the gateway is at a provider, and how it proves that (RFC 6749 §2.3, RFC 7523 §2.2).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use serde_json::{Map, json};

use crate::signing::{SigningKey, unique};

/// How long an assertion holds: it is made for one call.
const HOLDS: Duration = Duration::from_secs(60);

/// A client of a provider.
#[derive(Clone)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// How it proves who it is.
    pub proof: Proof,
}

/// How a client proves who it is.
#[derive(Clone)]
pub enum Proof {
    /// By a secret in the `Authorization` field (`client_secret_basic`).
    Basic(String),
    /// By a secret in the body (`client_secret_post`).
    Post(String),
    /// By a token that it signs (`private_key_jwt`, OpenID Connect Core 1.0 §9).
    Key(Arc<SigningKey>),
    /// Not at all: it is a public client (`none`).
    None,
}

impl Client {
    /// Adds to a form, and to the fields that go with it, what says who asks. `url`: where it is sent.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn prove(
        &self,
        form: &mut Form,
        fields: &mut Vec<(&'static str, String)>,
        url: &str,
        now: SystemTime,
    ) -> Result<(), String> {
        match &self.proof {
            // RFC 6749 §2.3.1: encoded as in a form, and then joined.
            Proof::Basic(secret) => {
                let joined = BASE64.encode(format!("{}:{}", encoded(&self.id), encoded(secret)).as_bytes());
                fields.push(("Authorization", format!("Basic {joined}")));
            }
            Proof::Post(secret) => {
                form.add("client_id", &self.id).add("client_secret", secret);
            }
            Proof::Key(key) => {
                let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let mut claims = Map::new();
                for (name, value) in [
                    ("iss", json!(self.id)),
                    ("sub", json!(self.id)),
                    ("aud", json!(url)),
                    ("jti", json!(unique()?)),
                    ("iat", json!(seconds)),
                    ("exp", json!(seconds + HOLDS.as_secs())),
                ] {
                    claims.insert(name.to_owned(), value);
                }
                form.add("client_id", &self.id)
                    .add("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
                    .add("client_assertion", &key.sign(&claims)?);
            }
            Proof::None => {
                form.add("client_id", &self.id);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A body of `application/x-www-form-urlencoded`.
#[derive(Debug, Default)]
pub struct Form(String);

impl Form {
    /// One more field.
    pub fn add(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(value));
        self
    }

    /// The body.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// What is not plainly harmless is encoded.
fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*');
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            byte if is_plain(byte) => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwk::{Algorithm, Key};
    use crate::jwt::Token;

    fn proven(proof: Proof) -> (String, Vec<(&'static str, String)>) {
        let client = Client { id: "a b".to_owned(), proof };
        let (mut form, mut fields) = (Form::default(), Vec::new());
        client.prove(&mut form, &mut fields, "https://idp.example/token", UNIX_EPOCH).unwrap();
        (String::from_utf8(form.into_body()).unwrap(), fields)
    }

    #[test]
    fn a_client_says_who_it_is_in_the_way_that_it_was_told() {
        let (form, fields) = proven(Proof::Basic("s:é".to_owned()));
        assert_eq!((form.as_str(), fields), ("", vec![("Authorization", "Basic YStiOnMlM0ElQzMlQTk=".to_owned())]));
        assert_eq!(proven(Proof::Post("s&t".to_owned())).0, "client_id=a+b&client_secret=s%26t");
        assert_eq!(proven(Proof::None).0, "client_id=a+b");
    }

    #[test]
    fn an_assertion_is_for_one_place_and_a_minute() {
        let (key, _) = SigningKey::generate(Algorithm::Es256, "JWT").unwrap();
        let public = Key::read(key.public()).unwrap();
        let (form, _) = proven(Proof::Key(Arc::new(key)));
        let (_, assertion) = form.split_once("client_assertion=").unwrap();
        let token = Token::read(assertion).unwrap();
        assert!(token.is_signed_by(&public));
        assert_eq!((&token.claims["aud"], &token.claims["exp"]), (&json!("https://idp.example/token"), &json!(60)));
        assert_eq!((&token.claims["iss"], &token.claims["sub"]), (&json!("a b"), &json!("a b")));
    }
}
