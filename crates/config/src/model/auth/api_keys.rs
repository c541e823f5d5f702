//! API keys.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::secrets::is_secret;
use tollgate_core::section;
use tollgate_core::units::Bounded;

use crate::model::auth::secret::Secret;
use crate::model::defaults::v1;
use crate::model::fields::FieldName;
use crate::model::tls::FilePath;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

section! {
    /// A source of identity: API keys, which `tollgate key` makes.
    pub struct ApiKeys: fits {
        /// Where requests have their key: `header X-Api-Key`, `query api_key` or `cookie api_key`.
        api_key: Spanned<KeyPlace>,
        /// The list of keys, which `tollgate key` writes. It has no key, only keyed hashes.
        file: Spanned<FilePath>,
        /// The key of the hashes: at least 16 characters, the same for all gateways that share the list. Without it, one is made in the
        /// folder `data`.
        secret: Option<Spanned<Secret>>,
        /// Most keys in the list.
        most: Bounded<1, 10_000_000> = v1::API_KEYS_MOST,
    }
}

fn fits(keys: &ApiKeys, cx: &mut DecodeCx) -> bool {
    let Some(secret) = keys.secret.as_ref().filter(|secret| secret.value.0.len() < 16) else { return true };
    cx.report(
        Diagnostic::error("too short a secret").at(&secret.span).hint("16 characters or more: `openssl rand -hex 32`"),
    );
    false
}

/// Where a key is in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a header field.
    Header(String),
    /// In the query.
    Query(String),
    /// In a cookie.
    Cookie(String),
}

impl FromText for KeyPlace {
    const WHAT: &'static str = "where keys are";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong = || {
            Diagnostic::error(format!("`{text}` does not say where keys are"))
                .hint("`header X-Api-Key`, `query api_key` or `cookie api_key`")
        };
        let (place, name) = text.split_once(' ').ok_or_else(wrong)?;
        let name = name.trim();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(wrong());
        }
        match place {
            "header" if name.eq_ignore_ascii_case("authorization") => {
                Err(Diagnostic::error("`Authorization` is for schemes such as `Bearer`")
                    .hint("a field of its own: `header X-Api-Key`"))
            }
            // By its name it is kept out of logs, and from services that only get copies.
            "header" | "query" | "cookie" if !is_secret(name.as_bytes()) => {
                let what =
                    format!("nothing in the name `{name}` tells that it is a secret: it would be logged or copied");
                Err(Diagnostic::error(what).hint("such as `X-Api-Key`, `X-Auth-Key`, `api_key`, `access_token`"))
            }
            "header" => FieldName::from_text(name).map(|name| Self::Header(name.as_str().to_owned())),
            "query" => Ok(Self::Query(name.to_owned())),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            _ => Err(wrong()),
        }
    }
}

decode_from_text!(KeyPlace);
text_schema!(
    KeyPlace,
    "KeyPlace",
    "description": "Where a key is in a request.",
    "pattern": "^(header|query|cookie) [A-Za-z0-9_.-]+$",
    "examples": ["header X-Api-Key", "query api_key", "cookie api_key"]
);
