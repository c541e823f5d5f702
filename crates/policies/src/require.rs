//! Refuses requests that lack a header, a query parameter, or a content type that is taken.
//!
//! # When to use
//! When a service cannot do without something that clients forget: an id to follow a request by, a tenant, a body in the
//! right format. The caller is told all that is missing at once, and the service is not bothered. It is a guard: what
//! `defaults` require and what a route requires both hold. A preflight that [`cors`](crate::cors) answers is not asked.
//!
//! A header or parameter that is there but empty counts as missing. Content types are compared without regard to case
//! and parameters (`application/json` takes `application/json; charset=utf-8`), and only for requests that have a body.
//!
//! # Example
//! ```yaml
//! require:
//!   headers: [X-Correlation-ID, X-Tenant]
//!   query: [version]
//!   content_type: [application/json, image/*]
//! ```
//!
//! # Faults
//! - `require/header` (400), `require/query` (400): the member `missing` lists the names.
//! - `require/content-type` (415): the field `Accept` lists what is taken (RFC 9110 §15.5.16).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use tollgate_config::model::FieldName;
use tollgate_core::body::Length;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::is_token;
use tollgate_core::head::RequestHead;
use tollgate_core::node::Node;
use tollgate_core::policy::{BuildCx, Built, Hooks, Merge, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::section;

use crate::kit::forms::{ShortForm, decode_text, joined, list_under, with_short};

section! {
    /// Refuses requests that lack a header, a query parameter, or a content type that is taken.
    pub struct RequireConfig {
        /// Header fields that must be there and not be empty.
        headers: Option<Vec<FieldName>>,
        /// Query parameters that must be there and not be empty.
        query: Option<Vec<ParameterName>>,
        /// The content types that a body may have, without parameters; `image/*` takes every one that starts so.
        content_type: Option<Vec<MediaRange>>,
    }
}

impl PolicyConfig for RequireConfig {
    const NAME: &'static str = "require";
    const SUMMARY: &'static str =
        "Refuses requests that lack a header, a query parameter, or a content type that is taken.";
    const EXAMPLE: &'static str =
        "headers: [X-Correlation-ID, X-Tenant]\nquery: [version]\ncontent_type: [application/json, image/*]";
    const FAULTS: &'static [&'static Fault] = &[&HEADER, &QUERY, &CONTENT_TYPE];
    const MERGE: Merge = Merge::Add;

    fn desugar(node: Node) -> Node {
        list_under(node, "headers")
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let headers = self.headers.unwrap_or_default().iter().map(|name| name.as_str().to_owned()).collect();
        let query = self.query.unwrap_or_default().into_iter().map(|name| name.0).collect();
        let require = Require { headers, query, content_type: self.content_type.unwrap_or_default() };
        if require.headers.is_empty() && require.query.is_empty() && require.content_type.is_empty() {
            return Err(Diagnostic::error("nothing is required here").hint("for example `require: X-Correlation-ID`"));
        }
        Ok(vec![(Stage::Edge, Arc::new(require))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(RequireConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<RequireConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        short: "X-Correlation-ID",
        long: "{ headers: [X-Correlation-ID] }",
        schema: || json!({ "type": "string" }),
    },
    ShortForm {
        short: "[X-Correlation-ID, X-Tenant]",
        long: "{ headers: [X-Correlation-ID, X-Tenant] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
];

/// The name of a query parameter, as it reads once decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterName(String);

impl Decode for ParameterName {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_text(node, cx, "the name of a query parameter", |text| {
            if !text.is_empty() && !text.contains(['&', '=', '?', '#']) {
                return Ok(Self(text.to_owned()));
            }
            Err(Diagnostic::error(format!("`{text}` is no name of a query parameter")).hint("the name alone: `page`"))
        })
    }
}

impl JsonSchema for ParameterName {
    fn schema_name() -> Cow<'static, str> {
        "ParameterName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The name of a query parameter.",
            "pattern": "^[^&=?#]+$",
            "examples": ["page"],
        })
    }
}

/// A content type without parameters, or all that share their first part (RFC 9110 §12.5.1, without `*/*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRange {
    /// As written, for the answer.
    text: String,
    /// `application`, in lower case.
    main: String,
    /// `json`, in lower case; `None`: any.
    sub: Option<String>,
}

