use proptest::prelude::*;

use super::{Sample, general};
use crate::{Condition, MAX_LENGTH, Part};

/// Comparisons over a few short texts, so that they often hold.
fn simple() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec!["", "a", "ab", "b", "A"]);
    let subject = prop::sample::select(vec![
        r#"header("X")"#,
        r#"header("y")"#,
        r#"query("q")"#,
        r#"cookie("c")"#,
        "request.path",
        "request.host",
    ]);
    let fixed = prop::sample::select(vec![
        "true",
        "false",
        r#"request.method == "GET""#,
        r#"request.method in ["PUT", "HEAD"]"#,
        r#"has_header("X")"#,
        r#"has_query("q")"#,
        r#"has_cookie("c")"#,
        r#"ip_in("10.0.0.0/8")"#,
        r#"ip == "::1""#,
    ]);
    let compare = (subject, text, 0..7).prop_map(|(subject, text, form)| {
        let value = if subject == "request.path" { format!("/{text}") } else { text.to_lowercase() };
        match form {
            0 => format!("{subject} == \"{value}\""),
            1 => format!("\"{value}\" != {subject}"),
            2 => format!("{subject}.startsWith(\"{text}\")"),
            3 => format!("{subject}.endsWith(\"{text}\")"),
            4 => format!("{subject}.contains(\"{text}\")"),
            5 => format!("{subject} in [\"{value}\", \"{value}b\"]"),
            _ => format!("{subject}.matches(\"^{text}.?$\")"),
        }
    });
    prop_oneof![fixed.prop_map(str::to_owned), compare]
}

fn condition() -> impl Strategy<Value = String> {
    simple().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a}) || ({b})")),
        ]
    })
}

fn request() -> impl Strategy<Value = Sample> {
    let text = || prop::option::of(prop::sample::select(vec!["", "a", "ab", "b", "A"]));
    let ip = prop::sample::select(vec!["10.0.0.1", "::1", "::ffff:10.9.9.9", "unix"]);
    (text(), text(), text(), text(), text(), ip, prop::sample::select(vec!["GET", "PUT", "BREW"])).prop_map(
        |(x, y, q, c, host, ip, method)| {
            let mut sample = Sample::new();
            sample.headers =
                [("x", x), ("y", y)].into_iter().filter_map(|(n, v)| Some((n.into(), v?.into()))).collect();
            sample.query = q.map_or(String::new(), |q| format!("q={q}"));
            sample.cookies = c.map_or(String::new(), |c| format!("c={c}"));
            sample.host = host.unwrap_or("b").into();
            sample.path = format!("/{}", y.unwrap_or("ab"));
            sample.ip = ip.parse().unwrap();
            sample.method = method.into();
            sample
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn plain_compares_and_the_interpreter_agree(text in condition(), requests in prop::collection::vec(request(), 6)) {
        let fast = Condition::compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        prop_assert!(fast.parts.iter().all(|part| matches!(part, Part::Plain(_))), "{}", text);
        let slow = general(&text);
        prop_assert_eq!(fast.conjuncts(), slow.conjuncts());
        for request in &requests {
            prop_assert_eq!(fast.matches(request), slow.matches(request), "{} for {:?}", text, request);
        }
    }

    #[test]
    fn conditions_said_to_exclude_each_other_never_both_hold(
        a in condition(), b in condition(), requests in prop::collection::vec(request(), 20),
    ) {
        let (a, b) = (Condition::compile(&a).unwrap(), Condition::compile(&b).unwrap());
        if a.excludes(&b) {
            for request in &requests {
                prop_assert!(!(a.matches(request) && b.matches(request)), "{} and {} for {:?}", a.text(), b.text(), request);
            }
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(text in "[ -~é\\n]{0,60}", pieces in prop::collection::vec(
        prop::sample::select(vec![
            "(", ")", "[", "]", "{", "}", "?", ":", ".", ",", "==", "&&", "||", "!", "-", "in", "ip", "request", "header",
            "\"x\"", "'", "1", "1u", "1.5", "b'a'", "null", "has", "matches", "path", "\\", "`a`", ".?", "[?", "é", " ",
        ]), 0..20,
    )) {
        let request = Sample::new();
        for text in [text, pieces.concat(), pieces.join(" ")] {
            match Condition::compile(&text) {
                Ok(condition) => drop(condition.matches(&request)),
                Err(error) => prop_assert!(error.offset <= text.len().min(MAX_LENGTH), "{}", text),
            }
        }
    }
}
