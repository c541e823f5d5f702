//! `deadline` of a route: how callers and services tell each other how much time is left.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, words};

use crate::model::correlation::{Accept, is_free};
use crate::model::defaults::v1;
use crate::model::fields::FieldName;

section! {
    /// A header that says how much time is left for an answer, as `grpc-timeout` does for gRPC. What a caller says shortens the
    /// route's `timeout`, and never makes it longer; each attempt tells its service what is left by then.
    pub struct Deadline {
        /// Its name: one that means nothing else.
        header: TimeHeader,
        /// What its number counts: `ms`, or `s`, in which fractions may stand.
        unit: TimeUnit = v1::DEADLINE_UNIT,
        /// Whose word counts: `always` everybody's, `trusted` only that of proxies under `trust`, `never` nobody's. Services are
        /// told in any case.
        accept: Accept = v1::DEADLINE_ACCEPT,
    }
}

/// A header that may say how much time is left: none that already means something to HTTP or to the gateway. One that frames messages
/// would tear apart what services read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeHeader(FieldName);

impl TimeHeader {
    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromText for TimeHeader {
    const WHAT: &'static str = FieldName::WHAT;

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let hint = "a header of its own: `X-Request-Timeout`";
        let is_no_name =
            text.starts_with(|c: char| c.is_ascii_digit()) || ["on", "off", "true", "false"].contains(&text);
        if is_no_name {
            return Err(Diagnostic::error(format!("`{text}` is no header name")).hint(hint));
        }
        let name = FieldName::from_text(text)?;
        // That of gRPC is passed on by itself, in its own grammar.
        if is_free(text) && !text.eq_ignore_ascii_case("grpc-timeout") {
            return Ok(Self(name));
        }
        Err(Diagnostic::error(format!("`{text}` means something else and cannot say how much time is left")).hint(hint))
    }
}

decode_from_text!(TimeHeader);

impl JsonSchema for TimeHeader {
    fn inline_schema() -> bool {
        FieldName::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        FieldName::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        FieldName::json_schema(generator)
    }
}

words! {
    /// What a number of time counts.
    pub enum TimeUnit {
        /// Milliseconds.
        Milliseconds = "ms",
        /// Seconds.
        Seconds = "s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_a_meaning_of_its_own_cannot_tell_the_time() {
        let taken = [
            "Host",
            "Content-Length",
            "transfer-encoding",
            "X-Forwarded-For",
            "grpc-timeout",
            "5s",
            "on",
            "X-Correlation-ID",
        ];
        for taken in taken {
            assert!(TimeHeader::from_text(taken).is_err_and(|mistake| mistake.hint.is_some()), "{taken}");
        }
        for free in ["X-Request-Timeout", "Deadline", "x-time-left"] {
            assert!(TimeHeader::from_text(free).is_ok(), "{free}");
        }
    }
}
