//! A config as it is shown to those who run the gateway: long forms, as JSON, without its secrets.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tollgate_core::node::{self, MASK, Node};
use tollgate_core::secrets::is_secret;
use tollgate_plan::diff;

/// The tree as JSON. What came from a reference is masked, and what stands plainly under a name that tells of a secret.
pub(crate) fn without_secrets(node: &Node) -> Value {
    as_json(node, |_| json!(MASK))
}

/// The same, with secrets marked as such, for a comparison.
pub(crate) fn with_marked_secrets(node: &Node) -> Value {
    as_json(node, diff::secret)
}

fn as_json(node: &Node, secret: fn(Value) -> Value) -> Value {
    let plain = |node: &Node| match &node.value {
        node::Value::Null => Value::Null,
        node::Value::Bool(value) => json!(value),
        node::Value::Int(number) => json!(number),
        node::Value::Float(number) => json!(number),
        node::Value::String(text) => json!(text),
        node::Value::List(items) => items.iter().map(|item| as_json(item, secret)).collect(),
        node::Value::Map(entries) => {
            let shown = entries.iter().map(|entry| {
                let is_told = !is_secret(entry.key.as_bytes()) || holds_mapping(&entry.value);
                let value = as_json(&entry.value, secret);
                (entry.key.clone(), if is_told || entry.value.secret { value } else { secret(value) })
            });
            Value::Object(shown.collect())
        }
    };
    if node.secret { secret(plain(node)) } else { plain(node) }
}

/// All routes in the order of the file, each with its api and the hosts of that.
pub(crate) fn routes(tree: &Node) -> Vec<Value> {
    let mut all = Vec::new();
    add(None, tree, &mut all);
    if let Some(node::Value::Map(apis)) = tree.get("apis").map(|apis| &apis.value.value) {
        apis.iter().for_each(|api| add(Some(&api.key), &api.value, &mut all));
    }
    all
}

fn add(api: Option<&str>, owner: &Node, all: &mut Vec<Value>) {
    let Some(node::Value::Map(entries)) = owner.get("routes").map(|routes| &routes.value.value) else { return };
    let hosts = owner.get("hosts").map(|hosts| without_secrets(&hosts.value));
    for entry in entries {
        let variants = match &entry.value.value {
            node::Value::List(variants) => variants.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        all.extend(variants.iter().map(|variant| {
            let mut route = Map::new();
            route.insert("api".to_owned(), json!(api));
            route.insert("hosts".to_owned(), json!(hosts));
            route.insert("route".to_owned(), json!(entry.key));
            route.insert("says".to_owned(), without_secrets(variant));
            Value::Object(route)
        }));
    }
}

fn holds_mapping(node: &Node) -> bool {
    match &node.value {
        node::Value::Map(_) => true,
        node::Value::List(items) => items.iter().any(holds_mapping),
        _ => false,
    }
}

/// A moment as RFC 3339.
pub(crate) fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let env = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
        tollgate_config::load_text("x.yaml", text, &env, &[]).unwrap().tree
    }

    #[test]
    fn secrets_are_not_shown_and_routes_know_their_api() {
        let tree = tree(
            "listen: 8080\nroutes: { /a: { reply: 200 } }\napis:\n  shop:\n    hosts: [shop.example]\n    routes:\n      /b: { reply: \
             { body: \"${env:SECRET}\", headers: { X-Api-Key: plain, X-Other: seen } } }\n",
        );
        let (shown, routes) = (without_secrets(&tree).to_string(), json!(routes(&tree)));
        for text in [&shown, &routes.to_string()] {
            assert!(!text.contains("hunter2") && !text.contains("plain") && text.contains("seen"), "{text}");
        }
        assert_eq!((&routes[0]["api"], &routes[0]["route"]), (&Value::Null, &json!("/a")));
        assert_eq!((&routes[1]["api"], &routes[1]["hosts"]), (&json!("shop"), &json!(["shop.example"])));
    }
}
