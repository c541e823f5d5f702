//! Refuses bodies of JSON and XML that are malformed, or nested, long or many beyond what is allowed.
//!
//! # When to use
//! On every API that takes JSON or XML from strangers: a small body that is nested 100,000 levels deep, or whose entities expand to gigabytes, brings
//! down many a parser. Bodies are looked at while they pass, in little memory, whatever their size; they reach the service as they are, with the
//! length they had. What is beyond a limit, or malformed, is cut off at the byte where that shows: the service never sees a whole request.
//!
//! `payload: json` takes the defaults below for JSON, `payload: [json, xml]` for both. A body is looked at by its `Content-Type`: JSON
//! (`application/json`, `text/json`, `*+json`), sequences of it (`application/x-ndjson`, `application/jsonl`, `application/json-seq`), of
//! which each value is held to the limits, and XML (`application/xml`, `text/xml`, `*+xml`). What says that it is something else passes, so
//! that a service that does not mind `Content-Type` needs [`require: { content_type: application/json }`](crate::require) beside this. A body of no bytes passes.
//!
//! JSON has to be what RFC 8259 says, in UTF-8, without a byte order mark. Names that stand twice in an object, and escapes of half a character, are
//! left to the service. XML has to be well formed XML 1.0 in UTF-8, without a document type declaration, and so without entities but `&lt;`, `&gt;`, `&amp;`,
//! `&apos;`, `&quot;` and references to characters; attributes that stand twice, and prefixes that are not declared, are left to the service.
//!
//! What cannot be read cannot be judged: a body with a `Content-Encoding` is refused, unless [`decompress`](crate::decompress) stands on the route, too; then its content
//! is judged. A `charset` other than UTF-8, or more than one `Content-Type`, is refused, too.
//!
//! Try it first: with `shadow: true` nobody is refused; `tollgate_shadowed_total` and the fields `shadow` and `cause` of the access log say who would be, and why.
//!
//! # Example
//! ```yaml
//! payload:
//!   json: { depth: 10, string: 1MiB }
//!   xml: { elements: 1000, instructions: 0 }
//! ```
//!
//! # Faults
//! - `payload/json` (400), `payload/xml` (400): more than is allowed; `limit` names the limit, `allowed` says how much, `offset` at which byte it shows. Of XML
//!   also what is never taken: a document type declaration, other entities.
//! - `payload/malformed` (400): not JSON, or not XML; `offset` says where that shows.
//! - `payload/coding` (415): a `Content-Encoding` that nothing here undoes.
//! - `payload/type` (415): another encoding than UTF-8, or more than one `Content-Type`.

mod kind;
mod run;

use std::sync::Arc;

use schemars::JsonSchema as _;
use serde_json::json;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Value};
use tollgate_core::policy::{BuildCx, Built, PolicyConfig, PolicyKind, Stage};
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_core::units::{Bounded, BoundedSize};
use tollgate_transform::bounds::{JsonLimits, XmlLimits};

use crate::kit::forms::{ShortForm, with_short};
use crate::payload::run::Payload;

section! {
    /// Refuses bodies of JSON and XML that are malformed, or nested, long or many beyond what is allowed.
    pub struct PayloadConfig {
        /// Looks at JSON.
        json: Option<JsonPayload>,
        /// Looks at XML.
        xml: Option<XmlPayload>,
        /// Tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
    }
}

section! {
    /// How much JSON may have of what.
    pub struct JsonPayload {
        /// Levels of objects and arrays.
        depth: Bounded<1, 1000> = 20,
        /// Keys of an object.
        keys: Many = 1000,
        /// Entries of an array.
        items: Many = 10_000,
        /// Bytes of a key, as it is written.
        key: Long = "256",
        /// Bytes of a string, as it is written.
        string: Long = "64KiB",
        /// Characters of a number.
        number: Many = 64,
        /// Values in all: objects, arrays, and what stands in them.
        values: Many = 100_000,
    }
}

section! {
    /// How much XML may have of what.
    pub struct XmlPayload {
        /// Levels of elements.
        depth: Bounded<1, 1000> = 20,
        /// Elements in all.
        elements: Many = 10_000,
        /// Attributes of an element, declarations of namespaces among them.
        attributes: AnyMany = 50,
        /// Declarations of namespaces of an element.
        namespaces: AnyMany = 20,
        /// Bytes of a name.
        name: BoundedSize<1, 4096> = "256",
        /// Bytes of an attribute's value, as it is written.
        value: Long = "8KiB",
        /// Bytes of text between two tags, as it is written, and of a comment or processing instruction.
        text: Long = "64KiB",
        /// Comments in all.
        comments: AnyMany = 100,
        /// Processing instructions in all.
        instructions: AnyMany = 10,
    }
}

/// So many, but some.
type Many = Bounded<1, 1_000_000_000>;

/// So many, or none at all.
type AnyMany = Bounded<0, 1_000_000_000>;

