//! What is learnt of an instance while it is used: how fast it answers, how busy it says it is, since when it takes part. Kept with the
//! instance over changes of the list.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::balance::Algorithm;
use crate::balance::ewma::{PeakEwma, Took};
use crate::balance::orca::{Report, Reporting};
use crate::connection::Connection;
use crate::instance::Instance;
use crate::service::{Refusal, Service};

/// The part of its requests that an instance gets in the first moment of its slow start, of a thousand.
const COLD: u64 = 100;

/// All that is learnt of one.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// How fast it answers.
    pub(crate) latency: PeakEwma,
    reports: Reports,
    /// Since when it starts slowly, in nanoseconds since the service began, and one; 0: it was there from the start.
    starts: AtomicU64,
}

/// Reports of load, added up until somebody looks.
#[derive(Debug, Default)]
struct Reports {
    /// How busy, in millionths, over all reports.
    sum: AtomicU64,
    count: AtomicU64,
    /// The rate that was last reported, as bits of an `f64`; 0: none was.
    rate: AtomicU64,
    /// Requests sent there from here.
    sent: AtomicU64,
    known: Mutex<Known>,
}

/// What came of reports, as of when somebody last looked.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    looked: Duration,
    sent: u64,
    /// Requests in a second.
    rate: Option<f64>,
    utilization: Option<f64>,
    /// Requests in a second that it could do.
    capacity: Option<f64>,
    first: Option<Duration>,
    last: Duration,
}

impl Learnt {
    /// From then on it starts slowly.
    pub(crate) fn starts(&self, at: Duration) {
        self.starts.store(nanos(at).saturating_add(1), Relaxed);
    }

    /// The part of its requests that it gets, of a thousand, if its slow start takes so long: a tenth, and ever more.
    pub(crate) fn warmth(&self, at: Duration, slow_start: Duration) -> u64 {
        let Some(began) = self.starts.load(Relaxed).checked_sub(1) else { return 1000 };
        let (passed, whole) = (nanos(at).saturating_sub(began), nanos(slow_start).max(1));
        match passed >= whole {
            true => 1000,
            false => COLD + (u128::from(1000 - COLD) * u128::from(passed) / u128::from(whole)) as u64,
        }
    }

    /// A request is sent there.
    pub(crate) fn sent(&self) {
        self.reports.sent.fetch_add(1, Relaxed);
    }

    /// It says how busy it is.
    pub(crate) fn reported(&self, report: Report) {
        let penalty = report.rate.map_or(0.0, |rate| (report.errors / rate).min(1.0));
        let millionths = ((report.utilization + penalty) * 1e6).min(1e12) as u64;
        self.reports.sum.fetch_add(millionths, Relaxed);
        self.reports.count.fetch_add(1, Relaxed);
        if let Some(rate) = report.rate {
            self.reports.rate.store(rate.to_bits(), Relaxed);
        }
    }

    /// How busy it was when somebody last looked.
    pub(crate) fn utilization(&self) -> Option<f64> {
        self.known().utilization
    }

    fn known(&self) -> Known {
        *self.reports.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests in a second that it could do, going by what it reported since somebody last looked, and before. `None`: that is not
    /// known, or not for long enough, or any more.
    pub(crate) fn capacity(&self, at: Duration, reporting: &Reporting) -> Option<f64> {
        let reports = &self.reports;
        let mut known = reports.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, sum) = (reports.count.swap(0, Relaxed), reports.sum.swap(0, Relaxed));
        let (sent, passed) = (reports.sent.load(Relaxed), at.saturating_sub(known.looked).as_secs_f64());
        if passed > 0.0 {
            let own = sent.wrapping_sub(known.sent) as f64 / passed;
            (known.looked, known.sent, known.rate) = (at, sent, Some(mean(known.rate, own)));
        }
        if count > 0 {
            let utilization = (sum as f64 / count as f64 / 1e6).max(1e-3);
            known.utilization = Some(utilization);
            known.first.get_or_insert(at);
            known.last = at;
            // What it is sent by everybody, as it says; else what it is sent from here, of which others send alike.
            let reported = Some(f64::from_bits(reports.rate.load(Relaxed))).filter(|rate| *rate > 0.0);
            if let Some(rate) = reported.or(known.rate).filter(|rate| *rate > 0.0) {
                known.capacity = Some(mean(known.capacity, rate / utilization));
            }
        } else if at.saturating_sub(known.last) >= reporting.expires {
            (known.first, known.capacity, known.utilization) = (None, None, None);
        }
        known.usable(at, reporting)
    }

    /// The same, as of when somebody last looked.
    pub(crate) fn known_capacity(&self, at: Duration, reporting: &Reporting) -> Option<f64> {
        self.known().usable(at, reporting)
    }
}

impl Known {
    /// What it could do, if that has been known for long enough.
    fn usable(&self, at: Duration, reporting: &Reporting) -> Option<f64> {
        let first = self.first?;
        self.capacity.filter(|_| at.saturating_sub(first) >= reporting.after)
    }
}

