//! Lets requests pass that their caller may make, by scopes, roles or a condition, or if somebody else says so.
//!
//! # When to use
//! Together with [`auth`](crate::auth), which finds out who calls. A list names scopes, all of which the credential must have;
//! `roles` are those of which the caller must have one (`claims.roles`, where each [`provider`](crate::auth) has them); a
//! condition (CEL) asks about the caller and the request: `claims.department == "sales"`, `"admin" in claims.roles`,
//! `consumer in ["shop", "app"]`, `claims.sub == query("user")`. What cannot be told, because a claim is not there, is not allowed.
//!
//! `ask` names somebody else who decides, under `decisions` at the top of the file: the Open Policy Agent, or whatever answers as it does. It
//! is asked last, once scopes and condition hold; while it cannot tell, the answer is 503.
//!
//! Who may not is answered 403, with the scopes that are missing if it is scopes (RFC 6750 §3.1, `insufficient_scope`).
//!
//! # Example
//! ```yaml
//! allow:
//!   scopes: [orders.read]
//! ```
//!
//! # Faults
//! - `allow/scope` (403): the credential lacks a scope; the member `missing` lists them.
//! - `allow/role` (403): the caller has none of the roles.
//! - `allow/denied` (403): the condition does not hold.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde_json::{Value as Json, json};
use tollgate_core::decision::{Deciding, DecisionPoint};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Flow, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::principal::Principal;
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::section;
use tollgate_expr::{Condition, Scope};

use crate::kit::forms::{ShortForm, joined, list_under, text_under, unknown_name, with_short};

section! {
    /// Lets requests pass that their caller may make, by scopes, roles or a condition, or if somebody else says so.
    pub struct AllowConfig {
        /// The scopes that the credential must have, all of them.
        scopes: Option<Vec<Spanned<String>>>,
        /// Roles, of which the caller must have one: what `claims.roles` lists.
        roles: Option<Spanned<Vec<String>>>,
        /// A condition (CEL) about `claims`, `scopes`, `principal`, `consumer` and the request.
        when: Option<Spanned<String>>,
        /// The name of who decides, under `decisions`: asked once all else holds.
        ask: Option<Spanned<String>>,
    }
}

impl PolicyConfig for AllowConfig {
    const NAME: &'static str = "allow";
    const SUMMARY: &'static str =
        "Lets requests pass that their caller may make, by scopes, roles or a condition, or if somebody else says so.";
    const EXAMPLE: &'static str = "scopes: [orders.read]";
    const FAULTS: &'static [&'static Fault] = &[&SCOPE, &ROLE, &DENIED];
    const NEEDS: Option<&'static str> = Some("auth");

    /// `[a, b]` → `{ scopes: [a, b] }`; a text is a condition.
    fn desugar(node: Node) -> Node {
        list_under(text_under(node, "when"), "scopes")
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let scopes = self.scopes.unwrap_or_default();
        if scopes.is_empty() && self.roles.is_none() && self.when.is_none() && self.ask.is_none() {
            return Err(Diagnostic::error("nothing is asked of the caller")
                .hint("scopes: `allow: [orders.read]`; or a condition: `allow: 'claims.role == \"admin\"'`"));
        }
        // RFC 6749 §3.3.
        let is_scope =
            |text: &str| !text.is_empty() && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if let Some(wrong) = scopes.iter().find(|scope| !is_scope(&scope.value)) {
            let mistake = Diagnostic::error(format!("`{}` is no scope", wrong.value)).at(&wrong.span);
            return Err(mistake.hint("one word each: `[orders.read, orders.write]`"));
        }
        if let Some(none) =
            self.roles.as_ref().filter(|roles| roles.value.is_empty() || roles.value.iter().any(String::is_empty))
        {
            return Err(Diagnostic::error("no role is named").at(&none.span).hint("`roles: [admin]`"));
        }
        let roles = self.roles.map(|roles| roles.value).unwrap_or_default();
        let when = self.when.map(|text| condition(&text)).transpose()?;
        let scopes = scopes.into_iter().map(|scope| scope.value).collect();
        let ask = self.ask.map(|name| decider(&name, cx)).transpose()?;
        Ok(vec![(Stage::Authorize, Arc::new(Allow { scopes, roles, when, ask }))])
    }
}

fn decider(name: &Spanned<String>, cx: &BuildCx<'_>) -> Result<Arc<dyn DecisionPoint>, Diagnostic> {
    let all = &cx.sources.decisions;
    if let Some(found) = all.iter().find(|decider| decider.name() == name.value) {
        return Ok(Arc::clone(found));
    }
    Err(unknown_name(
        format!("nobody called `{}` decides", name.value),
        name,
        all.iter().map(|decider| decider.name()),
        "name it under `decisions` at the top of the file: `decisions: { opa: { url: … } }`",
    ))
}

