//! JSON Schema (draft 2020-12) of the whole file, for editors; and the reference page that is made of it.

mod reference;
mod short_forms;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::model::File;
use crate::model::settings::SETTING_DEFAULTS;
use crate::schema::short_forms::SHORT_FORMS;

pub use self::reference::reference_markdown;

/// The definitions whose keys are settings and policies.
const WITH_POLICIES: &[&str] = &["Route", "Defaults"];

/// The schema of a file, short forms and long ones; `policies` are those known, by name, each as its type's whole
/// schema.
#[must_use]
pub fn schema(policies: &[(&str, Schema)]) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut root: Value = generator.into_root_schema_for::<File>().into();
    root["title"] = json!("Tollgate configuration");
    for (name, policy) in policies {
        add_policy(&mut root, name, policy.clone().into());
    }
    for owner in WITH_POLICIES {
        for (key, default) in SETTING_DEFAULTS {
            root["$defs"][owner]["properties"][key]["default"] = json!(default);
        }
    }
    let mut long = root;
    one_or_many(&mut long);
    add_short_forms(&mut long);
    if let Some(definitions) = long["$defs"].as_object_mut() {
        definitions.values_mut().for_each(allow_references);
    }
    if let Some(properties) = long["properties"].as_object_mut() {
        properties.values_mut().for_each(allow_references);
    }
    long["$defs"]["Reference"] = reference_schema();
    long
}

/// Where a value may stand elsewhere.
const REFERENCE: &str = "#/$defs/Reference";

fn reference_schema() -> Value {
    json!({
        "type": "string",
        "pattern": r"^\$\{(env:[^}]+|file:/[^}]+)\}$",
        "description": "A value that stands in an environment variable or a file; never shown.",
        "examples": ["${env:TOKEN}", "${file:/run/secrets/token}"],
    })
}

/// Adds a policy as a key of routes and `defaults`, with what its schema refers to.
fn add_policy(root: &mut Value, name: &str, mut policy: Value) {
    let own = policy.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("title");
        schema.remove("$defs")
    });
    let own = own.and_then(|definitions| definitions.as_object().cloned()).unwrap_or_default();
    // Two types of the same name need not be the same type.
    let clashes: Vec<String> = own
        .iter()
        .filter(|(key, value)| root["$defs"].get(key.as_str()).is_some_and(|there| there != *value))
        .map(|(key, _)| key.clone())
        .collect();
    for (key, mut definition) in own {
        rename(&mut definition, &clashes, name);
        let key = if clashes.contains(&key) { format!("{name}.{key}") } else { key };
        root["$defs"][key] = definition;
    }
    rename(&mut policy, &clashes, name);
    let description = policy.get("description").cloned();
    let definition = format!("policy.{name}");
    root["$defs"][&definition] = policy;
    let mut property = json!({ "anyOf": [{ "$ref": format!("#/$defs/{definition}") }, { "const": "none" }] });
    if let Some(description) = description {
        property["description"] = description;
    }
    for owner in WITH_POLICIES {
        root["$defs"][owner]["properties"][name] = property.clone();
    }
}

/// Rewrites what refers to one of the `clashes`.
fn rename(schema: &mut Value, clashes: &[String], prefix: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(key) = target.strip_prefix("#/$defs/").filter(|key| clashes.iter().any(|c| c == key))
            {
                *target = format!("#/$defs/{prefix}.{key}");
            }
            object.values_mut().for_each(|value| rename(value, clashes, prefix));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, clashes, prefix)),
        _ => {}
    }
}

/// Where a list may stand, a single value is a list of one.
fn one_or_many(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for (key, value) in object.iter_mut() {
        match key.as_str() {
            "properties" => {
                if let Value::Object(properties) = value {
                    properties.values_mut().for_each(single);
                }
            }
            "$defs" => {
                if let Value::Object(definitions) = value {
                    definitions.values_mut().for_each(one_or_many);
                }
            }
            "anyOf" => {
                if let Value::Array(alternatives) = value {
                    alternatives.iter_mut().for_each(one_or_many);
                }
            }
            _ => {}
        }
    }
}

fn single(property: &mut Value) {
    one_or_many(property);
    let Value::Object(object) = property else { return };
    let is_list = match object.get("type") {
        Some(Value::String(kind)) => kind == "array",
        Some(Value::Array(kinds)) => kinds.contains(&json!("array")),
        _ => false,
    };
    let Some(items) = object.get("items").cloned().filter(|_| is_list) else { return };
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = object.remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    outer.insert("anyOf".to_owned(), json!([items, Value::Object(object.clone())]));
    *object = outer;
}

/// Adds the short forms beside the long one of each definition that has any.
fn add_short_forms(root: &mut Value) {
    let Some(definitions) = root["$defs"].as_object_mut() else { return };
    for (name, definition) in definitions.iter_mut() {
        let short = SHORT_FORMS.iter().filter(|form| form.definition == name);
        let mut alternatives: Vec<Value> = short.map(|form| form.schema()).collect();
        let Value::Object(long) = definition else { continue };
        if alternatives.is_empty() {
            continue;
        }
        let mut outer = Map::new();
        if let Some(description) = long.remove("description") {
            outer.insert("description".to_owned(), description);
        }
        match long.remove("anyOf") {
            Some(Value::Array(forms)) => alternatives.extend(forms),
            _ => alternatives.push(Value::Object(std::mem::take(long))),
        }
        outer.insert("anyOf".to_owned(), Value::Array(alternatives));
        *long = outer;
    }
}

/// Lets a reference stand wherever one value is expected that is no free text.
fn allow_references(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for key in ["properties", "additionalProperties", "items", "anyOf"] {
        match object.get_mut(key) {
            Some(Value::Object(properties)) if key == "properties" => {
                properties.values_mut().for_each(allow_references);
            }
            Some(Value::Array(alternatives)) => alternatives.iter_mut().for_each(allow_references),
            Some(inner) => allow_references(inner),
            None => {}
        }
    }
    let kind = object.get("type").map(|kind| kind.to_string()).unwrap_or_default();
    let is_checked_text = kind.contains("string") && (object.contains_key("pattern") || object.contains_key("enum"));
    if !(kind.contains("integer") || kind.contains("boolean") || is_checked_text) {
        return;
    }
    let mut outer = Map::new();
    for key in ["description", "default", "examples"] {
        if let Some(value) = object.remove(key) {
            outer.insert(key.to_owned(), value);
        }
    }
    outer.insert("anyOf".to_owned(), json!([Value::Object(object.clone()), { "$ref": REFERENCE }]));
    *object = outer;
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
