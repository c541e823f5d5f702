//! What conditions mean, what is refused, and that plain compares and the interpreter agree.

mod agreement;
mod terms;

use std::borrow::Cow;
use std::collections::HashMap;

use tollgate_core::facts::ClientAddress;

use tollgate_core::head::{cookie_value, query_value};

use super::*;

/// A request made up for tests.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) ip: ClientAddress,
    pub(super) headers: HashMap<String, String>,
    pub(super) query: String,
    pub(super) cookies: String,
}

impl Sample {
    pub(super) fn new() -> Self {
        Self {
            method: "GET".into(),
            path: "/orders/1".into(),
            host: "Shop.example.com".into(),
            ip: "10.1.2.3".parse().unwrap(),
            headers: HashMap::from([("x-beta".into(), "1".into()), ("x-n".into(), "42".into())]),
            query: "page=2&q=a+b".into(),
            cookies: "theme=dark".into(),
        }
    }
}

impl Facts for Sample {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn scheme(&self) -> &str {
        "https"
    }

    fn ip(&self) -> ClientAddress {
        self.ip
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query_value(&self.query, name)
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        cookie_value(&self.cookies, name)
    }
}

/// Compiles so that all goes through the interpreter.
pub(super) fn general(text: &str) -> Condition {
    Condition::compile_by(text, Scope::Request, |_| None).unwrap()
}

fn is_plain(condition: &Condition) -> bool {
    condition.parts.iter().all(|part| matches!(part, Part::Plain(_)))
}

