//! Passive ejection: an instance whose requests fail is left out for a while, each time for longer, and never more than a
//! share of the instances at a time.
//!
//! Counting is a few atomics per attempt, and only where a service asks for it; the lock is taken when an instance failed
//! often enough to be ejected.

mod compare;

pub(crate) use compare::Compared;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tollgate_observe::metrics::Ejected;

use self::compare::Counts;
use crate::connection::Connection;
use crate::growing::Growing;
use crate::instance::Instance;
use crate::service::{Refusal, Service};
use crate::window::Window;

/// When an instance is ejected, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Failures in a row; 0: however many.
    pub consecutive: u32,
    /// A share of the requests that fails.
    pub errors: Option<ErrorShare>,
    /// Fewer requests succeed than at the others.
    pub success_rate: Option<SuccessRate>,
    /// Its answers take longer than those of the others.
    pub latency: Option<Latency>,
    /// Answers that count as failures.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// For how long the first time; twice as long each further time.
    pub eject_for: Duration,
    /// For how long at most.
    pub longest: Duration,
    /// Each time is longer by up to this part of it.
    pub jitter: f64,
    /// Instances per ten thousand that may be ejected at a time, rounded down.
    pub ceiling: u32,
}

/// When an instance does worse than the others.
#[derive(Clone, Debug, PartialEq)]
pub struct SuccessRate {
    /// Its success rate is below the mean by so many standard deviations.
    pub deviations: f64,
    /// So many instances had enough requests.
    pub instances: u32,
    /// Which are so many.
    pub of: u32,
    /// Within this time.
    pub within: Duration,
}

/// When an instance is slower than the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// Its answers take so many times as long as the median of the others'.
    pub factor: f64,
    /// And longer than this.
    pub least: Duration,
    /// So many instances had enough requests.
    pub instances: u32,
    /// Which are so many.
    pub of: u32,
    /// Within this time.
    pub within: Duration,
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
    window: Window,
    /// What is compared with the other instances.
    counts: Counts,
    /// Earlier ejections.
    past: Mutex<Growing>,
}

impl Record {
    /// Counts an attempt that ended `at` so long after the service began; whether it was one failure too many.
    fn count(&self, outlier: &Outlier, verdict: Verdict, at: Duration) -> Option<Ejected> {
        self.counts.judged(outlier, verdict);
        let share = outlier.errors.as_ref().is_some_and(|errors| self.window.is_share(errors, verdict, at));
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
            (true, _) => Some(Ejected::InARow),
            (false, true) => Some(Ejected::Share),
            (false, false) => None,
        }
    }

    /// For how long it is ejected now; notes it. An instance that stayed for as long as it was left out before begins anew.
    /// `chance`: from 0 to 1, how much of the jitter.
    fn sentence(&self, outlier: &Outlier, now: Instant, chance: f64) -> Duration {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let served = past.next(outlier.eject_for, outlier.longest, now).mul_f64(1.0 + outlier.jitter * chance);
        past.used_from(now + served);
        self.in_a_row.store(0, Relaxed);
        self.window.clear();
        self.counts.clear();
        served
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

    /// What an answer with this status says of who gave it. `took`: how long its head took to come, if that was measured.
    pub fn judge_answer(&self, judged: Option<&Judged>, status: u16, took: Option<Duration>, now: Instant) {
        if let (Some(Judged(instance)), Some(outlier)) = (judged, &self.shared.settings.watch.outlier) {
            if let Some(took) = took.filter(|_| outlier.latency.is_some()) {
                instance.record.counts.took(took);
            }
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
        if let Some(why) = instance.record.count(outlier, verdict, at) {
            self.eject(instance, outlier, why, now);
        }
    }

    fn eject(&self, instance: &Arc<Instance>, outlier: &Outlier, why: Ejected, now: Instant) {
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
        let time = instance.record.sentence(outlier, now, fastrand::f64());
        instance.stands.eject(now + time);
        instance.learnt.starts(self.since_began(now + time));
        drop(guard);
        let because = match why {
            Ejected::InARow => "failures in a row",
            Ejected::Share => "share of failures",
            Ejected::SuccessRate => "success rate",
            Ejected::Latency => "latency",
        };
        tracing::warn!(service = %self.name(), instance = %instance.address, because, seconds = time.as_secs_f64(), "an instance is ejected");
        self.metrics().watch().ejected(why);
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
        Outlier {
            consecutive: 3,
            errors,
            success_rate: None,
            latency: None,
            statuses: vec![502..=504],
            eject_for,
            longest,
            jitter: 0.1,
            ceiling: 5000,
        }
    }

    #[test]
    fn failures_in_a_row_are_enough_and_a_success_in_between_is_not() {
        let (record, outlier) = (Record::default(), Outlier { errors: None, ..outlier() });
        let mut count = |verdict| record.count(&outlier, verdict, SECOND);
        use Verdict::{Failed, Well};
        let told: Vec<_> =
            [Failed, Failed, Well, Failed, Failed, Failed, Failed, Failed, Failed].map(&mut count).into();
        let enough = Some(Ejected::InARow);
        assert_eq!(told, [None, None, None, None, None, enough, None, None, enough]);
    }

    #[test]
    fn a_share_needs_enough_requests_within_its_time() {
        let (record, outlier) = (Record::default(), Outlier { consecutive: 0, ..outlier() });
        use Verdict::{Failed, Well};
        assert_eq!(record.count(&outlier, Failed, SECOND), None, "one of one is not enough");
        assert_eq!(record.count(&outlier, Well, SECOND), None);
        assert_eq!(record.count(&outlier, Well, SECOND), None);
        assert_eq!(record.count(&outlier, Failed, SECOND), Some(Ejected::Share));
        // Another window.
        for _ in 0..3 {
            assert_eq!(record.count(&outlier, Failed, SECOND * 20), None);
        }
        assert_eq!(record.count(&outlier, Well, SECOND * 20), None);
        assert_eq!(record.count(&outlier, Failed, SECOND * 20), Some(Ejected::Share));
    }

    #[test]
    fn each_time_is_twice_as_long_unless_it_stayed_well() {
        let (record, outlier, start) = (Record::default(), outlier(), Clock::real().now());
        assert_eq!(record.sentence(&outlier, start, 0.0), SECOND * 10);
        assert_eq!(record.sentence(&outlier, start + SECOND * 11, 0.0), SECOND * 20);
        assert_eq!(record.sentence(&outlier, start + SECOND * 32, 0.0), SECOND * 35, "no longer than the longest");
        assert_eq!(record.sentence(&outlier, start + SECOND * 101, 0.0), SECOND * 35);
        assert_eq!(record.sentence(&outlier, start + SECOND * 172, 0.0), SECOND * 10, "it had stayed for 36 seconds");
    }

    #[test]
    fn chance_makes_the_time_longer_but_not_the_next_one() {
        let (record, outlier, start) = (Record::default(), outlier(), Clock::real().now());
        assert_eq!(record.sentence(&outlier, start, 1.0), SECOND * 11);
        assert_eq!(record.sentence(&outlier, start + SECOND * 12, 0.5), SECOND * 21);
    }
}
