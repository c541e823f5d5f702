//! What holds for every policy of the list, without a word about any of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use tollgate_core::decode::DecodeCx;
use tollgate_core::facts::Route;
use tollgate_core::node::{Entry as Key, Node, Span, Value};
use tollgate_core::policy::{BuildCx, Place, PolicyKind};

use crate::kit::{page, schema};
use crate::{ALL, ENTRIES, find, reference_markdown, schemas};

fn read(yaml: &str) -> Node {
    tollgate_config::read("example", yaml).unwrap_or_else(|mistakes| panic!("{yaml}: {mistakes:?}"))
}

fn long(kind: &PolicyKind, yaml: &str) -> Node {
    (kind.desugar)(read(yaml))
}

/// The sources of identity that examples name.
fn sources() -> tollgate_core::principal::Sources {
    tollgate_testkit::bench::sources(&["idp", "keys"])
}

/// How many policies it makes, or what is wrong.
fn build(kind: &PolicyKind, node: &Node) -> Result<usize, Vec<(String, String)>> {
    let mut cx = DecodeCx::default();
    let built =
        (kind.build)(node, &mut cx, &BuildCx { route: &Route::default(), sources: &sources(), place: Place::Route });
    let told: Vec<_> = cx.diagnostics.into_iter().map(|d| (d.message, d.hint.unwrap_or_default())).collect();
    built.filter(|_| told.is_empty()).map(|built| built.len()).ok_or(told)
}

#[test]
fn every_file_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> =
        files.filter_map(|file| file.strip_suffix(".rs").map(str::to_owned)).filter(|file| file != "lib").collect();
    let listed: BTreeSet<String> = ENTRIES.iter().map(|entry| entry.file.to_owned()).collect();
    assert_eq!(files, listed);
}

#[test]
fn a_policy_is_named_like_its_file_and_found_by_its_name() {
    for entry in ENTRIES {
        assert_eq!(entry.kind.name, entry.file);
        assert_eq!(find(entry.file).map(|kind| kind.name), Some(entry.file));
    }
    assert_eq!(ALL.len(), ENTRIES.len());
    assert!(find("no_such").is_none());
}

#[test]
fn the_example_builds() {
    for kind in ALL {
        let built = build(kind, &long(kind, kind.example));
        assert!(built.as_ref().is_ok_and(|n| *n > 0), "{}: {built:?}", kind.name);
    }
}

#[test]
fn short_forms_mean_their_long_form() {
    for entry in ENTRIES {
        for form in entry.short_forms {
            let (short, full) = (long(entry.kind, form.short), read(form.long));
            assert_eq!(short, full, "{}", form.short);
            assert!(build(entry.kind, &short).is_ok(), "{}", form.short);
        }
    }
}

#[test]
fn the_long_form_is_its_own_long_form() {
    for entry in ENTRIES {
        let shorts = entry.short_forms.iter().map(|form| form.short);
        for yaml in shorts.chain([entry.kind.example]) {
            let once = long(entry.kind, yaml);
            assert_eq!((entry.kind.desugar)(once.clone()), once, "{yaml}");
        }
    }
}

#[test]
fn a_fault_starts_with_the_name_of_its_policy() {
    for kind in ALL {
        for fault in kind.faults {
            assert_eq!(fault.policy(), kind.name);
            assert!(fault.slug.split_once('/').is_some_and(|(_, reason)| !reason.is_empty()), "{}", fault.slug);
            assert!(!fault.title.is_empty() && !fault.help.is_empty(), "{}", fault.slug);
        }
    }
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_word() {
    for kind in ALL {
        let mut node = long(kind, kind.example);
        let Value::Map(entries) = &mut node.value else { panic!("{}: the long form is a mapping", kind.name) };
        let meant = entries[0].key.clone();
        let value = Node::synthetic(Value::Null);
        entries.push(Key { key: format!("{meant}x"), key_span: Span::none(), value });
        let told = build(kind, &node).unwrap_err();
        assert_eq!(told, [(format!("unknown key `{meant}x`"), format!("did you mean `{meant}`?"))]);
    }
}

#[test]
fn every_key_is_described() {
    for (name, schema) in schemas() {
        let schema: Json = schema.into();
        assert!(schema["description"].is_string(), "{name}");
        described(name, &schema);
        resolved(&schema, &schema);
    }
}

fn described(path: &str, schema: &Json) {
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{path}");
        described(&path, property);
    }
    for form in schema["anyOf"].as_array().into_iter().flatten() {
        described(path, form);
    }
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        described(name, definition);
    }
}

/// Whatever is referred to is there.
fn resolved(root: &Json, schema: &Json) {
    match schema {
        Json::Object(object) => {
            if let Some(target) = object.get("$ref").and_then(Json::as_str) {
                let name = target.strip_prefix("#/$defs/").unwrap();
                assert!(root["$defs"][name].is_object(), "{target}");
            }
            object.values().for_each(|value| resolved(root, value));
        }
        Json::Array(items) => items.iter().for_each(|item| resolved(root, item)),
        _ => {}
    }
}

#[test]
fn the_schema_knows_the_keys_of_the_example() {
    for kind in ALL {
        let schema: Json = schema(kind).into();
        let whole = vec![schema.clone()];
        let forms = schema["anyOf"].as_array().unwrap_or(&whole);
        let long_form = forms.iter().find(|form| form["properties"].is_object()).unwrap();
        let Value::Map(entries) = long(kind, kind.example).value else { panic!("{}", kind.name) };
        for entry in entries {
            assert!(long_form["properties"][&entry.key].is_object(), "{}.{}", kind.name, entry.key);
        }
    }
}

#[test]
fn a_page_says_what_when_how_and_what_can_go_wrong() {
    for entry in ENTRIES {
        let (kind, page) = (entry.kind, page::text(entry.page));
        assert!(page.starts_with(&format!("{}\n\n# When to use\n", kind.summary)), "{}: {page}", kind.name);
        let example: String = kind.example.lines().map(|line| format!("  {line}\n")).collect();
        let block = format!("\n# Example\n```yaml\n{}:\n{example}```\n", kind.name);
        assert!(page.contains(&block), "{}: {block}", kind.name);
        let (_, faults) = page.split_once("\n# Faults\n").unwrap();
        for fault in kind.faults {
            let line = faults.lines().find(|line| line.contains(&format!("`{}`", fault.slug)));
            assert!(line.is_some_and(|line| line.contains(&fault.status.to_string())), "{}", fault.slug);
        }
        assert!(!kind.faults.is_empty() || faults == "None.\n", "{}", kind.name);
    }
}

#[test]
fn the_reference_has_every_policy_key_and_fault() {
    let page = reference_markdown();
    for kind in ALL {
        assert!(page.contains(&format!("\n## {}\n\n{}\n", kind.name, kind.summary)));
        assert!(kind.faults.iter().all(|fault| page.contains(&format!("[`{}`]", fault.slug))));
    }
    assert!(page.contains("| `max_age` | duration | `10m` | How long a browser may remember"), "{page}");
    assert!(page.contains("| `request` | header changes |  | What is changed of a request"), "{page}");
    assert!(page.contains("- `X-Correlation-ID` is short for `{ headers: [X-Correlation-ID] }`."), "{page}");
    assert!(!page.contains("crate::"), "{page}");
}