impl MediaRange {
    fn read(text: &str) -> Result<Self, Diagnostic> {
        let wrong = |hint: &str| Err(Diagnostic::error(format!("`{text}` is no content type")).hint(hint));
        if text.contains(';') {
            return wrong("without parameters: they are not compared");
        }
        let parts = text.split_once('/').filter(|(main, sub)| is_token(main.as_bytes()) && is_token(sub.as_bytes()));
        let Some((main, sub)) = parts else { return wrong("a type and a subtype: `application/json`, `image/*`") };
        if main.contains('*') || (sub.contains('*') && sub != "*") {
            return wrong("a `*` stands only for the whole subtype: `image/*`");
        }
        let sub = (sub != "*").then(|| sub.to_ascii_lowercase());
        Ok(Self { text: text.to_owned(), main: main.to_ascii_lowercase(), sub })
    }

    /// `value` is a `Content-Type` with or without parameters (RFC 9110 §8.3.1).
    fn takes(&self, value: &str) -> bool {
        let Some((main, sub)) = essence(value).split_once('/') else { return false };
        main.eq_ignore_ascii_case(&self.main)
            && is_token(sub.as_bytes())
            && self.sub.as_ref().is_none_or(|own| sub.eq_ignore_ascii_case(own))
    }
}

/// The content type without its parameters.
fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

impl Decode for MediaRange {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_text(node, cx, "a content type", Self::read)
    }
}

impl JsonSchema for MediaRange {
    fn schema_name() -> Cow<'static, str> {
        "MediaRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A content type without parameters, or `type/*` for all of a type.",
            "pattern": r"^[!#$%&'+.^_`|~0-9A-Za-z-]+/([!#$%&'+.^_`|~0-9A-Za-z-]+|\*)$",
            "examples": ["application/json", "image/*"],
        })
    }
}

#[derive(Debug)]
struct Require {
    headers: Vec<String>,
    query: Vec<String>,
    content_type: Vec<MediaRange>,
}

impl Policy for Require {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        Step::Now(self.check(x).map(|()| tollgate_core::policy::Flow::Next))
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if !self.headers.is_empty() {
            parts.push(format!("the headers {}", joined(self.headers.iter().map(String::as_str))));
        }
        if !self.query.is_empty() {
            parts.push(format!("the query parameters {}", joined(self.query.iter().map(String::as_str))));
        }
        if !self.content_type.is_empty() {
            parts.push(format!("a body of type {}", self.taken()));
        }
        parts.join("; ")
    }
}

impl Require {
    fn check(&self, x: &Exchange) -> Result<(), Problem> {
        let head = &x.head;
        let has_field = |name: &String| head.fields.all(name).any(|value| !value.is_empty());
        complete(&HEADER, &self.headers, has_field)?;
        complete(&QUERY, &self.query, |name| head.query_value(name).is_some_and(|value| !value.is_empty()))?;
        if self.content_type.is_empty() || x.length == Length::None { Ok(()) } else { self.check_content_type(head) }
    }

    fn check_content_type(&self, head: &RequestHead) -> Result<(), Problem> {
        let mut lines = head.fields.all("content-type");
        let detail = match (lines.next().map(std::str::from_utf8), lines.next()) {
            (None, _) => "the body has no `Content-Type`".to_owned(),
            // Two readers may pick different ones.
            (Some(_), Some(_)) => "more than one `Content-Type`".to_owned(),
            (Some(Ok(value)), None) if self.content_type.iter().any(|range| range.takes(value)) => return Ok(()),
            (Some(Ok(value)), None) => format!("`{}` is not taken here", essence(value)),
            (Some(Err(_)), None) => "a `Content-Type` that cannot be read".to_owned(),
        };
        Err(CONTENT_TYPE.problem().detail(detail).header("Accept", Bytes::from(self.taken())))
    }

    fn taken(&self) -> String {
        joined(self.content_type.iter().map(|range| range.text.as_str()))
    }
}

