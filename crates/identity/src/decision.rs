//! Questions to a policy engine, as the REST data API of the Open Policy Agent has them: `POST` of `{"input": …}` to a document, which is
//! `true` or `false`, or has a member `allow`.
//!
//! What the document does not say is not allowed: one that is not defined is left out of the answer, and so no permission. Whatever else
//! comes, a status other than 200, something that is no answer, or nothing in time, decides nothing: the request is refused as
//! the house's own trouble (503), and that is not remembered.

mod question;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::{Answer, Call, CallError, Caller};
use tollgate_core::clock::Clock;
use tollgate_core::decision::{Deciding, DecisionPoint};
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::Standing;
use tollgate_core::problem::Problem;

use crate::answers::{Answers, holding};
use crate::checks::{Check, on};
use crate::faults::{DECISION_CROWDED, DECISION_DENIED, DECISION_UNTOLD, because, quoted};
use crate::json;
use crate::remembered::{Digest, Remembered, digest};
use crate::together::Together;
pub use question::Told;

/// Largest answer, in bytes.
const MOST: usize = 64 * 1024;

/// Whom to ask, what, and what to remember.
#[derive(Clone)]
pub struct Settings {
    /// The document.
    pub url: String,
    /// What the gateway shows there.
    pub token: Option<String>,
    /// What is told of a request.
    pub told: Told,
    /// How long an answer may take.
    pub timeout: Duration,
    /// For how long one holds for the same question.
    pub cache: Duration,
    /// About how many are remembered; 0: none.
    pub remember: usize,
    /// Most questions at a time.
    pub at_once: usize,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A policy engine. Cheap to copy.
#[derive(Clone)]
pub struct Opa(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    settings: Settings,
    clock: Clock,
    known: Remembered<(Decision, SystemTime)>,
    answers: Answers,
    together: Arc<Together<Result<Decision, Untold>>>,
    outside: OnceLock<(Arc<dyn Caller>, Handle)>,
    /// Since when it does not decide, and why.
    trouble: Mutex<Option<(SystemTime, String)>>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Allowed,
    /// And why, if that was said: for our log.
    Denied(Arc<str>),
}

/// Why nothing was.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Untold(Arc<str>);

impl Decision {
    /// As it lies in the store.
    fn said(&self) -> Result<(), &str> {
        match self {
            Self::Allowed => Ok(()),
            Self::Denied(why) => Err(why),
        }
    }

    fn outcome(self) -> Result<(), Problem> {
        match self {
            Self::Allowed => Ok(()),
            Self::Denied(why) => Err(because(&DECISION_DENIED, why)),
        }
    }
}

impl Opa {
    /// Decides once [`Opa::start`] was called; before that, nobody can tell.
    #[must_use]
    pub fn new(name: &str, settings: Settings, clock: Clock) -> Self {
        let (known, together) = (Remembered::new(settings.remember), Together::new(settings.at_once));
        // Who may ask shows a token: what was told to one is not for another.
        let answers = Answers::new("decision", &[&settings.url, settings.token.as_deref().unwrap_or_default()]);
        let (name, outside, trouble) = (name.into(), OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { name, settings, clock, known, answers, together, outside, trouble }))
    }

    /// Keeps decisions in this store, if any are remembered. Only the first call counts.
    pub fn keep_in(&self, store: &Arc<dyn CacheStore>) {
        if self.0.settings.remember > 0 {
            self.0.answers.keep_in(store);
        }
    }

    /// Has questions asked on this runtime from now on. Only the first call counts.
    pub fn start(&self, caller: &Arc<dyn Caller>, asking: &Handle) {
        let _ = self.0.outside.set((Arc::clone(caller), asking.clone()));
    }
}

impl DecisionPoint for Opa {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn decide(&self, x: &Exchange) -> Deciding {
        let own = &self.0;
        let question = question::text(x, &own.settings.told);
        let (about, now) = (digest(&question), own.clock.unix());
        if let Some((decision, _)) = own.known.get(&about, |(_, until)| now < *until) {
            return Deciding::Known(decision.outcome());
        }
        let Some((caller, asking)) = own.outside.get() else {
            return Deciding::Known(Err(untold("nobody is asked")));
        };
        let (inner, caller) = (Arc::clone(own), Arc::clone(caller));
        let waits = own.together.ask(about, asking, || async move {
            if let Some(decision) = inner.answered(&about).await {
                return Ok(decision);
            }
            let decided = inner.ask(question, &caller).await;
            // From when it was asked on: who decides may have learned better since.
            if let Ok(decision) = &decided
                && let Some(lasts) = inner.remember(&about, decision, now)
            {
                inner.answers.keep(&about, decision.said(), now, lasts);
            }
            decided
        });
        let Some(waits) = waits else {
            return Deciding::Known(Err(DECISION_CROWDED.problem().header("Retry-After", "1")));
        };
        Deciding::Asking(Box::pin(async move {
            match waits.answer().await {
                Some(Ok(decision)) => decision.outcome(),
                Some(Err(Untold(why))) => Err(untold(&why)),
                None => Err(untold("nobody answers")),
            }
        }))
    }

