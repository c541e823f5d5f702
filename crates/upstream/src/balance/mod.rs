//! Which instance takes the next attempt. One file per way to choose; all are pure, without locks, and shared by the
//! workers. A balancer is made for one list of endpoints and answers with positions in it; another list, another
//! balancer.

use std::fmt::Debug;
use std::sync::Arc;

use tollgate_registry::Endpoint;

mod consistent_hash;
mod least_requests;
mod round_robin;

pub use consistent_hash::ConsistentHash;
pub use least_requests::LeastRequests;
pub use round_robin::RoundRobin;

/// Chooses among the endpoints it was made for.
pub trait Balance: Debug + Send + Sync {
    /// The position of the endpoint for this attempt, one that [`PickCx::available`] agrees to; `None` if there is no
    /// such endpoint with a weight.
    fn pick(&self, cx: &dyn PickCx) -> Option<usize>;
}

/// What a balancer may know of the moment. Positions are those of the endpoints that the balancer was made for.
pub trait PickCx {
    /// Whether the endpoint may be chosen: healthy, below its limits, not tried for this request before.
    fn available(&self, endpoint: usize) -> bool;
    /// Requests that the endpoint is working on now.
    fn in_flight(&self, endpoint: usize) -> u64;
    /// Whether this is another try of a request that took its turn already.
    fn is_retry(&self) -> bool {
        false
    }
    /// A random number, another on each call.
    fn random(&self) -> u64;
    /// What requests have in common that shall reach the same endpoint; `None` if this one lacks it.
    fn hash_key(&self) -> Option<&[u8]>;
}

/// The ways to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// One after the other, by weight.
    #[default]
    RoundRobin,
    /// The less busy one of two drawn by weight.
    LeastRequests,
    /// By a key of the request: the same key reaches the same endpoint as long as that is available.
    ConsistentHash,
}

impl Algorithm {
    /// A balancer over these endpoints.
    pub fn build(self, endpoints: &[Endpoint]) -> Arc<dyn Balance> {
        match self {
            Self::RoundRobin => Arc::new(RoundRobin::new(endpoints)),
            Self::LeastRequests => Arc::new(LeastRequests::new(endpoints)),
            Self::ConsistentHash => Arc::new(ConsistentHash::new(endpoints)),
        }
    }
}

/// The weights, in which 0 means never: a service whose other instances are gone has none.
fn weights(endpoints: &[Endpoint]) -> Vec<u64> {
    endpoints.iter().map(|e| u64::from(e.weight)).collect()
}

#[cfg(test)]
mod tests;
