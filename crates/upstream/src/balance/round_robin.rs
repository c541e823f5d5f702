//! Smooth weighted round robin, after nginx: a heavy endpoint's turns are spread over the period instead of following
//! each other. The order of one period is worked out when the balancer is made, so that a pick is one atomic step.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Balance, Candidate, PickCx};

/// Longest period that is worked out. Weights whose sum is higher even without their common divisor are scaled down to
/// it, each to at least 1.
const LONGEST: u64 = 16_384;
/// Most steps for which the order is worked out as nginx does it; beyond that it is made by sorting.
const MOST_STEPS: u64 = 1 << 22;
/// Turns that are taken before the order is looked through for whoever can be chosen.
const TURNS: usize = 64;

/// Endpoints one after the other, each as often as its weight says.
#[derive(Debug)]
pub struct RoundRobin {
    order: Box<[u32]>,
    endpoints: usize,
    next: AtomicUsize,
}

impl RoundRobin {
    /// Works out the order of one period. It begins with turn number `next`.
    pub(super) fn new(candidates: &[Candidate<'_>], next: usize) -> Self {
        let order = period(&shortened(candidates.iter().map(|candidate| candidate.weight.into()).collect()));
        Self { order, endpoints: candidates.len(), next: AtomicUsize::new(next) }
    }

    fn take(&self) -> Option<usize> {
        let next = self.next.fetch_add(1, Relaxed);
        self.order.get(next % self.order.len().max(1)).map(|endpoint| *endpoint as usize)
    }
}

impl Balance for RoundRobin {
    fn pick(&self, cx: &dyn PickCx) -> Option<usize> {
        // Another try takes nobody's turn: else, of two endpoints of which one is dead, every request would begin with it.
        let turns = if cx.is_retry() { 0 } else { (2 * self.endpoints + 1).min(TURNS) };
        // An endpoint that cannot take its turn loses it: the others keep their shares of what is left.
        for _ in 0..turns {
            let endpoint = self.take()?;
            if cx.available(endpoint) {
                return Some(endpoint);
            }
        }
        if cx.is_choosy() {
            return None;
        }
        // Or few are left, or they are rare in the order: once through it, from an end that moves.
        let start = self.next.load(Relaxed) % self.order.len().max(1);
        let (before, after) = self.order.split_at(start);
        after.iter().chain(before).map(|endpoint| *endpoint as usize).find(|endpoint| cx.available(*endpoint))
    }

    fn turn(&self) -> usize {
        self.next.load(Relaxed)
    }
}

/// The same proportions in small numbers.
fn shortened(mut weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let sum = weights.iter().sum::<u64>() / divisor;
    for weight in weights.iter_mut().filter(|weight| **weight > 0) {
        *weight /= divisor;
        if sum > LONGEST {
            *weight = (*weight * LONGEST / sum).max(1);
        }
    }
    weights
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The order of one period.
fn period(weights: &[u64]) -> Box<[u32]> {
    let sum = weights.iter().sum::<u64>();
    if sum == weights.len() as u64 && weights.iter().all(|weight| *weight == 1) {
        return (0..sum as u32).collect();
    }
    if sum * weights.len() as u64 > MOST_STEPS { sorted(weights, sum) } else { stepped(weights, sum) }
}

/// Each endpoint's turns at even distances, in one line: for so many endpoints that the other way would take long.
fn sorted(weights: &[u64], sum: u64) -> Box<[u32]> {
    let mut turns: Vec<(u64, u32)> = Vec::with_capacity(sum as usize);
    for (endpoint, weight) in weights.iter().enumerate() {
        // At a distance of one period over the weight, the first after half of that.
        turns.extend((0..*weight).map(|turn| (((2 * turn + 1) << 32) / (2 * weight), endpoint as u32)));
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, endpoint)| endpoint).collect()
}

/// In each step every endpoint gains its weight, the richest takes the turn and pays the sum of all.
fn stepped(weights: &[u64], sum: u64) -> Box<[u32]> {
    let mut wealth = vec![0_i64; weights.len()];
    let mut step = || {
        let mut richest = 0;
        for (endpoint, weight) in weights.iter().enumerate() {
            wealth[endpoint] += *weight as i64;
            if wealth[endpoint] > wealth[richest] {
                richest = endpoint;
            }
        }
        wealth[richest] -= sum as i64;
        richest as u32
    };
    (0..sum).map(|_| step()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_is_that_of_nginx() {
        assert_eq!(*period(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*period(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(*period(&[2, 0, 1]), [0, 2, 0]);
        assert!(period(&[]).is_empty());
    }

    #[test]
    fn proportions_are_kept_in_small_numbers() {
        assert_eq!(shortened(vec![1000, 500, 0]), [2, 1, 0]);
        assert_eq!(shortened(vec![7]), [1]);
        let many = shortened((0..1000).map(|n| 501 + n % 500).collect());
        assert!(many.iter().sum::<u64>() <= LONGEST, "{}", many.iter().sum::<u64>());
    }

    proptest! {
        #[test]
        fn a_period_serves_each_by_weight_and_smoothly(
            weights in prop::collection::vec(0_u64..=30, 1..8),
            order in prop::sample::select(vec![stepped as fn(&[u64], u64) -> Box<[u32]>, sorted]),
        ) {
            let sum: u64 = weights.iter().sum();
            let order = order(&weights, sum);
            prop_assert_eq!(order.len() as u64, sum);
            let mut served = vec![0_i64; weights.len()];
            for (turn, endpoint) in order.iter().enumerate() {
                served[*endpoint as usize] += 1;
                for (endpoint, served) in served.iter().enumerate() {
                    // After every turn, nobody is more than about a turn away from the exact share.
                    let owed = (turn as i64 + 1) * weights[endpoint] as i64 - served * sum as i64;
                    prop_assert!(owed.unsigned_abs() < 2 * sum, "{order:?}: {endpoint} at {turn}");
                }
            }
            prop_assert_eq!(served, weights.iter().map(|w| *w as i64).collect::<Vec<_>>());
        }
    }
}
