//! From node tree to typed section: every mistake is collected, none stops the reading.
//!
//! [`section!`](crate::section) writes the struct, its defaults, its [`Decode`] and its JSON Schema from one list of fields, so
//! that what is documented, what is accepted and what is built cannot drift apart.

use std::borrow::Cow;

use crate::diagnostic::{Diagnostic, nearest};
use crate::node::{Entry, Node, Spanned, Value};

/// Collects what is wrong while a tree is decoded.
#[derive(Debug, Default)]
pub struct DecodeCx {
    /// All mistakes so far, in the order found.
    pub diagnostics: Vec<Diagnostic>,
}

impl DecodeCx {
    /// Notes a mistake.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Mistakes that came since there were `before`, and have no place of their own, are those of this node.
    pub fn place(&mut self, before: usize, node: &Node) {
        // What no file wrote has no place either.
        let is_written = node.span.line > 0;
        let new = self.diagnostics.get_mut(before..).filter(|_| is_written).unwrap_or_default();
        for lost in new.iter_mut().filter(|found| found.span.is_none()) {
            lost.span = Some(node.span.clone());
        }
    }

    /// Notes that something else was expected here; for use as `return cx.expected(..)`.
    pub fn expected<T>(&mut self, node: &Node, what: &str) -> Option<T> {
        self.report(Diagnostic::error(format!("expected {what}, found {}", node.value.kind())).at(&node.span));
        None
    }
}

/// A section or value of the config. `None` means: reported to `cx`, go on with the rest.
pub trait Decode: Sized {
    /// Reads one node.
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self>;

    /// What holds when the key is not there at all; `None`: it must be there.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }

    /// Keys beside it that say the same in another way: one of them, or it, must be there. Those may leave it out, and then
    /// [`Self::said_otherwise`] holds.
    const INSTEAD: &'static [&'static str] = &[];

    /// What holds when one of [`Self::INSTEAD`] is there in its place.
    #[must_use]
    fn said_otherwise() -> Option<Self> {
        None
    }

    /// What to write when it is missing but must be there, for the hint.
    #[must_use]
    fn example() -> Option<&'static str> {
        None
    }
}

/// Reads a mapping key by key, and at the end reports the keys nobody asked for.
pub struct MapReader<'n> {
    node: &'n Node,
    entries: &'n [Entry],
    known: Vec<&'static str>,
    failed: bool,
}

impl<'n> MapReader<'n> {
    /// Starts on `node`, which must be a mapping (or nothing, which reads as an empty one).
    pub fn new(node: &'n Node, cx: &mut DecodeCx) -> Option<Self> {
        let entries = Self::entries(node).or_else(|| cx.expected(node, "a mapping"))?;
        Some(Self { node, entries, known: Vec::new(), failed: false })
    }

    /// The same for a section with these keys, which whoever writes something else is told, after the short forms that it has.
    pub fn section(node: &'n Node, keys: &[&str], short: &[&str], cx: &mut DecodeCx) -> Option<Self> {
        if let Some(entries) = Self::entries(node) {
            return Some(Self { node, entries, known: Vec::new(), failed: false });
        }
        let what = if short.is_empty() { "a mapping" } else { "a mapping or its short form" };
        let mistake = Diagnostic::error(format!("expected {what}, found {}", node.value.kind())).at(&node.span);
        let keys = keys.join(", ");
        cx.report(mistake.hint(match short {
            [] => format!("keys known here: {keys}"),
            _ => format!("`{}`; or keys: {keys}", short.join("` or `")),
        }));
        None
    }

    fn entries(node: &'n Node) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            _ => None,
        }
    }

    /// The raw value under `key`; marks the key as known.
    pub fn node(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The value under `key`, if it is there and reads well.
    pub fn optional<T: Decode>(&mut self, key: &'static str, cx: &mut DecodeCx) -> Option<T> {
        let node = self.node(key)?;
        self.keep(T::decode(node, cx))
    }

    /// Remembers whether a value that was read by other means read well.
    pub fn keep<T>(&mut self, value: Option<T>) -> Option<T> {
        self.failed |= value.is_none();
        value
    }

    /// The value under `key`; its absence is a mistake, unless the type says otherwise ([`Decode::absent`]).
    pub fn required<T: Decode>(&mut self, key: &'static str, cx: &mut DecodeCx) -> Option<T> {
        if self.entries.iter().any(|e| e.key == key) {
            return self.optional(key, cx);
        }
        self.known.push(key);
        let is_said = self.entries.iter().any(|entry| T::INSTEAD.contains(&entry.key.as_str()));
        if let Some(value) = T::absent().or_else(|| T::said_otherwise().filter(|_| is_said)) {
            return Some(value);
        }
        self.failed = true;
        let missing = Diagnostic::error(format!("`{key}` is missing here")).at(&self.node.span);
        cx.report(match T::example() {
            Some(example) => missing.hint(format!("for example `{key}: {example}`")),
            None => missing,
        });
        None
    }

    /// Reports unknown keys; whether everything read well.
    pub fn finish(self, cx: &mut DecodeCx) -> bool {
        let mut well = !self.failed;
        for entry in self.entries.iter().filter(|e| !self.known.contains(&e.key.as_str())) {
            well = false;
            cx.report(unknown_key(entry, &self.known));
        }
        well
    }
}

