//! Adds, sets, renames and removes header fields, of requests and of answers.
//!
//! # When to use
//! When a service expects a field that clients do not send, or must not see one that they do; when an answer tells too
//! much of the house, or lacks what browsers should be told. On each side the changes are made in one order, whatever
//! the order in the file: `remove`, `rename`, `set`, `add`.
//!
//! Values are plain text; a whole value may stand elsewhere (`${env:NAME}`). Answers that the gateway gives before this
//! policy is reached (a 401, say) are not changed. Fields that frame a message, belong to one connection, or are written
//! by the gateway itself cannot be changed here.
//!
//! # Example
//! ```yaml
//! headers:
//!   request:
//!     remove: [X-Debug]
//!     rename: { X-Customer: X-Tenant }
//!     set: { X-Source: gateway }
//!   response:
//!     remove: [X-Powered-By]
//!     add: { Cache-Control: no-store }
//! ```
//!
//! # Faults
//! None.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_config::model::{FieldName, FieldValue};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::Known;
use tollgate_core::head::Fields;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::Fault;
use tollgate_core::section;

use crate::kit::forms::{ShortForm, decode_by_name, is_same, joined};

section! {
    /// Adds, sets, renames and removes header fields, of requests and of answers.
    pub struct HeadersConfig: names_are_free {
        /// What is changed of a request on its way to the service.
        request: Option<HeaderChanges>,
        /// What is changed of an answer on its way to the client.
        response: Option<HeaderChanges>,
    }
}

section! {
    /// Changes of header fields, made in this order.
    pub struct HeaderChanges: changes_fit {
        /// Fields that are taken away, every line of them.
        remove: Option<Vec<Spanned<FieldName>>>,
        /// Old names and new ones. If there is a field of the old name, it takes the place of any of the new name.
        rename: Option<Renames>,
        /// Fields that take the place of every line of their name.
        set: Option<FieldLines>,
        /// Lines that are added to what is there.
        add: Option<FieldLines>,
    }
}

impl PolicyConfig for HeadersConfig {
    const NAME: &'static str = "headers";
    const SUMMARY: &'static str = "Adds, sets, renames and removes header fields, of requests and of answers.";
    const EXAMPLE: &'static str = "\
request:
  remove: [X-Debug]
  rename: { X-Customer: X-Tenant }
  set: { X-Source: gateway }
response:
  remove: [X-Powered-By]
  add: { Cache-Control: no-store }";
    const FAULTS: &'static [&'static Fault] = &[];

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let changes = |written: Option<HeaderChanges>| written.map(Changes::from).unwrap_or_default();
        let headers = Headers { request: changes(self.request), response: changes(self.response) };
        if headers.hooks() == Hooks::default() {
            let mistake = Diagnostic::error("no header is changed here");
            return Err(mistake.hint("for example `headers: { request: { set: { X-Source: gateway } } }`"));
        }
        Ok(vec![(Stage::Transform, Arc::new(headers))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind { schema: HeadersConfig::json_schema, ..PolicyKind::of::<HeadersConfig>() };

pub(crate) const SHORT_FORMS: &[ShortForm] = &[];

/// Old names and new ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Renames(Vec<(Spanned<FieldName>, Spanned<FieldName>)>);

impl Decode for Renames {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_by_name(node, cx, "a mapping of old names to new ones").map(Self)
    }
}

/// Names and values.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldLines(Vec<(Spanned<FieldName>, FieldValue)>);

impl Decode for FieldLines {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_by_name(node, cx, "a mapping of names to values").map(Self)
    }
}

impl JsonSchema for Renames {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Renames".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<FieldName>() })
    }
}

impl JsonSchema for FieldLines {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FieldLines".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<FieldValue>() })
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToService,
    ToClient,
}

/// No name may be one that is not ours to change.
fn names_are_free(config: &HeadersConfig, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    for (changes, way) in [(&config.request, Way::ToService), (&config.response, Way::ToClient)] {
        for name in changes.iter().flat_map(HeaderChanges::names) {
            if let Some(hint) = reserved(name, way) {
                let mistake = Diagnostic::error(format!("`{}` cannot be changed here", name.as_str()));
                cx.report(mistake.at(&name.span).hint(hint));
                well = false;
            }
        }
    }
    well
}

/// Why this field cannot be changed; `None`: it can.
fn reserved(name: &FieldName, way: Way) -> Option<&'static str> {
    match (Known::of(name.as_str().as_bytes()), way) {
        (Known::Host, Way::ToService) => Some("write `host:` in the route or in the service"),
        (Known::Host | Known::Expect, Way::ToClient) => Some("it belongs to requests"),
        (Known::Expect, Way::ToService) => Some("the gateway answers it"),
        (Known::Date, Way::ToClient) => Some("it says when the answer was made"),
        (Known::XCorrelationId, _) => Some("it is passed on as `correlation` says"),
        (
            Known::Via
            | Known::Forwarded
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedProto
            | Known::Traceparent,
            Way::ToService,
        ) => Some("the gateway writes it; whom it believes is said by `trust`"),
        (Known::Trailer, _) => Some("it frames the message: the gateway writes it"),
        (known, _) if known.is_hop_by_hop() => Some("it belongs to one connection: the gateway writes it"),
        _ => None,
    }
}

