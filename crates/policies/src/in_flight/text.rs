//! Limits as one text: `20 per user and ip`.

use tollgate_core::node::{Entry, Node, Value};

use crate::kit::limits::keys;

/// What such a text looks like.
pub(super) const PATTERN: &str = r"^[0-9]+( per \S.*)?$";

/// `20 per ip` → `{ most: 20, per: [ip] }`. Of what is no such text all is taken for the number, of which that is told.
pub(super) fn desugar(node: &mut Node) {
    let span = node.span.clone();
    let most = |most: Value, written: &str| Entry::at("most", Node::new(most, span.narrow(written)));
    let parts = match &node.value {
        Value::Int(number) => vec![most(Value::Int(*number), &number.to_string())],
        Value::String(text) => {
            let mut words = text.split_whitespace().peekable();
            let number = words.next().unwrap_or_default();
            let value = number.parse().map_or_else(|_| text.as_str().into(), Value::Int);
            let per = match words.next() {
                None => Some(None),
                Some("per") => keys(&mut words, &["per"], &span).filter(|_| words.peek().is_none()).map(Some),
                Some(_) => None,
            };
            match per {
                Some(None) => vec![most(value, number)],
                Some(Some(per)) => {
                    vec![most(value, number), Entry::at("per", Node::new(Value::List(per), span.clone()))]
                }
                None => vec![most(text.as_str().into(), text)],
            }
        }
        _ => return,
    };
    node.value = Value::Map(parts);
}
