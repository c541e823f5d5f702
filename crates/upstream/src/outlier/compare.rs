//! Instances compared with each other: who does worse than the others, or is slower. Counted with a few atomics per attempt,
//! compared once in a while by one of the workers.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tollgate_observe::metrics::Ejected;

use super::{Latency, Outlier, SuccessRate, Verdict};
use crate::service::Service;

/// What became of the requests sent to one instance since it was compared last.
#[derive(Debug, Default)]
pub(super) struct Counts {
    all: AtomicU32,
    failed: AtomicU32,
    timed: AtomicU32,
    nanos: AtomicU64,
}

/// When a service's instances were compared last.
#[derive(Debug)]
pub(crate) struct Compared {
    rates: Instant,
    times: Instant,
}

impl Compared {
    /// Not before now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { rates: now, times: now }
    }
}

impl Counts {
    pub(super) fn judged(&self, outlier: &Outlier, verdict: Verdict) {
        if outlier.success_rate.is_some() {
            self.all.fetch_add(1, Relaxed);
            if verdict == Verdict::Failed {
                self.failed.fetch_add(1, Relaxed);
            }
        }
    }

    /// So long it took until the head of an answer was there.
    pub(super) fn took(&self, time: Duration) {
        self.timed.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        let _ = (self.rate(u32::MAX), self.mean(u32::MAX));
    }

    /// The share of requests that went well, and begins anew; `None`: there were not enough.
    fn rate(&self, of: u32) -> Option<f64> {
        let (all, failed) = (self.all.swap(0, Relaxed), self.failed.swap(0, Relaxed));
        (all >= of.max(1)).then(|| 1.0 - f64::from(failed.min(all)) / f64::from(all))
    }

    /// How many seconds an answer took on the average, and begins anew; `None`: there were not enough.
    fn mean(&self, of: u32) -> Option<f64> {
        let (timed, nanos) = (self.timed.swap(0, Relaxed), self.nanos.swap(0, Relaxed));
        (timed >= of.max(1)).then(|| Duration::from_nanos(nanos).as_secs_f64() / f64::from(timed))
    }
}

impl Service {
    /// Ejects instances that do worse than the others, if it is time to compare them.
    pub(crate) fn compare(&self, now: Instant) {
        let Some(outlier) = &self.shared.settings.watch.outlier else { return };
        if outlier.success_rate.is_none() && outlier.latency.is_none() {
            return;
        }
        let is_due = |last: &mut Instant, within: Duration| {
            let is_due = now.saturating_duration_since(*last) >= within;
            if is_due {
                *last = now;
            }
            is_due
        };
        let (rates, times) = {
            let mut compared = self.shared.compared.lock().unwrap_or_else(PoisonError::into_inner);
            let rates = outlier.success_rate.as_ref().filter(|own| is_due(&mut compared.rates, own.within));
            (rates, outlier.latency.as_ref().filter(|own| is_due(&mut compared.times, own.within)))
        };
        let instances = self.instances.load_full();
        let of = |number: &dyn Fn(&Counts) -> Option<f64>| -> Vec<(usize, f64)> {
            let all = instances.list.iter().enumerate();
            all.filter_map(|(at, instance)| Some((at, number(&instance.record.counts)?))).collect()
        };
        let worse = rates.map_or_else(Vec::new, |own| worse(own, &of(&|counts| counts.rate(own.of))));
        let slower = times.map_or_else(Vec::new, |own| slower(own, &of(&|counts| counts.mean(own.of))));
        let found = worse.into_iter().map(|at| (at, Ejected::SuccessRate));
        for (at, why) in found.chain(slower.into_iter().map(|at| (at, Ejected::Latency))) {
            if let Some(instance) = instances.list.get(at) {
                self.eject(instance, outlier, why, now);
            }
        }
    }
}

/// Who succeeds so much less often than the others; the worst first, should not all of them be ejected.
fn worse(own: &SuccessRate, rates: &[(usize, f64)]) -> Vec<usize> {
    if rates.len() < own.instances.max(2) as usize {
        return Vec::new();
    }
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let least = mean - own.deviations * variance.sqrt();
    sorted(rates.iter().filter(|(_, rate)| *rate < least).map(|(at, rate)| (*at, *rate)).collect())
}

/// Who is so much slower than the others; the slowest first.
fn slower(own: &Latency, means: &[(usize, f64)]) -> Vec<usize> {
    if means.len() < own.instances.max(2) as usize {
        return Vec::new();
    }
    let mut sorted_means: Vec<f64> = means.iter().map(|(_, mean)| *mean).collect();
    sorted_means.sort_by(f64::total_cmp);
    let is_slower = |mean: f64| {
        // The median of the others: all in their order, without one of this value.
        let own_place = sorted_means.partition_point(|other| *other < mean);
        let others = sorted_means.len() - 1;
        let at = |place: usize| sorted_means.get(place + usize::from(place >= own_place)).copied().unwrap_or(mean);
        let median = (at((others - 1) / 2) + at(others / 2)) / 2.0;
        mean > own.factor * median && mean > own.least.as_secs_f64()
    };
    let slow = means.iter().filter(|(_, mean)| is_slower(*mean));
    // Sorted by what is good about them.
    sorted(slow.map(|(at, mean)| (*at, -mean)).collect())
}

/// The lowest first.
fn sorted(mut found: Vec<(usize, f64)>) -> Vec<usize> {
    found.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    found.into_iter().map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(numbers: &[f64]) -> Vec<(usize, f64)> {
        numbers.iter().copied().enumerate().collect()
    }

    #[test]
    fn who_does_worse_than_the_others_by_so_many_deviations() {
        let own = SuccessRate { deviations: 1.9, instances: 5, of: 100, within: Duration::from_secs(10) };
        let found = |rates: &[f64]| worse(&own, &numbered(rates));
        assert_eq!(found(&[1.0, 1.0, 0.5, 1.0, 1.0]), [2]);
        assert_eq!(found(&[0.99, 1.0, 0.98, 1.0, 0.97]), [0; 0], "they differ, but none stands out");
        assert_eq!(found(&[0.5; 5]), [0; 0], "if all fail it is not an instance");
        assert_eq!(found(&[1.0, 1.0, 0.1, 1.0]), [0; 0], "too few to compare");
    }

    #[test]
    fn who_is_slower_than_the_others_by_a_factor() {
        let (least, within) = (Duration::from_millis(10), Duration::from_secs(10));
        let own = Latency { factor: 3.0, least, instances: 3, of: 20, within };
        let found = |means: &[f64]| slower(&own, &numbered(means));
        assert_eq!(found(&[0.02, 0.3, 0.02, 0.09, 0.02]), [1, 3], "the slowest first");
        assert_eq!(found(&[0.02, 0.05, 0.03]), [0; 0]);
        assert_eq!(found(&[0.02, 0.02, 0.1]), [2]);
        assert_eq!(found(&[0.001, 0.001, 0.009]), [0; 0], "still fast");
        assert_eq!(found(&[0.02, 0.3]), [0; 0], "too few to compare");
    }

    #[test]
    fn counts_begin_anew_whenever_they_were_looked_at() {
        let counts = Counts::default();
        (0..4).for_each(|n| counts.took(Duration::from_secs(n)));
        assert_eq!((counts.mean(4), counts.mean(1)), (Some(1.5), None));
        counts.took(Duration::from_secs(7));
        assert_eq!(counts.mean(2), None);
        assert_eq!(counts.mean(1), None);
    }
}
