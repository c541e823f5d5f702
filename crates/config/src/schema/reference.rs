//! The reference page: for each part of the file its keys, their types, defaults and meaning, in the order in which
//! one meets them.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::schema::REFERENCE;

/// The page, as Markdown, of a schema that [`crate::schema()`] made.
#[must_use]
pub fn reference_markdown(schema: &Value) -> String {
    let mut page =
        Page { definitions: schema["$defs"].as_object(), text: String::new(), parts: Vec::new(), types: Vec::new() };
    page.text.push_str("# Configuration reference\n\n");
    page.text.push_str("Made from the schema (`tollgate schema`); do not edit. Values may stand elsewhere: ");
    page.text.push_str("`${env:NAME}` and `${file:/path}` are put in for whole values.\n");
    page.part("The file", schema);
    let (mut told, mut looked) = (0, 0);
    loop {
        while let Some(name) = page.parts.get(told).cloned() {
            if let Some(definition) = page.definition(&name) {
                page.part(&title(&name), definition);
            }
            told += 1;
        }
        // Types come last, but may be one of several parts.
        let Some(name) = page.types.get(looked).cloned() else { break };
        if let Some(definition) = page.definition(&name) {
            page.kind(definition);
        }
        looked += 1;
    }
    page.types();
    page.text
}

struct Page<'s> {
    definitions: Option<&'s Map<String, Value>>,
    text: String,
    /// The parts with keys of their own, in the order first met.
    parts: Vec<String>,
    /// The types of single values, likewise.
    types: Vec<String>,
}

impl<'s> Page<'s> {
    fn definition(&self, name: &str) -> Option<&'s Value> {
        self.definitions?.get(name)
    }

    /// A part: what it is, its short forms, its keys.
    fn part(&mut self, title: &str, schema: &'s Value) {
        let _ = write!(self.text, "\n## {title}\n\n");
        if let Some(description) = schema["description"].as_str() {
            let _ = write!(self.text, "{description}\n\n");
        }
        let forms: Vec<&Value> = alternatives(schema);
        for form in forms.iter().filter(|form| form.get("properties").is_none()) {
            let kind = self.kind(form);
            // What is said of the whole is not said again of its only form.
            let own = form["description"].as_str().filter(|own| Some(*own) != schema["description"].as_str());
            let _ = writeln!(self.text, "- {}", own.map_or(capitalised(&kind), str::to_owned));
        }
        for form in &forms {
            if let Some(properties) = form["properties"].as_object() {
                self.keys(properties, form["required"].as_array());
            }
        }
    }

    fn keys(&mut self, properties: &'s Map<String, Value>, required: Option<&Vec<Value>>) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
        self.text.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        for (key, property) in properties {
            let kind = self.kind(property).replace('|', "\\|");
            let is_required = required.is_some_and(|keys| keys.iter().any(|k| k == key));
            let default = match property.get("default") {
                Some(Value::String(text)) => format!("`{text}`"),
                Some(value) => format!("`{value}`"),
                None if is_required => "required".to_owned(),
                None => String::new(),
            };
            let meaning = property["description"].as_str().unwrap_or_default().replace('|', "\\|");
            let _ = writeln!(self.text, "| `{key}` | {kind} | {default} | {meaning} |");
        }
    }

    /// What may be written, in a few words; notes what needs a section of its own.
    fn kind(&mut self, schema: &'s Value) -> String {
        if let Some(title) = schema["title"].as_str() {
            return title.to_owned();
        }
        let mut kinds: Vec<String> = Vec::new();
        for form in alternatives(schema) {
            let kind = self.one_kind(form);
            if !kind.is_empty() && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds.join(" or ")
    }

    fn one_kind(&mut self, schema: &'s Value) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|target| target.strip_prefix("#/$defs/")) {
            return self.named(name);
        }
        if let Some(title) = schema["title"].as_str() {
            return title.to_owned();
        }
        if let Some(word) = schema.get("const") {
            return format!("`{}`", word.as_str().map_or_else(|| word.to_string(), str::to_owned));
        }
        if let Some(words) = schema["enum"].as_array() {
            let word = |word: &Value| format!("`{}`", word.as_str().map_or_else(|| word.to_string(), str::to_owned));
            return words.iter().map(word).collect::<Vec<_>>().join(", ");
        }
        if schema.get("anyOf").is_some() {
            return self.kind(schema);
        }
        let kind = match &schema["type"] {
            Value::String(kind) => kind.as_str(),
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default()
            }
            _ => "",
        };
        match kind {
            "integer" => match (schema["minimum"].as_i64(), schema["maximum"].as_u64()) {
                (Some(least), Some(most)) => format!("whole number, {least} to {most}"),
                _ => "whole number".to_owned(),
            },
            "boolean" => "`true` or `false`".to_owned(),
            "string" => "text".to_owned(),
            "array" => format!("list of {}", self.kind(&schema["items"])),
            "object" => match schema.get("additionalProperties") {
                Some(inner) if inner.is_object() => format!("mapping to {}", self.kind(inner)),
                _ => "mapping".to_owned(),
            },
            _ => String::new(),
        }
    }

    /// A definition by name: a part or a type, with a link.
    fn named(&mut self, name: &str) -> String {
        let Some(definition) = self.definition(name) else { return String::new() };
        let has_keys =
            alternatives(definition).iter().any(|form| form.get("properties").is_some() || form["type"] == "object");
        let list = if has_keys { &mut self.parts } else { &mut self.types };
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
        let title = title(name);
        format!("[{}](#{})", title.to_lowercase(), title.to_lowercase().replace(' ', "-"))
    }

    fn types(&mut self) {
        self.text.push_str("\n## Types\n");
        let mut next = 0;
        while let Some(name) = self.types.get(next).cloned() {
            next += 1;
            let Some(definition) = self.definition(&name) else { continue };
            let _ = write!(self.text, "\n### {}\n\n", title(&name));
            if let Some(description) = definition["description"].as_str() {
                let _ = write!(self.text, "{description}\n\n");
            }
            let kind = self.kind(definition);
            let _ = writeln!(self.text, "{}", capitalised(&kind));
            if let Some(examples) = definition["examples"].as_array() {
                let example =
                    |value: &Value| format!("`{}`", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                let _ = writeln!(
                    self.text,
                    "\nFor example {}.",
                    examples.iter().map(example).collect::<Vec<_>>().join(", ")
                );
            }
        }
    }
}

/// The forms a value may have, without `null` and references, which hold everywhere.
fn alternatives(schema: &Value) -> Vec<&Value> {
    match schema["anyOf"].as_array() {
        Some(forms) => forms.iter().filter(|f| f["$ref"] != REFERENCE && f["type"] != "null").collect(),
        None => vec![schema],
    }
}

/// `ListenerOptions` → `Listener`; `KeepAlive` → `Keep alive`; `policy.cors` → `cors`.
fn title(name: &str) -> String {
    let name = name.strip_prefix("policy.").unwrap_or(name);
    let name = name.strip_suffix("Section").or(name.strip_suffix("Options")).unwrap_or(name);
    let mut title = String::new();
    for (at, c) in name.chars().enumerate() {
        match c {
            '.' => title.push(' '),
            _ if c.is_ascii_uppercase() && at > 0 && !title.ends_with(' ') => {
                title.push(' ');
                title.push(c.to_ascii_lowercase());
            }
            _ => title.push(c),
        }
    }
    title
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
