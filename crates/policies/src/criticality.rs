//! Says how much requests matter: which are refused first when not all can be served.
//!
//! # When to use
//! On routes whose requests matter more, or less, than others, so that a service with `adaptive_concurrency`, or a gateway at the end of its own
//! means (`overload`), sheds what matters least: `low` first (what is repeated by itself, or nobody waits for), then `normal`, which requests are
//! unless something is said, then `high` (people wait for it), and `critical` only when nothing else helps.
//!
//! One word holds for all requests. Else the first rule of `when` that holds (CEL, also about the caller behind `auth`) decides, then the
//! application, then `default`. What clients say of themselves in header fields is theirs to choose: let it lower what a request matters, not raise it.
//!
//! A route's own stands in place of that of `defaults`. What is only copied (`mirror`) is always `low`.
//!
//! # Example
//! ```yaml
//! criticality:
//!   default: normal
//!   when:
//!   - { if: 'header("X-Prefetch") == "1"', then: low }
//!   consumers: { batch: low, shop: high }
//! ```
//!
//! # Faults
//! None.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde_json::json;
use tollgate_core::criticality::Criticality;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_expr::Condition;

use crate::kit::forms::{ShortForm, text_under, with_short};
use crate::kit::limits::{self, Consumers};

section! {
    /// How much requests matter.
    pub struct CriticalityConfig {
        /// What holds unless something else does.
        default: Criticality = "normal",
        /// Rules: the first whose condition holds decides.
        when: Option<Vec<Rule>>,
        /// What holds for some applications.
        consumers: Option<Consumers<Criticality>>,
    }
}

section! {
    /// What holds for some requests.
    pub struct Rule {
        /// A condition (CEL).
        condition as "if": Spanned<String>,
        /// How much they matter.
        then: Criticality,
    }
}

impl PolicyConfig for CriticalityConfig {
    const NAME: &'static str = "criticality";
    const SUMMARY: &'static str = "Says how much requests matter: which are refused first when not all can be served.";
    const EXAMPLE: &'static str = "\
default: normal
when:
- { if: 'header(\"X-Prefetch\") == \"1\"', then: low }
consumers: { batch: low, shop: high }";
    const FAULTS: &'static [&'static Fault] = &[];

    /// `high` → `{ default: high }`.
    fn desugar(node: Node) -> Node {
        text_under(node, "default")
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let mut is_about_caller = self.consumers.is_some();
        let mut rules = Vec::new();
        for rule in self.when.iter().flatten() {
            let condition = limits::either(&rule.condition, &mut is_about_caller, Condition::compile_in)?;
            rules.push((condition, rule.then));
        }
        let what = describe(&self);
        let consumers = self.consumers.into_iter().flat_map(|all| all.0);
        let consumers = consumers.map(|(name, criticality)| (name.into(), criticality)).collect();
        let stage = if is_about_caller { Stage::Quota } else { Stage::Edge };
        Ok(vec![(stage, Arc::new(Mattering { usual: self.default, rules, consumers, what }))])
    }
}

fn describe(config: &CriticalityConfig) -> String {
    let mut text = config.default.as_str().to_owned();
    for rule in config.when.iter().flatten() {
        text = format!("{text}, {} if {}", rule.then.as_str(), rule.condition.value);
    }
    for (consumer, criticality) in config.consumers.iter().flat_map(|all| &all.0) {
        text = format!("{text}, {consumer} {}", criticality.as_str());
    }
    text
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(CriticalityConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<CriticalityConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[ShortForm {
    short: "high",
    long: "{ default: high }",
    schema: || json!({ "enum": Criticality::ALL.map(Criticality::as_str) }),
}];

#[derive(Debug)]
struct Mattering {
    usual: Criticality,
    rules: Vec<(Condition, Criticality)>,
    consumers: HashMap<Box<str>, Criticality>,
    what: String,
}

impl Mattering {
    fn of(&self, x: &Exchange) -> Criticality {
        if let Some((_, criticality)) = self.rules.iter().find(|(condition, _)| condition.matches(x)) {
            return *criticality;
        }
        let consumer = x.principal.as_deref().and_then(|caller| caller.consumer.as_deref());
        consumer.and_then(|consumer| self.consumers.get(consumer)).copied().unwrap_or(self.usual)
    }
}

impl Policy for Mattering {
    fn hooks(&self) -> Hooks {
        // What always holds is known without looking at the request.
        Hooks { request: !self.rules.is_empty() || !self.consumers.is_empty(), ..Hooks::NONE }
    }

    fn criticality(&self) -> Option<Criticality> {
        Some(self.usual)
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        x.criticality = self.of(x);
        Step::next()
    }

    fn describe(&self) -> String {
        self.what.clone()
    }
}

#[cfg(test)]
mod tests {
    use tollgate_testkit::bench::Bench;

    use super::*;
    use crate::auth::AuthConfig;

    #[test]
    fn one_word_costs_nothing_on_the_way() {
        let bench = Bench::of::<CriticalityConfig>("high");
        assert_eq!((bench.hooks(), bench.describe()), (vec![Hooks::NONE], vec!["high".to_owned()]));
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let bench = Bench::of::<CriticalityConfig>(
            "{ default: high, when: [{ if: 'header(\"X-Prefetch\") == \"1\"', then: low }, { if: 'request.method == \"POST\"', then: critical }] }",
        );
        let of = |method: &str, headers: &[(&str, &str)]| {
            bench.request(method, "/", headers).passes().exchange().criticality
        };
        assert_eq!(of("GET", &[]), Criticality::High);
        assert_eq!(of("POST", &[]), Criticality::Critical);
        assert_eq!(of("POST", &[("X-Prefetch", "1")]), Criticality::Low);
    }

    #[test]
    fn applications_have_their_own_once_they_are_known() {
        let of_alice = |yaml: &str| {
            let bench = Bench::of::<AuthConfig>("idp").and::<CriticalityConfig>(yaml);
            bench.request("GET", "/", &[("Authorization", "Bearer idp.alice")]).passes().exchange().criticality
        };
        assert_eq!(of_alice("{ consumers: { shop: high } }"), Criticality::High);
        assert_eq!(of_alice("{ consumers: { batch: low } }"), Criticality::Normal);
        let by_scope = "{ default: low, when: [{ if: '\"orders.read\" in scopes', then: low }, { if: 'claims.sub == \"alice\"', then: critical }] }";
        assert_eq!(of_alice(by_scope), Criticality::Critical);
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let mistakes = |yaml: &str| Bench::mistakes::<CriticalityConfig>(yaml).join("; ");
        assert_eq!(mistakes("hihg"), "`hihg` is not known here (did you mean `high`?)");
        let rule = |condition: &str| mistakes(&format!("{{ when: [{{ if: '{condition}', then: low }}] }}"));
        assert!(rule("nonsense").contains("nonsense"), "{}", rule("nonsense"));
        assert!(rule("header(").starts_with("not a condition"), "{}", rule("header("));
    }
}
