//! What the layout is, and that it changes nothing.

use proptest::prelude::*;

use super::*;

fn formatted(text: &str) -> String {
    format("x.yaml", text).unwrap_or_else(|mistakes| panic!("{text}\n{}", mistakes[0].message))
}

#[track_caller]
fn becomes(text: &str, expected: &str) {
    let once = formatted(text);
    assert_eq!(once, expected);
    assert_eq!(formatted(&once), once, "not stable");
}

#[test]
fn indentation_is_two_spaces_and_blank_lines_are_single() {
    becomes("\n\na:\n\n    b:   1\n\n\n    c: 2\n\nd:\n- x\n-   y\n", "a:\n  b: 1\n\n  c: 2\n\nd:\n  - x\n  - y\n");
}

#[test]
fn quotes_stay_where_they_are_needed() {
    becomes(
        "\"80\": \"redirect\"\na: '5'\nb: \"yes\"\nc: \"true\"\nd: 'a: b'\ne: \"it's\"\nf: '\"x\"'\ng: \"*\"\nh: \"\"\ni: \"a\\nb\"\nj: [\"a,b\", 'c']\nk: \"GET /{id}\"\n",
        "80: redirect\na: \"5\"\nb: yes\nc: \"true\"\nd: \"a: b\"\ne: it's\nf: '\"x\"'\ng: \"*\"\nh: \"\"\ni: \"a\\nb\"\nj: [\"a,b\", c]\nk: GET /{id}\n",
    );
}

#[test]
fn braces_stay_on_one_line_if_they_fit() {
    becomes("a: {b: 1,   c: [x,y]}\nd: {}\ne: [ ]\n", "a: { b: 1, c: [x, y] }\nd: {}\ne: []\n");
    becomes("a: {\n  b: 1,\n  c: 2\n}\n", "a: { b: 1, c: 2 }\n");
    let long = "x".repeat(60);
    becomes(&format!("a: [{long}, {long}]\n"), &format!("a:\n  - {long}\n  - {long}\n"));
    becomes("- {a: 1, b: [{c: 2}]}\n-   - x\n    - y\n", "- { a: 1, b: [{ c: 2 }] }\n- - x\n  - y\n");
}

#[test]
fn comments_stay_with_what_they_are_about() {
    becomes(
        "# first\n\na: 1   # one\n# before b\nb:  # all of b\n    # c\n    c: 2\n    # after c\n# before d\nd: 3\n\n# last\n",
        "# first\n\na: 1  # one\n# before b\nb:  # all of b\n  # c\n  c: 2\n  # after c\n# before d\nd: 3\n\n# last\n",
    );
    becomes("a: [\n  x, # one\n  # two\n  y\n  # end\n]\n", "a:\n  - x  # one\n  # two\n  - y\n  # end\n");
    becomes("a:\n  # between\n  b\n", "# between\na: b\n");
    becomes("- # about the item\n  a: 1\n", "# about the item\n- a: 1\n");
    becomes("# only\n", "# only\n");
}

#[test]
fn comments_below_each_other_stay_so() {
    becomes("a: 1        # x\nlonger: 2   # y\nb: 3 # z\n", "a: 1       # x\nlonger: 2  # y\nb: 3  # z\n");
}

#[test]
fn blocks_of_text_keep_their_lines() {
    becomes("a: |  # head\n      x\n        y\n\n\nb: |-\n  z\n", "a: |  # head\n  x\n    y\n\nb: |-\n  z\n");
    becomes("a: |+\n  x\n\n\nb: >\n     p\n     q\n\n     r\n", "a: |+\n  x\n\n\nb: >\n  p\n  q\n\n  r\n");
    becomes("a: plain\n   over lines\n", "a: plain over lines\n");
}

#[test]
fn long_forms_are_written_without_secrets() {
    let mut tree = read("x.yaml", "listen: { \"8080\": { kind: http } }\na: [1, x]\nb: [{ c: '5', d: }]\n").unwrap();
    assert_eq!(format_tree(&tree), "listen:\n  8080: { kind: http }\na: [1, x]\nb:\n  - { c: \"5\", d: null }\n");
    tree.secret = true;
    assert_eq!(format_tree(&tree), "\"***\"\n");
}

/// Files built of well-formed parts, with comments, blank lines, flow and block, and texts that need care.
fn files() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "a",
        "5",
        "'5'",
        "\"yes\"",
        "~",
        "true",
        "x: y",
        "\"x: y\"",
        "'#'",
        "\"a\\nb\"",
        "'it''s'",
        "10.0.0.1:80",
        "\"*\"",
        "a b",
        "\"\"",
        "é",
        "GET /{id}",
        "1.50",
        "'[x]'",
        "- y",
        "\"\\u2028\"",
        "~/x",
        "a  # c",
        "a,b",
    ]);
    let leaf = scalar.prop_map(|s| (s.to_owned(), true));
    let block = |text: String| text.lines().map(|line| format!("   {line}\n")).collect::<String>();
    let node = leaf.prop_recursive(4, 24, 4, move |inner| {
        let entries = prop::collection::vec((inner, 0..6usize), 1..4);
        (entries, 0..3usize).prop_map(move |(entries, kind)| {
            let mut text = String::new();
            if kind == 0 {
                let items = entries.iter().filter(|((_, leaf), _)| *leaf).enumerate();
                let items: Vec<_> = items.map(|(at, ((item, _), _))| format!("k{at}: {item}")).collect();
                return (format!("{{{}}}", items.join(", ")), true);
            }
            for (at, ((child, leaf), noise)) in entries.into_iter().enumerate() {
                text.push_str(["", "\n", "# note\n", "\n\n# note\n\n", " # far\n", ""][noise]);
                let key = if kind == 1 { format!("k{at}:") } else { "-".to_owned() };
                match leaf {
                    true => text.push_str(&format!("{key} {child}\n")),
                    false => text.push_str(&format!("{key}{}\n{}", ["", " # c"][noise % 2], block(child))),
                }
            }
            (text, false)
        })
    });
    node.prop_map(|(text, _)| text)
}

/// Texts that are nearly YAML, in any shape.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", ": ", ":", "- ", "-", "\n", "\n  ", "\n    ", "\n- ", "\nk: ", "\n  m: ", "[", "]", "{", "}", ", ",
        "'", "\"", "\\", "#", " # c", "\n# d", "\n  # e", "|", ">", "|-\n", ">\n  ", "|+\n   ", "? ", "%", "é", "\t",
        "\r\n", "1", "\u{feff}", "\u{2028}", "---\n", "...\n",
    ]);
    prop::collection::vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// `format` itself refuses what it would change, so it must refuse nothing that reads well.
    #[test]
    fn formatting_keeps_the_meaning_and_is_stable(text in files()) {
        if let Ok(before) = read("x.yaml", &text) {
            let once = formatted(&text);
            let after = read("x.yaml", &once).unwrap();
            prop_assert!(same(&before, &after));
            prop_assert_eq!(formatted(&once), once);
        }
    }

    #[test]
    fn whatever_reads_can_be_formatted(text in nearly_yaml()) {
        if read("x.yaml", &text).is_ok() {
            let once = formatted(&text);
            prop_assert_eq!(formatted(&once), once);
        }
    }
}
