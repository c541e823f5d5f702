//! The better one of two drawn at random (or of a few such pairs): nearly as even as asking all of them, at the price of asking two
//! (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use super::lots::Lots;
use super::{Balance, Candidate, PickCx};

/// Pairs that are drawn before all are looked at.
const PAIRS: usize = 32;
/// Of how many pairs the best is taken, going by latency. With one, two slow endpoints of five would get a tenth of all requests, since that
/// often a pair has no other; with three, a thousandth.
const COMPARED: usize = 3;

/// Draws two endpoints by weight and takes the one that costs less.
#[derive(Debug)]
pub struct TwoChoices {
    lots: Lots,
    by: By,
}

/// What an endpoint costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Requests in flight per weight.
    InFlight,
    /// The time in which it answers, as often as requests are in flight there, and one for the next.
    Latency,
}

impl TwoChoices {
    /// Sums up the weights.
    pub(super) fn new(candidates: &[Candidate<'_>], by: By) -> Self {
        Self { lots: Lots::new(candidates), by }
    }

    /// The better one of a pair, of those that can be chosen.
    fn best_of_two(&self, cx: &dyn PickCx) -> Option<usize> {
        let (a, b) = self.lots.two(cx.random());
        match (cx.available(a), cx.available(b)) {
            (true, true) => Some(self.better(cx, a, b)),
            (true, false) => Some(a),
            (false, true) => Some(b),
            (false, false) => None,
        }
    }

    /// Alike means the first: idle endpoints are chosen exactly by weight.
    fn better(&self, cx: &dyn PickCx, a: usize, b: usize) -> usize {
        let is_b = match self.by {
            By::InFlight => {
                let load = |one, other| u128::from(cx.in_flight(one)) * u128::from(self.lots.weight(other));
                load(b, a) < load(a, b)
            }
            By::Latency => {
                // Of whom nothing is known is thought to be like the other: what is in flight decides, and soon something is known.
                let (of_a, of_b) = match (cx.latency(a), cx.latency(b)) {
                    (Some(of_a), Some(of_b)) => (of_a, of_b),
                    _ => (1.0, 1.0),
                };
                of_b * self.queue(cx, b) < of_a * self.queue(cx, a)
            }
        };
        if is_b { b } else { a }
    }

    /// Requests in flight with the next one; those of an endpoint of twice the mean weight count half.
    fn queue(&self, cx: &dyn PickCx, endpoint: usize) -> f64 {
        let mean = self.lots.total() as f64 / self.lots.len() as f64;
        cx.in_flight(endpoint) as f64 * mean / self.lots.weight(endpoint) as f64 + 1.0
    }
}

impl Balance for TwoChoices {
    fn pick(&self, cx: &dyn PickCx) -> Option<usize> {
        if self.lots.total() == 0 {
            return None;
        }
        let enough = if self.by == By::Latency { COMPARED } else { 1 };
        let pairs = (0..PAIRS).filter_map(|_| self.best_of_two(cx));
        let best = pairs.take(enough).reduce(|a, b| if a == b { a } else { self.better(cx, a, b) });
        if best.is_some() || cx.is_choosy() {
            return best;
        }
        let count = self.lots.len();
        let start = (cx.random() % count as u64) as usize;
        let all = (0..count).map(|step| (start + step) % count);
        all.filter(|e| self.lots.weight(*e) > 0 && cx.available(*e)).reduce(|a, b| self.better(cx, a, b))
    }
}
