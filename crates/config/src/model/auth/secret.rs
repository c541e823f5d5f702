//! A secret in the config: by reference, and never shown.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Value};

/// A text that opens doors: it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Decode for Secret {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match &node.value {
            Value::String(text) if !text.is_empty() => {
                if !node.secret {
                    let warning = Diagnostic::warning("a secret stands in the file itself").at(&node.span);
                    cx.report(warning.hint("refer to it: `${env:NAME}`, or `${file:/run/secrets/name}`"));
                }
                Some(Self(text.clone()))
            }
            _ => {
                // What stands there may be one all the same: it is not shown.
                cx.report(
                    Diagnostic::error("expected a secret")
                        .at(&node.span)
                        .hint("`${env:NAME}`, `${file:/run/secrets/name}`"),
                );
                None
            }
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "minLength": 1,
            "description": "A secret, by reference: it is never shown.",
            "examples": ["${env:NAME}", "${file:/run/secrets/name}"],
        })
    }
}
