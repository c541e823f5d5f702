//! Header fields: names, values, and those of a reply.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};

use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// The name of a header field (RFC 9110 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName(String);

impl FieldName {
    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for FieldName {
    const WHAT: &'static str = "a header name";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if is_token(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error(format!("`{text}` is no header name")).hint("letters, digits and `-`: `X-Request-ID`"))
    }
}

decode_from_text!(FieldName);
text_schema!(FieldName, "HeaderName", "description": "Letters, digits and `-`, mostly.", "pattern": r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$");

/// Whether this is a token of RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// The value of a header field (RFC 9110 §5.5): no control bytes, no space at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue(String);

impl FieldValue {
    /// The value as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for FieldValue {
    const WHAT: &'static str = "a header value";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if !text.bytes().any(|b| b.is_ascii_control() && b != b'\t') && text.trim() == text {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error("this cannot be the value of a header")
            .hint("one line without control characters, no space at either end"))
    }
}

decode_from_text!(FieldValue);
text_schema!(FieldValue, "HeaderValue", "description": "One line without control characters.", "pattern": r"^[^\x00-\x08\x0A-\x1F\x7F]*$");

/// Fields that say how a message is framed, or that have their own key.
const OURS: &[(&str, &str)] = &[
    ("connection", "Tollgate sets it"),
    ("content-length", "Tollgate sets it"),
    ("content-type", "write it as `type`"),
    ("date", "Tollgate sets it"),
    ("keep-alive", "Tollgate sets it"),
    ("te", "it belongs to requests"),
    ("trailer", "a reply has no trailers"),
    ("transfer-encoding", "Tollgate sets it"),
    ("upgrade", "a reply cannot upgrade"),
];

/// Header fields of a reply, in the order written; none that frames the message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplyFields(pub Vec<(Spanned<FieldName>, FieldValue)>);

impl Decode for ReplyFields {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return cx.expected(node, "a mapping of headers") };
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let name = reply_field(&entry.key).map_err(|mistake| cx.report(mistake.at(&entry.key_span))).ok();
                let value = FieldValue::decode(&entry.value, cx);
                Some((Spanned::new(name?, &entry.key_span), value?))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

fn reply_field(text: &str) -> Result<FieldName, Diagnostic> {
    match OURS.iter().find(|(ours, _)| text.eq_ignore_ascii_case(ours)) {
        Some((_, why)) => Err(Diagnostic::error(format!("`{text}` cannot be set here")).hint(*why)),
        None => FieldName::from_text(text),
    }
}

impl JsonSchema for ReplyFields {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Headers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<FieldValue>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_one_line() {
        assert!(FieldValue::from_text("a b\tc").is_ok());
        assert!(FieldValue::from_text("a\r\nX: y").is_err());
        assert!(FieldValue::from_text(" a").is_err());
    }
}
