use proptest::prelude::*;

use super::*;

fn operator(name: &str, parameter: &str) -> Operator {
    Operator::read(name, parameter, Path::new("."), &mut Names::default())
        .unwrap_or_else(|why| panic!("{name}: {why:?}"))
}

fn finds(name: &str, parameter: &str, value: &[u8]) -> bool {
    operator(name, parameter).finds(value, parameter.as_bytes(), None)
}

#[test]
fn each_operator_finds_what_it_says() {
    for (name, parameter, fits, fits_not) in [
        ("rx", "^a+$", "aa", "b"),
        ("pm", "select UNION |3c 73|", "Union all", "unite"),
        ("pm", "select UNION |3c 73|", "<S", "<x"),
        ("pm", "|x", "a|x", "x"),
        ("streq", "GET /", "GET /", "get /"),
        ("beginsWith", "/a", "/ab", "b/a"),
        ("endsWith", ".pdf", "x.pdf", "x.pdf?"),
        ("contains", "bc", "abcd", "acbd"),
        ("containsWord", "or", "a or b", "border"),
        ("within", "GET HEAD POST", "HEAD", "PUT"),
        ("within", "GET HEAD POST", "", "x"),
        ("eq", "0", "0", "1"),
        ("eq", "0", "x", "7x"),
        ("ge", "5", "5", "4"),
        ("gt", "5", "6", "5"),
        ("le", "5", "5", "6"),
        ("lt", "5", "-1", "5"),
        ("ipMatch", "127.0.0.1,::1, 10.0.0.0/8", "10.1.2.3", "11.0.0.1"),
        ("ipMatch", "127.0.0.1,::1", "::1", "nobody"),
        ("validateByteRange", "1-255", "\0", "a"),
        ("validateByteRange", "9,10, 32-126", "\r", "a\n"),
        ("validateUrlEncoding", "", "%zz", "%20"),
        ("detectSQLi", "", "1' OR '1'='1", "O'Brien"),
        ("detectXSS", "", "<script>alert(1)</script>", "a < b"),
    ] {
        assert!(finds(name, parameter, fits.as_bytes()), "{name} {parameter} {fits}");
        assert!(!finds(name, parameter, fits_not.as_bytes()), "{name} {parameter} {fits_not}");
    }
    assert!(finds("validateUtf8Encoding", "", b"\xff") && !finds("validateUtf8Encoding", "", "ü".as_bytes()));
    assert!(finds("unconditionalMatch", "", b"") && !finds("noMatch", "", b""));
}

#[test]
fn what_was_matched_is_kept_with_its_groups() {
    for (name, parameter, value, expected) in [
        ("rx", "(\\d+)-(x)?(\\d+)", "a 1-22 b", &["1-22", "1", "", "22"][..]),
        ("pm", "b cd", "aBcD", &["B"]),
        ("streq", "a", "a", &["a"]),
        ("detectSQLi", "", "1' OR '1'='1", &["s&sos"]),
    ] {
        let mut groups = Vec::new();
        assert!(operator(name, parameter).finds(value.as_bytes(), parameter.as_bytes(), Some(&mut groups)));
        let texts: Vec<_> = groups.iter().map(|group| String::from_utf8_lossy(group)).collect();
        assert_eq!(texts, expected, "{name} {parameter}");
    }
}

#[test]
fn a_pattern_with_variables_is_that_of_the_moment() {
    let varying = operator("rx", "^%{tx.sets}$");
    for (parameter, value, is) in [("^a|b$", "b", true), ("^c$", "b", false), ("^a|b$", "b", true), ("^($", "(", false)]
    {
        assert_eq!(varying.finds(value.as_bytes(), parameter.as_bytes(), None), is, "{parameter} {value}");
    }
}

#[test]
fn what_is_wrong_or_not_run_is_named() {
    let told =
        |name: &str, parameter: &str| match Operator::read(name, parameter, Path::new("."), &mut Names::default()) {
            Err(Refused::Wrong(why)) => why,
            Err(Refused::NotHere(why)) => format!("needs {why}"),
            Ok(operator) => panic!("{operator:?}"),
        };
    assert_eq!(told("nothing", ""), "there is no operator `@nothing` here");
    assert_eq!(told("rbl", "x"), "needs questions to other servers");
    assert_eq!(told("geoLookup", ""), "needs a list of where addresses are");
    assert_eq!(told("validateByteRange", "300"), "`300` is no range of bytes: `32-126`, or `10`");
    assert_eq!(told("ipMatch", "x"), "`x` is no address and no network");
    assert_eq!(told("pmFromFile", "no-such.data"), "./no-such.data: No such file or directory (os error 2)");
    assert_eq!(told("rx", "(?=a)"), "the pattern looks around itself by `(?=`, which is not run here");
}

proptest! {
    #[test]
    fn no_value_panics(value in proptest::collection::vec(any::<u8>(), 0..200), like in "['\"<>=/*a-z0-9 ;()%-]{0,80}") {
        for (name, parameter) in [
            ("rx", "(a|b)*c"), ("pm", "a bc"), ("streq", "x"), ("contains", "x"), ("containsWord", "or"), ("within", "x"), ("eq", "1"),
            ("ipMatch", "::1"), ("validateByteRange", "1-9"), ("validateUrlEncoding", ""), ("validateUtf8Encoding", ""), ("detectSQLi", ""),
            ("detectXSS", ""),
        ] {
            let operator = operator(name, parameter);
            for value in [&value[..], like.as_bytes()] {
                let _ = operator.finds(value, parameter.as_bytes(), Some(&mut Vec::new()));
            }
        }
    }

    #[test]
    fn no_parameter_panics(parameter in "\\PC{0,40}", number in "[0-9,./:|%{}a-f-]{0,30}") {
        for name in NAMES {
            for parameter in [&parameter, &number] {
                let _ = Operator::read(name, parameter, Path::new("/nowhere"), &mut Names::default());
            }
        }
    }
}
