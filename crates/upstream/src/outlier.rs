//! Passive ejection: an instance whose requests fail is left out for a while, each time for longer, and never more than a
//! share of the instances at a time.
//!
//! Counting is a few atomics per attempt, and only where a service asks for it; the lock is taken when an instance failed
//! often enough to be ejected.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::instance::Instance;
use crate::service::{Refusal, Service};

/// When an instance is ejected, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Failures in a row; 0: however many.
    pub consecutive: u32,
    /// A share of the requests that fails.
    pub errors: Option<ErrorShare>,
    /// Answers that count as failures.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// For how long the first time; twice as long each further time.
    pub eject_for: Duration,
    /// For how long at most.
    pub longest: Duration,
    /// Instances per ten thousand that may be ejected at a time, rounded down.
    pub ceiling: u32,
}

/// A share of an instance's requests that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorShare {
    /// Per ten thousand.
    pub share: u32,
    /// Of at least so many requests.
    pub of: u32,
    /// Within this time.
    pub within: Duration,
}

/// What one attempt says of its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Well,
    /// It failed.
    Failed,
}

/// What became of the requests sent to one instance.
#[derive(Debug, Default)]
pub(crate) struct Record {
    in_a_row: AtomicU32,
    /// When the window began, in nanoseconds since `began` of [`Record::count`].
    window: AtomicU64,
    all: AtomicU32,
    failed: AtomicU32,
    past: Mutex<Past>,
}

/// Earlier ejections.
#[derive(Debug, Default)]
struct Past {
    last: Option<Duration>,
    over_at: Option<Instant>,
}

/// Why an instance is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enough {
    InARow,
    Share,
}

impl Record {
    /// Counts an attempt that ended `at` so long after the service began; whether it was one failure too many.
    fn count(&self, outlier: &Outlier, verdict: Verdict, at: Duration) -> Option<Enough> {
        let share = outlier.errors.as_ref().is_some_and(|errors| self.count_share(errors, verdict, at));
        if verdict == Verdict::Well {
            // Looked at first: writing what others read makes them slow, and mostly there is nothing to write.
            if self.in_a_row.load(Relaxed) != 0 {
                self.in_a_row.store(0, Relaxed);
            }
            return None;
        }
        let in_a_row = self.in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        // Where the ceiling kept it in, it is thought of again after as many failures more.
        let too_many = outlier.consecutive > 0 && in_a_row.is_multiple_of(outlier.consecutive);
        match (too_many, share) {
            (true, _) => Some(Enough::InARow),
            (false, true) => Some(Enough::Share),
            (false, false) => None,
        }
    }

    /// Counts in a window of time; whether it has the share of failures. Windows follow each other; a count that gets lost
    /// between two of them does not matter.
    fn count_share(&self, errors: &ErrorShare, verdict: Verdict, at: Duration) -> bool {
        let now = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let began = self.window.load(Relaxed);
        let is_over = u128::from(now.saturating_sub(began)) >= errors.within.as_nanos();
        if is_over && self.window.compare_exchange(began, now, Relaxed, Relaxed).is_ok() {
            self.all.store(0, Relaxed);
            self.failed.store(0, Relaxed);
        }
        let all = self.all.fetch_add(1, Relaxed).saturating_add(1);
        if verdict == Verdict::Well {
            return false;
        }
        let failed = self.failed.fetch_add(1, Relaxed).saturating_add(1);
        all >= errors.of && u64::from(failed) * 10_000 >= u64::from(errors.share) * u64::from(all)
    }

    /// For how long it is ejected now; notes it. An instance that stayed for as long as it was left out before begins anew.
    fn sentence(&self, outlier: &Outlier, now: Instant) -> Duration {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let stayed = past.over_at.map_or(Duration::MAX, |over| now.saturating_duration_since(over));
        let time = match past.last {
            Some(last) if stayed < last => last.saturating_mul(2).min(outlier.longest),
            _ => outlier.eject_for.min(outlier.longest),
        };
        *past = Past { last: Some(time), over_at: Some(now + time) };
        self.in_a_row.store(0, Relaxed);
        self.all.store(0, Relaxed);
        self.failed.store(0, Relaxed);
        time
    }
}

/// An instance whose attempts are judged.
#[derive(Clone, Debug)]
pub struct Judged(Arc<Instance>);

impl Service {
    /// Whom an attempt on this connection tells something of; `None`: the service ejects nobody.
    #[must_use]
    pub fn judged(&self, connection: &Connection) -> Option<Judged> {
        self.shared.settings.watch.outlier.as_ref().map(|_| Judged(Arc::clone(connection.instance())))
    }

    /// What an answer with this status says of who gave it.
    pub fn judge_answer(&self, judged: Option<&Judged>, status: u16, now: Instant) {
        if let (Some(_), Some(outlier)) = (judged, &self.shared.settings.watch.outlier) {
            let is_bad = outlier.statuses.iter().any(|range| range.contains(&status));
            self.judge(judged, if is_bad { Verdict::Failed } else { Verdict::Well }, now);
        }
    }

