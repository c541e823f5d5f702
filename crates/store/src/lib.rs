//! Where counters and entries are that several workers, and several gateways, share: one kind of store per module.

#![forbid(unsafe_code)]

mod count;
mod memory;
mod redis;

pub use memory::{Memory, MemoryCounters};
pub use redis::{Credentials, RedisAt, RedisCounters, RedisError, RedisSettings, RedisTls};
