//! How long requests took, to about 3 %, in little memory.

use std::time::Duration;

/// Steps of each power of two.
const STEPS: u64 = 32;

/// Counts by duration, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let slot = slot(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if self.counts.len() <= slot {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += 1;
        self.total += 1;
    }

    /// What this share of all requests (0.99: 99 of 100) did not exceed; zero if there were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let enough = (self.total as f64 * share).ceil() as u64;
        let mut sum = 0;
        let slot = self.counts.iter().position(|count| {
            sum += count;
            sum >= enough.max(1)
        });
        Duration::from_micros(slot.map_or(0, top))
    }
}

fn slot(micros: u64) -> usize {
    let slot = match micros.checked_ilog2() {
        Some(power) if power >= STEPS.ilog2() => {
            let shift = power - STEPS.ilog2();
            u64::from(shift + 1) * STEPS + (micros >> shift) - STEPS
        }
        _ => micros,
    };
    slot as usize
}

/// The longest duration that falls into a slot.
fn top(slot: usize) -> u64 {
    let slot = slot as u64;
    match (slot / STEPS).checked_sub(1) {
        None => slot,
        Some(shift) => ((slot % STEPS + STEPS + 1) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_one_another_and_are_narrow() {
        for micros in (0..5000).chain([123_456, 1 << 30]) {
            let top = top(slot(micros));
            assert!(top >= micros && top - micros <= micros / 32, "{micros}: {top}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_came() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|millis| histogram.add(Duration::from_millis(millis)));
        let near = |share, millis: u64| {
            let found = histogram.quantile(share);
            assert!(found >= Duration::from_millis(millis) && found < Duration::from_millis(millis + 4), "{found:?}");
        };
        near(0.5, 50);
        near(0.99, 99);
        near(1.0, 100);
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
