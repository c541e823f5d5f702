//! Refuses what is too much at once: so many requests in flight, for each address, user, application or api.
//!
//! # When to use
//! Where requests are slow, and a rate says little of what they cost: ten reports at a time, twenty uploads for each address. A request is in
//! flight from its head to the last byte of its answer; a stream of HTTP/2 counts as a request, a WebSocket for as long as it lives, a
//! request that is tried again once. With `limit`, who waits for slow answers is not limited at all; with this, who is fast is not.
//!
//! `20 per ip` and `500 per api` are written as in [`limit`](crate::limit), and callers told apart by the same words. It counts where it
//! stands: on a route for that route, in the `defaults` of an api for all its routes together, in those of the file for all routes. With a list,
//! all of them have to have room. Those that need to know who calls run behind `auth`, all others before it.
//!
//! Counts are of this node: with three gateways, three times as many are in flight behind them.
//!
//! # Example
//! ```yaml
//! in_flight:
//!   limits:
//!   - { most: 20, per: [ip] }
//!   - { most: 10, per: [consumer], consumers: { batch: 100, internal: none } }
//! ```
//!
//! # Faults
//! - `in_flight/exceeded` (429): a caller has as many in flight as they may; the member `limit` names the limit.
//! - `in_flight/full` (503): all callers together have, where none are told apart, or by `api`, `route` or `host` alone.

mod run;
mod text;

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde_json::json;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Merge, Policy, PolicyConfig, PolicyKind, Stage};
use tollgate_core::problem::{Fault, Retry, Side};
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

use crate::in_flight::run::{Counted, Limiting};
use crate::kit::forms::{ShortForm, with_short};
use crate::kit::key::Part;
use crate::kit::limits::{self, Consumers, Whom};

/// How many limits a key of the file may have.
const MOST: usize = 16;
/// The largest number of a limit.
const LARGEST: u32 = 1_000_000_000;

section! {
    /// One limit, or several of which all have to have room.
    pub struct InFlightConfig {
        /// The limits: 16 at most.
        limits: Vec<Spanned<OneCrowd>>,
    }
}

section! {
    /// So many requests at once.
    pub struct OneCrowd {
        /// How many there may be.
        most: Most,
        /// What callers are told apart by; without it, all requests are counted together.
        per: Option<Vec<Spanned<String>>>,
        /// What it is called in answers and in logs; without it, what is written for it.
        name: Option<Spanned<String>>,
        /// Requests for which this holds (CEL) are not counted. Those of which it cannot be told are.
        except: Option<Spanned<String>>,
        /// How many some applications may have, in place of this: `{ batch: 100, internal: none }`.
        consumers: Option<Consumers<OwnMost>>,
        /// Counts and tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
    }
}

/// So many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most(u32);

impl FromText for Most {
    const WHAT: &'static str = "a number of requests";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        text.parse().ok().filter(|most| (1..=LARGEST).contains(most)).map(Self).ok_or_else(|| {
            let mistake = Diagnostic::error(format!("`{text}` is no number of requests in flight"));
            mistake.hint(format!("from 1 to {LARGEST}, and whom to tell apart: `20 per ip`"))
        })
    }
}

decode_from_text!(Most);
text_schema!(Most, "Most", "description": "A number of requests.", "type": "integer", "minimum": 1, "maximum": LARGEST);

/// How many one application may have; `None`: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnMost(Option<u32>);

impl FromText for OwnMost {
    const WHAT: &'static str = "a number of requests, or `none`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if text == "none" { Ok(Self(None)) } else { Most::from_text(text).map(|most| Self(Some(most.0))) }
    }
}

decode_from_text!(OwnMost);
text_schema!(OwnMost, "OwnMost", "description": "A number of requests, or `none`.", "type": ["integer", "string"], "minimum": 1, "pattern": r"^([0-9]+|none)$");

