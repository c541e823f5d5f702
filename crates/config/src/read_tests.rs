//! What is read, with which place, and what is refused.

use proptest::prelude::*;

use super::*;

fn value(text: &str) -> Value {
    read("x.yaml", text).map_err(|d| d[0].message.clone()).unwrap().value
}

fn refused(text: &str) -> String {
    let mistakes = read("x.yaml", text).expect_err(text);
    let place = mistakes[0].span.as_ref().map(|s| format!("{}:{}", s.line, s.column)).unwrap_or_default();
    format!("{place} {}", mistakes[0].message)
}

fn entry(text: &str, key: &str) -> Entry {
    read("x.yaml", text).unwrap().get(key).unwrap().clone()
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, expected) in [
        ("yes", "yes".into()),
        ("on", "on".into()),
        ("off", "off".into()),
        ("~", Value::Null),
        ("True", Value::Bool(true)),
        ("tRue", "tRue".into()),
        ("0x1F", Value::Int(31)),
        ("0o17", Value::Int(15)),
        ("017", Value::Int(17)),
        ("-5", Value::Int(-5)),
        ("1_000", "1_000".into()),
        ("12:30", "12:30".into()),
        ("1.5", Value::Float(1.5)),
        ("1e3", Value::Float(1000.0)),
        ("-.inf", Value::Float(f64::NEG_INFINITY)),
        ("inf", "inf".into()),
        ("..1", "..1".into()),
        ("10.0.0.1", "10.0.0.1".into()),
        ("'5'", "5".into()),
        ("\"true\"", "true".into()),
        ("2026-01-01", "2026-01-01".into()),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    assert_eq!(refused("a: 99999999999999999999"), "1:4 `99999999999999999999` is too large a number");
}

#[test]
fn keys_are_text_whatever_they_look_like() {
    let node = read("x.yaml", "8080:\n\"80\": x\ntrue: y\n").unwrap();
    let Value::Map(entries) = node.value else { panic!() };
    assert_eq!(entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), ["8080", "80", "true"]);
}

#[test]
fn spans_cover_exactly_what_is_written() {
    let text =
        "é: \"ü\" # ö\nx: 'it''s' # c\r\nlist: [a, \"b\\\"c\"]  # d\nblock:\n  - k: v\n    w: z w # e\nlast: |\n  t\n";
    let root = read("x.yaml", text).unwrap();
    let written = |span: &Span| text[span.start..span.end].to_owned();
    assert_eq!(written(&entry(text, "é").value.span), "\"ü\"");
    assert_eq!(written(&entry(text, "x").value.span), "'it''s'");
    let list = entry(text, "list").value;
    assert_eq!(written(&list.span), "[a, \"b\\\"c\"]");
    assert_eq!((list.span.line, list.span.column), (3, 7));
    let block = entry(text, "block").value;
    assert_eq!(written(&block.span), "- k: v\n    w: z w");
    assert_eq!(written(&entry(text, "last").value.span), "t\n");
    assert_eq!(root.span.line, 1);
}

#[test]
fn what_a_config_does_not_need_is_refused() {
    assert_eq!(refused("a: &x 1"), "1:4 anchors cannot be used");
    assert_eq!(refused("hosts: [*.example.com]"), "1:9 aliases cannot be used");
    assert_eq!(refused("a: 1\n<<: {b: 2}"), "2:1 merge keys cannot be used");
    assert_eq!(refused("a: !!str 1"), "1:4 tags cannot be used");
    assert_eq!(refused("a: 1\n---\nb: 2"), "2:1 a second document starts here");
    assert_eq!(refused("%YAML 1.2\n---\na: 1"), "1:1 directives cannot be used");
    assert_eq!(refused("[a, b]: c"), "1:1 a key must be a text");
    assert_eq!(refused("? |\n  a\n: b"), "2:3 a key must be one line");
    assert_eq!(refused(": b"), "1:1 a key is missing before `:`");
    assert_eq!(refused("a:\n\tb: 1"), "2:2 a tab in the indentation");
    assert_eq!(refused("a: {\n\tb: 1}"), "2:2 a tab in the indentation");
    assert_eq!(refused(&"[".repeat(65)), "1:65 nested deeper than 64 levels");
    assert_eq!(refused("a: b\rc: d"), "1:5 a carriage return without a line feed");
    assert_eq!(refused("a: { b: /{id} }"), "1:10 expected `,` or the closing `}` or `]` here");
    assert_eq!(refused("a: [1, 2\n"), "2:1 a `{` or `[` is not closed");
    assert_eq!(refused("a: b: c"), "1:5 a `:` is not expected here");
}

#[test]
fn tabs_inside_texts_are_content() {
    assert_eq!(entry("a: |\n  x\n  \ty\n", "a").value.value, "x\n\ty\n".into());
    assert_eq!(entry("a: b\t# c\n", "a").value.value, "b".into());
    assert_eq!(entry("a: |\n  \tx\n", "a").value.value, "\tx\n".into());
}

#[test]
fn a_key_that_stands_twice_names_both_places() {
    let mistakes = read("x.yaml", "a: 1\nb: 2\na: 3\nb: 4\n").unwrap_err();
    assert_eq!(mistakes.len(), 2);
    assert_eq!(mistakes[0].message, "`a` stands here twice");
    assert_eq!(mistakes[0].span.as_ref().unwrap().line, 3);
    assert_eq!(mistakes[0].related[0].0.line, 1);
}

#[test]
fn empty_files_are_nothing() {
    assert_eq!(value(""), Value::Null);
    assert_eq!(value("# only a comment\n"), Value::Null);
    assert_eq!(value("---\n...\n"), Value::Null);
}

/// Texts that are nearly YAML, which reach further than arbitrary ones.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", ": ", ":", "- ", "-", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "'", "\"", "\\", "#", " # c",
        "|", ">", "|-\n", "&x", "*x", "!t", "<<", "---\n", "...\n", "? ", "%", "é", "\t", "\r\n", "\r", "1",
        "\u{feff}", "\u{2028}", "\0",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn spans_are_sound(node: &Node) {
    assert!(node.span.source.text.get(node.span.start..node.span.end).is_some(), "{:?}", node.span);
    match &node.value {
        Value::List(items) => items.iter().for_each(spans_are_sound),
        Value::Map(entries) => entries.iter().for_each(|e| {
            assert!(e.key_span.source.text.get(e.key_span.start..e.key_span.end).is_some());
            spans_are_sound(&e.value);
        }),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_read_or_refused(text in ".*") {
        if let Ok(node) = read("x.yaml", &text) { spans_are_sound(&node) }
    }

    #[test]
    fn any_text_near_to_yaml_is_read_or_refused(text in nearly_yaml()) {
        match read("x.yaml", &text) {
            Ok(node) => spans_are_sound(&node),
            Err(mistakes) => prop_assert!(!mistakes.is_empty()),
        }
    }
}