#[test]
fn conditions_mean_what_they_say_in_both_ways() {
    let table = [
        ("true", true, true),
        ("false || !false", true, true),
        (r#"request.method == "GET""#, true, true),
        (r#"request.method != "GET""#, true, false),
        (r#"request.method in ["PUT", "GET"]"#, true, true),
        (r#"request.path.startsWith("/orders/")"#, true, true),
        (r#"request.path.endsWith("/2")"#, true, false),
        (r#"request.host == "shop.example.com""#, true, true),
        (r#"request.host.endsWith(".example.com")"#, true, true),
        (r#"request.scheme == "https""#, true, true),
        (r#"header("X-Beta") == "1""#, true, true),
        (r#""1" == header("x-beta")"#, true, true),
        (r#"header("X-Gone") == """#, true, true),
        (r#"header("X-Gone") != "1""#, true, true),
        (r#"has_header("X-Beta") && !has_header("X-Gone")"#, true, true),
        (r#"query("page") == "2" && query("q") == "a b""#, true, true),
        (r#"has_query("page") && !has_query("nope")"#, true, true),
        (r#"cookie("theme") == "dark""#, true, true),
        (r#"has_cookie("theme") && cookie("gone") == """#, true, true),
        (r#"ip_in("10.0.0.0/8")"#, true, true),
        (r#"ip_in("192.168.0.0/16", "10.1.2.3")"#, true, true),
        (r#"ip_in("fd00::/8")"#, true, false),
        (r#"ip == "10.1.2.3" || ip == "::1""#, true, true),
        (r#"ip != "10.1.2.3""#, true, false),
        (r#"request.path.matches("^/orders/[0-9]+$")"#, true, true),
        (r#"request.path.matches("^/orders$")"#, true, false),
        (r#"!(header("X-Beta") == "1" && request.method == "PUT")"#, true, true),
        (r#"int(header("X-N")) > 41"#, false, true),
        (r#"int(header("X-N")) + 1 == 42"#, false, false),
        (r#"header("X-Beta").size() == 1"#, false, true),
        (r#"size(header("X-Gone")) == 0"#, false, true),
        (r#"header("X-Beta").lowerAscii().trim() == "1""#, false, true),
        (r#"request.host.upperAscii() == "SHOP.EXAMPLE.COM""#, false, true),
        (r#"request.method + request.path == "GET/orders/1""#, false, true),
        (r#"has_header("X-Gone") ? false : request.path.matches("orders")"#, false, true),
        (r#"header("X-Beta") < "2""#, false, true),
        (r#"["1", "2"][0] == header("X-Beta")"#, false, true),
        (r#"header("X-Beta") == query("page")"#, false, false),
        // Cannot be told: false, and denying it does not make it true.
        (r#"int(header("X-Gone")) == 1"#, false, false),
        (r#"!(int(header("X-Gone")) == 1)"#, false, false),
        (r#"["a"][7] == "a""#, false, false),
        (r#"1 / 0 == 1"#, false, false),
    ];
    let request = Sample::new();
    for (text, plain, expected) in table {
        let condition = Condition::compile(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(is_plain(&condition), plain, "{text}");
        assert_eq!(condition.matches(&request), expected, "{text}");
        assert_eq!(general(text).matches(&request), expected, "{text} by the interpreter");
    }
}

#[test]
fn an_address_in_ipv6_clothes_is_the_same_address() {
    let request = Sample { ip: "::ffff:10.1.2.3".parse().unwrap(), ..Sample::new() };
    for text in [r#"ip_in("10.0.0.0/8")"#, r#"ip == "10.1.2.3""#, r#"ip.startsWith("10.")"#] {
        assert!(Condition::compile(text).unwrap().matches(&request), "{text}");
        assert!(general(text).matches(&request), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let table = [
        ("", 0, "the condition is empty"),
        ("request.method", 7, "a condition is true or false, this is a text"),
        ("1 + 1", 2, "a condition is true or false, this is a whole number"),
        (r#"true && header("X")"#, 14, "a condition is true or false, this is a text"),
        (r#"claims.sub == "x""#, 0, "`claims` is not known yet when a route is looked for"),
        (r#""orders.read" in scopes"#, 17, "`scopes` is not known yet when a route is looked for"),
        (r#"consumer == "x""#, 0, "`consumer` is not known yet when a route is looked for"),
        (
            r#"[1].exists(x, x == 1)"#,
            10,
            "loops over lists (`all`, `exists`, `map`, `filter`) are not in this version of Tollgate (0.1)",
        ),
        (r#"{"a": 1}.size() == 1"#, 0, "mappings are not in this version of Tollgate (0.1)"),
        (r#"reqest.method == "GET""#, 0, "unknown variable `reqest`"),
        (r#"method == "GET""#, 0, "unknown variable `method`"),
        (r#"request.methd == "GET""#, 7, "`request` has no `methd`"),
        (r#"request.header == "GET""#, 7, "`request` has no `header`"),
        (r#"request == "GET""#, 0, "`request` is no value by itself"),
        (r#"header("a").b == "GET""#, 11, "there is no field `b` here"),
        (r#"has(request.path)"#, 3, "`has` is of no use here"),
        (r#"headr("X") == "1""#, 5, "unknown function `headr`"),
        (r#"header("X").startswith("1")"#, 22, "unknown method `startswith`"),
        (r#"request.header("X") == "1""#, 14, "unknown method `header`"),
        (r#"header() == "1""#, 6, "`header` takes one name in quotes"),
        (r#"header(request.path) == "1""#, 6, "`header` takes one name in quotes"),
        (r#"ip_in("10.0.0.0/33")"#, 5, "`10.0.0.0/33` is no network"),
        (r#"ip_in()"#, 5, "`ip_in` takes one or more networks in quotes"),
        (r#"ip == "10.0.0.0/8""#, 6, "`10.0.0.0/8` is no address"),
        (r#"ip == "0:0::1""#, 6, "`0:0::1` is never the address"),
        (r#"request.path.matches("(")"#, 20, "not a regular expression: unclosed group"),
        (r#"request.path.matches(header("X"))"#, 20, "`matches` takes a regular expression in quotes"),
        (r#""x".matches("x")"#, 11, "`matches` can be asked of variables only"),
        (r#"request.host == "Shop.example""#, 16, "`Shop.example` is never the host"),
        (r#"request.host == "shop:80""#, 16, "`shop:80` is never the host"),
        (r#"request.method in ["GET", "put"]"#, 26, "`put` is never a method"),
        (r#"request.scheme == "HTTP""#, 18, "`HTTP` is never the scheme"),
        (r#"request.path == "orders""#, 16, "`orders` is never the path"),
        (r#"header("X") == 1"#, 12, "`==` cannot take a text and a whole number"),
        (r#"header("X") && true"#, 6, "a condition is true or false, this is a text"),
        (r#"header("X") || true"#, 12, "`||` cannot take a text and a truth value"),
        (r#"!header("X")"#, 0, "`!` cannot take a text"),
        (r#""a" in header("X")"#, 4, "`in` cannot take a text and a text"),
        (r#"header("X") > 5"#, 12, "`>` cannot take a text and a whole number"),
        (r#"header("X").contains(1)"#, 20, "`contains` cannot take a text and a whole number"),
        (r#"size() == 1"#, 4, "`size` cannot take nothing"),
        (r#"header("X") == "é" && nope"#, 23, "unknown variable `nope`"),
        (r#"header("X"#, 7, "not a condition: token recognition error at: '\"X'"),
        (r#"request.method = "GET""#, 15, "not a condition: token recognition error at: '= '"),
        ("true &&", 7, "not a condition: mismatched input '<EOF>'"),
        ("true true", 5, "not a condition: extraneous input 'true'"),
    ];
    for (text, offset, message) in table {
        let error = Condition::compile(text).map(|_| ()).unwrap_err();
        assert_eq!((error.message.as_str(), error.offset), (message, offset), "{text}");
    }
}

#[test]
fn the_nearest_word_is_offered() {
    let table = [
        ("reqest.method == \"GET\"", "did you mean `request`?"),
        ("method == \"GET\"", "write `request.method`"),
        ("header == \"GET\"", "`header` is a function: `header(…)`"),
        ("request.methd == \"GET\"", "did you mean `method`?"),
        ("request.header == \"1\"", "write `header(\"name\")`"),
        ("request.header(\"X\") == \"1\"", "write `header(…)` without `request.`"),
        ("headr(\"X\") == \"1\"", "did you mean `header`?"),
        ("header(\"X\").startswith(\"1\")", "did you mean `startsWith`?"),
        ("header(\"X\") == 1", "put the number in quotes, or make the text a number with `int(…)`"),
        ("\"a\" in header(\"X\")", "for a part of a text use `.contains(…)`"),
        ("request.method == \"get\"", "methods are in upper case: `GET`"),
        ("ip == \"10.0.0.0/8\"", "for a network, use `ip_in(\"10.0.0.0/8\")`"),
    ];
    for (text, hint) in table {
        assert_eq!(Condition::compile(text).map(|_| ()).unwrap_err().hint.as_deref(), Some(hint), "{text}");
    }
}

#[test]
fn length_and_depth_have_a_roof() {
    let message = |text: &str| Condition::compile(text).map(|_| ()).unwrap_err().message;
    assert_eq!(message(&format!("true{}", " ".repeat(MAX_LENGTH))), "the condition is longer than 4096 bytes");
    assert_eq!(message(&"(".repeat(4000)), "the condition is nested deeper than 32 levels");
    assert_eq!(
        message(&format!("{}true{}", "(".repeat(33), ")".repeat(33))),
        "the condition is nested deeper than 32 levels"
    );
    assert!(Condition::compile(&format!("{}true{}", "(".repeat(30), ")".repeat(30))).is_ok());
    assert_eq!(message(&"true?true:".repeat(400)), "the condition is nested deeper than 32 levels");
    assert!(message(&format!("{}1 == 1", "1+".repeat(1000))).contains("32 levels"));
    assert!(Condition::compile(&format!("{}true", "!".repeat(4000))).is_ok());
    assert!(Condition::compile(&format!("{}1 == 1", "-".repeat(4000))).is_ok());
    let many = vec!["true"; 500].join(" && ");
    assert_eq!(Condition::compile(&many).map(|c| c.conjuncts()), Ok(500));
}

#[test]
fn conjuncts_are_the_parts_joined_by_and_at_the_top() {
    let count = |text: &str| Condition::compile(text).unwrap().conjuncts();
    assert_eq!(count("true"), 1);
    assert_eq!(count("true && (false && true)"), 3);
    assert_eq!(count("true && (false || true)"), 2);
    assert_eq!(count("!(true && true)"), 1);
}

#[test]
fn conditions_that_cannot_both_hold_are_known() {
    let excludes = |a: &str, b: &str| {
        let (a, b) = (Condition::compile(a).unwrap(), Condition::compile(b).unwrap());
        assert_eq!(a.excludes(&b), b.excludes(&a));
        a.excludes(&b)
    };
    assert!(excludes(r#"header("X") == "a""#, r#"header("x") == "b""#));
    assert!(excludes(r#"header("X") == "a" && true"#, r#"true && header("x") != "a""#));
    assert!(excludes(r#"request.method in ["GET", "PUT"]"#, r#"request.method == "POST""#));
    assert!(excludes(r#"query("v") == "1""#, r#"query("v").startsWith("2")"#));
    assert!(excludes(r#"has_header("X")"#, r#"!has_header("X")"#));
    assert!(excludes(r#"header("X") == "a""#, r#"!has_header("X")"#));
    assert!(excludes(r#"ip == "10.0.0.1""#, r#"ip_in("192.168.0.0/16")"#));
    assert!(!excludes(r#"header("X") == "a""#, r#"header("Y") == "b""#));
    assert!(!excludes(r#"header("X") == """#, r#"!has_header("X")"#));
    assert!(!excludes(r#"header("X") == "a""#, r#"header("X").contains("a")"#));
    assert!(!excludes(r#"query("v") == "a""#, r#"query("V") == "b""#));
    assert!(!excludes("true", "true"));
}

#[test]
fn conditions_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Condition>();
}
