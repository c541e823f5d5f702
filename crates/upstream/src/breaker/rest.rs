//! Requests that wait for room at a service which has a breaker: what becomes known meanwhile holds for them, too.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Breaker, Open, Round, SOON};

/// A request that waits. If it is a trial, another may be made in its place until it goes on; dropped before, it is one again, for its
/// [`Pass`](super::Pass) to give back.
#[derive(Debug)]
pub(crate) struct Rest<'b> {
    breaker: &'b Breaker,
    trial: Option<Round>,
}

impl Breaker {
    /// A request waits from now on, which is a trial of this round, or none.
    pub(crate) fn rest(&self, trial: Option<Round>) -> Rest<'_> {
        if let Some(Round(state)) = trial {
            self.tried(state.get(), None, self.began);
        }
        Rest { breaker: self, trial }
    }
}

impl Rest<'_> {
    /// It need not wait any more.
    ///
    /// # Errors
    /// The breaker opened meanwhile, or others are tried in its place.
    pub(crate) fn over(mut self, now: Instant) -> Result<(), Open> {
        let breaker = self.breaker;
        match self.trial.take() {
            Some(trial) if !self.resumed(trial) => {
                breaker.metrics.watch().breaker_refused();
                Err(Open { retry: SOON })
            }
            _ => breaker.look(now),
        }
    }

    /// It is a trial again; whether there was room for it.
    fn resumed(&self, Round(state): Round) -> bool {
        let mut trial = self.breaker.lock();
        // Of a round that is over nothing counts any more.
        if self.breaker.state.load(Ordering::Acquire) != state.get() {
            return true;
        }
        let has_room = self.breaker.has_room(&trial);
        trial.running += 1;
        has_room
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.resumed(trial);
        }
    }
}