/// Halfway from what was known to what is new.
fn mean(known: Option<f64>, new: f64) -> f64 {
    known.map_or(new, |known| f64::midpoint(known, new))
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// An attempt from which something is learnt.
#[derive(Debug)]
pub struct Lesson {
    instance: Arc<Instance>,
    sent: Instant,
}

impl Lesson {
    /// When it was sent.
    #[must_use]
    pub fn sent(&self) -> Instant {
        self.sent
    }
}

impl Service {
    /// An attempt is sent now on this connection. `None`: nothing is learnt from it here, and nobody looks at the clock.
    #[must_use]
    pub fn lesson(&self, connection: &Connection, now: impl FnOnce() -> Instant) -> Option<Lesson> {
        match self.balancing.algorithm {
            Algorithm::Latency { .. } | Algorithm::Load(_) => {
                let instance = Arc::clone(connection.instance());
                instance.learnt.sent();
                Some(Lesson { instance, sent: now() })
            }
            Algorithm::RoundRobin | Algorithm::LeastRequests | Algorithm::ConsistentHash { .. } => None,
        }
    }

    /// It went like this.
    pub fn learn(&self, lesson: &Lesson, took: Took, now: Instant) {
        if let Algorithm::Latency { decay } = self.balancing.algorithm {
            lesson.instance.learnt.latency.take(took, self.since_began(now), decay);
        }
    }

    /// There was no connection with an instance.
    pub fn learn_refusal(&self, refusal: &Refusal, now: Instant) {
        let (Some(address), Algorithm::Latency { decay }) = (refusal.address(), &self.balancing.algorithm) else {
            return;
        };
        if let Some(instance) = self.instances.load().list.iter().find(|instance| instance.address == *address) {
            instance.learnt.latency.take(Took::Failed(Duration::ZERO), self.since_began(now), *decay);
        }
    }

    /// How reports of load are read, if they count.
    #[must_use]
    pub fn reporting(&self) -> Option<&Reporting> {
        match &self.balancing.algorithm {
            Algorithm::Load(reporting) => Some(reporting),
            _ => None,
        }
    }

    /// The instance says how busy it is.
    pub fn reported(&self, lesson: &Lesson, report: Report) {
        lesson.instance.learnt.reported(report);
    }

    pub(crate) fn since_began(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.shared.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::orca::Of;

    const SECOND: Duration = Duration::from_secs(1);

    fn reporting() -> Reporting {
        Reporting { of: Of::Busiest, after: SECOND * 2, expires: SECOND * 180 }
    }

    #[test]
    fn a_slow_start_begins_with_a_tenth_and_grows_evenly() {
        let learnt = Learnt::default();
        let warmth = |learnt: &Learnt, at| learnt.warmth(SECOND * at, SECOND * 30);
        assert_eq!(warmth(&learnt, 0), 1000, "who was there from the start is warm");
        learnt.starts(SECOND * 100);
        assert_eq!([90, 100, 110, 115, 130, 500].map(|at| warmth(&learnt, at)), [100, 100, 400, 550, 1000, 1000]);
    }

    #[test]
    fn capacity_is_what_it_gets_by_how_busy_that_makes_it() {
        let learnt = Learnt::default();
        let report = |utilization, rate| Report { utilization, rate, errors: 0.0 };
        assert_eq!(learnt.capacity(SECOND, &reporting()), None);
        (0..50).for_each(|_| learnt.sent());
        learnt.reported(report(0.4, None));
        learnt.reported(report(0.6, None));
        assert_eq!(learnt.capacity(SECOND * 2, &reporting()), None, "not for long enough");
        (0..25).for_each(|_| learnt.sent());
        learnt.reported(report(0.25, None));
        let capacity = learnt.capacity(SECOND * 4, &reporting()).unwrap();
        assert!((capacity - (50.0 + (25.0 + 12.5) / 2.0 / 0.25) / 2.0).abs() < 20.0, "{capacity}");
        assert_eq!(learnt.utilization(), Some(0.25));
    }

    #[test]
    fn what_it_gets_from_everybody_counts_if_it_says_so_and_failures_make_it_busier() {
        let learnt = Learnt::default();
        for at in 1..10 {
            learnt.reported(Report { utilization: 0.5, rate: Some(200.0), errors: 50.0 });
            learnt.capacity(SECOND * at, &reporting());
        }
        learnt.reported(Report { utilization: 0.5, rate: Some(200.0), errors: 50.0 });
        let capacity = learnt.capacity(SECOND * 10, &reporting()).unwrap();
        assert!((capacity - 200.0 / 0.75).abs() < 0.01, "{capacity}");
    }

    #[test]
    fn old_reports_are_forgotten() {
        let learnt = Learnt::default();
        for at in [1, 2, 3] {
            learnt.reported(Report { utilization: 0.5, rate: Some(200.0), errors: 0.0 });
            learnt.capacity(SECOND * at, &reporting());
        }
        assert!(learnt.capacity(SECOND * 100, &reporting()).is_some());
        assert!(learnt.capacity(SECOND * 183, &reporting()).is_none());
        learnt.reported(Report { utilization: 0.5, rate: Some(200.0), errors: 0.0 });
        assert_eq!(learnt.capacity(SECOND * 184, &reporting()), None, "it must report for a while again");
        assert!(learnt.capacity(SECOND * 186, &reporting()).is_some());
    }
}
