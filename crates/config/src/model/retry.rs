//! `retry` of a service, `hedge` of a route: what is asked more than once.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text};
use tollgate_core::units::{Bounded, Percent, Period};

use crate::model::defaults::v1;
use crate::model::health::{FailureStatus, StatusRange};

section! {
    /// When a request is tried once more. Only what is safe to repeat, or of which nothing was sent.
    pub struct Retry: fit {
        /// Tries after the first. 0: none.
        retries: Bounded<0, 5> = v1::RETRIES,
        /// What is tried again: `connect` (no connection), `reset` (it broke before the answer), `timeout` (no answer within
        /// `try_timeout`), answers of these statuses, and `unavailable` (calls of gRPC that end so, with no message: of any
        /// method, so write it only if the service did nothing then). Without it, `[connect, reset, timeout]`.
        on: Option<Vec<RetryOn>>,
        /// Whether the service does what requests of any method with the same `Idempotency-Key` ask for only once: then those
        /// are tried again, too. Services that do not know that field would do it twice.
        idempotency_key: bool = v1::RETRY_IDEMPOTENCY_KEY,
        /// How long the first retry waits, by chance anything up to this; twice as long each further time. With another instance
        /// to go to, the first does not wait.
        backoff: Spanned<Period> = v1::RETRY_BACKOFF,
        /// How long a retry waits at most, unless the service says for how long (`Retry-After`).
        longest: Period = v1::RETRY_LONGEST,
        /// Retries are at most this share of all requests, so that a service in trouble is not given more work.
        budget: Percent = v1::RETRY_BUDGET,
        /// Retries per second that are always allowed, whatever the budget.
        min: Bounded<0, 10_000> = v1::RETRY_MIN,
    }
}

/// Whether the first wait is not longer than the longest.
fn fit(retry: &Retry, cx: &mut DecodeCx) -> bool {
    let (first, longest) = (&retry.backoff, retry.longest.0);
    let fits = first.value.0 <= longest;
    if !fits {
        let mistake = Diagnostic::error(format!("this is longer than `longest`, which is {longest:?}"));
        cx.report(mistake.at(&first.span).hint("write a longer `longest`"));
    }
    fits
}

/// What is tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection.
    Connect,
    /// One that broke before the answer.
    Reset,
    /// No answer in the time of a try.
    Timeout,
    /// A call of gRPC that ended with `UNAVAILABLE` and without a message.
    Unavailable,
    /// An answer of one of these statuses.
    Status(StatusRange),
}

impl FromText for RetryOn {
    const WHAT: &'static str = "what to retry on";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text {
            "connect" => Ok(Self::Connect),
            "reset" => Ok(Self::Reset),
            "timeout" => Ok(Self::Timeout),
            "unavailable" => Ok(Self::Unavailable),
            _ => FailureStatus::from_text(text).map(|FailureStatus(range)| Self::Status(range)).map_err(|_| {
                Diagnostic::error(format!("`{text}` is nothing to retry on")).hint(
                    "`connect`, `reset`, `timeout`, `unavailable`, or statuses from 400 on: `503`, `502-504`, `5xx`",
                )
            }),
        }
    }
}

decode_from_text!(RetryOn);

impl JsonSchema for RetryOn {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What is tried once more.",
            "anyOf": [
                { "enum": ["connect", "reset", "timeout", "unavailable"] },
                generator.subschema_for::<FailureStatus>(),
            ],
            "examples": ["connect", 503, "502-504"],
        })
    }
}

section! {
    /// A second attempt at another instance while the first one takes long; the first good answer counts, the other attempt is
    /// given up. Only for `GET`, `HEAD` and `OPTIONS` without a body, within the service's retry budget.
    pub struct Hedge {
        /// How long no head of an answer came: a time, or `p95`, the time within which 95 of 100 answers of this route came.
        after: Spanned<HedgeAfter>,
        /// How many further attempts at most, each as much later.
        most: Bounded<1, 3> = v1::HEDGE_MOST,
    }
}

/// When a further attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// After this time.
    Time(Duration),
    /// After the time within which so many of a hundred answers came.
    Percentile(u8),
}

impl Decode for HedgeAfter {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Some(number) = node.text().and_then(|text| text.strip_prefix('p')) else {
            return Period::decode(node, cx).map(|period| Self::Time(period.0));
        };
        let read = number.parse::<u8>().ok().filter(|number| (50..=99).contains(number));
        if read.is_none() {
            let mistake = Diagnostic::error(format!("`p{number}` is no time to wait for")).at(&node.span);
            cx.report(mistake.hint("`p50` to `p99`, or a time: `50ms`"));
        }
        read.map(Self::Percentile)
    }
}

impl JsonSchema for HedgeAfter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HedgeAfter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time, or one that is found out.",
            "anyOf": [{ "type": "string", "pattern": "^p[5-9][0-9]$" }, generator.subschema_for::<Period>()],
            "examples": ["50ms", "p95"],
        })
    }
}
