//! Expressions for texts and numbers.

use std::sync::Arc;

use tollgate_core::principal::Principal;
use tollgate_core::serde_json::{Map, json};

use super::*;

/// A request of somebody.
struct Known(Sample, Principal);

impl Known {
    fn new() -> Self {
        let claims = json!({ "sub": "alice", "level": 3, "vip": true, "roles": ["a"], "org": { "unit": "sales" } });
        let claims = claims.as_object().cloned().unwrap_or_else(Map::new);
        let (source, subject, consumer) = (Arc::from("idp"), "alice".into(), Some("shop".into()));
        let scopes = vec!["read".into()];
        Self(Sample::new(), Principal { source, subject, consumer, scopes, claims, expires: None, session: None })
    }
}

impl Facts for Known {
    fn method(&self) -> &str {
        self.0.method()
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    fn host(&self) -> &str {
        self.0.host()
    }

    fn scheme(&self) -> &str {
        self.0.scheme()
    }

    fn ip(&self) -> ClientAddress {
        self.0.ip()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.query(name)
    }

    fn cookie(&self, name: &str) -> Option<&str> {
        self.0.cookie(name)
    }

    fn caller(&self) -> Option<&Principal> {
        Some(&self.1)
    }
}

#[test]
fn a_term_is_a_text_whatever_it_is_made_of() {
    let known = Known::new();
    for (text, expected) in [
        (r#"header("X-Beta")"#, Some("1")),
        (r#"header("X-Gone")"#, Some("")),
        ("request.method + request.path", Some("GET/orders/1")),
        ("principal", Some("alice")),
        ("consumer", Some("shop")),
        ("claims.sub", Some("alice")),
        ("claims.level", Some("3")),
        ("claims.vip", Some("true")),
        ("claims.org.unit", Some("sales")),
        ("claims.roles", None),
        ("claims.org", None),
        ("claims.gone", None),
        ("has(claims.gone)", Some("false")),
        ("1 + 2", Some("3")),
        (r#"int(header("X-Gone"))"#, None),
    ] {
        let term = Term::text_of(text, Scope::Caller).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(term.text(&known).as_deref(), expected, "{text}");
        assert_eq!(term.written(), text);
    }
    assert_eq!(Term::text_of("claims.sub", Scope::Caller).unwrap().text(&Sample::new()), None, "nobody is known");
}

#[test]
fn a_term_is_a_number_if_it_can_be_told() {
    let known = Known::new();
    for (text, expected) in [
        ("5", Some(5)),
        (r#"request.method == "GET" ? 1 : 5"#, Some(1)),
        (r#"int(header("X-N")) / 2"#, Some(21)),
        ("claims.level + 1", Some(4)),
        ("claims.level", Some(3)),
        ("claims.sub", None),
        ("claims.gone", None),
        ("0 - 3", Some(-3)),
    ] {
        let term = Term::number_of(text, Scope::Caller).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(term.number(&known), expected, "{text}");
    }
}

#[test]
fn what_can_be_neither_is_refused_with_its_place() {
    let told = |made: Result<Term, ExprError>| made.unwrap_err().message;
    assert!(told(Term::number_of("request.path", Scope::Request)).contains("a whole number, and it is a text"));
    assert!(told(Term::text_of("scopes", Scope::Caller)).contains("a text, and it is a list"));
    assert!(told(Term::text_of("claims.sub", Scope::Request)).contains("not known yet"));
    assert!(told(Term::text_of("claims", Scope::Caller)).contains("no value by itself"));
}
