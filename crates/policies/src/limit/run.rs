//! What a limit does with a request.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_core::cache::StoreError;
use tollgate_core::counters::{Counter, Taken, Taking};
use tollgate_core::exchange::{Exchange, Left};
use tollgate_core::policy::{Flow, Hooks, Policy, Step};
use tollgate_core::problem::{Problem, whole_seconds};
use tollgate_expr::Term;

use super::told::Told;
use super::{EXCEEDED, LimitHeaders, STORE};
use crate::kit::limits::Whom;

/// A limit.
#[derive(Debug)]
pub(super) struct Limiting {
    /// Tells it from all others of this process.
    pub(super) number: u64,
    pub(super) name: Arc<str>,
    /// One line for `explain`.
    pub(super) what: String,
    pub(super) whom: Whom<Counted>,
    pub(super) cost: Costs,
    pub(super) is_shadow: bool,
    pub(super) headers: LimitHeaders,
}

/// What is counted, and what is told of it.
#[derive(Debug)]
pub(super) struct Counted {
    /// `None`: where nobody counts, there is room.
    pub(super) counter: Option<Arc<dyn Counter>>,
    pub(super) told: Told,
}

/// How much a request takes.
#[derive(Debug)]
pub(super) enum Costs {
    Fixed(u32),
    Told(Term),
}

impl Costs {
    fn of(&self, x: &Exchange) -> u32 {
        match self {
            Self::Fixed(cost) => *cost,
            Self::Told(term) => {
                let told = term.number(x).unwrap_or(1);
                // What takes less than nothing would give others something.
                u32::try_from(told.max(0)).unwrap_or(u32::MAX)
            }
        }
    }
}

impl Limiting {
    fn settle(&self, x: &mut Exchange, taken: Result<Taken, StoreError>) -> Result<Flow, Problem> {
        let taken = taken.map_err(|error| STORE.problem().cause(error).header("Retry-After", "1"))?;
        if self.is_shadow {
            if taken.refused.is_some() {
                x.trail.shadow = Some(&EXCEEDED);
            }
            return Ok(Flow::Next);
        }
        let in_x = matches!(self.headers, LimitHeaders::X | LimitHeaders::Both);
        x.limits.push(Left { of: self.number, taken, in_x });
        match taken.refused {
            None => Ok(Flow::Next),
            Some(wait) => Err(self.exceeded(wait)),
        }
    }

    /// Gives back what another limit, which had nothing left, made useless.
    fn give_back(&self, x: &mut Exchange) {
        let Some(counter) = self.whom.of(x).and_then(|counted| counted.counter.as_ref()) else { return };
        let cost = self.cost.of(x);
        let is = self.whom.with_key(x, |key| {
            counter.give_back(key, cost);
            counter.take(key, 0)
        });
        // Where somebody else would have to be asked, what was told before is near enough.
        if let (Taking::Now(taken), Some(left)) = (is, x.limits.iter_mut().find(|left| left.of == self.number)) {
            left.taken = taken;
        }
    }

    fn exceeded(&self, wait: Duration) -> Problem {
        let seconds = whole_seconds(wait);
        EXCEEDED
            .problem()
            .detail(format!("`{}` is used up; there is more in {seconds} s", self.name))
            .member("limit", json!(&*self.name))
            .member("violated-policies", json!([&*self.name]))
            .retry_after(wait)
    }

    /// What was told with the request of this limit's own counter.
    fn told(&self, x: &Exchange) -> Option<&Told> {
        self.whom.of(x).map(|counted| &counted.told)
    }
}

impl Policy for Limiting {
    fn hooks(&self) -> Hooks {
        Hooks { request: true, response: !self.is_shadow, ..Hooks::NONE }
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let Some(counter) = self.whom.of(x).and_then(|counted| counted.counter.as_ref()) else { return Step::next() };
        let cost = self.cost.of(x);
        match self.whom.with_key(x, |key| counter.take(key, cost)) {
            Taking::Now(taken) => Step::Now(self.settle(x, Ok(taken))),
            Taking::Later(taking) => Step::Later(Box::pin(async move {
                let taken = taking.await;
                self.settle(x, taken)
            })),
        }
    }

    fn on_response<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let own = |x: &Exchange| x.limits.iter().find(|left| left.of == self.number).copied();
        let Some(before) = own(x) else { return Step::next() };
        if before.taken.refused.is_none() && x.limits.iter().any(|left| left.taken.refused.is_some()) {
            self.give_back(x);
        }
        let Some(left) = own(x) else { return Step::next() };
        let Some(told) = self.told(x) else { return Step::next() };
        if matches!(self.headers, LimitHeaders::Standard | LimitHeaders::Both) {
            told.add_to(&mut x.reply.head.fields, &left.taken);
        }
        let least = x.limits.iter().filter(|left| left.in_x).min_by_key(|left| left.taken.left);
        if left.in_x && least.is_some_and(|least| least.of == self.number) {
            told.set_x(&mut x.reply.head.fields, &left.taken);
        }
        Step::next()
    }

    fn describe(&self) -> String {
        self.what.clone()
    }
}
