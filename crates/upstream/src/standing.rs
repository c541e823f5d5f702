//! Whether an instance takes part: what its checks say, and whether it is ejected. Shared by all workers and read on every
//! pick, so that reading is one load while all is well.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use tollgate_observe::metrics::Standing;

/// Checks were made, and it is not unhealthy.
const HEALTHY: u8 = 1;
/// Its checks fail.
const UNHEALTHY: u8 = 2;
/// It was ejected; whether it still is, its time tells.
const EJECTED: u8 = 4;

/// How one instance stands.
#[derive(Debug)]
pub(crate) struct Stands {
    flags: AtomicU8,
    /// Until when it is ejected, in nanoseconds since `began`.
    ejected_until: AtomicU64,
    began: Instant,
    /// Why the last check failed, if it did.
    why: Mutex<Option<String>>,
}

impl Stands {
    /// Of an instance of which nothing is known.
    pub(crate) fn new(began: Instant) -> Self {
        Self { flags: AtomicU8::new(0), ejected_until: AtomicU64::new(0), began, why: Mutex::default() }
    }

    /// Whether it is to be left out now.
    pub(crate) fn is_out(&self, now: Instant) -> bool {
        match self.flags.load(Ordering::Relaxed) {
            0 | HEALTHY => false,
            flags => flags & UNHEALTHY != 0 || self.is_ejected(now),
        }
    }

    /// Whether it is ejected now.
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.flags.load(Ordering::Relaxed) & EJECTED != 0
            && self.nanos(now) < self.ejected_until.load(Ordering::Relaxed)
    }

    /// How it stands; `is_checked`: somebody checks.
    pub(crate) fn standing(&self, now: Instant, is_checked: bool) -> Standing {
        match self.flags.load(Ordering::Relaxed) {
            flags if flags & UNHEALTHY != 0 => Standing::Unhealthy,
            _ if self.is_ejected(now) => Standing::Ejected,
            flags if is_checked && flags & HEALTHY == 0 => Standing::Unknown,
            _ => Standing::Healthy,
        }
    }

    /// For how long it stays ejected; zero: it is not.
    pub(crate) fn ejected_for(&self, now: Instant) -> Duration {
        match self.is_ejected(now) {
            true => Duration::from_nanos(self.ejected_until.load(Ordering::Relaxed).saturating_sub(self.nanos(now))),
            false => Duration::ZERO,
        }
    }

    /// Leaves it out until then.
    pub(crate) fn eject(&self, until: Instant) {
        self.ejected_until.store(self.nanos(until), Ordering::Relaxed);
        // Behind the time: who sees the flag sees its time, or one that is over.
        self.flags.fetch_or(EJECTED, Ordering::Release);
    }

    /// Forgets an ejection whose time is over; whether there was one.
    pub(crate) fn readmit(&self, now: Instant) -> bool {
        let flags = self.flags.load(Ordering::Acquire);
        let is_over = flags & EJECTED != 0 && !self.is_ejected(now);
        is_over && self.flags.fetch_and(!EJECTED, Ordering::AcqRel) & EJECTED != 0
    }

    /// Its checks say that it is well.
    pub(crate) fn is_well(&self) {
        self.flags.fetch_or(HEALTHY, Ordering::Relaxed);
        self.flags.fetch_and(!UNHEALTHY, Ordering::Relaxed);
    }

    /// Its checks say that it is not.
    pub(crate) fn is_ill(&self) {
        self.flags.fetch_or(UNHEALTHY, Ordering::Relaxed);
        self.flags.fetch_and(!HEALTHY, Ordering::Relaxed);
    }

    /// Keeps why the last check failed; `None`: it did not.
    pub(crate) fn because(&self, why: Option<String>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why the last check failed, if it did.
    pub(crate) fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_known_counts_as_healthy() {
        let now = Clock::real().now();
        let stands = Stands::new(now);
        assert!(!stands.is_out(now));
        assert_eq!(stands.standing(now, true), Standing::Unknown);
        assert_eq!(stands.standing(now, false), Standing::Healthy);
    }

    #[test]
    fn checks_leave_out_and_take_back() {
        let now = Clock::real().now();
        let stands = Stands::new(now);
        stands.is_ill();
        assert!(stands.is_out(now));
        assert_eq!(stands.standing(now, true), Standing::Unhealthy);
        stands.is_well();
        assert!(!stands.is_out(now));
        assert_eq!(stands.standing(now, true), Standing::Healthy);
    }

    #[test]
    fn an_ejection_ends_by_itself() {
        let now = Clock::real().now();
        let stands = Stands::new(now);
        stands.is_well();
        stands.eject(now + SECOND);
        assert!(stands.is_out(now) && !stands.readmit(now));
        assert_eq!((stands.standing(now, true), stands.ejected_for(now)), (Standing::Ejected, SECOND));
        assert!(!stands.is_out(now + SECOND), "to the moment");
        assert!(stands.readmit(now + SECOND) && !stands.readmit(now + SECOND), "told once");
        assert_eq!(stands.standing(now + SECOND, true), Standing::Healthy);
    }

    #[test]
    fn an_ejection_takes_nothing_from_what_checks_say() {
        let now = Clock::real().now();
        let stands = Stands::new(now);
        stands.eject(now + SECOND);
        stands.is_ill();
        assert_eq!(stands.standing(now, true), Standing::Unhealthy);
        assert!(stands.is_out(now + SECOND * 2));
        stands.is_well();
        assert!(stands.is_out(now) && !stands.is_out(now + SECOND * 2));
    }
}