    fn describe(&self) -> String {
        format!("{} ({})", self.0.name, self.0.settings.url)
    }

    fn standing(&self) -> Standing {
        match self.0.trouble().clone() {
            None => Standing::Good,
            Some((since, error)) => Standing::Stale { since, error },
        }
    }
}

fn untold(why: &str) -> Problem {
    because(&DECISION_UNTOLD, why).header("Retry-After", "1")
}

impl Inner {
    /// What was decided, as the store has it, if that still holds.
    async fn answered(&self, about: &Digest) -> Option<Decision> {
        let (said, asked) = self.answers.find::<Result<(), String>>(about).await?;
        let decision = said.map_or_else(|why| Decision::Denied(why.into()), |()| Decision::Allowed);
        self.remember(about, &decision, asked).map(|_| decision)
    }

    /// For how long it is remembered from now on; `None`: it holds no longer.
    fn remember(&self, about: &Digest, decision: &Decision, asked: SystemTime) -> Option<Duration> {
        let (until, lasts) = holding(asked, self.settings.cache, None, self.clock.unix())?;
        self.known.add(*about, (decision.clone(), until));
        Some(lasts)
    }

    async fn ask(&self, question: String, caller: &Arc<dyn Caller>) -> Result<Decision, Untold> {
        let mut fields =
            vec![("Content-Type", "application/json".to_owned()), ("Accept", "application/json".to_owned())];
        fields.extend(self.settings.token.iter().map(|token| ("Authorization", format!("Bearer {token}"))));
        let (url, timeout) = (self.settings.url.clone(), self.settings.timeout);
        let call =
            Call { method: "POST", url, fields, body: question.into_bytes(), most: MOST, timeout, repeats: true };
        let decided = judge(caller.call(call).await);
        let mut trouble = self.trouble();
        match (&decided, trouble.take()) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => tracing::info!(decisions = &*self.name, "it decides again"),
            // Told once, however many ask.
            (Err(Untold(error)), before) => {
                if before.is_none() {
                    tracing::warn!(decisions = &*self.name, url = self.settings.url, %error, "it does not decide");
                }
                let since = before.map_or_else(|| self.clock.unix(), |(since, _)| since);
                *trouble = Some((since, error.to_string()));
            }
        }
        decided
    }

    fn trouble(&self) -> MutexGuard<'_, Option<(SystemTime, String)>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer means.
fn judge(answer: Result<Answer, CallError>) -> Result<Decision, Untold> {
    let untold = |why: String| Untold(why.into());
    let answer = answer.map_err(|error| untold(error.to_string()))?;
    if answer.status != 200 && on(Check::DecisionStatus) {
        return Err(untold(format!("it answered {}", answer.status)));
    }
    let said = json::object(&answer.body).map_err(|why| untold(format!("its answer cannot be read: {why}")))?;
    let denied = |why: &str| Ok(Decision::Denied(quoted(why).into()));
    let (allow, reason) = match said.get("result") {
        None if !on(Check::DecisionUndefined) => return Ok(Decision::Allowed),
        None => return denied("the document is not defined for this: is `url` the right one?"),
        Some(Value::Object(said)) => (said.get("allow"), said.get("reason").and_then(Value::as_str)),
        said => (said, None),
    };
    match allow {
        Some(Value::Bool(true)) => Ok(Decision::Allowed),
        Some(Value::Bool(false)) => denied(reason.unwrap_or("it said no")),
        // Rules that hold for nothing are left out (OPA, "undefined").
        None => denied(reason.unwrap_or("the document does not say `allow`")),
        Some(_) => Err(untold("its answer is neither `true` nor `false`".to_owned())),
    }
}

impl fmt::Debug for Opa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opa").field("name", &self.0.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