/// The message for a key that nobody knows, with the nearest known one.
#[must_use]
pub fn unknown_key(entry: &Entry, known: &[&str]) -> Diagnostic {
    let mistake = Diagnostic::error(format!("unknown key `{}`", entry.key)).at(&entry.key_span);
    match nearest(&entry.key, known.iter().copied()) {
        Some(word) => mistake.hint(format!("did you mean `{word}`?")),
        None if known.is_empty() => mistake.hint("nothing may be set here"),
        None => mistake.hint(format!("known here: {}", known.join(", "))),
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match (&node.value, node.secret) {
            (Value::Bool(value), _) => Some(*value),
            (Value::String(text), true) if text == "true" || text == "false" => Some(text == "true"),
            _ => cx.expected(node, "`true` or `false`"),
        }
    }
}

impl Decode for String {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match &node.value {
            Value::String(value) => Some(value.clone()),
            Value::Int(_) | Value::Float(_) => Some(node.written()),
            _ => cx.expected(node, "a text"),
        }
    }
}

/// The whole number written here; the text of a reference counts as what it spells.
#[must_use]
pub fn whole_number(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Int(value) => Some(*value),
        Value::String(text) if node.secret => text.parse().ok(),
        _ => None,
    }
}

macro_rules! decode_whole {
    ($($kind:ty),*) => {$(
        impl Decode for $kind {
            fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
                let Some(value) = whole_number(node) else { return cx.expected(node, "a whole number") };
                let read = <$kind>::try_from(value).ok();
                if read.is_none() {
                    let range = format!("must lie in {}..={}", <$kind>::MIN, <$kind>::MAX);
                    cx.report(Diagnostic::error(format!("{value} is out of range")).at(&node.span).hint(range));
                }
                read
            }
        }
    )*};
}

decode_whole!(u8, u16, u32, u64, usize, i32, i64);

/// The value, with its place.
impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        T::decode(node, cx).map(|value| Self::new(value, &node.span))
    }

    fn example() -> Option<&'static str> {
        T::example()
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// A list; a single value reads as a list of one.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match &node.value {
            // All are read before the verdict, so that every mistake in the list is told.
            Value::List(items) => {
                let read: Vec<Option<T>> = items.iter().map(|item| T::decode(item, cx)).collect();
                read.into_iter().collect()
            }
            _ => T::decode(node, cx).map(|one| vec![one]),
        }
    }
}

