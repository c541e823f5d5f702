//! What a token is bound to: its `cnf` (RFC 7800 §3.1).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use crate::remembered::Digest;

/// What whoever sends a token has to have, beside the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Confirmation {
    /// A certificate, by its SHA-256 (RFC 8705 §3.1).
    pub(crate) certificate: Option<Digest>,
    /// A key, by its thumbprint (RFC 9449 §6).
    pub(crate) key: Option<Digest>,
}

impl Confirmation {
    /// `None`: it is bound to something that is not understood here, and must not pass without it.
    pub(crate) fn of(claims: &Map<String, Value>) -> Option<Self> {
        let mut own = Self::default();
        let members = match claims.get("cnf") {
            None => return Some(own),
            Some(Value::Object(members)) if !members.is_empty() => members,
            Some(_) => return None,
        };
        for (name, value) in members {
            let digest = BASE64URL_NOPAD.decode(value.as_str()?.as_bytes()).ok()?.try_into().ok()?;
            match name.as_str() {
                "x5t#S256" => own.certificate = Some(digest),
                "jkt" => own.key = Some(digest),
                _ => return None,
            }
        }
        Some(own)
    }
}

/// Whether two digests are one, in the same time wherever they differ.
pub(crate) fn is_same(one: &Digest, other: &Digest) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_understood_binds() {
        let of = |cnf: Value| Confirmation::of(json!({ "cnf": cnf }).as_object().unwrap());
        let digest = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert_eq!(Confirmation::of(&Map::new()), Some(Confirmation::default()));
        assert!(of(json!({ "jkt": digest })).is_some_and(|own| own.key.is_some() && own.certificate.is_none()));
        assert!(of(json!({ "x5t#S256": digest })).is_some_and(|own| own.key.is_none() && own.certificate.is_some()));
        assert!(of(json!({ "x5t#S256": digest, "jkt": digest })).is_some_and(|own| own.key == own.certificate));
        for cnf in [
            json!(null),
            json!({}),
            json!("x"),
            json!([digest]),
            json!({ "jkt": 1 }),
            json!({ "jkt": "" }),
            json!({ "jkt": format!("{digest}=") }),
            json!({ "jkt": &digest[1..] }),
            json!({ "kid": "1" }),
            json!({ "jwk": {} }),
            json!({ "jkt": digest, "kid": "1" }),
        ] {
            assert_eq!(of(cnf.clone()), None, "{cnf}");
        }
    }
}
