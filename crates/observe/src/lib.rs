//! What the gateway lets others see: metrics and the access log. Both are written by the workers without a lock and
//! without waiting, and read from outside the hot path.

#![forbid(unsafe_code)]

pub mod access_log;
pub mod audit;
pub mod metrics;
pub mod own_log;

pub use metrics::{Format, Metrics};
