//! Lets requests pass whose caller is known, by the sources of identity that are named.
//!
//! # When to use
//! On every route that is not for everybody; mostly in `defaults`, with `auth: none` on routes that are. The sources stand under
//! `auth` at the top of the file. With several, the first one that gave the credential out decides: a credential that is there but
//! wrong is refused, not passed over.
//!
//! Without a credential the answer is 401, with a challenge for each source (`WWW-Authenticate`, RFC 9110 §11.6.1, RFC 6750 §3).
//! When nobody can tell, because the keys of the provider cannot be had, it is 503: the client is not to blame.
//!
//! # Example
//! ```yaml
//! auth:
//!   sources: [idp]
//! ```
//!
//! # Faults
//! - `auth/missing` (401): there is no credential.
//! - `auth/too-many-failures` (429): the caller's address has come with too many wrong ones within a minute (`limits.failures`); those that are
//!   known to be good pass all the while.
//! - Those of the kind of credential: `jwt/expired`, `jwt/signature` and so on.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde_json::json;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Node, Spanned, Value};
use tollgate_core::policy::{BuildCx, Built, Flow, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::principal::{Authenticator, Bearers, Budget, Effort, Found, Principal};
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::section;

use crate::kit::forms::{ShortForm, joined, list_under, unknown_name, with_short};

section! {
    /// Lets requests pass whose caller is known, by the sources of identity that are named.
    pub struct AuthConfig {
        /// Names of sources of identity: the first one that gave the credential out decides.
        sources: Vec<Spanned<String>>,
    }
}

impl PolicyConfig for AuthConfig {
    const NAME: &'static str = "auth";
    const SUMMARY: &'static str =
        "Lets requests pass whose caller is known, by the sources of identity that are named.";
    const EXAMPLE: &'static str = "sources: [idp]";
    const FAULTS: &'static [&'static Fault] = &[&MISSING];
    const KNOWS_CALLERS: bool = true;

    /// `idp or keys` → `{ sources: [idp, keys] }`.
    fn desugar(node: Node) -> Node {
        let Value::String(text) = &node.value else { return list_under(node, "sources") };
        let part = |name: &str| Node { value: name.into(), span: node.span.narrow(name), secret: node.secret };
        let names = text.split(" or ").map(|name| part(name.trim())).collect();
        list_under(Node::new(Value::List(names), node.span.clone()), "sources")
    }

    fn build(self, cx: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let mut sources: Vec<Arc<dyn Authenticator>> = Vec::with_capacity(self.sources.len());
        if self.sources.is_empty() {
            return Err(Diagnostic::error("nobody could pass here").hint("for everybody: `auth: none`"));
        }
        for name in self.sources {
            if sources.iter().any(|source| **source.name() == *name.value) {
                return Err(Diagnostic::error(format!("`{}` stands twice", name.value)).at(&name.span));
            }
            match cx.sources.get(&name.value) {
                Some(source) => sources.push(Arc::clone(source)),
                None => {
                    return Err(unknown_name(
                        format!("there is no source of identity `{}`", name.value),
                        &name,
                        cx.sources.all.iter().map(|source| &**source.name()),
                        "name it under `auth` at the top of the file: `auth: { idp: { issuer: …, audience: … } }`",
                    ));
                }
            }
        }
        let after_all = sources.iter().skip_while(|source| source.bearers() != Bearers::All).skip(1);
        if let Some(late) = after_all.into_iter().find(|source| source.bearers() != Bearers::None) {
            let mistake =
                Diagnostic::error(format!("`{}` is never asked: one before it takes all tokens", late.name()));
            return Err(
                mistake.hint("a source with `introspection` takes whatever comes: put it last, and one of them only")
            );
        }
        let challenges = sources.iter().map(|source| source.challenge()).collect();
        let budget = cx.sources.budget.clone();
        let keeps_sessions = sources.iter().any(|source| source.keeps_sessions());
        let reads_content = sources.iter().any(|source| source.most_content() > 0);
        let auth = Auth { sources, challenges, budget, keeps_sessions, reads_content };
        Ok(vec![(Stage::Authenticate, Arc::new(auth))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(AuthConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<AuthConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "idp", long: "{ sources: [idp] }", schema: || json!({ "type": "string" }) },
    ShortForm {
        short: "[idp, keys]",
        long: "{ sources: [idp, keys] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
    ShortForm {
        short: "idp or keys",
        long: "{ sources: [idp, keys] }",
        schema: || json!({ "type": "string", "pattern": " or " }),
    },
];

#[derive(Debug)]
struct Auth {
    sources: Vec<Arc<dyn Authenticator>>,
    /// What each of them asks for.
    challenges: Vec<String>,
    /// How many wrong credentials an address may come with.
    budget: Option<Arc<dyn Budget>>,
    /// Whether answers may have to set cookies.
    keeps_sessions: bool,
    /// Whether bodies may have to be read.
    reads_content: bool,
}

impl Policy for Auth {
    fn hooks(&self) -> Hooks {
        Hooks { response: self.keeps_sessions, content: self.reads_content, ..Hooks::REQUEST }
    }

    /// Nothing is read for an address whose budget is spent.
    fn wants_content(&self, x: &Exchange) -> Option<usize> {
        if self.budget.as_ref().is_some_and(|budget| budget.is_spent(x.client).is_some()) {
            return None;
        }
        self.sources.iter().find(|source| source.wants_content(x)).map(|source| source.most_content())
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let mut foreign = None;
        let spent = self.budget.as_ref().and_then(|budget| budget.is_spent(x.client));
        let effort = if spent.is_some() { Effort::Little } else { Effort::Full };
        for (at, source) in self.sources.iter().enumerate() {
            let checked = match source.authenticate(x, effort) {
                Found::Nothing => continue,
                Found::Foreign(problem) => {
                    foreign = foreign.or(Some((at, problem)));
                    continue;
                }
                Found::Checked(checked) => Some(checked),
                Found::Checking(_) => None,
            };
            return match checked {
                Some(checked) => Step::Now(self.settle(x, at, checked, spent)),
                // Looked at once more: what is found borrows what it is written to in the end.
                None => Step::Later(Box::pin(self.wait(x, at))),
            };
        }
        let refused = match foreign {
            Some((at, problem)) => {
                self.failed(x, &problem);
                self.refuse(at, problem)
            }
            None => self.challenge_all(MISSING.problem()),
        };
        self.sign_in_or(x, refused)
    }

    /// Cookies of sessions.
    fn on_response<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let Some(session) = x.principal.as_ref().and_then(|caller| caller.session.clone()) else { return Step::next() };
        if !session.cookies.is_empty() {
            let fields = &mut x.reply.head.fields;
            // A cache between would give one user's session to others (RFC 9111 §5.2.2.7).
            let says = |word: &[u8]| word.eq_ignore_ascii_case(b"private") || word.eq_ignore_ascii_case(b"no-store");
            let words = |line: &[u8]| line.split(|byte| *byte == b',').any(|word| says(word.trim_ascii()));
            let is_kept = !fields.all("cache-control").any(words);
            if is_kept {
                fields.set("Cache-Control", "private");
            }
            session.cookies.iter().for_each(|line| fields.add("Set-Cookie", line.clone()));
        }
        Step::next()
    }

    fn describe(&self) -> String {
        self.sources
            .iter()
            .map(|source| format!("{}: {}", source.name(), source.describe()))
            .collect::<Vec<_>>()
            .join("; or ")
    }
}

impl Auth {
    /// A person who wants to see a page is led there where they can say who they are; everybody else is told what is wrong.
    fn sign_in_or<'a>(&'a self, x: &'a Exchange, refused: Problem) -> Step<'a> {
        let leads = |problem: &Problem| problem.fault.status == 401;
        match self.sources.iter().find_map(|source| source.sign_in(x)).filter(|_| leads(&refused)) {
            Some(leading) => Step::Later(Box::pin(async { Ok(Flow::Reply(Box::new(leading.await?))) })),
            None => Step::refuse(refused),
        }
    }

    async fn wait(&self, x: &mut Exchange, at: usize) -> Result<Flow, Problem> {
        let Some(source) = self.sources.get(at) else { return Err(self.challenge_all(MISSING.problem())) };
        let checked = match source.authenticate(x, Effort::Full) {
            Found::Checking(checking) => checking.await,
            Found::Checked(checked) => checked,
            Found::Foreign(problem) => Err(problem),
            Found::Nothing => Err(MISSING.problem()),
        };
        let ended = checked.as_ref().is_err_and(|problem| problem.fault.status == 401);
        if let Some(leading) = source.sign_in(x).filter(|_| ended) {
            return Ok(Flow::Reply(Box::new(leading.await?)));
        }
        self.settle(x, at, checked, None)
    }

    /// `spent`: how long the caller's address waits until more than what is known already is done for it.
    fn settle(
        &self,
        x: &mut Exchange,
        at: usize,
        checked: Result<Arc<Principal>, Problem>,
        spent: Option<Duration>,
    ) -> Result<Flow, Problem> {
        let checked = checked.map_err(|problem| {
            self.failed(x, &problem);
            match spent.filter(|_| problem.fault.status == 429) {
                Some(wait) => problem.header("Retry-After", wait.as_secs().max(1).to_string()),
                None => self.refuse(at, problem),
            }
        });
        x.principal = Some(checked?);
        // First of all, so that it sees the body as it was signed.
        if let Some(guard) = self.sources.get(at).and_then(|source| source.guard(x)) {
            x.recoders.insert(0, guard);
        }
        Ok(Flow::Next)
    }

    /// Has it counted that a credential was refused.
    fn failed(&self, x: &Exchange, problem: &Problem) {
        if let Some(budget) = &self.budget {
            budget.failed(x.client, problem.fault);
        }
    }

    /// A credential was refused: the challenge says why (RFC 6750 §3.1).
    fn refuse(&self, at: usize, problem: Problem) -> Problem {
        // A source may know better, where there is more than one scheme.
        if problem.headers.iter().any(|(name, _)| *name == "WWW-Authenticate") {
            return problem;
        }
        let error = match problem.fault.status {
            400 => "invalid_request",
            401 => "invalid_token",
            _ => return problem,
        };
        let challenge = self.challenges.get(at).map_or("Bearer", String::as_str);
        let title = problem.fault.title;
        let field = format!("{challenge}, error=\"{error}\", error_description=\"{title}\"");
        problem.header("WWW-Authenticate", Bytes::from(field))
    }

    /// Without a credential, nothing is said to be wrong with it (RFC 6750 §3.1).
    fn challenge_all(&self, problem: Problem) -> Problem {
        let mut all = String::new();
        for challenge in &self.challenges {
            let _ = write!(all, "{}{challenge}", if all.is_empty() { "" } else { ", " });
        }
        problem
            .detail(format!("this API takes {}", joined(self.sources.iter().map(|source| &**source.name()))))
            .header("WWW-Authenticate", Bytes::from(all))
    }
}

static MISSING: Fault = Fault::client(
    "auth/missing",
    401,
    "There is no credential",
    "Say who you are in a way that `WWW-Authenticate` names, mostly by a token: `Authorization: Bearer …`.",
);

#[cfg(test)]
mod tests;
