//! `tests`: requests, and what is to become of them. They are run against the config itself, before it comes into force.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value as Json};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};
use tollgate_core::section;
use tollgate_core::units::{Bounded, BoundedSize};

use crate::model::defaults::v1;
use crate::model::fields::{FieldName, FieldValue, is_token};
use crate::model::health::StatusRange;
use crate::model::http::HostText;
use crate::model::named::Named;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

section! {
    /// Requests, and what is to become of them.
    pub struct Tests {
        /// The host of all that name none; without it, `localhost`.
        host: Option<HostText>,
        /// The client's address of all that name none; without it, 192.0.2.1.
        from: Option<ClientIp>,
        /// Header fields of all requests.
        headers: Option<TestFields>,
        /// Who may call in the tests: the claims of each.
        people: Option<Named<Claims>>,
        /// The tests.
        expect: Option<Vec<Spanned<Line>>>,
    }
}

section! {
    /// One request, and what is to become of it.
    pub struct Test {
        /// How often it is asked, one after the other. With each test, counting begins anew.
        times: Bounded<1, 100_000> = v1::TEST_TIMES,
        /// What is asked.
        request: TestRequest,
        /// What is to be answered.
        expect: Expected,
    }
}

section! {
    /// A request.
    pub struct TestRequest {
        /// The method.
        method: TestMethod = v1::TEST_METHOD,
        /// A path, with a query if there is one; or a URL.
        url: TestUrl = v1::TEST_URL,
        /// The host, unless the URL names it.
        host: Option<HostText>,
        /// The client's address.
        from: Option<ClientIp>,
        /// Who calls: one of `people`, for whom every source of identity vouches that the route names.
        person as "as": Option<Spanned<String>>,
        /// Header fields.
        headers: Option<TestFields>,
        /// The size of its body; without it, it has none.
        body: Option<BoundedSize<0, { u64::MAX }>>,
    }
}

section! {
    /// An answer, and how it comes about.
    pub struct Expected {
        /// Of how many answers this holds, exactly; without it, of all.
        times: Option<Bounded<0, 100_000>>,
        /// Its status: `200`, `2xx`, or a range like `200-299`.
        status: StatusRange = v1::TEST_STATUS,
        /// The service that gives it: its name, or, of addresses written in a route, the name of that route.
        from: Option<Spanned<String>>,
        /// Its `Location`.
        location: Option<FieldValue>,
        /// The slug of its problem: `route/not-found`.
        problem: Option<Spanned<String>>,
        /// Some of its header fields.
        headers: Option<TestFields>,
        /// What the service is sent.
        sent: Option<Sent>,
    }
}

section! {
    /// What a service is sent.
    pub struct Sent {
        /// The path, with its query.
        path: Option<String>,
        /// The host.
        host: Option<String>,
        /// Some of the header fields.
        headers: Option<TestFields>,
    }
}

/// What is known of somebody, as the claims of a token say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(pub Map<String, Json>);

impl Decode for Claims {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match json(node) {
            Json::Object(claims) => Some(Self(claims)),
            _ => cx.expected(node, "claims: `{ sub: alice, scope: orders.read }`"),
        }
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect())
        }
    }
}

impl JsonSchema for Claims {
    fn schema_name() -> Cow<'static, str> {
        "Claims".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "What is known of somebody, as the claims of a token say it.",
            "examples": [{ "sub": "alice", "scope": "orders.read" }],
        })
    }
}

/// A test, which may have been written as one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line(pub Test);

/// The grammar of a line.
const GRAMMAR: &str = "`GET /orders/1 -> 200 from orders`: [N x] METHOD PATH|URL [as NAME] [from IP] [with SIZE] -> [N x] STATUS [PROBLEM] [from SERVICE] [to URL]";

impl Decode for Line {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::String(text) = &node.value else { return Test::decode(node, cx).map(Self) };
        // The parts of a line that reads were put in its place before.
        cx.report(Diagnostic::error(format!("`{text}` is no test")).hint(GRAMMAR).at(&node.span));
        None
    }
}

impl JsonSchema for Line {
    fn inline_schema() -> bool {
        Test::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        Test::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Test::json_schema(generator)
    }
}

/// The method of a request (RFC 9110 §9.1), in the case in which it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestMethod(pub String);

impl FromText for TestMethod {
    const WHAT: &'static str = "a method";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if is_token(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error(format!("`{text}` is no method")).hint("`GET`, `POST`, `DELETE` …"))
    }
}

/// The address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl FromText for ClientIp {
    const WHAT: &'static str = "an IP address";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        text.parse().map(Self).map_err(|_| Diagnostic::error(format!("`{text}` is no IP address")))
    }
}

/// What is asked for: a path, or a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestUrl {
    /// By TLS.
    pub is_https: bool,
    /// The host, if it is named.
    pub host: Option<String>,
    /// The path, with its query.
    pub target: String,
}

impl FromText for TestUrl {
    const WHAT: &'static str = "a path or URL";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong = || {
            Err(Diagnostic::error(format!("`{text}` is neither a path nor a URL"))
                .hint("`/orders/1?x=1`, or `https://shop.example/orders/1`"))
        };
        if text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            return wrong();
        }
        let (is_https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ if text.starts_with('/') || text == "*" => {
                return Ok(Self { is_https: false, host: None, target: text.to_owned() });
            }
            _ => return wrong(),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(end);
        if host.is_empty() {
            return wrong();
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { is_https, host: Some(host.to_owned()), target: format!("{slash}{target}") })
    }
}

decode_from_text!(ClientIp, TestMethod, TestUrl);
text_schema!(TestMethod, "TestMethod", "description": "A method, in the case in which it is sent.", "examples": ["GET", "POST"]);
text_schema!(ClientIp, "ClientIp", "description": "An IP address.", "examples": ["192.0.2.1"]);
text_schema!(TestUrl, "TestUrl", "description": "A path with its query, or a URL.", "examples": ["/orders/1", "https://shop.example/"]);

/// Header fields, in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestFields(pub Vec<(FieldName, FieldValue)>);

impl Decode for TestFields {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return cx.expected(node, "a mapping of headers") };
        let read: Vec<_> = entries
            .iter()
            .map(|entry| {
                let name =
                    FieldName::from_text(&entry.key).map_err(|mistake| cx.report(mistake.at(&entry.key_span))).ok();
                let value = FieldValue::decode(&entry.value, cx);
                Some((name?, value?))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for TestFields {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TestHeaders".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<FieldValue>() })
    }
}
