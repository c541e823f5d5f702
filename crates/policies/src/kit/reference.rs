//! The reference page of all policies: each one's page as it stands in its file, its keys, its faults.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use tollgate_core::policy::{Merge, PolicyKind};

use crate::ENTRIES;
use crate::kit::{Entry, page, schema};

/// The page, as Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = String::from(
        "# Policies\n\n<!-- Generated: `cargo xtask docs`. -->\n\nA policy is a key of a route, or of `defaults` for many. \
         `none` takes away what `defaults` brought. They run in the order of this page within each stage; \
         `tollgate explain` shows it for a request.\n\n",
    );
    for Entry { kind, .. } in ENTRIES {
        // Writing to memory does not fail, here and below.
        let _ = writeln!(text, "- [{0}](#{0}): {1}", kind.name, kind.summary);
    }
    for entry in ENTRIES {
        policy(&mut text, entry);
    }
    text
}

fn policy(text: &mut String, entry: &Entry) {
    let kind = entry.kind;
    let page = page::text(entry.page);
    // The faults come from the list, with more than the page says of them.
    let page = page.split("\n# Faults").next().unwrap_or_default();
    let _ = write!(text, "\n## {}\n\n{}\n", kind.name, links_within(&page.replace("\n# ", "\n### ")).trim_end());
    text.push_str(match kind.merge {
        Merge::Add => "\nIn `defaults` it is added to what a route says.\n",
        Merge::Replace => "\nIn a route it takes the place of the one in `defaults`.\n",
    });
    text.push_str("\n### Keys\n\n");
    keys(text, &schema(kind).into());
    faults(text, kind);
}

/// Links of the code's docs become links of this page: `[`cors`](crate::cors)` → `[`cors`](#cors)`.
fn links_within(page: &str) -> String {
    page.replace("](crate::", "](#")
}

fn faults(text: &mut String, kind: &PolicyKind) {
    text.push_str("\n### Faults\n\n");
    if kind.faults.is_empty() {
        text.push_str("None.\n");
        return;
    }
    text.push_str("| Fault | Status | Meaning | What to do |\n|---|---|---|---|\n");
    for fault in kind.faults {
        let anchor = fault.slug.replace('/', "");
        let _ = writeln!(
            text,
            "| [`{}`](errors.md#{anchor}) | {} | {} | {} |",
            fault.slug, fault.status, fault.title, fault.help
        );
    }
}

/// The short forms, the keys, and the keys of the sections inside.
fn keys(text: &mut String, root: &Value) {
    let mut sections: Vec<&str> = Vec::new();
    for form in alternatives(root) {
        match form["properties"].as_object() {
            Some(properties) => table(text, properties, form, root, &mut sections),
            None => {
                let _ = writeln!(text, "- {}", form["description"].as_str().unwrap_or_default());
            }
        }
    }
    let mut next = 0;
    while let Some(name) = sections.get(next).copied() {
        next += 1;
        let section = &root["$defs"][name];
        let _ = write!(text, "\n{}: {}\n\n", title(name), section["description"].as_str().unwrap_or_default());
        if let Some(properties) = section["properties"].as_object() {
            table(text, properties, section, root, &mut sections);
        }
    }
}

fn table<'s>(
    text: &mut String,
    properties: &'s Map<String, Value>,
    owner: &Value,
    root: &'s Value,
    sections: &mut Vec<&'s str>,
) {
    if text.lines().next_back().is_some_and(|line| line.starts_with("- ")) {
        text.push('\n');
    }
    text.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    for (key, property) in properties {
        let is_required = owner["required"].as_array().is_some_and(|keys| keys.iter().any(|k| k == key));
        let default = match property.get("default") {
            Some(Value::Array(items)) => format!("`[{}]`", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
            Some(value) => format!("`{}`", plain(value)),
            None if is_required => "required".to_owned(),
            None => String::new(),
        };
        let meaning = property["description"].as_str().unwrap_or_default();
        let row = [format!("`{key}`"), words(property, root, sections), default, meaning.to_owned()];
        let _ = writeln!(text, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
}

/// What may be written, in a few words; notes which sections it leads to.
fn words<'s>(schema: &'s Value, root: &'s Value, sections: &mut Vec<&'s str>) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for form in alternatives(schema) {
        let kind = one_kind(form, root, sections);
        if !kind.is_empty() && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" or ")
}

fn one_kind<'s>(schema: &'s Value, root: &'s Value, sections: &mut Vec<&'s str>) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.strip_prefix("#/$defs/")) {
        if root["$defs"][name].get("properties").is_some() && !sections.contains(&name) {
            sections.push(name);
        }
        return title(name).to_lowercase();
    }
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{}`", plain(word))).collect::<Vec<_>>().join(", ");
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.as_str(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default(),
        _ => "",
    };
    match kind {
        "integer" => "whole number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "string" => "text".to_owned(),
        "array" => format!("list of {}", words(&schema["items"], root, sections)),
        "object" => format!("mapping to {}", words(&schema["additionalProperties"], root, sections)),
        _ => String::new(),
    }
}

/// The forms a value may have, without `null`, which is the same as leaving the key out.
fn alternatives(schema: &Value) -> Vec<&Value> {
    match schema["anyOf"].as_array() {
        Some(forms) => forms.iter().filter(|form| form["type"] != "null").collect(),
        None => vec![schema],
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `HeaderChanges` → `Header changes`.
fn title(name: &str) -> String {
    let mut title = String::new();
    for (at, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && at > 0 {
            title.push(' ');
        }
        title.push(if at > 0 { c.to_ascii_lowercase() } else { c });
    }
    title
}
