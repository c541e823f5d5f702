//! How long something is left alone: longer each time, unless it was well for a while in between.

use std::time::{Duration, Instant};

/// Earlier times.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    last: Option<Duration>,
    /// Since when it has been used again, if it is.
    used_from: Option<Instant>,
}

impl Growing {
    /// The next time: twice the last one, unless it was used for as long as that in between; then as at first.
    pub(crate) fn next(&mut self, first: Duration, longest: Duration, now: Instant) -> Duration {
        let stayed = self.used_from.take().map_or(Duration::ZERO, |from| now.saturating_duration_since(from));
        let time = match self.last {
            Some(last) if stayed < last => last.saturating_mul(2),
            _ => first,
        };
        let time = time.min(longest);
        self.last = Some(time);
        time
    }

    /// It is used again from then on.
    pub(crate) fn used_from(&mut self, at: Instant) {
        self.used_from = Some(at);
    }
}