/// So many bytes, but some.
type Long = BoundedSize<1, { 1 << 30 }>;

impl JsonPayload {
    fn limits(&self) -> JsonLimits {
        JsonLimits {
            depth: self.depth.get(),
            keys: self.keys.get(),
            items: self.items.get(),
            key: self.key.get(),
            string: self.string.get(),
            number: self.number.get(),
            values: self.values.get(),
        }
    }
}

impl XmlPayload {
    fn limits(&self) -> XmlLimits {
        XmlLimits {
            depth: self.depth.get(),
            elements: self.elements.get(),
            attributes: self.attributes.get(),
            namespaces: self.namespaces.get(),
            name: self.name.get(),
            value: self.value.get(),
            text: self.text.get(),
            comments: self.comments.get(),
            instructions: self.instructions.get(),
        }
    }
}

impl PolicyConfig for PayloadConfig {
    const NAME: &'static str = "payload";
    const SUMMARY: &'static str =
        "Refuses bodies of JSON and XML that are malformed, or nested, long or many beyond what is allowed.";
    const EXAMPLE: &'static str = "json: { depth: 10, string: 1MiB }\nxml: { elements: 1000, instructions: 0 }";
    const FAULTS: &'static [&'static Fault] = &[&JSON, &XML, &MALFORMED, &CODING, &TYPE];

    /// `json` → `{ json: {} }`; `[json, xml]` → `{ json: {}, xml: {} }`; a key without a value has all its defaults.
    fn desugar(node: Node) -> Node {
        let span = node.span.clone();
        let names = match node.value {
            Value::Map(entries) => {
                let filled = entries.into_iter().map(|mut entry| {
                    if matches!(entry.value.value, Value::Null) && ["json", "xml"].contains(&entry.key.as_str()) {
                        entry.value.value = Value::Map(Vec::new());
                    }
                    entry
                });
                return Node::new(Value::Map(filled.collect()), span);
            }
            Value::List(names) if is_list_of_names(&names) => names,
            Value::String(_) => vec![node],
            value => return Node::new(value, span),
        };
        let all = |name: Node| {
            let key = name.text().unwrap_or_default().to_owned();
            Entry::at(&key, Node::new(Value::Map(Vec::new()), name.span))
        };
        Node::new(Value::Map(names.into_iter().map(all).collect()), span)
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        if self.json.is_none() && self.xml.is_none() {
            return Err(
                Diagnostic::error("nothing is looked at here").hint("`payload: json`, or `payload: [json, xml]`")
            );
        }
        let (json, xml) = (self.json.map(|json| json.limits()), self.xml.map(|xml| xml.limits()));
        Ok(vec![(Stage::Validate, Arc::new(Payload { json, xml, is_shadow: self.shadow }))])
    }
}

/// Whether it is one, and none of them stands there twice.
fn is_list_of_names(names: &[Node]) -> bool {
    let mut texts: Vec<&str> = names.iter().filter_map(Node::text).collect();
    texts.sort_unstable();
    texts.dedup();
    !names.is_empty() && texts.len() == names.len()
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(PayloadConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<PayloadConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "json", long: "{ json: {} }", schema: || json!({ "enum": ["json", "xml"] }) },
    ShortForm {
        short: "[json, xml]",
        long: "{ json: {}, xml: {} }",
        schema: || json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": { "enum": ["json", "xml"] } }),
    },
];

static JSON: Fault = Fault::client(
    "payload/json",
    400,
    "The JSON is beyond what is allowed here",
    "`limit` names the limit, `allowed` says how much it allows, and `offset` how many bytes stand before the place (of what was sent, or \
     of what it becomes once it is decompressed). Send less at a time. For the operator: the limits stand in `payload.json`.",
);

static XML: Fault = Fault::client(
    "payload/xml",
    400,
    "The XML is beyond what is allowed here",
    "`limit` names the limit, `allowed` says how much it allows, and `offset` how many bytes stand before the place. Document type \
     declarations, and entities that need one, are never taken. For the operator: the limits stand in `payload.xml`.",
);

static MALFORMED: Fault = Fault::client(
    "payload/malformed",
    400,
    "The body is not what its Content-Type says",
    "The body is not well formed JSON (RFC 8259) or XML (XML 1.0); `detail` says what is amiss, and `offset` how many bytes stand before \
     the place.",
);

static CODING: Fault = Fault::client(
    "payload/coding",
    415,
    "The body is compressed, and nobody here can look into it",
    "Send it without `Content-Encoding`. For the operator: with `decompress` on the route, compressed bodies are taken and looked into.",
);

static TYPE: Fault = Fault::client(
    "payload/type",
    415,
    "The body is in another encoding than UTF-8, or says two types",
    "Send JSON and XML in UTF-8, and one `Content-Type`, without a `charset` or with `charset=utf-8`.",
);

#[cfg(test)]
mod tests;
