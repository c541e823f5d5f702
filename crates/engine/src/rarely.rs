//! Log lines that clients can bring about: told now and then, with the number of those kept back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two of them, per worker.
const PAUSE: Duration = Duration::from_secs(10);

/// One kind of such lines.
#[derive(Debug, Default)]
pub(crate) struct Rarely(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    kept_back: u64,
}

impl Rarely {
    /// Has `tell` say it, with how many were kept back before; or keeps it back.
    pub(crate) fn tell(&self, now: Instant, tell: impl FnOnce(u64)) {
        // Only this worker's thread takes it: never contended.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE) {
            state.kept_back += 1;
            return;
        }
        state.told = Some(now);
        tell(std::mem::take(&mut state.kept_back));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_and_the_next_says_how_many_were_not() {
        let (rarely, start) = (Rarely::default(), tollgate_core::clock::Clock::real().now());
        let mut told = Vec::new();
        for seconds in [0, 1, 2, 9, 10, 11, 30] {
            rarely.tell(start + Duration::from_secs(seconds), |kept_back| told.push((seconds, kept_back)));
        }
        assert_eq!(told, [(0, 0), (10, 3), (30, 1)]);
    }
}