    /// What it says of an instance that there is no connection with it.
    pub fn judge_refusal(&self, refusal: &Refusal, now: Instant) {
        let (Some(address), Some(_)) = (refusal.address(), &self.shared.settings.watch.outlier) else { return };
        let judged = self.instances.load().list.iter().find(|i| i.address == *address).map(|i| Judged(Arc::clone(i)));
        self.judge(judged.as_ref(), Verdict::Failed, now);
    }

    /// Counts what became of an attempt, and ejects the instance if that was one failure too many.
    pub fn judge(&self, judged: Option<&Judged>, verdict: Verdict, now: Instant) {
        let (Some(Judged(instance)), Some(outlier)) = (judged, &self.shared.settings.watch.outlier) else { return };
        let at = now.saturating_duration_since(self.shared.began);
        if let Some(enough) = instance.record.count(outlier, verdict, at) {
            self.eject(instance, outlier, enough, now);
        }
    }

    fn eject(&self, instance: &Arc<Instance>, outlier: &Outlier, enough: Enough, now: Instant) {
        // One at a time, or two workers together would pass the ceiling.
        let guard = self.shared.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let instances = self.instances.load();
        let is_listed = instances.list.iter().any(|listed| Arc::ptr_eq(listed, instance));
        if !is_listed || instance.stands.is_ejected(now) {
            return;
        }
        let ejected = instances.list.iter().filter(|i| i.stands.is_ejected(now)).count() as u64;
        let most = instances.list.len() as u64 * u64::from(outlier.ceiling) / 10_000;
        if ejected >= most {
            tracing::debug!(service = %self.name(), instance = %instance.address, "not ejected: as many as may be are already");
            return;
        }
        let time = instance.record.sentence(outlier, now);
        instance.stands.eject(now + time);
        instance.learnt.starts(self.since_began(now + time));
        drop(guard);
        let because = match enough {
            Enough::InARow => "failures in a row",
            Enough::Share => "share of failures",
        };
        tracing::warn!(service = %self.name(), instance = %instance.address, because, seconds = time.as_secs_f64(), "an instance is ejected");
        self.metrics().watch().ejected();
        self.count_standing(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_core::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn outlier() -> Outlier {
        let errors = Some(ErrorShare { share: 5000, of: 4, within: SECOND * 10 });
        let (eject_for, longest) = (SECOND * 10, SECOND * 35);
        Outlier { consecutive: 3, errors, statuses: vec![502..=504], eject_for, longest, ceiling: 5000 }
    }

    #[test]
    fn failures_in_a_row_are_enough_and_a_success_in_between_is_not() {
        let (record, outlier) = (Record::default(), Outlier { errors: None, ..outlier() });
        let mut count = |verdict| record.count(&outlier, verdict, SECOND);
        use Verdict::{Failed, Well};
        let told: Vec<_> =
            [Failed, Failed, Well, Failed, Failed, Failed, Failed, Failed, Failed].map(&mut count).into();
        let enough = Some(Enough::InARow);
        assert_eq!(told, [None, None, None, None, None, enough, None, None, enough]);
    }

    #[test]
    fn a_share_needs_enough_requests_within_its_time() {
        let (record, outlier) = (Record::default(), Outlier { consecutive: 0, ..outlier() });
        use Verdict::{Failed, Well};
        assert_eq!(record.count(&outlier, Failed, SECOND), None, "one of one is not enough");
        assert_eq!(record.count(&outlier, Well, SECOND), None);
        assert_eq!(record.count(&outlier, Well, SECOND), None);
        assert_eq!(record.count(&outlier, Failed, SECOND), Some(Enough::Share));
        // Another window.
        for _ in 0..3 {
            assert_eq!(record.count(&outlier, Failed, SECOND * 20), None);
        }
        assert_eq!(record.count(&outlier, Well, SECOND * 20), None);
        assert_eq!(record.count(&outlier, Failed, SECOND * 20), Some(Enough::Share));
    }

    #[test]
    fn each_time_is_twice_as_long_unless_it_stayed_well() {
        let (record, outlier, start) = (Record::default(), outlier(), Clock::real().now());
        assert_eq!(record.sentence(&outlier, start), SECOND * 10);
        assert_eq!(record.sentence(&outlier, start + SECOND * 11), SECOND * 20);
        assert_eq!(record.sentence(&outlier, start + SECOND * 32), SECOND * 35, "no longer than the longest");
        assert_eq!(record.sentence(&outlier, start + SECOND * 101), SECOND * 35);
        assert_eq!(record.sentence(&outlier, start + SECOND * 172), SECOND * 10, "it had stayed for 36 seconds");
    }
}
