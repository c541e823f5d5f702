//! What a route's `when` says: conditions that must all hold.

use tollgate_expr::{Condition, Facts};

use crate::matcher::Guard;

/// The conditions of one route; at least one.
#[derive(Debug, PartialEq)]
pub(crate) struct Conditions(Box<[Condition]>);

impl Conditions {
    /// `None`: there are none.
    pub(crate) fn new(all: Vec<Condition>) -> Option<Self> {
        (!all.is_empty()).then(|| Self(all.into()))
    }

    /// Whether all of them hold.
    pub(crate) fn hold(&self, facts: &dyn Facts) -> bool {
        self.0.iter().all(|condition| condition.matches(facts))
    }

    /// One by one, as they are written.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

impl Guard for Conditions {
    fn conjuncts(&self) -> usize {
        self.iter().map(Condition::conjuncts).sum()
    }

    fn excludes(&self, other: &Self) -> bool {
        self.iter().any(|ours| other.iter().any(|theirs| ours.excludes(theirs)))
    }
}