fn condition(text: &Spanned<String>) -> Result<Condition, Diagnostic> {
    Condition::compile_in(&text.value, Scope::Caller).map_err(|error| {
        let mistake = Diagnostic { hint: error.hint, ..Diagnostic::error(error.message) };
        mistake.at(&text.span.within(&text.value, error.offset))
    })
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(AllowConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<AllowConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        short: "[orders.read, orders.write]",
        long: "{ scopes: [orders.read, orders.write] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
    ShortForm {
        short: "'\"admin\" in claims.roles'",
        long: "{ when: '\"admin\" in claims.roles' }",
        schema: || json!({ "type": "string" }),
    },
];

#[derive(Debug)]
struct Allow {
    scopes: Vec<String>,
    /// One of these; none: whichever.
    roles: Vec<String>,
    when: Option<Condition>,
    ask: Option<Arc<dyn DecisionPoint>>,
}

impl Policy for Allow {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        match (self.check(x), &self.ask) {
            (Ok(()), Some(ask)) => match ask.decide(x) {
                Deciding::Known(decided) => Step::Now(decided.map(|()| Flow::Next)),
                Deciding::Asking(asking) => Step::Later(Box::pin(async { asking.await.map(|()| Flow::Next) })),
            },
            (checked, _) => Step::Now(checked.map(|()| Flow::Next)),
        }
    }

    fn describe(&self) -> String {
        let scopes = joined(self.scopes.iter().map(String::as_str));
        let scopes = (!self.scopes.is_empty()).then(|| format!("the scopes {scopes}"));
        let when = self.when.as_ref().map(|when| format!("if {}", when.text()));
        let ask = self.ask.as_ref().map(|ask| format!("if {} says so", ask.describe()));
        let one_of = joined(self.roles.iter().map(String::as_str));
        let roles = (!self.roles.is_empty()).then(|| format!("one of the roles {one_of}"));
        [scopes, roles, when, ask].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

impl Allow {
    fn check(&self, x: &Exchange) -> Result<(), Problem> {
        let Some(principal) = &x.principal else { return Err(DENIED.problem().cause("nobody is known")) };
        self.check_scopes(x, principal)?;
        if !self.roles.is_empty() && !self.roles.iter().any(|role| has_role(principal, role)) {
            return Err(ROLE.problem().member("roles", self.roles.clone()));
        }
        match &self.when {
            Some(when) if !when.matches(x) => Err(DENIED.problem()),
            _ => Ok(()),
        }
    }

    fn check_scopes(&self, x: &Exchange, principal: &Principal) -> Result<(), Problem> {
        // The usual case allocates nothing.
        if self.scopes.iter().all(|scope| principal.has_scope(scope)) {
            return Ok(());
        }
        let missing: Vec<&str> =
            self.scopes.iter().map(String::as_str).filter(|scope| !principal.has_scope(scope)).collect();
        // By the scheme that was used (RFC 9449 §7.1).
        let sent = x.head.fields.get("authorization").unwrap_or_default();
        let is_dpop = sent.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"DPoP "));
        let scheme = if is_dpop { "DPoP" } else { "Bearer" };
        let challenge = format!(
            "{scheme} realm=\"{}\", error=\"insufficient_scope\", scope=\"{}\"",
            principal.source,
            self.scopes.join(" ")
        );
        let problem = SCOPE.problem().header("WWW-Authenticate", Bytes::from(challenge));
        Err(problem.member("missing", missing))
    }
}

/// Whether a caller has this role: `roles` is a list of them, or one.
fn has_role(principal: &Principal, role: &str) -> bool {
    match principal.claims.get("roles") {
        Some(Json::Array(all)) => all.iter().any(|own| own == role),
        Some(own) => own == role,
        None => false,
    }
}

static ROLE: Fault = Fault::client(
    "allow/role",
    403,
    "The caller has none of the roles for this",
    "Whoever gives roles out decides who has one of those that `roles` lists.",
);

static SCOPE: Fault = Fault::client(
    "allow/scope",
    403,
    "The credential is not good for this",
    "Ask the provider for a token with the scopes that `missing` lists.",
);

static DENIED: Fault = Fault::client(
    "allow/denied",
    403,
    "The caller may not do this",
    "Whoever runs this API decides who may: ask them.",
);

#[cfg(test)]
mod tests;
