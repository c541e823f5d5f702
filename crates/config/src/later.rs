//! Words that are planned but not in this version: told apart from mistakes.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Value, each_value, in_key};

/// This version, as messages name it.
const THIS: &str = "0.1";

/// Of the whole file.
const FILE: &[&str] = &["admin", "policies", "tls"];
/// Of one api.
const API: &[&str] = &["openapi", "owner", "state", "tags", "version"];
/// Of the TLS of a listener.
const LISTENER_TLS: &[&str] = &["acme"];
/// Of a route and of `defaults`.
const ROUTE: &[&str] = &["cache", "compose", "openapi", "validate"];

/// The mistake for a word that a later version will know.
fn refusal(word: &str) -> Diagnostic {
    Diagnostic::error(format!("`{word}` cannot be used yet"))
        .hint(format!("`{word}` is not in this version of Tollgate ({THIS})"))
}

/// Reports the keys of this mapping that belong to a later version, and takes them out.
fn refuse_keys(node: &mut Node, words: &[&str], cx: &mut DecodeCx) {
    let Value::Map(entries) = &mut node.value else { return };
    entries.retain(|entry| {
        let later = words.contains(&entry.key.as_str());
        if later {
            cx.report(refusal(&entry.key).at(&entry.key_span));
        }
        !later
    });
}

/// Reports all keys in the whole tree that belong to a later version, and takes them out.
pub(crate) fn refuse(tree: &mut Node, cx: &mut DecodeCx) {
    refuse_keys(tree, FILE, cx);
    in_key(tree, "listen", |listen| {
        each_value(listen, |listener| {
            in_key(listener, "tls", |tls| refuse_keys(tls, LISTENER_TLS, cx));
        });
    });
    in_key(tree, "defaults", |defaults| refuse_keys(defaults, ROUTE, cx));
    in_key(tree, "routes", |routes| refuse_in_routes(routes, cx));
    in_key(tree, "apis", |apis| {
        each_value(apis, |api| {
            refuse_keys(api, API, cx);
            in_key(api, "defaults", |defaults| refuse_keys(defaults, ROUTE, cx));
            in_key(api, "routes", |routes| refuse_in_routes(routes, cx));
        });
    });
}

fn refuse_in_routes(routes: &mut Node, cx: &mut DecodeCx) {
    each_value(routes, |route| match &mut route.value {
        Value::List(variants) => variants.iter_mut().for_each(|variant| refuse_keys(variant, ROUTE, cx)),
        _ => refuse_keys(route, ROUTE, cx),
    });
}
