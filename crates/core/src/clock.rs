//! Where time comes from, so that tests need no sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A clock: the machine's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Fake>>);

#[derive(Debug)]
struct Fake {
    start: Instant,
    unix: SystemTime,
    passed_nanos: AtomicU64,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn real() -> Self {
        Self(None)
    }

    /// A clock that stands at `unix` until [`Clock::advance`] moves it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn fake(unix: SystemTime) -> Self {
        Self(Some(Arc::new(Fake { start: Instant::now(), unix, passed_nanos: AtomicU64::new(0) })))
    }

    /// Moves a fake clock on; the machine's goes its own way.
    pub fn advance(&self, by: Duration) {
        if let Some(fake) = &self.0 {
            let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            fake.passed_nanos.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// Now, for measuring how long something takes.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn now(&self) -> Instant {
        match &self.0 {
            None => Instant::now(),
            Some(fake) => fake.start + fake.passed(),
        }
    }

    /// Now, for telling people when something was.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the clock is where time comes from")]
    pub fn unix(&self) -> SystemTime {
        match &self.0 {
            None => SystemTime::now(),
            Some(fake) => fake.unix + fake.passed(),
        }
    }
}

impl Fake {
    fn passed(&self) -> Duration {
        Duration::from_nanos(self.passed_nanos.load(Ordering::Relaxed))
    }
}
