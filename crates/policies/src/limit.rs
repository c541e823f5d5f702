//! Refuses what is more than was agreed: so many requests in a time, for each user, address, application or whatever else.
//!
//! # When to use
//! On every API that strangers can reach. `100/min per user` is a bucket of 100 requests for each user, which is refilled evenly: in any time t at
//! most 100 + t × 100/min of them pass, so that those who hold back for a while may come all at once. `burst 20` makes the bucket smaller,
//! or larger. `100/min exact` is never more than 100 in any minute, wherever it begins. `/day`, `/week` and `/month` count in those of the
//! calendar, in UTC unless `in Europe/Berlin` says otherwise: `1/day per user and consumer` is once a day, by that user from that
//! application.
//!
//! Callers are told apart by `user`, `consumer` (the application), `ip` (of IPv6 addresses the first 64 bits, or as many as `ip/56` says), `country`, `api`,
//! `route`, `host`, `header X-Tenant`, a claim (`claims.tenant`) or another value (CEL), or several joined by `and`. What is not there, as with
//! somebody who is not known, is one value that all share. Without `per`, all requests together are counted.
//!
//! It counts where it stands: on a route for that route, in the `defaults` of an api for all its routes together, in those of the file for
//! all routes; `per route` and `per api` tell them apart. With a list, all of them have to have room. Those that need to know who calls run
//! behind `auth`, all others before it, where a refusal costs least.
//!
//! Answers tell what is left, in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10); `headers: x` does so in
//! `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds), for the limit of which the least is left.
//!
//! # Example
//! ```yaml
//! limit:
//!   limits:
//!   - { rate: 100/min, per: [user], burst: 20, consumers: { batch: 1000/min, internal: none } }
//!   - { rate: 10000/day, per: [consumer], zone: Europe/Berlin }
//! ```
//!
//! # Faults
//! - `limit/exceeded` (429): nothing is left; the member `limit` names the limit, `Retry-After` says when to come again.
//! - `limit/store-unavailable` (503): nobody can tell how much is left.

mod compile;
mod rate;
mod run;
mod text;
mod told;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Merge, PolicyConfig, PolicyKind};
use tollgate_core::problem::{Fault, Retry, Side};
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};
use tollgate_core::units::Bounded;

use crate::kit::forms::{ShortForm, with_short};
use crate::kit::limits::{self, Consumers};
use crate::limit::rate::Rate;

/// How many limits a key of the file may have.
const MOST: usize = 16;

section! {
    /// One limit, or several of which all have to have room.
    pub struct LimitConfig {
        /// The limits: 16 at most.
        limits: Vec<Spanned<OneLimit>>,
    }
}

section! {
    /// So many requests in a time.
    pub struct OneLimit {
        /// How often: `100/min`, `5/10s`, `1/day`.
        rate: Spanned<Rate>,
        /// What callers are told apart by; without it, all requests are counted together.
        per: Option<Vec<Spanned<String>>>,
        /// How many may come at once, if that is another number than that of the rate.
        burst: Option<Spanned<Bounded<1, 1_000_000_000>>>,
        /// Never more than the rate says in any such time, wherever it begins.
        exact: bool = false,
        /// In whose days, weeks and months it counts: `Europe/Berlin`. Without it, UTC.
        zone: Option<Spanned<String>>,
        /// What it is called in answers, in logs and by whoever asks; without it, what is written for it.
        name: Option<Spanned<String>>,
        /// How much a request takes: a number, or an expression (CEL) that gives one. What cannot be told takes 1, and 0 nothing.
        cost: Option<Spanned<Cost>>,
        /// Requests for which this holds (CEL) are not counted. Those of which it cannot be told are.
        except: Option<Spanned<String>>,
        /// Rates of some applications, in place of this one: `{ batch: 1000/min, internal: none }`.
        consumers: Option<Consumers<OwnRate>>,
        /// Counts and tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
        /// What holds while the store that several gateways share (`state`) cannot be asked.
        on_store_down: OnStoreDown = "share",
        /// In which fields answers tell what is left.
        headers: LimitHeaders = "standard",
    }
}

