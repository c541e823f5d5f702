//! How long to wait before somebody who did not answer is asked again.

use std::time::Duration;

/// How long to wait after the first failure; twice as long after each further one, up to [`SLOWEST`].
const FIRST: Duration = Duration::from_secs(1);
const SLOWEST: Duration = Duration::from_secs(30);

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// One more failure: how long to wait now.
    pub(crate) fn failed(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.0.min(16)).min(SLOWEST);
        self.0 = self.0.saturating_add(1);
        wait
    }

    /// It went well.
    pub(crate) fn succeeded(&mut self) {
        self.0 = 0;
    }
}

/// Up to a tenth longer: not everybody asks at the same time.
pub(crate) fn spread(wait: Duration) -> Duration {
    wait + wait.mul_f64(fastrand::f64() / 10.0)
}