/// No change may undo another, or hang on the order in which a mapping is read.
fn changes_fit(changes: &HeaderChanges, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    let renames = changes.rename.iter().flat_map(|renames| &renames.0).collect::<Vec<_>>();
    let mut refuse = |name: &Spanned<FieldName>, other: &Spanned<FieldName>, what: &str, why: &str| {
        let mistake = Diagnostic::error(format!("`{}` {what}", name.as_str())).at(&name.span);
        cx.report(mistake.related(&other.span, why));
        well = false;
    };
    for (i, (old, new)) in renames.iter().enumerate() {
        if let Some(removed) = changes.remove.iter().flatten().find(|removed| is_same(removed, old)) {
            refuse(old, removed, "is removed before it can be renamed", "removed here");
        }
        if let Some((_, twin)) = renames[..i].iter().find(|(_, before)| is_same(before, new)) {
            refuse(new, twin, "is the new name of two fields", "here too");
        }
        if let Some((again, _)) = renames.iter().find(|(again, _)| is_same(again, new) && !is_same(again, old)) {
            refuse(new, again, "is a new name and is itself renamed", "renamed here");
        }
    }
    well
}

impl HeaderChanges {
    fn names(&self) -> impl Iterator<Item = &Spanned<FieldName>> {
        let removed = self.remove.iter().flatten();
        let renamed = self.rename.iter().flat_map(|renames| &renames.0).flat_map(|(old, new)| [old, new]);
        let written = self.set.iter().chain(&self.add).flat_map(|lines| &lines.0).map(|(name, _)| name);
        removed.chain(renamed).chain(written)
    }
}

#[derive(Debug)]
struct Headers {
    request: Changes,
    response: Changes,
}

impl Policy for Headers {
    fn hooks(&self) -> Hooks {
        Hooks { request: !self.request.is_empty(), response: !self.response.is_empty(), ..Hooks::default() }
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        self.request.apply(&mut x.head.fields);
        Step::next()
    }

    fn on_response<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        self.response.apply(&mut x.reply.head.fields);
        Step::next()
    }

    fn describe(&self) -> String {
        let sides = [("request", &self.request), ("response", &self.response)];
        let told = sides.iter().filter(|(_, changes)| !changes.is_empty());
        told.map(|(side, changes)| format!("{side}: {changes:?}")).collect::<Vec<_>>().join("; ")
    }
}

/// Changes ready to be made; names and values are well formed.
#[derive(Default)]
struct Changes {
    remove: Vec<String>,
    rename: Vec<(String, Bytes)>,
    set: Vec<(Bytes, Bytes)>,
    add: Vec<(Bytes, Bytes)>,
}

impl From<HeaderChanges> for Changes {
    fn from(written: HeaderChanges) -> Self {
        let lines = |lines: Option<FieldLines>| {
            let lines = lines.map(|lines| lines.0).unwrap_or_default();
            lines.into_iter().map(|(name, value)| (bytes(name.as_str()), bytes(value.as_str()))).collect()
        };
        let renames = written.rename.map(|renames| renames.0).unwrap_or_default();
        Self {
            remove: written.remove.unwrap_or_default().iter().map(|name| name.as_str().to_owned()).collect(),
            rename: renames.iter().map(|(old, new)| (old.as_str().to_owned(), bytes(new.as_str()))).collect(),
            set: lines(written.set),
            add: lines(written.add),
        }
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    fn apply(&self, fields: &mut Fields) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (old, new) in &self.rename {
            let mut values: Vec<Bytes> = fields.all(old).map(Bytes::copy_from_slice).collect();
            if values.is_empty() {
                continue;
            }
            fields.remove(old);
            fields.set(new.clone(), values.remove(0));
            for value in values {
                fields.add(new.clone(), value);
            }
        }
        for (name, value) in &self.set {
            fields.set(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            fields.add(name.clone(), value.clone());
        }
    }
}

/// Names only: a value may be a secret.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = |lines: &[(Bytes, Bytes)]| {
            let names: Vec<_> = lines.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
            joined(names.iter().map(AsRef::as_ref))
        };
        let renamed: Vec<String> =
            self.rename.iter().map(|(old, new)| format!("{old} to {}", String::from_utf8_lossy(new))).collect();
        let parts = [
            ("removes", joined(self.remove.iter().map(String::as_str))),
            ("renames", renamed.join(", ")),
            ("sets", texts(&self.set)),
            ("adds", texts(&self.add)),
        ];
        let told = parts.iter().filter(|(_, names)| !names.is_empty());
        f.write_str(&told.map(|(verb, names)| format!("{verb} {names}")).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests;
