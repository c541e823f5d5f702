//! The less busy one of two drawn at random: nearly as even as asking all of them, at the price of asking two
//! (M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use tollgate_registry::Endpoint;

use super::{Balance, PickCx, weights};

/// Draws two endpoints by weight and takes the one with fewer requests in flight per weight.
#[derive(Debug)]
pub struct LeastRequests {
    weights: Box<[u64]>,
    /// `ends[i]` is the sum of the weights up to and with endpoint `i`.
    ends: Box<[u64]>,
}

impl LeastRequests {
    /// Sums up the weights.
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let weights = weights(endpoints).into_boxed_slice();
        let mut end = 0;
        let ends = weights.iter().map(|weight| {
            end += weight;
            end
        });
        Self { ends: ends.collect(), weights }
    }

    fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The endpoint at `point`, which is below the total.
    fn at(&self, point: u64) -> usize {
        self.ends.partition_point(|end| *end <= point)
    }

    /// Two different endpoints, the second drawn from what the first leaves; the same one twice if there is only one.
    fn draw(&self, random: u64) -> (usize, usize) {
        let (high, low) = (random >> 32, random & 0xffff_ffff);
        let first = self.at(scale(high, self.total()));
        let rest = self.total() - self.weights[first];
        if rest == 0 {
            return (first, first);
        }
        let point = scale(low, rest);
        let before_first = self.ends[first] - self.weights[first];
        (first, self.at(if point < before_first { point } else { point + self.weights[first] }))
    }

    fn less_busy(&self, cx: &dyn PickCx, a: usize, b: usize) -> usize {
        let load = |endpoint, other: usize| u128::from(cx.in_flight(endpoint)) * u128::from(self.weights[other]);
        if load(b, a) < load(a, b) { b } else { a }
    }
}

impl Balance for LeastRequests {
    fn pick(&self, cx: &dyn PickCx) -> Option<usize> {
        if self.total() == 0 {
            return None;
        }
        let random = cx.random();
        let (a, b) = self.draw(random);
        match (cx.available(a), cx.available(b)) {
            // Alike means the first: idle endpoints are chosen exactly by weight.
            (true, true) => Some(self.less_busy(cx, a, b)),
            (true, false) => Some(a),
            (false, true) => Some(b),
            (false, false) => {
                let count = self.weights.len();
                let start = (random % count as u64) as usize;
                let all = (0..count).map(|step| (start + step) % count);
                all.filter(|e| self.weights[*e] > 0 && cx.available(*e)).reduce(|a, b| self.less_busy(cx, a, b))
            }
        }
    }
}

/// Maps 32 random bits evenly to `0..below`.
fn scale(bits: u64, below: u64) -> u64 {
    ((u128::from(bits) * u128::from(below)) >> 32) as u64
}
