//! What is in the memory of this process: entries, and counters.

mod bucket;
mod calendar;
mod counters;
mod entries;
mod sliding;
mod table;

pub use counters::MemoryCounters;
pub use entries::Memory;
