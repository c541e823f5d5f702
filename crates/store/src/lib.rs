//! Where counters and entries are that several workers, and later several gateways, share: one kind of store per module.

#![forbid(unsafe_code)]

mod memory;

pub use memory::{Memory, MemoryCounters};
