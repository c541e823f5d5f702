//! Lines for the log that strangers can cause: told now and then, with how many were kept back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One kind of such lines, of one worker.
#[derive(Debug)]
pub(crate) struct Rarely {
    /// Most of them in the time.
    most: u32,
    time: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the time that goes on began, and how many were told in it.
    began: Option<Instant>,
    told: u32,
    kept_back: u64,
}

impl Default for Rarely {
    /// One in ten seconds.
    fn default() -> Self {
        Self::new(1, Duration::from_secs(10))
    }
}

impl Rarely {
    /// At most so many in this time.
    pub(crate) fn new(most: u32, time: Duration) -> Self {
        Self { most, time, state: Mutex::default() }
    }

    /// Has `tell` say it, with how many were kept back before; or keeps it back.
    pub(crate) fn tell(&self, now: Instant, tell: impl FnOnce(u64)) {
        // Only this worker's thread takes it: never contended.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.saturating_duration_since(began) >= self.time) {
            (state.began, state.told) = (Some(now), 0);
        }
        if state.told >= self.most {
            state.kept_back += 1;
            return;
        }
        state.told += 1;
        tell(std::mem::take(&mut state.kept_back));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_told_and_the_next_says_how_many_were_not() {
        let (rarely, start) = (Rarely::default(), tollgate_core::clock::Clock::real().now());
        let mut told = Vec::new();
        for seconds in [0, 1, 2, 9, 10, 11, 30] {
            rarely.tell(start + Duration::from_secs(seconds), |kept_back| told.push((seconds, kept_back)));
        }
        assert_eq!(told, [(0, 0), (10, 3), (30, 1)]);
        let (often, mut told) = (Rarely::new(3, Duration::from_secs(1)), Vec::new());
        (0..10).for_each(|_| often.tell(start, |kept_back| told.push(kept_back)));
        often.tell(start + Duration::from_secs(1), |kept_back| told.push(kept_back));
        assert_eq!(told, [0, 0, 0, 7]);
    }
}
