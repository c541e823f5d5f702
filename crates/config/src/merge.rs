//! A directory of files read as one: sections of the same name are joined, the same leaf in two files is a mistake.

use std::collections::HashMap;

use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Value};

/// Adds what stands in `other` to `tree`, of which the first of two values stays; an error if it has no sections.
pub(crate) fn merge(tree: &mut Node, other: Node, mistakes: &mut Vec<Diagnostic>) -> Result<(), Diagnostic> {
    match (&mut tree.value, other.value) {
        (_, Value::Null) => {}
        (Value::Null, value) => *tree = Node { value, span: other.span, secret: other.secret },
        (Value::Map(entries), Value::Map(others)) => merge_entries(entries, others, mistakes),
        (_, _) => return Err(Diagnostic::error("expected a mapping: the sections of the file").at(&other.span)),
    }
    Ok(())
}

fn merge_entries(entries: &mut Vec<Entry>, others: Vec<Entry>, mistakes: &mut Vec<Diagnostic>) {
    let places: HashMap<String, usize> = entries.iter().enumerate().map(|(at, e)| (e.key.clone(), at)).collect();
    for other in others {
        let Some(&at) = places.get(&other.key) else {
            entries.push(other);
            continue;
        };
        let first = &mut entries[at];
        match (&mut first.value.value, other.value.value) {
            (Value::Map(inner), Value::Map(others)) => merge_entries(inner, others, mistakes),
            // Nothing stands there.
            (_, Value::Null) => {}
            (Value::Null, others) => first.value.value = others,
            _ => {
                let mistake = Diagnostic::error(format!("`{}` is set in two files", other.key)).at(&other.key_span);
                mistakes.push(mistake.related(&first.key_span, "the other one"));
            }
        }
    }
}
