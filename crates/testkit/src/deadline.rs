//! Real time, for tests that talk to real processes: every wait has an end, and no test sleeps and hopes.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should come at once. Long, since a busy machine is not a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A moment after which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        Self(now() + wait)
    }

    /// [`PATIENCE`] from now.
    #[must_use]
    pub fn patient() -> Self {
        Self::after(PATIENCE)
    }

    /// What is left; `None` once it has passed.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        self.0.checked_duration_since(now()).filter(|left| !left.is_zero())
    }
}

/// Measures how long something takes, for bounds that a test asserts.
#[must_use]
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let result = work();
    (result, now() - start)
}

/// Looks again and again until `condition` holds.
///
/// # Panics
/// If it does not within [`PATIENCE`]; the message says `what` was awaited.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Deadline::patient();
    while !condition() {
        assert!(deadline.left().is_some(), "waited {PATIENCE:?} in vain: {what}");
        pause();
    }
}

/// The pause between two looks.
#[expect(clippy::disallowed_methods, reason = "polls what another process does; bounded by a deadline")]
pub(crate) fn pause() {
    thread::sleep(Duration::from_millis(2));
}

#[expect(clippy::disallowed_methods, reason = "the other side of the test is a process in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
