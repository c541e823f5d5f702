//! `data`: where the gateway itself writes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Span, Value};

/// Its name if none is written.
const NAME: &str = "data";

/// A folder. A path that does not begin with `/` starts at the folder of the config file that it is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// The one that holds if none is written: beside the file in which `span` is.
    pub(crate) fn beside(span: &Span) -> Self {
        Self(around(span).join(NAME))
    }
}

impl Decode for Folder {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::String(text) = &node.value else { return cx.expected(node, "a folder") };
        if text.is_empty() || text.contains('\0') {
            let mistake = Diagnostic::error(format!("`{text}` is no folder")).at(&node.span);
            cx.report(mistake.hint("a path: `/var/lib/tollgate`"));
            return None;
        }
        Some(Self(around(&node.span).join(text.strip_prefix("./").unwrap_or(text))))
    }
}

/// The folder of the file in which `span` is.
fn around(span: &Span) -> &Path {
    Path::new(&span.source.name).parent().unwrap_or(Path::new(""))
}

impl JsonSchema for Folder {
    fn schema_name() -> Cow<'static, str> {
        "Folder".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A folder. A path that does not begin with `/` starts at the folder of the config file.",
            "minLength": 1,
            "examples": ["/var/lib/tollgate", "./data"],
        })
    }
}
