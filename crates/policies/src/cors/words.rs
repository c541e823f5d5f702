//! What may be written in the section: origins, methods, headers.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_config::model::{FieldName, HostPattern, Method};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Value};

use crate::kit::forms::joined;

/// Whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's, without credentials.
    Any,
    /// Those of these origins; at least one.
    Listed(Vec<OriginPattern>),
}

impl Decode for Origins {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) if items.is_empty() => return cx.expected(node, "at least one origin"),
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let is_any = |item: &&Node| item.text() == Some("*");
        let named = items.iter().filter(|item| !is_any(item));
        let read: Vec<Option<OriginPattern>> = named.map(|item| OriginPattern::decode(item, cx)).collect();
        let read = read.into_iter().collect::<Option<Vec<_>>>()?;
        Some(if items.iter().any(|item| is_any(&item)) { Self::Any } else { Self::Listed(read) })
    }

    fn example() -> Option<&'static str> {
        Some("https://shop.example")
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any origin"),
            Self::Listed(patterns) => {
                let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

impl JsonSchema for Origins {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Origins".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<OriginPattern>() })
    }
}

/// An origin as browsers write it (Fetch §3.1, serialised after HTML §7.1.1), or all of the hosts below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// `https://`, in lower case.
    scheme: String,
    /// One or more labels stand before `rest`.
    wildcard: bool,
    /// Host and port; the port only if it is not the scheme's own. Starts with `.` behind a wildcard.
    rest: String,
}

impl OriginPattern {
    /// Whether `origin` is this one, or one of those below.
    #[must_use]
    pub fn matches(&self, origin: &str) -> bool {
        let Some(host) = origin.strip_prefix(self.scheme.as_str()) else { return false };
        if !self.wildcard {
            return host == self.rest;
        }
        // Nothing but labels may stand in place of the `*`: no port, no user, no path.
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        };
        host.strip_suffix(self.rest.as_str()).is_some_and(|labels| labels.split('.').all(is_label))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.scheme, if self.wildcard { "*" } else { "" }, self.rest)
    }
}

impl Decode for OriginPattern {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Some(text) = node.text() else { return cx.expected(node, "an origin") };
        let mut wrong = |hint: &str| {
            cx.report(Diagnostic::error(format!("`{text}` is no origin")).at(&node.span).hint(hint));
            None
        };
        let Some((scheme, authority)) = text.split_once("://") else {
            return wrong(match text {
                "null" => "every page in a sandbox has this origin: it names nobody",
                _ => "a scheme and a host: `https://shop.example`",
            });
        };
        let scheme = scheme.to_ascii_lowercase();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(allowed) {
            return wrong("it starts with a scheme: `https://shop.example`");
        }
        if authority.contains(['/', '?', '#', '@']) {
            return wrong("scheme, host and port only, without a path or a slash at the end");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let number = port.map(|port| port.parse::<u16>().ok().filter(|n| *n > 0 && !port.starts_with('+')));
        if number == Some(None) {
            return wrong("the port is a number in 1..=65535");
        }
        let written = Node { value: host.into(), ..Node::new(Value::Null, node.span.narrow(host)) };
        let (wildcard, host) = match HostPattern::decode(&written, cx)? {
            HostPattern::Exact(host) => (false, host),
            HostPattern::Wildcard(below) => (true, format!(".{below}")),
        };
        // Browsers leave out the port that the scheme has anyway.
        let usual = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let rest = match number.flatten().filter(|number| Some(*number) != usual) {
            Some(number) => format!("{host}:{number}"),
            None => host,
        };
        Some(Self { scheme: format!("{scheme}://"), wildcard, rest })
    }
}

impl JsonSchema for OriginPattern {
    fn schema_name() -> Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A scheme and a host, with a port if it is not the usual one; `*.` before the host stands for one or more labels, `*` alone for any origin.",
            "pattern": r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://(\*\.)?[^/?#@*]+)$",
            "examples": ["https://shop.example", "https://*.shop.example", "http://localhost:3000", "*"],
        })
    }
}

/// The methods that pages may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Methods(pub(super) Vec<String>);

/// Without `methods`.
const USUAL: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

impl Decode for Methods {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let read = Vec::<Method>::decode(node, cx)?;
        if read.is_empty() {
            return cx.expected(node, "at least one method");
        }
        Some(Self(read.iter().map(|method| method.as_str().to_owned()).collect()))
    }

    fn absent() -> Option<Self> {
        Some(Self(USUAL.map(str::to_owned).to_vec()))
    }
}

impl JsonSchema for Methods {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Methods".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "items": { "type": "string", "title": "method", "pattern": "^[A-Z][A-Z0-9._-]*$" },
            "default": USUAL,
        })
    }
}

/// The request headers that pages may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHeaders {
    /// Whatever is asked for.
    Any,
    /// These.
    Listed(Vec<FieldName>),
}

impl AllowedHeaders {
    /// Whether pages may send this one.
    #[must_use]
    pub fn allow(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(names) => names.iter().any(|known| known.as_str().eq_ignore_ascii_case(name)),
        }
    }
}

impl Decode for AllowedHeaders {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let names = Vec::<FieldName>::decode(node, cx)?;
        match names.iter().position(|name| name.as_str() == "*") {
            None => Some(Self::Listed(names)),
            Some(_) if names.len() == 1 => Some(Self::Any),
            Some(_) => {
                let all = joined(names.iter().map(FieldName::as_str).filter(|name| *name != "*"));
                let mistake = Diagnostic::error("`*` already stands for every header").at(&node.span);
                cx.report(mistake.hint(format!("`headers: '*'`, or the names alone: `headers: [{all}]`")));
                None
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::Any)
    }
}

impl JsonSchema for AllowedHeaders {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AllowedHeaders".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<FieldName>(), "default": "*" })
    }
}
