//! What a limit does with a request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;
use tollgate_core::exchange::Exchange;
use tollgate_core::in_flight::{Counter, Held};
use tollgate_core::policy::{Hooks, Policy, Step};
use tollgate_core::problem::{Fault, Problem};
use tollgate_expr::Condition;

use crate::kit::key::Part;

thread_local! {
    /// Where keys are put together.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A limit.
#[derive(Debug)]
pub(super) struct Limiting {
    pub(super) name: String,
    /// One line for `explain`.
    pub(super) what: String,
    /// Of who has no other.
    pub(super) usual: Counted,
    /// Of applications that have their own; `None`: they are not counted.
    pub(super) own: HashMap<Box<str>, Option<Counted>>,
    /// What is not the same for all.
    pub(super) per: Vec<Part>,
    pub(super) except: Option<Condition>,
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
    /// What holds for whoever sends this; `None`: nothing.
    fn counted(&self, x: &Exchange) -> Option<&Counted> {
        if self.except.as_ref().is_some_and(|except| except.matches(x)) {
            return None;
        }
        if self.own.is_empty() {
            return Some(&self.usual);
        }
        let consumer = x.principal.as_deref().and_then(|caller| caller.consumer.as_deref());
        match consumer.and_then(|consumer| self.own.get(consumer)) {
            Some(own) => own.as_ref(),
            None => Some(&self.usual),
        }
    }

    fn enter(&self, counted: &Counted, x: &Exchange) -> Option<Held> {
        if self.per.is_empty() {
            return counted.counter.enter(counted.most);
        }
        KEY.with_borrow_mut(|key| {
            key.clear();
            self.per.iter().for_each(|part| part.add_to(key, x));
            counted.counter.enter_as(key, counted.most)
        })
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
        let Some(counted) = self.counted(x) else { return Step::next() };
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
