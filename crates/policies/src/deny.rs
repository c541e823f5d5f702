//! Refuses requests that look as nobody's request here should.
//!
//! # When to use
//! Against scanners and scrapers, paths that exist nowhere but in attacks, and clients that are known to be broken. A rule names what a request
//! has to have, all of it: `path`, `method`, `query`, `user_agent`, `referer`, `host`, `headers`; a request that one rule fits is refused. Texts are
//! compared whole: as they are, with `*` for anything and `?` for one character, or, behind `~`, as a regular expression (anywhere in the text, unless
//! `^` and `$` say otherwise). Of a list, one has to fit. Case does not matter, but in paths, and in methods.
//!
//! The path is compared in its normal form, and the query both as it is written and decoded. A header that is not there fits nothing; `''` fits
//! one that is empty or not there.
//!
//! `probes` is a set of rules that comes with the gateway: what scanners look for (`/.env`, `/.git/`, `/wp-login.php`, traversal, and so on), and
//! tools that say who they are. It stands for itself, or in a list with rules.
//!
//! This is no replacement for services that check what they are given.
//!
//! # Example
//! ```yaml
//! deny:
//!   rules:
//!   - { path: [/admin/**, '*.php'], method: [POST, PUT] }
//!   - { user_agent: ['', '*curl*', ~^python-requests/], name: tools }
//!   - { headers: { X-Debug: '*' } }
//!   sets: [probes]
//! ```
//!
//! # Faults
//! - `deny/matched` (403): a rule fits the request; which one, our log tells.

mod pattern;
mod rules;
mod sets;

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use tollgate_config::model::FieldName;
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Spanned, Value};
use tollgate_core::policy::{BuildCx, Built, Merge, PolicyConfig, PolicyKind, Stage};
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_core::text::words;

use crate::deny::rules::Compiling;
use crate::kit::forms::{ShortForm, decode_by_name, with_short};

section! {
    /// Refuses requests that look as nobody's request here should.
    pub struct DenyConfig {
        /// Rules: a request that one of them fits is refused.
        rules: Option<Vec<Spanned<Rule>>>,
        /// Sets of rules that come with the gateway.
        sets: Option<Vec<Set>>,
        /// Tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
    }
}

section! {
    /// What a request has to have, all of it, to be refused.
    pub struct Rule {
        /// What it is called in our log; without it, its number.
        name: Option<String>,
        /// The path, in its normal form.
        path: Option<Vec<Spanned<String>>>,
        /// The method.
        method: Option<Vec<Spanned<String>>>,
        /// The host, without its port.
        host: Option<Vec<Spanned<String>>>,
        /// The query, as it is written or decoded.
        query: Option<Vec<Spanned<String>>>,
        /// The field `User-Agent`.
        user_agent: Option<Vec<Spanned<String>>>,
        /// The field `Referer`.
        referer: Option<Vec<Spanned<String>>>,
        /// Header fields by name: one line of each has to fit.
        headers: Option<HeaderPatterns>,
    }
}

words! {
    /// A set of rules that comes with the gateway.
    pub enum Set {
        /// What scanners look for, and those that say who they are.
        Probes = "probes",
    }
}

/// Header fields, and what they look like.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderPatterns(Vec<(Spanned<FieldName>, Vec<Spanned<String>>)>);

impl Decode for HeaderPatterns {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        decode_by_name(node, cx, "a mapping of header names to what they look like").map(Self)
    }
}

impl JsonSchema for HeaderPatterns {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderPatterns".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<Vec<String>>() })
    }
}

impl PolicyConfig for DenyConfig {
    const NAME: &'static str = "deny";
    const SUMMARY: &'static str = "Refuses requests that look as nobody's request here should.";
    const EXAMPLE: &'static str = "\
rules:
- { path: [/admin/**, '*.php'], method: [POST, PUT] }
- { user_agent: ['', '*curl*', ~^python-requests/], name: tools }
- { headers: { X-Debug: '*' } }
sets: [probes]";
    const FAULTS: &'static [&'static Fault] = &[&MATCHED];
    const MERGE: Merge = Merge::Add;

    /// `probes` → `{ sets: [probes] }`; `[probes, { path: /x }]` → `{ rules: [{ path: /x }], sets: [probes] }`; `{ path: /x }` → `{ rules: [{
    /// path: /x }] }`.
    fn desugar(node: Node) -> Node {
        const LONG: [&str; 3] = ["rules", "sets", "shadow"];
        let span = node.span.clone();
        let all = match node.value {
            Value::Null => return node,
            Value::Map(ref entries) if entries.iter().any(|entry| LONG.contains(&entry.key.as_str())) => return node,
            Value::List(all) => all,
            _ => vec![node],
        };
        let (rules, sets): (Vec<Node>, Vec<Node>) = all.into_iter().partition(|one| matches!(one.value, Value::Map(_)));
        let parts = [("rules", rules), ("sets", sets)].into_iter().filter(|(_, all)| !all.is_empty());
        let parts = parts.map(|(key, all)| Entry::at(key, Node::new(Value::List(all), span.clone())));
        Node::new(Value::Map(parts.collect()), span.clone())
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let mut compiling = Compiling::default();
        for (number, rule) in self.rules.iter().flatten().enumerate() {
            compiling.rule(rule, number + 1)?;
        }
        self.sets.iter().flatten().for_each(|set| compiling.set(*set));
        if compiling.rules.is_empty() {
            return Err(
                Diagnostic::error("nothing is denied here").hint("`deny: probes`, or `deny: { path: /admin/** }`")
            );
        }
        Ok(vec![(Stage::Edge, Arc::new(compiling.finish(self.shadow)?))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(DenyConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<DenyConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "probes", long: "{ sets: [probes] }", schema: || json!({ "enum": ["probes"] }) },
    ShortForm {
        short: "[probes, { path: /admin/** }]",
        long: "{ rules: [{ path: /admin/** }], sets: [probes] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": ["string", "object"] } }),
    },
    ShortForm {
        short: "{ path: /admin/**, method: POST }",
        long: "{ rules: [{ path: /admin/**, method: POST }] }",
        schema: || json!({ "type": "object", "minProperties": 1 }),
    },
];

static MATCHED: Fault = Fault::client(
    "deny/matched",
    403,
    "Such requests are not taken here",
    "Whoever runs this API decides which are. For the operator: the log names the rule; `shadow: true` tells what it would refuse.",
);

#[cfg(test)]
mod tests;
