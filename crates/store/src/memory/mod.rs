//! What is in the memory of this process: entries, and counters.

mod counters;
mod entries;

pub use counters::MemoryCounters;
pub use entries::Memory;