/// Refuses with the names for which `is_there` does not hold.
fn complete(fault: &'static Fault, names: &[String], is_there: impl Fn(&String) -> bool) -> Result<(), Problem> {
    // The usual case allocates nothing.
    if names.iter().all(&is_there) {
        return Ok(());
    }
    let missing: Vec<&str> = names.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let quoted = missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Err(fault.problem().detail(format!("{quoted} {verb} missing")).member("missing", missing))
}

static HEADER: Fault = Fault::client(
    "require/header",
    400,
    "A required header is missing",
    "Send the header fields that `missing` lists, each with a value.",
);

static QUERY: Fault = Fault::client(
    "require/query",
    400,
    "A required query parameter is missing",
    "Send the query parameters that `missing` lists, each with a value.",
);

static CONTENT_TYPE: Fault = Fault::client(
    "require/content-type",
    415,
    "The body's content type is not taken here",
    "Send the body as one of the content types that the answer's `Accept` lists, and say so in `Content-Type`.",
);

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_testkit::bench::Bench;

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let bench = Bench::of::<RequireConfig>("[X-Correlation-ID, X-Tenant, Accept]");
        let refused = bench.request("GET", "/", &[("Accept", "*/*")]).refused_with("require/header").replies(400);
        assert_eq!(refused.problem()["missing"], json!(["X-Correlation-ID", "X-Tenant"]));
        assert_eq!(refused.problem()["detail"], "`X-Correlation-ID`, `X-Tenant` are missing");
        bench.request("GET", "/", &[("accept", "a"), ("x-tenant", "b"), ("x-correlation-id", "c")]).passes();
    }

    #[test]
    fn an_empty_header_counts_as_missing() {
        let bench = Bench::of::<RequireConfig>("X-Tenant");
        let refused = bench.request("GET", "/", &[("X-Tenant", "")]).refused_with("require/header");
        assert_eq!(refused.problem()["detail"], "`X-Tenant` is missing");
    }

    #[test]
    fn query_parameters_are_compared_decoded_and_by_their_whole_name() {
        let bench = Bench::of::<RequireConfig>("query: [page, größe]");
        bench.get("/?a=1&page=2&gr%C3%B6%C3%9Fe=3").passes();
        for target in ["/", "/?page=1", "/?page=&gr%C3%B6%C3%9Fe=3", "/?mypage=1&gr%C3%B6%C3%9Fe=3"] {
            bench.get(target).refused_with("require/query").replies(400);
        }
    }

    #[test]
    fn only_the_content_types_named_are_taken() {
        let bench = Bench::of::<RequireConfig>("content_type: [application/json, image/*]");
        let post = |kind| bench.request("POST", "/", &[("Content-Length", "3"), ("Content-Type", kind)]);
        for kind in ["application/json", "Application/JSON; charset=utf-8", "image/png", "application/json ;a=b"] {
            post(kind).passes();
        }
        for kind in ["text/plain", "application/json2", "application", "image/", "", "text/plain;application/json"] {
            let refused = post(kind).refused_with("require/content-type").replies(415);
            assert_eq!(refused.header("accept").as_deref(), Some("application/json, image/*"), "{kind}");
        }
    }

    #[test]
    fn a_body_must_say_its_type_once_and_without_a_body_none_is_asked_for() {
        let bench = Bench::of::<RequireConfig>("content_type: application/json");
        bench.get("/").passes();
        bench.request("POST", "/", &[("Content-Length", "0")]).passes();
        bench.request("POST", "/", &[("Transfer-Encoding", "chunked")]).refused_with("require/content-type");
        let json = ("Content-Type", "application/json");
        bench.request("POST", "/", &[("Content-Length", "2"), json, json]).refused_with("require/content-type");
    }

    #[test]
    fn mistakes_in_the_section_say_what_to_write() {
        let told = |yaml| Bench::mistakes::<RequireConfig>(yaml).join("; ");
        assert_eq!(told("{}"), "nothing is required here (for example `require: X-Correlation-ID`)");
        assert_eq!(told("headers: 'a b'"), "`a b` is no header name (letters, digits and `-`: `X-Request-ID`)");
        assert!(told("content_type: json").contains("a type and a subtype"));
        assert!(told("content_type: a/b;c=d").contains("without parameters"));
        assert!(told("content_type: '*/*'").contains("only for the whole subtype"));
        assert!(told("query: a=b").contains("the name alone"));
    }
}
