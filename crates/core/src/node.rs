//! The config file as a tree whose every node knows where it stands.
//!
//! Built by `config` from YAML, read by whoever owns a section (through [`crate::decode`]). Not a general
//! document model: no anchors, no tags, no writing.

use std::sync::Arc;

/// One file that was read, kept so that a mistake can be shown with its line.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The name as the user gave it, for messages.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Where something stands in a [`Source`].
#[derive(Clone, Debug)]
pub struct Span {
    /// The file.
    pub source: Arc<Source>,
    /// First byte, from 0.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// Column of the first byte in characters, from 1.
    pub column: usize,
}

impl Span {
    /// A span over nothing, for values that no file wrote (defaults, tests).
    #[must_use]
    pub fn none() -> Self {
        let source = Arc::new(Source { name: String::new(), text: String::new() });
        Self { source, start: 0, end: 0, line: 0, column: 0 }
    }

    /// Whether a file stands behind this span.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.line > 0
    }
}

/// Spans say where, not what: two values that differ only in where they stand are equal.
impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where.
    pub span: Span,
}

/// What may be written: the YAML 1.2 core schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or exponent; the span leads to its text.
    Float(f64),
    /// Everything else, and every quoted scalar.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written; keys are unique (checked on reading).
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text. Numbers and words alike: `8080:` is the key `8080`.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// What it maps to.
    pub value: Node,
}

impl Value {
    /// What this is, for a message: `a list`, `a number` …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::String(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// A node that no file wrote.
    #[must_use]
    pub fn synthetic(value: Value) -> Self {
        Self { value, span: Span::none() }
    }

    /// The entry with this key, if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}
