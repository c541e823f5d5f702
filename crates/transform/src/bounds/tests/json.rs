use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::{JsonChecker, JsonLimits, Values, Violation};
use super::{judged, over, told};

const WIDE: JsonLimits = JsonLimits {
    depth: 1000,
    keys: u64::MAX,
    items: u64::MAX,
    key: u64::MAX,
    string: u64::MAX,
    number: u64::MAX,
    values: u64::MAX,
};

fn one(document: impl AsRef<[u8]>, limits: JsonLimits) -> Result<(), Violation> {
    judged(JsonChecker::json(limits, Values::One), document.as_ref(), &[usize::MAX])
}

fn wide(document: impl AsRef<[u8]>) -> String {
    told(one(document, WIDE))
}

#[test]
fn what_the_grammar_knows_is_taken() {
    for document in [
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0e-0",
        "12",
        "1.5E+10",
        "\"\"",
        " [ ] ",
        "\r\n\t{ }\n",
        r#"{"a":1,"a":2}"#,
        r#"["\"\\\/\b\f\n\r\tAé\ud800"]"#,
        "[\"\u{7f}é\u{10ffff}\"]",
        "[1 , 2\n,[3]]",
        r#"{"a":{"b":[{"c":null}]}, "" : ""}"#,
    ] {
        assert_eq!(wide(document), "taken", "{document}");
    }
}

