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
mod service;
mod shared;

pub use budget::Budget;
pub use connection::Connection;
pub use service::{Ask, Refusal, Service};
pub use shared::Settings;
