//! Lines of `tests`.

use tollgate_core::node::{Entry, Node, Value};

use super::{instead, number_part, part};

/// All of them.
pub(super) fn each(node: &mut Node) {
    if let Value::List(tests) = &mut node.value {
        tests.iter_mut().for_each(test);
    }
}

/// `GET /orders/1 with 5B -> 200 from orders` → `{ request: { method: GET, url: /orders/1, body: 5B }, expect: { status: 200, from:
/// orders } }`. What does not read is left as it is.
fn test(node: &mut Node) {
    let Some((asked, told)) = node.text().and_then(|text| text.split_once(" -> ")) else { return };
    let (asked, told) = (asked.split_whitespace(), told.split_whitespace());
    if let (Some(request), Some(expect)) = (request(node, asked), expected(node, told)) {
        let under = |key, entries| Entry::at(key, Node::new(Value::Map(entries), node.span.clone()));
        instead(node, vec![under("request", request), under("expect", expect)]);
    }
}

fn request<'t>(node: &Node, mut words: impl Iterator<Item = &'t str>) -> Option<Vec<Entry>> {
    let (method, url) = (words.next()?, words.next()?);
    let mut parts = vec![Entry::at("method", part(node, method)), Entry::at("url", part(node, url))];
    while let Some(word) = words.next() {
        let key = match word {
            "from" => "from",
            "with" => "body",
            _ => return None,
        };
        parts.push(Entry::at(key, part(node, words.next()?)));
    }
    Some(parts)
}

fn expected<'t>(node: &Node, mut words: impl Iterator<Item = &'t str>) -> Option<Vec<Entry>> {
    let status = words.next()?;
    let status = match status.strip_suffix("xx") {
        Some(class) => {
            let range = format!("{class}00-{class}99");
            Node { value: range.as_str().into(), ..part(node, status) }
        }
        None => number_part(node, status),
    };
    let mut parts = vec![Entry::at("status", status)];
    while let Some(word) = words.next() {
        match word {
            "from" => parts.push(Entry::at("from", part(node, words.next()?))),
            "to" => parts.push(Entry::at("location", part(node, words.next()?))),
            slug if slug.contains('/') => parts.push(Entry::at("problem", part(node, slug))),
            _ => return None,
        }
    }
    Some(parts)
}
