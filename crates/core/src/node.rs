//! The config file as a tree whose every node knows where it stands.
//!
//! Built by `config` from YAML, read by whoever owns a section (through [`crate::decode`]). Not a general
//! document model: no anchors, no tags, no writing.

use std::fmt;
use std::ops::Deref;
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

    /// The place of `part` within this one: its first occurrence in what was written, else the whole.
    #[must_use]
    pub fn narrow(&self, part: &str) -> Self {
        let written = self.source.text.get(self.start..self.end).unwrap_or_default();
        let Some(offset) = written.find(part) else { return self.clone() };
        let before = &written[..offset];
        if before.contains('\n') {
            return self.clone();
        }
        let start = self.start + offset;
        let column = self.column + before.chars().count();
        Self { source: Arc::clone(&self.source), start, end: start + part.len(), line: self.line, column }
    }

    /// The place of the character at byte `offset` of `text`, the value that is written here. A value that is not written as it
    /// is (escapes, several lines) is shown as a whole.
    #[must_use]
    pub fn within(&self, text: &str, offset: usize) -> Self {
        let whole = self.narrow(text);
        let written = whole.source.text.get(whole.start..whole.end).unwrap_or_default();
        let (Some(before), Some(rest)) = (text.get(..offset), text.get(offset..)) else { return self.clone() };
        if written != text || text.is_empty() || before.contains('\n') {
            return self.clone();
        }
        let start = whole.start + offset;
        Self {
            source: Arc::clone(&whole.source),
            start,
            end: start + rest.chars().next().map_or(0, char::len_utf8),
            line: whole.line,
            column: whole.column + before.chars().count(),
        }
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
#[derive(Clone, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where.
    pub span: Span,
    /// Came out of a reference (`${env:NAME}`, `${file:/path}`): never shown, and its text reads as whatever is
    /// expected at its place, a number too.
    pub secret: bool,
}

/// What stands where a secret would.
pub const MASK: &str = "***";

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str(MASK) } else { self.value.fmt(f) }
    }
}

/// A typed value that knows where it was written, for what is checked only once everything is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at its place.
    pub fn new(value: T, span: &Span) -> Self {
        Self { value, span: span.clone() }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
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
    /// A value that stands at `span`.
    #[must_use]
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span, secret: false }
    }

    /// A node that no file wrote.
    #[must_use]
    pub fn synthetic(value: Value) -> Self {
        Self::new(value, Span::none())
    }

    /// The text, if this is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as it was written: a number read as a text keeps its digits (`007`, `1.10`).
    #[must_use]
    pub fn written(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            Value::Int(number) => self.digits().unwrap_or_else(|| number.to_string()),
            Value::Float(number) => self.digits().unwrap_or_else(|| number.to_string()),
            Value::Bool(value) => value.to_string(),
            Value::Null | Value::List(_) | Value::Map(_) => String::new(),
        }
    }

    /// The digits of a number in its file; `None` if it came out of a word, or from no file.
    fn digits(&self) -> Option<String> {
        let written = self.span.source.text.get(self.span.start..self.span.end)?;
        written.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)).then(|| written.to_owned())
    }

    /// What is here, for a message: the kind alone, since the value may be a secret.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.value.kind()
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

impl Entry {
    /// A key that stands where its value stands: for long forms made from short ones.
    #[must_use]
    pub fn at(key: &str, value: Node) -> Self {
        Self { key: key.to_owned(), key_span: value.span.clone(), value }
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

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

/// Works on the value under `key`, if there is one.
pub fn in_key(node: &mut Node, key: &str, work: impl FnOnce(&mut Node)) {
    if let Value::Map(entries) = &mut node.value
        && let Some(entry) = entries.iter_mut().find(|e| e.key == key)
    {
        work(&mut entry.value);
    }
}

/// Works on every value of a mapping.
pub fn each_value(node: &mut Node, mut work: impl FnMut(&mut Node)) {
    if let Value::Map(entries) = &mut node.value {
        entries.iter_mut().for_each(|entry| work(&mut entry.value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(written: &str, text: &str, offset: usize) -> String {
        let prefix = "when: ";
        let source = Arc::new(Source { name: "x".into(), text: format!("{prefix}{written}") });
        let span = Span { start: prefix.len(), end: source.text.len(), line: 1, column: 7, source };
        let place = span.within(text, offset);
        format!("{}:{}", place.column, &place.source.text[place.start..place.end])
    }

    #[test]
    fn an_offset_becomes_the_column_of_its_character() {
        assert_eq!(shown("a == é + z", "a == é + z", 5), "12:é");
        assert_eq!(shown("a == é + z", "a == é + z", 7), "13: ");
        assert_eq!(shown("'a {{'", "a {{", 3), "11:{");
        assert_eq!(shown("a", "a", 1), "8:");
    }

    #[test]
    fn what_is_not_written_as_it_is_is_shown_as_a_whole() {
        assert_eq!(shown(r#""a \"b\"""#, "a \"b\"", 2), r#"7:"a \"b\"""#);
        assert_eq!(shown("ab", "ab", 9), "7:ab");
    }
}
