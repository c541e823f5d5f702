//! Services: their instances, the connections to them, how one is chosen, retries within a budget.
//!
//! Knows no routes and no policies; what a request says is the engine's.

#![forbid(unsafe_code)]

pub mod balance;
mod budget;
mod connect;
mod connection;
pub mod faults;
mod instance;
mod making;
mod opening;
mod service;
mod session;
mod shared;

pub use budget::Budget;
pub use connection::{Connection, Share, Whole};
pub use service::{Ask, Refusal, Service};
pub use session::{Lease, SessionSettings};
pub use shared::{Protocol, Settings};
