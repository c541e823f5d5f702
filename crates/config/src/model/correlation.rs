//! `correlation`: the id that follows a request through all services.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::field::Known;
use tollgate_core::section;

use crate::model::defaults::v1;
use crate::model::fields::FieldName;
use tollgate_core::text::{FromText, decode_from_text, words};

words! {
    /// From whom an id is taken over.
    pub enum Accept {
        /// From every client.
        Always = "always",
        /// Only from the proxies under `trust`.
        Trusted = "trusted",
        /// From nobody: a new one for each request.
        Never = "never",
    }
}

section! {
    /// The id that follows a request through all services, logs and answers.
    pub struct Correlation {
        /// The header that carries it.
        header: IdHeader = v1::CORRELATION_HEADER,
        /// From whom an id is taken over: `always`, from `trusted` proxies only, or `never`.
        accept: Accept = v1::CORRELATION_ACCEPT,
        /// Whether the answer to the client carries it too.
        echo: bool = v1::CORRELATION_ECHO,
    }
}

/// A header that may carry the id: none that already means something to HTTP or to the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdHeader(FieldName);

/// Beside what the gateway knows itself ([`Known`]): fields that say something about a message (RFC 9110, RFC 9111,
/// RFC 6265, Fetch), where an id in their place would be believed.
const TAKEN: &[&str] = &[
    "age",
    "alt-svc",
    "allow",
    "cache-control",
    "etag",
    "expires",
    "from",
    "link",
    "location",
    "max-forwards",
    "pragma",
    "prefer",
    "range",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "warning",
    "www-authenticate",
];
/// Whole families of such fields.
const FAMILIES: &[&str] =
    &["accept-", "access-control-", "authentication-", "content-", "if-", "last-", "proxy-", "sec-", "x-forwarded-"];

impl IdHeader {
    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromText for IdHeader {
    const WHAT: &'static str = FieldName::WHAT;

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let name = FieldName::from_text(text)?;
        if Known::of(text.as_bytes()) == Known::XCorrelationId || is_free(text) {
            return Ok(Self(name));
        }
        Err(Diagnostic::error(format!("`{text}` means something else and cannot carry the id"))
            .hint("a header of its own: `X-Correlation-ID`, `X-Request-ID`"))
    }
}

/// Whether a field of this name means nothing yet, to HTTP or to the gateway.
pub(crate) fn is_free(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    Known::of(name.as_bytes()) == Known::Other
        && Known::disguised(name.as_bytes()) == Known::Other
        && !TAKEN.contains(&lower.as_str())
        && !FAMILIES.iter().any(|start| lower.starts_with(start))
}

decode_from_text!(IdHeader);

impl JsonSchema for IdHeader {
    fn inline_schema() -> bool {
        FieldName::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        FieldName::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        FieldName::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_a_meaning_of_its_own_cannot_carry_the_id() {
        for taken in [
            "host",
            "TE",
            "Trailer",
            "Date",
            "X-Forwarded-Prefix",
            "Content-Encoding",
            "Set-Cookie",
            "Via",
            "X_Real_Ip",
        ] {
            assert!(IdHeader::from_text(taken).is_err_and(|d| d.hint.is_some()), "{taken}");
        }
        for free in ["X-Correlation-ID", "x-request-id", "Request-Id", "X-Amzn-Trace-Id"] {
            assert!(IdHeader::from_text(free).is_ok(), "{free}");
        }
    }
}
