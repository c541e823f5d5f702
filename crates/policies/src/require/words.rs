//! Versions of TLS, names of parameters and content types, as they are written.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::field::is_token;
use tollgate_core::node::Node;
use tollgate_core::text::unknown_word;

use crate::kit::forms::decode_text;

/// What TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredTls {
    /// Any.
    Any,
    /// 1.2 at least.
    V1_2,
    /// 1.3 at least.
    V1_3,
}

impl RequiredTls {
    const WORDS: [(&str, Self); 3] = [("required", Self::Any), ("1.2", Self::V1_2), ("1.3", Self::V1_3)];

    /// The versions that will do, as the handshake calls them; none: any.
    pub(super) fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Any => &[],
            Self::V1_2 => &["TLSv1.2", "TLSv1.3"],
            Self::V1_3 => &["TLSv1.3"],
        }
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Any => "TLS",
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        }
    }
}

impl Decode for RequiredTls {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        // As it is written: YAML takes a version for a number.
        let text = node.written();
        let known = Self::WORDS.iter().find(|(word, _)| *word == text);
        if known.is_none() {
            let words = Self::WORDS.map(|(word, _)| word);
            cx.report(unknown_word(&text, &words).at(&node.span));
        }
        known.map(|(_, tls)| *tls)
    }
}

impl JsonSchema for RequiredTls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RequiredTls".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["required", "1.2", "1.3", 1.2, 1.3] })
    }
}

/// The name of a query parameter, as it reads once decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterName(pub(super) String);

impl Decode for ParameterName {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_text(node, cx, "the name of a query parameter", |text| {
            if !text.is_empty() && !text.contains(['&', '=', '?', '#']) {
                return Ok(Self(text.to_owned()));
            }
            Err(Diagnostic::error(format!("`{text}` is no name of a query parameter")).hint("the name alone: `page`"))
        })
    }
}

impl JsonSchema for ParameterName {
    fn schema_name() -> Cow<'static, str> {
        "ParameterName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The name of a query parameter.",
            "pattern": "^[^&=?#]+$",
            "examples": ["page"],
        })
    }
}

/// A content type without parameters, or all that share their first part (RFC 9110 §12.5.1, without `*/*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange {
    /// As written, for the answer.
    pub(super) text: String,
    /// `application`, in lower case.
    main: String,
    /// `json`, in lower case; `None`: any.
    sub: Option<String>,
}

impl MediaRange {
    fn read(text: &str) -> Result<Self, Diagnostic> {
        let wrong = |hint: &str| Err(Diagnostic::error(format!("`{text}` is no content type")).hint(hint));
        if text.contains(';') {
            return wrong("without parameters: they are not compared");
        }
        let parts = text.split_once('/').filter(|(main, sub)| is_token(main.as_bytes()) && is_token(sub.as_bytes()));
        let Some((main, sub)) = parts else { return wrong("a type and a subtype: `application/json`, `image/*`") };
        if main.contains('*') || (sub.contains('*') && sub != "*") {
            return wrong("a `*` stands only for the whole subtype: `image/*`");
        }
        let sub = (sub != "*").then(|| sub.to_ascii_lowercase());
        Ok(Self { text: text.to_owned(), main: main.to_ascii_lowercase(), sub })
    }

    /// `value` is a `Content-Type` with or without parameters (RFC 9110 §8.3.1).
    pub(super) fn takes(&self, value: &str) -> bool {
        let Some((main, sub)) = essence(value).split_once('/') else { return false };
        main.eq_ignore_ascii_case(&self.main)
            && is_token(sub.as_bytes())
            && self.sub.as_ref().is_none_or(|own| sub.eq_ignore_ascii_case(own))
    }
}

/// The content type without its parameters.
pub(super) fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

impl Decode for MediaRange {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_text(node, cx, "a content type", Self::read)
    }
}

impl JsonSchema for MediaRange {
    fn schema_name() -> Cow<'static, str> {
        "MediaRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A content type without parameters, or `type/*` for all of a type.",
            "pattern": r"^[!#$%&'+.^_`|~0-9A-Za-z-]+/([!#$%&'+.^_`|~0-9A-Za-z-]+|\*)$",
            "examples": ["application/json", "image/*"],
        })
    }
}
