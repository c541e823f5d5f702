//! Drawing by weight, in one step however many there are.

use super::Candidate;

/// Whom a random number falls on, each as often as its weight says.
#[derive(Debug)]
pub(super) struct Lots {
    weights: Box<[u64]>,
    /// `ends[i]` is the sum of the weights up to and with endpoint `i`.
    ends: Box<[u64]>,
    /// The line from zero to the sum, cut into as many parts as there are endpoints: who is at the beginning of each. From there it is
    /// a step or two to whoever is at a point.
    guide: Box<[u32]>,
}

impl Lots {
    /// Lots of these weights.
    pub(super) fn new(candidates: &[Candidate<'_>]) -> Self {
        let weights: Box<[u64]> = candidates.iter().map(|candidate| candidate.weight.into()).collect();
        let mut end = 0;
        let ends: Box<[u64]> = weights
            .iter()
            .map(|weight| {
                end += weight;
                end
            })
            .collect();
        let parts = weights.len() as u64;
        let begin = |part: u64| {
            let point = (u128::from(part) * u128::from(end) / u128::from(parts)) as u64;
            ends.partition_point(|end| *end <= point) as u32
        };
        let guide = (0..parts).map(begin).collect();
        Self { weights, ends, guide }
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// What one counts.
    pub(super) fn weight(&self, endpoint: usize) -> u64 {
        self.weights[endpoint]
    }

    /// How many there are, those without a weight too.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// The endpoint at `point`, which is below the total.
    fn at(&self, point: u64) -> usize {
        let part = u128::from(point) * self.guide.len() as u128 / u128::from(self.total());
        let begin = self.guide[part as usize] as usize;
        begin + self.ends[begin..].iter().take_while(|end| **end <= point).count()
    }

    /// Two different endpoints, the second drawn from what the first leaves; the same one twice if there is only one. There must be a
    /// weight.
    pub(super) fn two(&self, random: u64) -> (usize, usize) {
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
}

/// Maps 32 random bits evenly to `0..below`.
fn scale(bits: u64, below: u64) -> u64 {
    ((u128::from(bits) * u128::from(below)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::super::candidates;
    use super::super::tests::endpoints;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_point_belongs_to_whom_its_weight_says(weights in prop::collection::vec(0_u32..=9, 1..40)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let lots = Lots::new(&candidates(&endpoints(&weights)));
            let mut points = vec![0; weights.len()];
            for point in 0..lots.total() {
                points[lots.at(point)] += 1;
            }
            prop_assert_eq!(points, weights);
        }
    }
}