impl PolicyConfig for InFlightConfig {
    const NAME: &'static str = "in_flight";
    const SUMMARY: &'static str =
        "Refuses what is too much at once: so many requests in flight, for each address, user, application or api.";
    const EXAMPLE: &'static str = "\
limits:
- { most: 20, per: [ip] }
- { most: 10, per: [consumer], consumers: { batch: 100, internal: none } }";
    const FAULTS: &'static [&'static Fault] = &[&EXCEEDED, &FULL];
    const MERGE: Merge = Merge::Add;

    /// `20 per ip` → `{ limits: [{ most: 20, per: [ip] }] }`; so does each of a list.
    fn desugar(node: Node) -> Node {
        limits::desugar(node, text::desugar)
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        if self.limits.is_empty() || self.limits.len() > MOST {
            let mistake = Diagnostic::error(format!("{} limits stand here", self.limits.len()));
            return Err(mistake.hint(format!("from 1 to {MOST}: `in_flight: 20 per ip`")));
        }
        self.limits.into_iter().map(|limit| policy(limit, cx)).collect()
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(InFlightConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<InFlightConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        short: "20 per user and ip",
        long: "{ limits: [{ most: 20, per: [user, ip] }] }",
        schema: || json!({ "type": ["string", "integer"], "minimum": 1, "pattern": text::PATTERN }),
    },
    ShortForm {
        short: "[20 per ip, 500]",
        long: "{ limits: [{ most: 20, per: [ip] }, { most: 500 }] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": ["string", "integer", "object"], "pattern": text::PATTERN } }),
    },
    ShortForm {
        short: "{ most: 20, shadow: true }",
        long: "{ limits: [{ most: 20, shadow: true }] }",
        schema: || json!({ "type": "object", "required": ["most"] }),
    },
];

/// Makes the policy of a limit.
fn policy(limit: Spanned<OneCrowd>, cx: &BuildCx<'_>) -> Result<(Stage, Arc<dyn Policy>), Diagnostic> {
    let Spanned { value: limit, span } = limit;
    let most = limit.most.0;
    let mut per = limits::parts(limit.per.as_ref(), cx)?;
    let mut is_about_caller = per.iter().any(Part::is_about_the_caller) || limit.consumers.is_some();
    let except = limits::exception(limit.except.as_ref(), &mut is_about_caller)?;
    let keys = limits::per(limit.per.as_ref());
    let name = limits::name(limit.name.as_ref(), format!("{most}{keys}"), &span)?;
    let is_shared = per.iter().all(|part| matches!(part, Part::Api | Part::Route | Part::Host));
    let mut id = format!("{}|{keys}|{}", limits::scope(cx), limit.name.as_ref().map_or("", |name| &name.value));
    // What is the same for all requests of a route is known by now, and needs no key.
    if per.iter().all(|part| matches!(part, Part::Api | Part::Route)) {
        per.iter().for_each(|part| match part {
            Part::Api => id = format!("{id}|{}", cx.route.api),
            _ => id = format!("{id}|{}|{}", cx.route.api, cx.route.name),
        });
        per.clear();
    }
    let counted = |id: &str, most| Counted { counter: cx.sources.in_flight.counter(id), most };
    let own: HashMap<Box<str>, Option<Counted>> = limit
        .consumers
        .iter()
        .flat_map(|all| &all.0)
        .map(|(consumer, own)| {
            (consumer.as_str().into(), own.0.map(|most| counted(&format!("{id}|of {consumer}"), most)))
        })
        .collect();
    let what = describe(&limit, &name, cx);
    let fault = if is_shared { &FULL } else { &EXCEEDED };
    let usual = counted(&id, most);
    let whom = Whom { usual, own, per, except };
    let limiting = Limiting { name, what, whom, fault, is_shadow: limit.shadow };
    Ok((if is_about_caller { Stage::Quota } else { Stage::Edge }, Arc::new(limiting)))
}

fn describe(limit: &OneCrowd, name: &str, cx: &BuildCx<'_>) -> String {
    let written = format!("{}{}", limit.most.0, limits::per(limit.per.as_ref()));
    let called = if written == name { String::new() } else { format!("{name}: ") };
    let mut text = format!("{called}{written} at once{}", limits::over(cx));
    for (consumer, own) in limit.consumers.iter().flat_map(|all| &all.0) {
        let own = own.0.map_or_else(|| "none".to_owned(), |own| own.to_string());
        text = format!("{text}, {consumer} {own}");
    }
    if let Some(except) = &limit.except {
        text = format!("{text}, except if {}", except.value);
    }
    if limit.shadow {
        text.push_str(" (shadow: refuses nobody)");
    }
    text
}

static EXCEEDED: Fault = Fault {
    slug: "in_flight/exceeded",
    status: 429,
    title: "As many requests in flight as were agreed",
    side: Side::Client,
    retry: Retry::Later,
    help: "Wait for the answers to what you asked before; `limit` names the limit. Whoever asks for less at a time is answered sooner.",
};

static FULL: Fault = Fault::gateway(
    "in_flight/full",
    503,
    "As many requests in flight as there may be",
    "Try again after what `Retry-After` says: those of others have to end first. For the operator: `limit` names the limit, which all callers \
     share; `per ip` or `per user` beside it keep one of them from taking it all.",
);

#[cfg(test)]
mod tests;
