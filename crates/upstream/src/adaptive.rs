//! Adaptive concurrency: how many requests a service may have at a time is found out from how long its answers take.
//!
//! While a service keeps up, more requests at a time take no longer each. Once they do, they only queue in it. `gradient` compares what
//! requests take now with what they take without a queue, and moves the limit: the idea of TCP Vegas, as in Netflix's concurrency-limits and
//! Envoy's filter of that name. What is beyond the limit waits here, in a short `line` in which those that matter most come first, or is refused at
//! once: a request that would be answered too late is work for nobody.
//!
//! Counted from the moment at which a request may be sent to the head of its answer; long bodies and tunnels are nobody's concern here.

mod gate;
mod gradient;
mod line;
mod samples;
#[cfg(test)]
mod simulation;

pub(crate) use gate::{Gate, Overloaded};
pub use gate::{Permit, Took};
pub use gradient::Limits;

use std::time::Duration;

/// What the file says of it.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Between which numbers the limit moves, and where it begins.
    pub limits: Limits,
    /// How many may wait.
    pub queue: usize,
    /// How long one waits at most.
    pub wait: Duration,
}