#[test]
fn what_the_grammar_does_not_know_is_malformed_and_the_place_is_told() {
    for (document, expected) in [
        ("", "it ends too early, at byte 0"),
        (" ", "it ends too early, at byte 1"),
        ("[1", "it ends too early, at byte 2"),
        ("\"a", "it ends too early, at byte 2"),
        ("tru", "it ends too early, at byte 3"),
        ("-", "it ends too early, at byte 1"),
        ("1.", "it ends too early, at byte 2"),
        ("1e+", "it ends too early, at byte 3"),
        ("{} {}", "something follows its end, at byte 3"),
        ("1 2", "something follows its end, at byte 2"),
        ("[1,]", "a value is missing, at byte 3"),
        ("[,1]", "a value is missing, at byte 1"),
        ("{\"a\":}", "a value is missing, at byte 5"),
        ("{\"a\" 1}", "`:` is missing, at byte 5"),
        ("{\"a\":1,}", "a key is missing, at byte 7"),
        ("{a:1}", "a key or `}` is missing, at byte 1"),
        ("{\"a\":1]", "`,` or `}` is missing, at byte 6"),
        ("[1}", "`,` or `]` is missing, at byte 2"),
        ("[1 2]", "`,` or `]` is missing, at byte 3"),
        ("]", "a value is missing, at byte 0"),
        ("01", "something follows its end, at byte 1"),
        ("+1", "a value is missing, at byte 0"),
        (".5", "a value is missing, at byte 0"),
        ("-a", "a number without its digits, at byte 1"),
        ("[1.]", "a number without its digits, at byte 3"),
        ("[1e]", "a number without its digits, at byte 3"),
        ("NaN", "a value is missing, at byte 0"),
        ("nul!", "a word that is none of `true`, `false` and `null`, at byte 3"),
        ("[\"a\nb\"]", "a control character in a string, at byte 3"),
        ("\"\\x\"", "an escape that means nothing, at byte 2"),
        ("\"\\u12g4\"", "`\\u` without four hexadecimal digits, at byte 5"),
        ("'a'", "a value is missing, at byte 0"),
        ("[1] // one", "something follows its end, at byte 4"),
        ("\u{feff}{}", "a value is missing, at byte 0"),
        ("{}\u{1e}", "something follows its end, at byte 2"),
    ] {
        assert_eq!(wide(document), expected, "{document:?}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_refused_where_they_begin() {
    for (document, expected) in [
        (&b"[\"\xE2\x28\xA1\"]"[..], "bytes that are no UTF-8, at byte 2"),
        (b"[\"ab\xFF\"]", "bytes that are no UTF-8, at byte 4"),
        (b"[\"\xC0\xAF\"]", "bytes that are no UTF-8, at byte 2"),
        (b"[\"\xED\xA0\x80\"]", "bytes that are no UTF-8, at byte 2"),
        (b"[\"\xF4\x90\x80\x80\"]", "bytes that are no UTF-8, at byte 2"),
        (b"[\"\xE2\x82", "bytes that are no UTF-8, at byte 2"),
        (b"\xFF\xFE{\0}\0", "the byte order mark of another encoding than UTF-8, at byte 0"),
        (b"\xFE\xFF\0{\0}", "the byte order mark of another encoding than UTF-8, at byte 0"),
        (b"{\0}\0", "a key or `}` is missing, at byte 1"),
        (b"[1,}\xFF]", "a value is missing, at byte 3"),
    ] {
        for sizes in [&[usize::MAX][..], &[1], &[3]] {
            assert_eq!(told(judged(JsonChecker::json(WIDE, Values::One), document, sizes)), expected, "{document:?}");
        }
    }
}

#[test]
fn each_limit_takes_as_much_as_it_says_and_no_more() {
    let limits = JsonLimits { depth: 3, keys: 2, items: 3, key: 4, string: 6, number: 5, values: 8 };
    for (good, bad, limit, at) in [
        ("[[[]]]", "[[[[", "depth", 3),
        (r#"{"a":[{}]}"#, r#"{"a":[{"b":{"#, "depth", 11),
        (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2,"c""#, "keys", 13),
        (r#"[{"a":1,"b":2},{"a":1}]"#, r#"{"a":{},"b":{},"c""#, "keys", 15),
        ("[1,2,3]", "[1,2,3,4", "items", 7),
        (r#"{"abcd":1}"#, r#"{"abcde""#, "key", 6),
        (r#"{"\n\t":1}"#, r#"{"\u00e9":1}"#, "key", 6),
        (r#""abcdef""#, r#""abcdefg""#, "string", 7),
        (r#""\u00e9""#, r#""\u00e9\n""#, "string", 7),
        (r#""ab\n\"""#, r#""abcdef\n""#, "string", 7),
        ("\"éüö\"", "\"éüöa\"", "string", 7),
        ("[-1.25]", "-1.255", "number", 5),
        ("[1e100,12345]", "123456", "number", 5),
        ("[[1,2,3],[4,5]]", "[[1,2,3],[4,5,6]]", "values", 14),
    ] {
        assert_eq!(told(one(good, limits)), "taken", "{good}");
        for sizes in [&[usize::MAX][..], &[1], &[2, 3]] {
            let judged = judged(JsonChecker::json(limits, Values::One), bad.as_bytes(), sizes);
            assert_eq!((over(judged), judged.map_err(|v| v.at)), (Some(limit), Err(at)), "{bad} in {sizes:?}");
        }
    }
    assert_eq!(told(one("[[[[", limits)), "more than 3 levels of objects and arrays, at byte 3");
}

#[test]
fn a_sequence_is_of_any_number_of_documents_each_within_the_limits() {
    let limits = JsonLimits { values: 3, depth: 2, ..WIDE };
    let many = |document: &str| told(judged(JsonChecker::json(limits, Values::Many), document.as_bytes(), &[2]));
    for document in
        ["", "\n", "{}\n{}\n", "1 2 3 4 5", "\u{1e}[1,2]\n\u{1e}[3,4]\n", "\u{1e}\u{1e}null", "[1]\u{1e}[2]"]
    {
        assert_eq!(many(document), "taken", "{document:?}");
    }
    for (document, expected) in [
        ("{}{}", "something follows its end, at byte 2"),
        ("[1]\n[", "it ends too early, at byte 5"),
        ("[1]\n[1,2,3]", "more than 3 values, at byte 9"),
        ("[1]\n[[[1]]]", "more than 2 levels of objects and arrays, at byte 6"),
        ("[\u{1e}1]", "a value is missing, at byte 1"),
        ("\"\u{1e}\"", "a control character in a string, at byte 1"),
    ] {
        assert_eq!(many(document), expected, "{document:?}");
    }
}

#[test]
fn memory_is_bounded_by_the_depth() {
    let mut checker = JsonChecker::json(JsonLimits { depth: 5, ..WIDE }, Values::One);
    let piece = format!("[{}]", "[[[[]]]],".repeat(1000));
    checker.feed(&piece.as_bytes()[..piece.len() - 1]).unwrap();
    for _ in 0..100 {
        checker.feed(&piece.as_bytes()[1..piece.len() - 1]).unwrap();
    }
    assert!(checker.machine.open.capacity() <= 8, "{}", checker.machine.open.capacity());
}

/// Documents, and their depth.
fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        vec(any::<char>(), 0..5).prop_map(|all| all.into_iter().collect::<String>().into()),
    ];
    leaf.prop_recursive(8, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec(("\\PC{0,6}", inner), 0..6).prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn depth(value: &Value) -> u64 {
    match value {
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn values(value: &Value) -> u64 {
    match value {
        Value::Array(all) => 1 + all.iter().map(values).sum::<u64>(),
        Value::Object(all) => 1 + all.values().map(values).sum::<u64>(),
        _ => 1,
    }
}

fn widest(value: &Value) -> (u64, u64) {
    let inner: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Object(all) => all.values().collect(),
        _ => Vec::new(),
    };
    let own = match value {
        Value::Array(all) => (0, all.len() as u64),
        Value::Object(all) => (all.len() as u64, 0),
        _ => (0, 0),
    };
    inner.into_iter().map(widest).fold(own, |a, b| (a.0.max(b.0), a.1.max(b.1)))
}

/// What is nearly a document.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let hit = (
        any::<prop::sample::Index>(),
        prop_oneof![any::<u8>(), prop::sample::select(&b"{}[],:\"\\0123456789.eE+-truefalsn \n/u"[..]),],
        0..3u8,
    );
    (document(), any::<bool>(), vec(hit, 0..4)).prop_map(|(value, pretty, hits)| {
        let written = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let mut bytes = written.unwrap();
        for (at, byte, how) in hits {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(1..40usize, 1..6)
}

proptest! {
    #[test]
    fn it_agrees_with_another_reader_on_what_is_a_document(bytes in damaged()) {
        let theirs = std::str::from_utf8(&bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let ours = one(&bytes, WIDE);
        prop_assert_eq!(ours.is_ok(), theirs, "{:?}: {:?}", String::from_utf8_lossy(&bytes), ours);
    }

    #[test]
    fn it_counts_as_another_reader_does(value in document()) {
        let text = value.to_string();
        let ((keys, items), depth, values) = (widest(&value), depth(&value), values(&value));
        let exact = JsonLimits { depth, keys, items, values, ..WIDE };
        prop_assert_eq!(told(one(&text, exact)), "taken");
        for (limits, name) in [
            (JsonLimits { depth: depth.wrapping_sub(1), ..WIDE }, "depth"),
            (JsonLimits { keys: keys.wrapping_sub(1), ..WIDE }, "keys"),
            (JsonLimits { items: items.wrapping_sub(1), ..WIDE }, "items"),
            (JsonLimits { values: values - 1, ..WIDE }, "values"),
        ] {
            let is_none = matches!(name, "depth" if depth == 0) || matches!(name, "keys" if keys == 0) || matches!(name, "items" if items == 0);
            prop_assert_eq!(over(one(&text, limits)), (!is_none).then_some(name));
        }
    }

    #[test]
    fn however_it_is_cut_the_verdict_is_the_same(bytes in damaged(), sizes in sizes(), tight in 0..12u64, many in any::<bool>()) {
        let limits = JsonLimits { depth: tight, keys: tight, items: tight, key: tight, string: tight, number: tight, values: 3 * tight };
        let top = if many { Values::Many } else { Values::One };
        for limits in [WIDE, limits] {
            let whole = judged(JsonChecker::json(limits, top), &bytes, &[usize::MAX]);
            prop_assert_eq!(judged(JsonChecker::json(limits, top), &bytes, &sizes), whole);
            prop_assert_eq!(judged(JsonChecker::json(limits, top), &bytes, &[1]), whole);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), sizes in sizes()) {
        let many = || JsonChecker::json(WIDE, Values::Many);
        prop_assert_eq!(judged(many(), &bytes, &sizes), judged(many(), &bytes, &[usize::MAX]));
    }
}
