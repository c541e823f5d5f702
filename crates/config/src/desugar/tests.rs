//! Lines of `tests`.

use tollgate_core::node::{Entry, Node, Value};

use super::{instead, number_part, part};

/// All of them.
pub(super) fn each(node: &mut Node) {
    if let Value::List(tests) = &mut node.value {
        tests.iter_mut().for_each(test);
    }
}

/// `3 x GET /orders/1 -> 1 x 429` → `{ times: 3, request: { method: GET, url: /orders/1 }, expect: { times: 1, status: 429 } }`,
/// `GET /orders/1 with 5B -> 200 from orders` → `{ request: { method: GET, url: /orders/1, body: 5B }, expect: { status: 200, from:
/// orders } }`. What does not read is left as it is.
fn test(node: &mut Node) {
    let Some((asked, told)) = node.text().and_then(|text| text.split_once(" -> ")) else { return };
    let (asked, told): (Vec<_>, Vec<_>) = (asked.split_whitespace().collect(), told.split_whitespace().collect());
    let ((often, asked), (of, told)) = (times(node, &asked), times(node, &told));
    if let (Some(request), Some(mut expect)) = (request(node, asked), expected(node, told)) {
        expect.splice(0..0, of);
        let under = |key, entries| Entry::at(key, Node::new(Value::Map(entries), node.span.clone()));
        let parts = [under("request", request), under("expect", expect)];
        instead(node, often.into_iter().chain(parts).collect());
    }
}

/// `3 x GET` → 3 times, and `GET`.
fn times<'w, 't>(node: &Node, words: &'w [&'t str]) -> (Option<Entry>, impl Iterator<Item = &'t str> + use<'w, 't>) {
    let (times, rest) = match words {
        [number, "x", rest @ ..] => (Some(Entry::at("times", number_part(node, number))), rest),
        _ => (None, words),
    };
    (times, rest.iter().copied())
}

fn request<'t>(node: &Node, mut words: impl Iterator<Item = &'t str>) -> Option<Vec<Entry>> {
    let (method, url) = (words.next()?, words.next()?);
    let mut parts = vec![Entry::at("method", part(node, method)), Entry::at("url", part(node, url))];
    while let Some(word) = words.next() {
        let key = match word {
            "from" => "from",
            "with" => "body",
            "as" => "as",
            _ => return None,
        };
        put(&mut parts, key, part(node, words.next()?))?;
    }
    Some(parts)
}

/// Adds a part, unless there is one of its kind.
fn put(parts: &mut Vec<Entry>, key: &str, value: Node) -> Option<()> {
    let is_new = parts.iter().all(|part| part.key != key);
    is_new.then(|| parts.push(Entry::at(key, value)))
}

fn expected<'t>(node: &Node, mut words: impl Iterator<Item = &'t str>) -> Option<Vec<Entry>> {
    let mut parts = vec![Entry::at("status", number_part(node, words.next()?))];
    while let Some(word) = words.next() {
        match word {
            "from" => put(&mut parts, "from", part(node, words.next()?))?,
            "to" => put(&mut parts, "location", part(node, words.next()?))?,
            slug if slug.contains('/') => put(&mut parts, "problem", part(node, slug))?,
            _ => return None,
        }
    }
    Some(parts)
}
