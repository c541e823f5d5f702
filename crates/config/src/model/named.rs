//! A mapping whose keys are names that the user gives.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Spanned, Value};

/// The longest name.
const LONGEST: usize = 64;

/// Things by name, in the order written.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T>(pub(crate) Vec<(Spanned<String>, T)>);

impl<T> Named<T> {
    /// The thing of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(own, _)| own.value == name).map(|(_, thing)| thing)
    }
}

impl<T> Named<T> {
    /// All of them, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = &(Spanned<String>, T)> {
        self.0.iter()
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return cx.expected(node, "a mapping of names"),
        };
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let name = decode_name(entry, cx);
                let value = T::decode(&entry.value, cx);
                Some((name?, value?))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

fn decode_name(entry: &Entry, cx: &mut DecodeCx) -> Option<Spanned<String>> {
    if is_name(&entry.key) {
        return Some(Spanned::new(entry.key.clone(), &entry.key_span));
    }
    let mistake = Diagnostic::error(format!("`{}` is no name", entry.key)).at(&entry.key_span);
    cx.report(mistake.hint(format!("letters, digits, `-`, `_` and `.`, at most {LONGEST}")));
    None
}

/// Whether this may name a service or an api: without `:` and `/`, which tell an address from a name.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(allowed)
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": r"^[A-Za-z0-9_.-]{1,64}$" },
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
