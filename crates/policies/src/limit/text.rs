//! Limits as one text: `100/min per user and ip burst 20`, `1/day per consumer in Europe/Berlin`.

use tollgate_core::node::{Entry, Node, Span, Value};

use crate::kit::limits::keys;

/// What such a text looks like.
pub(super) const PATTERN: &str = r"^[0-9]+/\S+( per \S.*)?( (burst [0-9]+|exact|in \S+))*$";

/// What ends a list of keys.
const WORDS: [&str; 4] = ["per", "burst", "exact", "in"];

/// `100/min per user` → `{ rate: 100/min, per: [user] }`. Of what is no such text all is taken for the rate, of which that is told.
pub(super) fn desugar(node: &mut Node) {
    let text = match &node.value {
        Value::String(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => return,
    };
    let parts = entries(&text, &node.span)
        .unwrap_or_else(|| vec![Entry::at("rate", Node::new(Value::String(text), node.span.clone()))]);
    node.value = Value::Map(parts);
}

fn entries(text: &str, span: &Span) -> Option<Vec<Entry>> {
    let at = |key: &str, value: Value, written: &str| Entry::at(key, Node::new(value, span.narrow(written)));
    let mut words = text.split_whitespace().peekable();
    let rate = words.next()?;
    let mut parts = vec![at("rate", rate.into(), rate)];
    while let Some(word) = words.next() {
        match word {
            "per" => parts.push(at("per", Value::List(keys(&mut words, &WORDS, span)?), text)),
            "burst" => {
                let burst = words.next()?;
                parts.push(at("burst", Value::Int(burst.parse().ok()?), burst));
            }
            "exact" => parts.push(at("exact", true.into(), word)),
            "in" => {
                let zone = words.next()?;
                parts.push(at("zone", zone.into(), zone));
            }
            _ => return None,
        }
    }
    // Twice the same is no limit.
    let is_twice = |(at, part): (usize, &Entry)| parts.iter().skip(at + 1).any(|other| other.key == part.key);
    if parts.iter().enumerate().any(is_twice) { None } else { Some(parts) }
}
