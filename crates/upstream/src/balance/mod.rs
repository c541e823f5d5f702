//! Which instance takes the next attempt. One file per way to choose; all are pure, without locks, and shared by the
//! workers. A balancer is made for one list of endpoints and answers with positions in it; another list, another
//! balancer.
//!
//! However many endpoints there are, a pick takes a few steps. Only where hardly any of them can be chosen are all looked at.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tollgate_core::facts::Address;
use tollgate_registry::Endpoint;

pub mod ewma;
mod lots;
mod maglev;
pub mod orca;
mod round_robin;
mod two_choices;

pub use maglev::Maglev;
pub use round_robin::RoundRobin;
pub use two_choices::TwoChoices;

use two_choices::By;

/// Chooses among the endpoints it was made for.
pub trait Balance: Debug + Send + Sync {
    /// The position of the endpoint for this attempt, one that [`PickCx::available`] agrees to; `None` if there is no
    /// such endpoint with a weight.
    fn pick(&self, cx: &dyn PickCx) -> Option<usize>;

    /// Whose turn it is, for the balancer that takes this one's place.
    fn turn(&self) -> usize {
        0
    }
}

/// What a balancer may know of the moment. Positions are those of the endpoints that the balancer was made for.
pub trait PickCx {
    /// Whether the endpoint may be chosen: healthy, below its limits, not tried for this request before.
    fn available(&self, endpoint: usize) -> bool;
    /// Requests that the endpoint is working on now.
    fn in_flight(&self, endpoint: usize) -> u64;
    /// Requests that all endpoints are working on now; counted where the way to choose needs it.
    fn total_in_flight(&self) -> u64 {
        0
    }
    /// How fast the endpoint answers, in seconds; `None`: that is not known yet.
    fn latency(&self, _endpoint: usize) -> Option<f64> {
        None
    }
    /// Whether this is another try of a request that took its turn already.
    fn is_retry(&self) -> bool {
        false
    }
    /// Whether there will be another pick with less to wish for if this one finds nobody: then it does not look for long.
    fn is_choosy(&self) -> bool {
        false
    }
    /// A random number, another on each call.
    fn random(&self) -> u64;
    /// What requests have in common that shall reach the same endpoint; `None` if this one lacks it.
    fn hash_key(&self) -> Option<&[u8]>;
}

/// Who may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'e> {
    /// Where it is reached.
    pub address: &'e Address,
    /// Its share relative to the others'. 0 means never: a service whose other instances are gone has none.
    pub weight: u32,
}

/// How long it takes until what was is almost forgotten, unless it is written.
pub const DECAY: Duration = Duration::from_secs(10);

/// The ways to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// One after the other, by weight.
    #[default]
    RoundRobin,
    /// The less busy one of two drawn by weight.
    LeastRequests,
    /// The faster one of two drawn by weight, going by how fast they answer and how busy they are.
    Latency {
        /// In this time a sample comes to count a third.
        decay: Duration,
    },
    /// The less busy one of two, drawn by how much each can do, going by the load that they report.
    Load(orca::Reporting),
    /// By a key of the request: the same key reaches the same endpoint as long as that is available.
    ConsistentHash {
        /// How much of its fair share of what is in flight an endpoint gets at most, in percent.
        bound: Option<u32>,
    },
}

impl Algorithm {
    /// A balancer over these; in turn, it begins with turn number `turn`.
    pub fn build(&self, candidates: &[Candidate<'_>], turn: usize) -> Arc<dyn Balance> {
        match self {
            Self::RoundRobin => Arc::new(RoundRobin::new(candidates, turn)),
            Self::LeastRequests | Self::Load(_) => Arc::new(TwoChoices::new(candidates, By::InFlight)),
            Self::Latency { .. } => Arc::new(TwoChoices::new(candidates, By::Latency)),
            Self::ConsistentHash { bound } => Arc::new(Maglev::new(candidates, *bound)),
        }
    }

    /// Whether keys belong to endpoints.
    pub(crate) fn is_by_key(&self) -> bool {
        matches!(self, Self::ConsistentHash { .. })
    }
}

/// Endpoints as they are named.
pub fn candidates(endpoints: &[Endpoint]) -> Vec<Candidate<'_>> {
    endpoints.iter().map(|endpoint| Candidate { address: &endpoint.address, weight: endpoint.weight }).collect()
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
