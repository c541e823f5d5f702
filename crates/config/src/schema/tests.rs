//! The schema says what is accepted.

use super::*;
use crate::desugar::desugar;
use crate::fmt::format_tree;
use crate::read::read;

fn long_form(place: &str, value: &str) -> String {
    let mut tree = read("x.yaml", &place.replace('@', value)).unwrap();
    desugar(&mut tree, &[]);
    format_tree(&tree)
}

#[test]
fn every_short_form_is_sugar_for_its_long_form() {
    for form in SHORT_FORMS {
        let long = long_form(form.place, form.long);
        assert_eq!(long_form(form.place, form.short), long, "{}: {}", form.definition, form.short);
        let as_written = format_tree(&read("x.yaml", &form.place.replace('@', form.long)).unwrap());
        let inner = |text: &str| text.contains(form.long.trim_matches(['{', '}', '[', ']', ' ']));
        assert_eq!(inner(&long), inner(&as_written), "{}: `{}` is not the longest form", form.definition, form.long);
    }
}

#[test]
fn every_short_form_belongs_to_a_definition() {
    let schema = schema(&[]);
    for form in SHORT_FORMS {
        assert!(schema["$defs"].get(form.definition).is_some(), "{}", form.definition);
    }
}

#[test]
fn every_reference_within_the_schema_leads_somewhere() {
    fn targets(schema: &Value, into: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                into.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| targets(value, into));
            }
            Value::Array(items) => items.iter().for_each(|item| targets(item, into)),
            _ => {}
        }
    }
    let schema = schema(&[("sample", sample())]);
    let mut found = Vec::new();
    targets(&schema, &mut found);
    for target in found {
        let name = target.strip_prefix("#/$defs/").unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{target}");
    }
}

/// A policy with a type of its own that is called like one of ours.
fn sample() -> Schema {
    schemars::json_schema!({
        "title": "Sample",
        "description": "Does something.",
        "type": "object",
        "properties": { "what": { "$ref": "#/$defs/Queue" }, "how": { "$ref": "#/$defs/Own" } },
        "$defs": { "Queue": { "type": "string" }, "Own": { "type": "integer" } },
    })
}

#[test]
fn policies_are_keys_of_routes_and_defaults() {
    let schema = schema(&[("sample", sample())]);
    for owner in ["Route", "Defaults"] {
        let definition = &schema["$defs"][owner];
        let keys = definition["anyOf"].as_array().and_then(|forms| forms.last()).unwrap_or(definition);
        assert_eq!(keys["properties"]["sample"]["description"], "Does something.");
        assert_eq!(keys["properties"]["timeout"]["default"], "30s");
    }
    assert_eq!(schema["$defs"]["policy.sample"]["properties"]["what"]["$ref"], "#/$defs/sample.Queue");
    assert_eq!(schema["$defs"]["sample.Queue"]["type"], "string");
    assert!(schema["$defs"]["Queue"]["anyOf"].is_array());
}

#[test]
fn the_reference_page_knows_every_part_and_default() {
    let page = reference_markdown(&schema(&[("sample", sample())]));
    for expected in [
        "# Configuration reference",
        "## The file",
        "## Service",
        "## Route",
        "## sample",
        "| `timeout` | [duration](#duration) | `30s` |",
        "| `listen` | [listen](#listen) | required |",
        "`10.0.0.1:8080 weight 3` is short for `{ address: 10.0.0.1:8080, weight: 3 }`",
        "### Duration",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
    assert!(!page.contains("#/$defs"), "{page}");
}

#[test]
fn every_link_of_the_page_leads_to_a_heading() {
    let page = reference_markdown(&schema(&[("sample", sample())]));
    let headings: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("##"))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"))
        .collect();
    let links: Vec<&str> = page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 100);
    let dead: Vec<_> = links.into_iter().filter(|link| !headings.iter().any(|heading| heading == link)).collect();
    assert_eq!(dead, Vec::<&str>::new());
    assert!(page.contains("\n## Route\n") && page.contains("| `strip` |") && page.contains("| `introspection` |"));
}