words! {
    /// Fields that tell what is left.
    pub enum LimitHeaders {
        /// `RateLimit` and `RateLimit-Policy`.
        Standard = "standard",
        /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
        X = "x",
        /// All of them.
        Both = "both",
        /// None.
        None = "none",
    }
}

words! {
    /// What holds while the store that several gateways share cannot be asked.
    pub enum OnStoreDown {
        /// Each gateway gives its share of a rate; counts of days, weeks and months are answered 503.
        Share = "share",
        /// There is room: nobody counts.
        Allow = "allow",
        /// Whoever cannot be counted is answered 503.
        Refuse = "refuse",
    }
}

/// How much a request takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Cost {
    /// So much.
    Fixed(u32),
    /// What this expression gives.
    Told(String),
}

impl FromText for Cost {
    const WHAT: &'static str = "a number, or an expression (CEL) that gives one";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        Ok(text.trim().parse().map_or_else(|_| Self::Told(text.to_owned()), Self::Fixed))
    }
}

decode_from_text!(Cost);

impl JsonSchema for Cost {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "examples": [5, "request.method == \"GET\" ? 1 : 5"] })
    }
}

/// The rate of one application; `None`: it is not limited.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRate(Option<Rate>);

impl FromText for OwnRate {
    const WHAT: &'static str = "a rate, or `none`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if text == "none" { Ok(Self(None)) } else { Rate::from_text(text).map(|rate| Self(Some(rate))) }
    }
}

decode_from_text!(OwnRate);
text_schema!(OwnRate, "OwnRate", "description": "A rate, or `none`.", "pattern": r"^([0-9]+/([0-9]*(s|min|h)|day|week|month)|none)$");

impl PolicyConfig for LimitConfig {
    const NAME: &'static str = "limit";
    const SUMMARY: &'static str = "Refuses what is more than was agreed: so many requests in a time, for each user, address, application or whatever else.";
    const EXAMPLE: &'static str = "\
limits:
- { rate: 100/min, per: [user], burst: 20, consumers: { batch: 1000/min, internal: none } }
- { rate: 10000/day, per: [consumer], zone: Europe/Berlin }";
    const FAULTS: &'static [&'static Fault] = &[&EXCEEDED, &STORE];
    const MERGE: Merge = Merge::Add;

    /// `100/min per user` → `{ limits: [{ rate: 100/min, per: [user] }] }`; so does each of a list.
    fn desugar(node: Node) -> Node {
        limits::desugar(node, text::desugar)
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let (limits, most) = (self.limits, MOST);
        if limits.is_empty() || limits.len() > most {
            let mistake = Diagnostic::error(format!("{} limits stand here", limits.len()));
            return Err(mistake.hint(format!("from 1 to {most}: `limit: 100/min per user`")));
        }
        limits.into_iter().map(|limit| compile::policy(limit, cx)).collect()
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(LimitConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<LimitConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        short: "100/min per user burst 20",
        long: "{ limits: [{ rate: 100/min, per: [user], burst: 20 }] }",
        schema: || json!({ "type": "string", "pattern": text::PATTERN }),
    },
    ShortForm {
        short: "[10/s per ip, 1/day per user and consumer in Europe/Berlin]",
        long: "{ limits: [{ rate: 10/s, per: [ip] }, { rate: 1/day, per: [user, consumer], zone: Europe/Berlin }] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": ["string", "object"], "pattern": text::PATTERN } }),
    },
    ShortForm {
        short: "{ rate: 100/min, shadow: true }",
        long: "{ limits: [{ rate: 100/min, shadow: true }] }",
        schema: || json!({ "type": "object", "required": ["rate"] }),
    },
];

static EXCEEDED: Fault = Fault {
    slug: "limit/exceeded",
    status: 429,
    title: "More requests than were agreed",
    side: Side::Client,
    retry: Retry::Later,
    help: "Come again after the seconds that `Retry-After` says; `limit` names the limit, and `RateLimit` tells with every answer what is left.",
};

static STORE: Fault = Fault::gateway(
    "limit/store-unavailable",
    503,
    "Nobody can tell whether there is room",
    "Try again. For the operator: the log tells what is wrong with the store of the counters.",
);

#[cfg(test)]
mod tests;
