//! Codings and content types, as they are written.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::field::is_token;
use tollgate_core::node::Node;
use tollgate_transform::coding::Coding;

use crate::kit::codings;
use crate::kit::forms::decode_text;

/// What answers may be compressed with. `deflate` is left out: clients never agreed on what it is.
const OURS: [Coding; 3] = [Coding::Br, Coding::Zstd, Coding::Gzip];

/// Their names.
pub(super) const KNOWN: [&str; 3] = ["br", "zstd", "gzip"];

/// Codings, the one that is liked best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codings(pub(super) Vec<Coding>);

impl Decode for Codings {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        codings::decode(node, cx, &OURS).map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(OURS.to_vec()))
    }
}

impl JsonSchema for Codings {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Codings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
            "items": { "type": "string", "enum": KNOWN },
            "default": KNOWN,
        })
    }
}

/// Content types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types(pub(super) Vec<TypePattern>);

/// Without `types`: what is text, or like it.
const USUAL: [&str; 14] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/xml",
    "application/*+xml",
    "application/javascript",
    "application/x-javascript",
    "application/x-ndjson",
    "application/yaml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/*+xml",
];

impl Decode for Types {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let read = Vec::<TypePattern>::decode(node, cx)?;
        if read.is_empty() {
            return cx.expected(node, "at least one content type");
        }
        Some(Self(read))
    }

    fn absent() -> Option<Self> {
        USUAL.iter().map(|text| TypePattern::read(text).ok()).collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for Types {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Types".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "items": generator.subschema_for::<TypePattern>(),
            "default": USUAL,
        })
    }
}

/// One content type, or several: `text/html`, `text/*`, `application/*+json`, `*/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern {
    /// In lower case; `None`: any.
    kind: Option<String>,
    subtype: Subtype,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subtype {
    Any,
    Is(String),
    EndsIn(String),
}

impl TypePattern {
    fn read(text: &str) -> Result<Self, Diagnostic> {
        let wrong = || {
            let mistake = Diagnostic::error(format!("`{text}` is no content type"));
            mistake.hint("`text/html`, `text/*`, `application/*+json`, without parameters")
        };
        let lower = text.to_ascii_lowercase();
        let (kind, subtype) = lower.split_once('/').ok_or_else(wrong)?;
        let name = |text: &str| is_token(text.as_bytes()) && !text.contains('*');
        let kind = match kind {
            "*" if subtype == "*" => None,
            kind if name(kind) => Some(kind.to_owned()),
            _ => return Err(wrong()),
        };
        let subtype = match subtype.strip_prefix('*') {
            Some("") => Subtype::Any,
            Some(end) if name(end) => Subtype::EndsIn(end.to_owned()),
            None if name(subtype) => Subtype::Is(subtype.to_owned()),
            _ => return Err(wrong()),
        };
        Ok(Self { kind, subtype })
    }

    /// Whether a type, without its parameters, is one of these. Events must be named: they gain little.
    #[must_use]
    pub fn matches(&self, media_type: &str) -> bool {
        let Some((kind, subtype)) = media_type.split_once('/') else { return false };
        let is_event = media_type.eq_ignore_ascii_case("text/event-stream");
        let ends_in = |end: &str| {
            subtype.len() > end.len()
                && subtype.as_bytes()[subtype.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
        };
        self.kind.as_ref().is_none_or(|own| kind.eq_ignore_ascii_case(own))
            && match &self.subtype {
                Subtype::Any => !is_event,
                Subtype::EndsIn(end) => !is_event && ends_in(end),
                Subtype::Is(own) => subtype.eq_ignore_ascii_case(own),
            }
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_deref().unwrap_or("*");
        match &self.subtype {
            Subtype::Any => write!(f, "{kind}/*"),
            Subtype::Is(subtype) => write!(f, "{kind}/{subtype}"),
            Subtype::EndsIn(end) => write!(f, "{kind}/*{end}"),
        }
    }
}

impl Decode for TypePattern {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_text(node, cx, "a content type", Self::read)
    }
}

impl JsonSchema for TypePattern {
    fn schema_name() -> Cow<'static, str> {
        "ContentTypePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A content type without parameters; `*` stands for any subtype, or the start of one.",
            "pattern": r"^[^/ ;*]+/(\*|\*?[^/ ;*]+)$|^\*/\*$",
            "examples": ["text/*", "application/json", "application/*+json"],
        })
    }
}
