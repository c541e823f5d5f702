//! Moves the limit. Pure: what it is told is all that it knows.

use std::time::Duration;

/// How much longer than without a queue requests may take before the limit is lowered.
pub(super) const TOLERANCE: f64 = 1.5;
/// How far the limit moves at once towards where it should be: answers tell of the limit of a moment ago, and it must not swing.
const STEP: f64 = 0.3;
/// How far what requests take without a queue moves at once.
const BLEND: f64 = 0.3;
/// For how long a measurement of what requests take without a queue is good, if they would take longer at the limit.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// While it is measured, the limit is this part of what it was: there is no queue in the service then.
const MEASURED_AT: f64 = 1.0 / 3.0;

/// Between which numbers the limit moves, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// At the beginning.
    pub initial: u32,
}

/// What was seen in some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// When it ended.
    pub(super) at: Duration,
    /// What half of the requests took at most.
    pub(super) median: Duration,
    /// The most requests at a time.
    pub(super) peak: u32,
}

/// The limit, and why it is what it is.
#[derive(Debug)]
pub(super) struct Gradient {
    limits: Limits,
    limit: f64,
    /// What requests take while none of them queues in the service.
    alone: Option<f64>,
    /// When that was measured.
    measured: Duration,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The limit holds.
    Steady,
    /// Fewer are let in, until those that queue in the service are answered.
    Draining,
    /// What is answered now did not queue.
    Measuring,
}

impl Gradient {
    pub(super) fn new(limits: Limits) -> Self {
        let limit = f64::from(limits.initial.clamp(limits.min, limits.max));
        Self { limits, limit, alone: None, measured: Duration::ZERO, phase: Phase::Steady }
    }

    /// How many may be under way.
    pub(super) fn in_force(&self) -> u32 {
        let part = if self.phase == Phase::Steady { 1.0 } else { MEASURED_AT };
        // At least one: else nothing would ever be found out.
        (self.limit * part).floor().max(f64::from(self.limits.min)).max(1.0) as u32
    }

    /// What requests take that do not queue, if that is known.
    pub(super) fn alone(&self) -> Option<Duration> {
        self.alone.map(Duration::from_secs_f64)
    }

    /// Some time is over.
    pub(super) fn observe(&mut self, window: &Window) {
        let took = window.median.as_secs_f64().max(1e-9);
        match self.phase {
            Phase::Draining => {
                self.phase = Phase::Measuring;
                return;
            }
            Phase::Measuring => {
                (self.alone, self.measured, self.phase) = (Some(took), window.at, Phase::Steady);
                return;
            }
            Phase::Steady => {}
        }
        let had_room = f64::from(window.peak) <= self.limit * MEASURED_AT;
        let alone = match self.alone {
            None => took,
            Some(alone) if had_room || took < alone => alone + (took - alone) * BLEND,
            Some(alone) => alone,
        };
        if self.alone.is_none() || had_room || took < alone * 1.1 {
            self.measured = window.at;
        }
        self.alone = Some(alone);
        // Where the limit holds nobody back, it says nothing.
        if f64::from(window.peak) * 2.0 < self.limit {
            return;
        }
        self.step(TOLERANCE * alone / took);
        if window.at.saturating_sub(self.measured) >= MEASURE_EVERY {
            self.phase = Phase::Draining;
        }
    }

    /// `ratio`: below one, requests take too long; above, they take no longer than they may.
    fn step(&mut self, ratio: f64) {
        let limit = self.limit;
        // A small queue in the service keeps it at work; as long as there is none, the limit may grow faster.
        let headroom = limit.sqrt() + limit * ((ratio - 1.0) * 2.0).clamp(0.0, 1.0);
        let target = limit * ratio.clamp(0.5, 1.0) + headroom;
        self.limit = (limit + (target - limit) * STEP).clamp(self.limits.min.into(), self.limits.max.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min: 4, max: 1000, initial: 20 };

    /// So many windows of 100 ms, in which requests take what `takes` says of the limit, all of which is used.
    fn run(gradient: &mut Gradient, from: u32, windows: u32, takes: impl Fn(u32) -> f64) -> Vec<u32> {
        let window = |number: u32, limit: u32| Window {
            at: Duration::from_millis(100) * number,
            median: Duration::from_secs_f64(takes(limit) / 1000.0),
            peak: limit,
        };
        let mut limits = Vec::new();
        for number in from..from + windows {
            limits.push(gradient.in_force());
            gradient.observe(&window(number, gradient.in_force()));
        }
        limits
    }

    /// A service with so many hands, of which each needs 50 ms.
    fn hands(many: u32) -> impl Fn(u32) -> f64 {
        move |limit| 50.0 * (f64::from(limit) / f64::from(many)).max(1.0)
    }

    #[test]
    fn the_limit_settles_a_little_above_what_the_service_can_do() {
        for many in [3, 10, 100, 400] {
            let mut gradient = Gradient::new(LIMITS);
            let limits = run(&mut gradient, 0, 600, hands(many));
            let settled = &limits[300..];
            let usual = settled.iter().filter(|limit| (many..=many * 2 + 8).contains(limit)).count();
            assert!(usual * 100 >= settled.len() * 95, "{many}: {settled:?}");
        }
    }

    #[test]
    fn a_service_that_has_room_gets_more_within_seconds() {
        let mut gradient = Gradient::new(LIMITS);
        let limits = run(&mut gradient, 0, 30, |_| 50.0);
        assert_eq!(limits.last(), Some(&1000), "{limits:?}");
    }

    #[test]
    fn a_service_that_became_slow_for_good_is_measured_anew() {
        let mut gradient = Gradient::new(LIMITS);
        run(&mut gradient, 0, 100, |_| 10.0);
        let limits = run(&mut gradient, 100, 300, |_| 80.0);
        assert!(limits.iter().take(60).min() < Some(&20), "{limits:?}");
        assert!(limits.last() > Some(&500), "{limits:?}");
    }

    #[test]
    fn who_asks_for_little_changes_nothing() {
        let mut gradient = Gradient::new(LIMITS);
        for number in 0..100 {
            let at = Duration::from_millis(100) * number;
            gradient.observe(&Window { at, median: Duration::from_millis(u64::from(number)), peak: 2 });
        }
        assert_eq!(gradient.in_force(), 20);
    }

    #[test]
    fn it_stays_between_its_ends() {
        let limits = Limits { min: 5, max: 50, initial: 100 };
        let mut gradient = Gradient::new(limits);
        assert_eq!(gradient.in_force(), 50);
        let slower = run(&mut gradient, 0, 90, |limit| f64::from(limit) * f64::from(limit));
        assert!(slower.iter().all(|limit| (5..=50).contains(limit)), "{slower:?}");
    }
}
