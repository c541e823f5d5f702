//! Refuses requests that rules of SecLang find to be attacks: the OWASP Core Rule Set, or rules of your own.
//!
//! # When to use
//! In front of services that you cannot make safe yourself, or not soon: of others, old ones, ones that trust what they are given. Rules look at the
//! request line, header fields, cookies, the query and the body (forms, JSON, multipart, XML), score what they find, and from the threshold on
//! the request is refused. They find what looks like an attack; they know nothing of your API, miss what is made for them, and refuse now and
//! then what is harmless: try them with `shadow: true` first. A service that checks what it is given is better.
//!
//! `crs` is the Core Rule Set as Debian has it (`apt-get install modsecurity-crs`): `/etc/modsecurity/crs/crs-setup.conf`, with what you set there, and the
//! rules for requests. The methods `PUT`, `PATCH` and `DELETE`, and JSON and XML under any name (`+json`, `+xml`), are allowed unless
//! `crs-setup.conf` says otherwise. Files are read when the config is, and again at a reload if one of them changed.
//!
//! It runs behind who calls and how often they may, as it costs more than these: tens to hundreds of microseconds for small requests. A body is read
//! whole before anything of it is sent on; one that is larger than `body` is refused (413). With `decompress`, what is looked at is the content.
//!
//! # Example
//! ```yaml
//! waf:
//!   rules: [crs]
//!   threshold: 5
//!   paranoia: 1
//!   exclude: [942100, { rule: 920350, path: /search/** }, { tag: attack-sqli, argument: q }]
//!   body: 128KiB
//!   shadow: true
//! ```
//!
//! # Faults
//! - `waf/blocked` (403): the rules find an attack; which, our log tells.
//! - `waf/crowded` (503): too many large requests are being looked at.

mod exclude;
mod files;
mod inspect;

pub use self::exclude::{Exclude, RuleNumbers, WafExclusion};

use std::sync::Arc;

use schemars::JsonSchema;
use serde_json::json;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, PolicyConfig, PolicyKind, Stage};
use tollgate_core::problem::{Fault, Retry, Side};
use tollgate_core::section;
use tollgate_core::units::{Bounded, BoundedSize};
use tollgate_waf::{Guard, Tuning};

use self::inspect::Waf;
use crate::kit::forms::{ShortForm, list_under, with_short};

/// What APIs do beside what the Core Rule Set allows by itself.
const METHODS: &str = "GET HEAD POST OPTIONS PUT PATCH DELETE";
/// The types that the Core Rule Set allows by itself; the engine adds those whose bodies it reads.
const TYPES: &str = "|application/x-www-form-urlencoded| |multipart/form-data| |multipart/related| |text/xml| |application/xml| |application/soap+xml| \
                     |application/json| |application/cloudevents+json| |application/cloudevents-batch+json|";

section! {
    /// Refuses requests that rules of SecLang find to be attacks: the OWASP Core Rule Set, or rules of your own.
    pub struct WafConfig {
        /// Files of rules, in their order: `crs`, or names with `*` and `?` in the last part; relative ones begin where the file of the config is.
        rules: Vec<Spanned<String>> = "crs",
        /// The score from which a request is refused. Without it, what the files say: 5.
        threshold: Option<Bounded<1, 10_000>>,
        /// The level of paranoia: 1 finds least, and is wrong least often. Without it, what the files say: 1.
        paranoia: Option<Bounded<1, 4>>,
        /// What is left out: rules by number, or rules by number or tag on a path, or for some values.
        exclude: Option<Vec<Spanned<Exclude>>>,
        /// The largest body that is taken: it is read whole.
        body: BoundedSize<0, 16_777_216> = "128KiB",
        /// Tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
    }
}

impl PolicyConfig for WafConfig {
    const NAME: &'static str = "waf";
    const SUMMARY: &'static str =
        "Refuses requests that rules of SecLang find to be attacks: the OWASP Core Rule Set, or rules of your own.";
    const EXAMPLE: &'static str = "\
rules: [crs]
threshold: 5
paranoia: 1
exclude: [942100, { rule: 920350, path: /search/** }, { tag: attack-sqli, argument: q }]
body: 128KiB
shadow: true";
    const FAULTS: &'static [&'static Fault] = &[&BLOCKED, &CROWDED];

    /// `crs` → `{ rules: [crs] }`.
    fn desugar(node: Node) -> Node {
        list_under(node, "rules")
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let exclude: Vec<_> = self.exclude.iter().flatten().map(Exclude::read).collect::<Result<_, _>>()?;
        let level = self.paranoia.map(Bounded::get);
        let rules = files::shared(&self.rules, level)?;
        let mut pinned = Vec::new();
        if let Some(level) = level {
            pinned.extend([("paranoia_level", level.to_string()), ("executing_paranoia_level", level.to_string())]);
        }
        pinned.extend(self.threshold.map(|threshold| ("inbound_anomaly_score_threshold", threshold.get().to_string())));
        let initial = vec![("allowed_methods", METHODS.to_owned()), ("allowed_request_content_type", TYPES.to_owned())];
        let guard = Guard::new(rules, &Tuning { initial, pinned, exclude }).map_err(|mistake| files::told(&mistake))?;
        let names: Vec<&str> = self.rules.iter().map(|name| name.value.as_str()).collect();
        let waf = Waf::new(Arc::new(guard), &names, self.body.get(), self.shadow);
        Ok(vec![(Stage::Validate, Arc::new(waf))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(WafConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<WafConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "crs", long: "{ rules: [crs] }", schema: || json!({ "type": "string" }) },
    ShortForm {
        short: "[crs]",
        long: "{ rules: [crs] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
];

static BLOCKED: Fault = Fault::client(
    "waf/blocked",
    403,
    "Such requests are not taken here",
    "It looks like an attack. For the operator: the log names the rules and what they looked at; `exclude` leaves some out, `shadow: true` tells \
     what would be refused.",
);
static CROWDED: Fault = Fault {
    slug: "waf/crowded",
    status: 503,
    title: "Too many large requests are being looked at",
    side: Side::Gateway,
    retry: Retry::Later,
    help: "Try again. Smaller requests are not affected; a smaller `body` makes it less likely.",
};

#[cfg(test)]
mod tests;
