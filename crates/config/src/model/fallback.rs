//! `fallback` of a service or route: what takes the place of an answer that cannot be had, or is of no use.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text};

use crate::model::health::{FailureStatus, StatusRange};
use crate::model::named::is_name;
use crate::model::reply::Reply;

section! {
    /// What takes the place of an answer that cannot be had: no instance, no connection, no answer in time. Of an answer that
    /// the service gave, only if `on` names its status.
    pub struct Fallback: fit {
        /// Another service, by its name, that is asked instead.
        to: Option<Spanned<String>>,
        /// What is answered instead.
        reply: Option<Reply>,
        /// When: `connect` (no instance or no connection), `reset` (it broke, or what came is no answer), `timeout` (no answer in
        /// time), `limit` (as much as it may have is under way), `breaker` (it is left alone), and answers of these statuses.
        /// Without it, all of these but answers.
        on: Option<Spanned<Vec<FallbackOn>>>,
    }
}

/// It is one of the two, and for something.
fn fit(fallback: &Fallback, cx: &mut DecodeCx) -> bool {
    if let Some(on) = fallback.on.as_ref().filter(|on| on.value.is_empty()) {
        cx.report(Diagnostic::error("a fallback for nothing").at(&on.span).hint(ON));
        return false;
    }
    let mistake = match (&fallback.to, &fallback.reply) {
        (Some(name), None) if is_name(name) => return true,
        (Some(name), None) => Diagnostic::error(format!("`{}` is no service", name.value))
            .at(&name.span)
            .hint("a fallback goes to a service by name: give the address a name under `services`"),
        (Some(name), Some(_)) => {
            Diagnostic::error("a fallback is another service or an answer, not both").at(&name.span)
        }
        (None, Some(_)) => return true,
        // Without a place: the whole section is told of.
        (None, None) => Diagnostic::error("a fallback is another service (`to`) or an answer (`reply`)"),
    };
    cx.report(mistake);
    false
}

/// What leads to a fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackOn {
    /// No instance, or no connection with one.
    Connect,
    /// A connection that broke, or on which no answer came that could be understood.
    Reset,
    /// No answer in time.
    Timeout,
    /// As many requests or connections as the service may have are under way.
    Limit,
    /// The service is left alone.
    Breaker,
    /// An answer of one of these statuses.
    Status(StatusRange),
}

impl FallbackOn {
    /// What leads there if the file does not say.
    pub const USUAL: [Self; 5] = [Self::Connect, Self::Reset, Self::Timeout, Self::Limit, Self::Breaker];
}

const ON: &str = "`connect`, `reset`, `timeout`, `limit`, `breaker`, or statuses from 400 on: `503`, `502-504`, `5xx`";

impl FromText for FallbackOn {
    const WHAT: &'static str = "what a fallback is for";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text {
            "connect" => Ok(Self::Connect),
            "reset" => Ok(Self::Reset),
            "timeout" => Ok(Self::Timeout),
            "limit" => Ok(Self::Limit),
            "breaker" => Ok(Self::Breaker),
            _ => FailureStatus::from_text(text)
                .map(|FailureStatus(range)| Self::Status(range))
                .map_err(|_| Diagnostic::error(format!("`{text}` is nothing that a fallback is for")).hint(ON)),
        }
    }
}

decode_from_text!(FallbackOn);

impl fmt::Display for FallbackOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::Limit => f.write_str("limit"),
            Self::Breaker => f.write_str("breaker"),
            Self::Status(range) => range.fmt(f),
        }
    }
}

impl JsonSchema for FallbackOn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FallbackOn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What leads to a fallback.",
            "anyOf": [
                { "enum": ["connect", "reset", "timeout", "limit", "breaker"] },
                generator.subschema_for::<FailureStatus>(),
            ],
            "examples": ["timeout", 503, "502-504"],
        })
    }
}
