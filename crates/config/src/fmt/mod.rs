//! One layout for all files: two spaces, at most one blank line, quotes only where they are needed. Comments, the
//! order of keys and the choice between `{ … }` and indentation are the writer's and stay.

mod comments;
mod print;
mod scalar;

use std::sync::Arc;

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{MASK, Node, Source, Span, Value};

use crate::fmt::comments::Comments;
use crate::fmt::print::Printer;
use crate::read::{read, start_of};
use crate::syntax::{self, Flow, Kind, Style, Syntax};

/// The text in its canonical layout; formatting that again changes nothing.
///
/// # Errors
/// What is wrong with the text as YAML.
pub fn format(name: &str, text: &str) -> Result<String, Vec<Diagnostic>> {
    let before = read(name, text)?;
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let root = syntax::parse(&source)?.root;
    let comments = Comments::collect(text, root.as_ref());
    let count = comments.len();
    let formatted = Printer::new(text, comments).print(root.as_ref());
    // A formatter that loses something is worse than none: what it wrote must read the same.
    let kept = read(name, &formatted).is_ok_and(|after| same(&after, &before))
        && comments_in(&formatted).is_some_and(|after| after == count);
    if kept {
        return Ok(formatted);
    }
    let mistake = Diagnostic::error("this file cannot be formatted without changing what it means");
    Err(vec![mistake.at(&start_of(&source)).hint("please report it, with the file")])
}

/// Whether two trees say the same, `.nan` included.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
        }
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}

fn comments_in(text: &str) -> Option<usize> {
    let source = Arc::new(Source { name: String::new(), text: text.to_owned() });
    let root = syntax::parse(&source).ok()?.root;
    Some(Comments::collect(text, root.as_ref()).len())
}

/// A tree as text, without comments: for the tree of long forms. Secrets are shown as `***`.
#[must_use]
pub fn format_tree(tree: &Node) -> String {
    Printer::new("", Comments::none()).print(Some(&to_syntax(tree)))
}

fn to_syntax(node: &Node) -> Syntax {
    let is_leaf = |node: &Node| match &node.value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        _ => true,
    };
    let flow = |leaves: bool| if leaves { Flow::Flow } else { Flow::Block };
    let kind = match &node.value {
        _ if node.secret => Kind::Scalar(MASK.to_owned(), Style::Quoted),
        Value::Null => Kind::Scalar("null".to_owned(), Style::Plain),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => Kind::Scalar(node.written(), Style::Plain),
        Value::String(text) => Kind::Scalar(text.clone(), Style::Quoted),
        Value::List(items) => Kind::List(items.iter().map(to_syntax).collect(), flow(items.iter().all(is_leaf))),
        Value::Map(entries) => {
            let key = |key: &str| Syntax { span: Span::none(), kind: Kind::Scalar(key.to_owned(), Style::Quoted) };
            let pairs = entries.iter().map(|entry| (key(&entry.key), to_syntax(&entry.value))).collect();
            Kind::Map(pairs, flow(entries.iter().all(|entry| is_leaf(&entry.value))))
        }
    };
    Syntax { span: Span::none(), kind }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
