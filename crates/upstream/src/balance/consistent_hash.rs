//! A hash ring after ketama: every endpoint owns points on a circle by its address, a key belongs to the next point.
//! An endpoint that comes takes only its own share from the others, one that goes leaves only its own; gateways with
//! the same endpoints agree without talking to each other.

use tollgate_registry::Endpoint;
use twox_hash::XxHash3_64;

use super::{Balance, PickCx, weights};

/// Points on the ring per weight. With 160 the shares are even to about eight percent.
const POINTS: u64 = 160;
/// Most points of a ring. Beyond it all endpoints' points are halved as often as needed, so that the ring changes
/// for a weight that is added only where that doubles the sum of all.
const MOST_POINTS: u64 = 65_536;

/// Sends equal keys to the same endpoint; keys without an endpoint of their own go round the ring to the next.
#[derive(Debug)]
pub struct ConsistentHash {
    /// The points in ascending order.
    points: Box<[u64]>,
    /// Whose they are.
    owners: Box<[u32]>,
    endpoints: usize,
}

impl ConsistentHash {
    /// Builds the ring.
    pub fn new(endpoints: &[Endpoint]) -> Self {
        let weights = weights(endpoints);
        let wanted: u64 = weights.iter().map(|weight| weight * POINTS).sum();
        let halvings = wanted.div_ceil(MOST_POINTS).max(1).next_power_of_two().trailing_zeros();
        let mut ring = Vec::new();
        for (owner, (endpoint, weight)) in endpoints.iter().zip(weights).enumerate() {
            let seed = XxHash3_64::oneshot(endpoint.address.to_string().as_bytes());
            let count = if weight == 0 { 0 } else { ((weight * POINTS) >> halvings).max(1) };
            ring.extend((0..count).map(|n| (XxHash3_64::oneshot_with_seed(seed, &n.to_le_bytes()), owner as u32)));
        }
        ring.sort_unstable();
        let (points, owners): (Vec<_>, Vec<_>) = ring.into_iter().unzip();
        Self { points: points.into(), owners: owners.into(), endpoints: endpoints.len() }
    }
}

impl Balance for ConsistentHash {
    fn pick(&self, cx: &dyn PickCx) -> Option<usize> {
        let place = cx.hash_key().map_or_else(|| cx.random(), XxHash3_64::oneshot);
        let after = self.points.partition_point(|point| *point < place);
        let (wrapped, ahead) = self.owners.split_at(after);
        let mut owners = ahead.iter().chain(wrapped).map(|owner| *owner as usize);
        let owner = owners.next()?;
        if cx.available(owner) {
            return Some(owner);
        }
        // The whole ring is long: walk it only if there is somebody to be found.
        (0..self.endpoints).any(|endpoint| cx.available(endpoint)).then(|| owners.find(|owner| cx.available(*owner)))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(weights: &[u32]) -> ConsistentHash {
        let endpoint = |(n, weight): (usize, &u32)| {
            Endpoint::new(std::net::SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 80)), *weight)
        };
        ConsistentHash::new(&weights.iter().enumerate().map(endpoint).collect::<Vec<_>>())
    }

    #[test]
    fn a_ring_is_bounded_and_everybody_stays_on_it() {
        assert_eq!(ring(&[1, 2, 0]).points.len(), 480);
        let heavy = ring(&[1000, 1000, 1000, 1]);
        assert!(heavy.points.len() as u64 <= MOST_POINTS + 4, "{}", heavy.points.len());
        assert!(heavy.owners.contains(&3));
    }
}