/// `key: null` and no key at all both read as `None`.
impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match node.value {
            Value::Null => Some(None),
            _ => T::decode(node, cx).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// What a field's default looks like in the file, as the macro [`section!`](crate::section) hands it on.
pub fn from_default<T: Decode>(default: impl Into<Value>) -> Option<T> {
    T::decode(&Node::synthetic(default.into()), &mut DecodeCx::default())
}

/// For the JSON Schema of a section: that this key is there, or else one of the others.
#[must_use]
pub fn one_of(key: &str, others: &[&str]) -> Vec<serde_json::Value> {
    std::iter::once(key).chain(others.iter().copied()).map(|key| serde_json::json!({ "required": [key] })).collect()
}

/// The JSON Schema of one field of a section: its type's, with the field's words and default.
#[must_use]
pub fn field_schema(inner: schemars::Schema, docs: &[&str], default: Option<serde_json::Value>) -> serde_json::Value {
    let mut schema = inner;
    if !docs.is_empty() {
        schema.insert("description".into(), docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").into());
    }
    if let Some(default) = default {
        schema.insert("default".into(), default);
    }
    schema.into()
}

/// Declares a section of the config: a struct whose fields are keys of a mapping.
///
/// `name: Type = default` has a default, written as a user would write it; `name: Type` must be there, unless the
/// type is an `Option`, or a section that needs nothing; `name as "key": Type` names a key that is no Rust word.
/// `struct Name: check` has the whole section looked at by `fn(&Name, &mut DecodeCx) -> bool`, which reports what
/// does not fit together. `struct Name = "example", "another"` has short forms, of which whoever writes neither is told. Doc comments
/// become the schema's.
#[macro_export]
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident $(: $check:path)? $(= $($short:literal),+)? {
            $( $(#[doc = $field_doc:literal])* $field:ident $(as $key:literal)? : $kind:ty $(= $default:expr)? ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* pub $field: $kind, )*
        }

        impl $name {
            /// The keys that may be written, in the order of the fields.
            #[allow(dead_code, reason = "not every section's keys are asked for")]
            $vis const KEYS: &'static [&'static str] = &[$( $crate::section!(@key $field [$($key)?]) ),*];
        }

        impl $crate::decode::Decode for $name {
            /// A section of which nothing must be written may be left out.
            fn absent() -> Option<Self> {
                let nothing = $crate::node::Node::synthetic($crate::node::Value::Null);
                Self::decode(&nothing, &mut $crate::decode::DecodeCx::default())
            }

            fn decode(node: &$crate::node::Node, cx: &mut $crate::decode::DecodeCx) -> Option<Self> {
                #[allow(unused_mut, unused_assignments, reason = "most sections have no short form")]
                let mut short: &[&str] = &[];
                $( short = &[$($short),+]; )?
                let mut map = $crate::decode::MapReader::section(node, Self::KEYS, short, cx)?;
                $( let $field: Option<$kind> = $crate::section!(@read map cx $field [$($key)?] $kind $(, $default)?); )*
                if !map.finish(cx) {
                    return None;
                }
                let read = Self { $( $field: $field?, )* };
                $(
                    let before = cx.diagnostics.len();
                    let fits = $check(&read, cx);
                    cx.place(before, node);
                    if !fits {
                        return None;
                    }
                )?
                Some(read)
            }
        }

        impl $crate::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut $crate::schemars::SchemaGenerator) -> $crate::schemars::Schema {
                let mut properties = $crate::serde_json::Map::new();
                #[allow(unused_mut, reason = "some sections have no fields that must be there")]
                let mut required: Vec<&str> = Vec::new();
                #[allow(unused_mut, reason = "few sections have fields that others stand in for")]
                let mut one_of: Vec<$crate::serde_json::Value> = Vec::new();
                $(
                    let key = $crate::section!(@key $field [$($key)?]);
                    #[allow(unused_mut, unused_assignments, reason = "some fields have no default")]
                    let mut default: Option<$crate::serde_json::Value> = None;
                    $( default = Some($default.into()); )?
                    if default.is_none() && <$kind as $crate::decode::Decode>::absent().is_none() {
                        match <$kind as $crate::decode::Decode>::INSTEAD {
                            [] => required.push(key),
                            others => one_of.extend($crate::decode::one_of(key, others)),
                        }
                    }
                    let inner = generator.subschema_for::<$kind>();
                    properties.insert(key.into(), $crate::decode::field_schema(inner, &[$($field_doc),*], default));
                )*
                let docs: &[&str] = &[$($doc),*];
                let description = docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
                let mut schema = $crate::schemars::json_schema!({
                    "type": "object",
                    "description": description,
                    "properties": properties,
                    "additionalProperties": false,
                });
                if !required.is_empty() {
                    schema.insert("required".into(), required.into());
                }
                if !one_of.is_empty() {
                    schema.insert("oneOf".into(), one_of.into());
                }
                schema
            }
        }
    };
    (@key $field:ident []) => { stringify!($field) };
    (@key $field:ident [$key:literal]) => { $key };
    (@read $map:ident $cx:ident $field:ident [$($key:literal)?] $kind:ty) => {
        $map.required::<$kind>($crate::section!(@key $field [$($key)?]), $cx)
    };
    (@read $map:ident $cx:ident $field:ident [$($key:literal)?] $kind:ty, $default:expr) => {
        match $map.node($crate::section!(@key $field [$($key)?])) {
            Some(node) => $map.keep(<$kind as $crate::decode::Decode>::decode(node, $cx)),
            None => $crate::decode::from_default::<$kind>($default),
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    section! {
        /// A section.
        struct Sample {
            /// How many.
            count: u32 = 3,
            /// What it is called.
            name as "call-it": String,
            /// Not always there.
            maybe: Option<bool>,
        }
    }

    fn map(entries: Vec<(&str, Value)>) -> Node {
        let entry = |(key, value): (&str, Value)| Entry {
            key: key.into(),
            key_span: crate::node::Span::none(),
            value: Node::synthetic(value),
        };
        Node::synthetic(Value::Map(entries.into_iter().map(entry).collect()))
    }

    #[test]
    fn defaults_hold_where_nothing_is_written() {
        let mut cx = DecodeCx::default();
        let read = Sample::decode(&map(vec![("call-it", "x".into())]), &mut cx);
        assert_eq!(read, Some(Sample { count: 3, name: "x".into(), maybe: None }));
        assert!(cx.diagnostics.is_empty());
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let mut cx = DecodeCx::default();
        let read = Sample::decode(&map(vec![("count", "many".into()), ("cal-it", "x".into())]), &mut cx);
        assert_eq!(read, None);
        let told: Vec<&str> = cx.diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(
            told,
            ["expected a whole number, found a text", "`call-it` is missing here", "unknown key `cal-it`"]
        );
        assert_eq!(cx.diagnostics[2].hint.as_deref(), Some("did you mean `call-it`?"));
    }

    #[test]
    fn the_schema_says_what_the_reader_accepts() {
        let schema = serde_json::to_value(schemars::schema_for!(Sample)).unwrap();
        assert_eq!(schema["required"], serde_json::json!(["call-it"]));
        assert_eq!(schema["properties"]["count"]["default"], 3);
        assert_eq!(schema["properties"]["call-it"]["description"], "What it is called.");
        assert_eq!(schema["additionalProperties"], false);
    }
}
