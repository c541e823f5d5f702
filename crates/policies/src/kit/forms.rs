//! Short forms, and values that are written as one text.

use schemars::{Schema, json_schema};
use serde_json::{Value as Json, json};
use tollgate_config::model::FieldName;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::node::{Entry, Node, Spanned, Value};

/// Sugar for one long form. `PolicyConfig::desugar` carries it out; the schema and the docs are made from this, and a
/// test holds the two together.
pub(crate) struct ShortForm {
    /// An example, as the value of the policy's key.
    pub(crate) short: &'static str,
    /// The same, in full.
    pub(crate) long: &'static str,
    /// What may be written in this form.
    pub(crate) schema: fn() -> Json,
}

/// The schema of a policy: its long form, and beside it the short ones.
pub(crate) fn with_short(mut long: Schema, forms: &[ShortForm]) -> Schema {
    if forms.is_empty() {
        return long;
    }
    let description = long.remove("description");
    let mut any: Vec<Json> = forms.iter().map(schema).collect();
    any.push(long.into());
    json_schema!({ "description": description, "anyOf": any })
}

fn schema(form: &ShortForm) -> Json {
    let mut schema = (form.schema)();
    schema["description"] = json!(format!("`{}` is short for `{}`.", form.short, form.long));
    schema
}

/// `x` → `{ key: [x] }`, `[x, y]` → `{ key: [x, y] }`; a mapping is the long form already, and nothing is no form at all.
pub(crate) fn list_under(node: Node, key: &str) -> Node {
    let span = node.span.clone();
    let list = match &node.value {
        Value::Map(_) | Value::Null => return node,
        Value::List(_) => node,
        _ => Node::new(Value::List(vec![node]), span.clone()),
    };
    Node::new(Value::Map(vec![Entry::at(key, list)]), span)
}

/// Reads a value that is written as one text; `what` is expected, for messages.
pub(crate) fn decode_text<T>(
    node: &Node,
    cx: &mut DecodeCx,
    what: &str,
    read: impl FnOnce(&str) -> Result<T, Diagnostic>,
) -> Option<T> {
    let Some(text) = node.text() else { return cx.expected(node, what) };
    read(text).map_err(|mistake| cx.report(mistake.at(&node.span))).ok()
}

/// Reads a mapping whose keys are field names, no two of them the same in another case.
pub(crate) fn decode_by_name<T: Decode>(
    node: &Node,
    cx: &mut DecodeCx,
    what: &str,
) -> Option<Vec<(Spanned<FieldName>, T)>> {
    let Value::Map(entries) = &node.value else { return cx.expected(node, what) };
    let mut read: Vec<Option<(Spanned<FieldName>, T)>> = Vec::new();
    for entry in entries {
        let name = Spanned::decode(&Node::new(entry.key.as_str().into(), entry.key_span.clone()), cx);
        let value = T::decode(&entry.value, cx);
        let twin = name.as_ref().and_then(|name| read.iter().flatten().find(|(before, _)| is_same(before, name)));
        if let Some((twin, _)) = twin {
            let mistake = Diagnostic::error(format!("`{}` stands here twice", entry.key)).at(&entry.key_span);
            cx.report(mistake.related(&twin.span, "the same field: case does not matter"));
            read.push(None);
        } else {
            read.push(name.zip(value));
        }
    }
    read.into_iter().collect()
}

/// Whether two names are the same: case does not matter (RFC 9110 §5.1).
pub(crate) fn is_same(a: &FieldName, b: &FieldName) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
}

/// A text in place of the mapping that it is short for: `x` → `{ key: x }`.
pub(crate) fn text_under(node: Node, key: &str) -> Node {
    if !matches!(node.value, Value::String(_)) {
        return node;
    }
    let span = node.span.clone();
    Node::new(Value::Map(vec![Entry::at(key, node)]), span)
}

/// The mistake of a name that nobody has: with the one that is meant, or with what to write if there is none like it.
pub(crate) fn unknown_name<'n>(
    mistake: String,
    name: &Spanned<String>,
    known: impl IntoIterator<Item = &'n str>,
    else_hint: &str,
) -> Diagnostic {
    let mistake = Diagnostic::error(mistake).at(&name.span);
    match nearest(&name.value, known) {
        Some(word) => mistake.hint(format!("did you mean `{word}`?")),
        None => mistake.hint(else_hint),
    }
}

/// Several names or values as one: `a, b`.
pub(crate) fn joined<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(", ")
}
