//! What a limit does with a request.

use std::sync::Arc;

use serde_json::json;
use tollgate_core::exchange::Exchange;
use tollgate_core::in_flight::{Counter, Held};
use tollgate_core::policy::{Hooks, Policy, Step};
use tollgate_core::problem::{Fault, Problem};

use crate::kit::limits::Whom;

/// A limit.
#[derive(Debug)]
pub(super) struct Limiting {
    pub(super) name: String,
    /// One line for `explain`.
    pub(super) what: String,
    /// Without keys that are the same for all.
    pub(super) whom: Whom<Counted>,
    /// What those are refused with who find no room.
    pub(super) fault: &'static Fault,
    pub(super) is_shadow: bool,
}

/// What is counted, and how many there may be.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) counter: Arc<Counter>,
    pub(super) most: u32,
}

impl Limiting {
    fn enter(&self, counted: &Counted, x: &Exchange) -> Option<Held> {
        if self.whom.per.is_empty() {
            return counted.counter.enter(counted.most);
        }
        self.whom.with_key(x, |key| counted.counter.enter_as(key, counted.most))
    }

    fn refused(&self, most: u32) -> Problem {
        self.fault
            .problem()
            .detail(format!("`{}`: {most} are in flight", self.name))
            .member("limit", json!(self.name))
            .cause(format!("`{}`: {most} are in flight", self.name))
            // When there will be room nobody knows; a second is the least that can be said (RFC 9110 §10.2.3).
            .header("Retry-After", "1")
    }
}

impl Policy for Limiting {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        let Some(counted) = self.whom.of(x) else { return Step::next() };
        match self.enter(counted, x) {
            Some(held) => x.held.push(held),
            None if self.is_shadow => x.trail.shadow = Some(self.fault),
            None => {
                // Who is not served takes nobody's room, however long they take to read the answer.
                x.held.clear();
                return Step::refuse(self.refused(counted.most));
            }
        }
        Step::next()
    }

    fn describe(&self) -> String {
        self.what.clone()
    }
}
