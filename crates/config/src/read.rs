//! From text to the tree of nodes that everything else reads.

use std::collections::HashMap;
use std::sync::Arc;

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Source, Span, Value};

use crate::syntax::{self, Kind, Parsed, Style, Syntax};

/// The largest file that is read.
pub const LARGEST: usize = 16 * 1024 * 1024;

/// Reads YAML 1.2 (core schema) into a tree whose every node knows its place. An empty text reads as nothing.
///
/// # Errors
/// Everything that is wrong with the text as such: syntax, duplicate keys, and what a config file may not use
/// (anchors, aliases, tags, several documents …).
pub fn read(name: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let Readable { node, mistakes } = read_on(name, text)?;
    if mistakes.is_empty() { Ok(node) } else { Err(mistakes) }
}

/// A text that could be read to its end.
#[derive(Debug)]
pub(crate) struct Readable {
    /// What it says; of two entries with the same key the first.
    pub(crate) node: Node,
    /// What is wrong with it as such, but leaves sense in the rest.
    pub(crate) mistakes: Vec<Diagnostic>,
}

/// Like [`read`], but goes on as far as sense can be made of the text, so that what else is wrong with it can be told too.
///
/// # Errors
/// No sense can be made of it.
pub(crate) fn read_on(name: &str, text: &str) -> Result<Readable, Vec<Diagnostic>> {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    if text.len() > LARGEST {
        let mistake = Diagnostic::error(format!("the file is larger than {} MiB", LARGEST >> 20));
        return Err(vec![mistake.at(&start_of(&source))]);
    }
    let Parsed { root, mut mistakes } = syntax::parse(&source)?;
    let node = match root {
        Some(root) => to_node(root, &mut mistakes),
        None => Node::new(Value::Null, start_of(&source)),
    };
    Ok(Readable { node, mistakes })
}

/// The first place of a file.
pub(crate) fn start_of(source: &Arc<Source>) -> Span {
    Span { source: Arc::clone(source), start: 0, end: 0, line: 1, column: 1 }
}

fn to_node(syntax: Syntax, mistakes: &mut Vec<Diagnostic>) -> Node {
    let Syntax { span, kind } = syntax;
    let value = match kind {
        Kind::Scalar(text, Style::Plain) => plain(&text).unwrap_or_else(|too_large| {
            let hint = "put it in quotes if it is a text";
            mistakes.push(Diagnostic::error(too_large).at(&span).hint(hint));
            Value::Null
        }),
        Kind::Scalar(text, Style::Quoted | Style::Literal | Style::Folded) => Value::String(text),
        Kind::List(items, _) => Value::List(items.into_iter().map(|item| to_node(item, mistakes)).collect()),
        Kind::Map(entries, _) => Value::Map(to_entries(entries, mistakes)),
    };
    Node::new(value, span)
}

/// The entries of a mapping, of two with the same key the first.
fn to_entries(written: Vec<(Syntax, Syntax)>, mistakes: &mut Vec<Diagnostic>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(written.len());
    let mut places: HashMap<String, usize> = HashMap::with_capacity(written.len());
    for (key, value) in written {
        let text = match key.kind {
            Kind::Scalar(text, _) => text,
            Kind::List(..) | Kind::Map(..) => String::new(),
        };
        let entry = Entry { key: text, key_span: key.span, value: to_node(value, mistakes) };
        match places.get(&entry.key).and_then(|first| entries.get(*first)) {
            Some(first) => {
                let mistake = Diagnostic::error(format!("`{}` stands here twice", entry.key)).at(&entry.key_span);
                mistakes.push(mistake.related(&first.key_span, "the first one"));
            }
            None => {
                places.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
    }
    entries
}

/// What a plain scalar means (YAML 1.2.2 §10.3.2); an error for a number that is too large.
pub(crate) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Ok(text.into());
    }
    if let Some(number) = whole(text) {
        return number.map(Value::Int).ok_or_else(|| format!("`{text}` is too large a number"));
    }
    Ok(fraction(text).map_or_else(|| text.into(), Value::Float))
}

/// A whole number; `Some(None)` if it is one but too large.
fn whole(text: &str) -> Option<Option<i64>> {
    let radix = |digits: &str, radix, allowed: fn(u8) -> bool| {
        (!digits.is_empty() && digits.bytes().all(allowed)).then(|| i64::from_str_radix(digits, radix).ok())
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8, |b| (b'0'..=b'7').contains(&b));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16, |b| b.is_ascii_hexdigit());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())
}

/// A number with a fraction or exponent. Rust reads more than YAML (`inf`, `nan`), so the characters are checked.
fn fraction(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(f64::NAN);
    }
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let has_digit_first = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    if unsigned.bytes().all(allowed) && has_digit_first { text.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
