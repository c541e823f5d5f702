//! Whether the gateway itself can do more: its memory and file descriptors, and how late a worker is. When not, requests are refused before
//! anything is done for them, those that matter least first.
//!
//! What is used is a level, in thousandths of what may be. Each worker has its own: what one of them does too late is no reason to refuse
//! what another one has time for.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tollgate_core::criticality::Criticality;
use tollgate_core::problem::Problem;
use tollgate_plan::RoutePlan;

use crate::deployment::Deployment;
use crate::faults::OVERLOADED;
use crate::http::downstream::Client;
use crate::http::turn::Turn;

/// From this level on the first requests are refused.
const BEGIN: u32 = 850;
/// So much later those that matter more.
const BAND: u32 = 50;
/// How much of a worker's level is left a tick later, if it is in time again.
const FADES: (u32, u32) = (7, 10);

/// What is known of the whole process.
#[derive(Debug, Default)]
pub struct Overload {
    /// How late a worker may be, if that is looked at.
    pub lag: Option<Duration>,
    memory: AtomicU32,
    files: AtomicU32,
}

impl Overload {
    /// Workers may be so late.
    #[must_use]
    pub fn new(lag: Option<Duration>) -> Self {
        Self { lag, ..Self::default() }
    }

    /// So much of what may be is used, in thousandths.
    pub fn used(&self, memory: u32, files: u32) {
        self.memory.store(memory, Relaxed);
        self.files.store(files, Relaxed);
    }

    /// What of memory and of file descriptors is used, in thousandths of what may be.
    #[must_use]
    pub fn levels(&self) -> (u32, u32) {
        (self.memory.load(Relaxed), self.files.load(Relaxed))
    }

    /// The level of a worker that was so late just now, and had this one before: of its own lag, and of all.
    pub(crate) fn level(&self, late: Duration, before: u32) -> (u32, u32) {
        let lag = self.lag.map_or(0, |most| share(late.as_secs_f64(), most.as_secs_f64()));
        let own = lag.max(before * FADES.0 / FADES.1);
        let (memory, files) = self.levels();
        (own, own.max(memory).max(files))
    }
}

/// So much of so much, in thousandths.
#[must_use]
pub fn share(used: f64, most: f64) -> u32 {
    (used / most.max(1e-9) * 1000.0).round().clamp(0.0, 10_000.0) as u32
}

/// How many of a thousand requests that matter so much are refused at this level. What matters most is served up to the end.
fn refused(level: u32, criticality: Criticality) -> u32 {
    let from = BEGIN + BAND * u32::try_from(criticality.index()).unwrap_or(0);
    if criticality == Criticality::Critical {
        return if level >= from { 1000 } else { 0 };
    }
    (level.saturating_sub(from) * 1000 / BAND).min(1000)
}

/// When it is known how much a request matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// By its route.
    Early,
    /// A policy has seen it.
    Late,
}

/// Why the request cannot be served, if the gateway has too much to do for it.
#[inline]
pub(crate) fn refusal<S>(
    client: &Client<S>,
    turn: &Turn,
    d: &Deployment,
    route: &RoutePlan,
    known: Known,
) -> Option<Problem> {
    d.overload.as_ref()?;
    let level = client.worker.level();
    // Then all are refused, however much they matter.
    let is_sure = level >= BEGIN + 3 * BAND;
    if level < BEGIN || (!is_sure && route.settles_criticality != (known == Known::Late)) {
        return None;
    }
    refuse(client, level, turn.x.criticality)
}

#[cold]
fn refuse<S>(client: &Client<S>, level: u32, criticality: Criticality) -> Option<Problem> {
    if fastrand::u32(..1000) >= refused(level, criticality) {
        return None;
    }
    client.worker.counters().shed(criticality);
    let cause = format!("{} % of what may be is used", level / 10);
    Some(OVERLOADED.problem().detail("the gateway has too much to do").cause(cause).header("Retry-After", "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_least_is_refused_first_and_the_rest_at_the_end() {
        let at = |level| Criticality::ALL.map(|criticality| refused(level, criticality));
        assert_eq!(at(849), [0, 0, 0, 0]);
        assert_eq!(at(875), [500, 0, 0, 0]);
        assert_eq!(at(900), [1000, 0, 0, 0]);
        assert_eq!(at(940), [1000, 800, 0, 0]);
        assert_eq!(at(999), [1000, 1000, 980, 0]);
        assert_eq!(at(10_000), [1000; 4]);
    }

    #[test]
    fn a_worker_that_is_in_time_again_is_trusted_soon() {
        let overload = Overload::new(Some(Duration::from_millis(100)));
        let mut own = overload.level(Duration::from_millis(150), 0).0;
        assert_eq!(own, 1500);
        let mut ticks = 0;
        while own >= BEGIN {
            (own, ticks) = (overload.level(Duration::from_millis(1), own).0, ticks + 1);
        }
        assert_eq!(ticks, 2);
        overload.used(700, 860);
        assert_eq!(overload.level(Duration::ZERO, 0), (0, 860));
    }
}
