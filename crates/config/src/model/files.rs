//! `files`: what the gateway answers from a directory.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};
use tollgate_core::section;

use crate::model::defaults::v1;
use crate::model::fields::FieldValue;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

section! {
    /// Answers with the files of a directory. What `**` of the route's path stands for is the path below it.
    pub struct Files {
        /// The directory. A relative path begins where the file of the config is.
        dir: Spanned<String>,
        /// The file that stands for its directory, or `none`.
        index: Index = v1::FILES_INDEX,
        /// Whether a directory without such a file is answered with a list of what is in it.
        listing: Listing = v1::FILES_LISTING,
        /// Codings whose files beside the plain one are sent to clients that take them, the one liked best first: `a.css.br`,
        /// `a.css.zst`, `a.css.gz`.
        precompressed: Option<Vec<Precompressed>>,
        /// What `Cache-Control` of every file says; without it, nothing.
        cache: Option<FieldValue>,
        /// The file that answers for paths where there is none, for an app that routes in the browser: `/index.html`.
        spa: Option<PathBelow>,
        /// Content types by the ends of names, beside those that are known.
        types: Option<FileTypes>,
    }
}

words! {
    /// Whether directories are listed.
    pub enum Listing {
        /// They are.
        On = "on",
        /// They are not found.
        Off = "off",
    }
}

words! {
    /// A coding that a file may be stored in.
    pub enum Precompressed {
        /// Brotli, `.br`.
        Br = "br",
        /// Zstandard, `.zst`.
        Zstd = "zstd",
        /// gzip, `.gz`.
        Gzip = "gzip",
    }
}

/// The file that stands for its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// None does.
    None,
    /// The file of this name.
    Name(String),
}

impl FromText for Index {
    const WHAT: &'static str = "a file's name";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text {
            "none" => Ok(Self::None),
            _ if is_visible_name(text) => Ok(Self::Name(text.to_owned())),
            _ => Err(Diagnostic::error(format!("`{text}` is no name of a file"))
                .hint("a name without `/` that does not begin with a dot: `index.html`; or `none`")),
        }
    }
}

decode_from_text!(Index);
text_schema!(Index, "IndexFile", "description": "The name of a file, or `none`.", "pattern": "^[^./][^/]*$", "examples": ["index.html", "none"]);

/// A file by its path below the directory, as a URL begins: `/index.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathBelow(String);

impl PathBelow {
    /// The path, without the slash at its start.
    #[must_use]
    pub fn below(&self) -> &str {
        &self.0
    }
}

impl FromText for PathBelow {
    const WHAT: &'static str = "a file's path below the directory";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text.strip_prefix('/') {
            Some(below) if below.split('/').all(is_visible_name) => Ok(Self(below.to_owned())),
            _ => Err(Diagnostic::error(format!("`{text}` is no path of a file"))
                .hint("from the directory on, nothing hidden on the way: `/index.html`")),
        }
    }
}

decode_from_text!(PathBelow);
text_schema!(PathBelow, "PathBelow", "description": "A file by its path below the directory.", "pattern": "^(/[^./][^/]*)+$", "examples": ["/index.html"]);

fn is_visible_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\0'])
}

/// Content types by the ends of names: `.` is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileTypes(pub Vec<(String, FieldValue)>);

impl Decode for FileTypes {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return cx.expected(node, "a mapping of the ends of names to content types");
        };
        let mut read: Vec<Option<(String, FieldValue)>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let end = entry.key.to_ascii_lowercase();
            let is_end =
                !end.is_empty() && end.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+'));
            if !is_end {
                let mistake = Diagnostic::error(format!("`{}` is no end of a file's name", entry.key));
                cx.report(mistake.at(&entry.key_span).hint("what stands behind the last dot: `webmanifest`"));
            }
            let value = FieldValue::decode(&entry.value, cx);
            read.push(value.filter(|_| is_end).map(|value| (end, value)));
        }
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for FileTypes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FileTypes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_+-]+$" },
            "additionalProperties": generator.subschema_for::<FieldValue>(),
        })
    }
}
