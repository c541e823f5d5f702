//! Services: their instances, which of them are well, the connections to them, how one is chosen, retries within a budget.
//!
//! Knows no routes and no policies; what a request says is the engine's.

#![forbid(unsafe_code)]

pub mod adaptive;
mod admission;
mod arranging;
pub mod balance;
pub mod breaker;
mod budget;
mod connect;
mod connection;
mod exchange;
pub mod faults;
mod growing;
pub mod health;
mod instance;
mod learnt;
mod making;
mod opening;
pub mod outbound;
pub mod outlier;
mod pick;
mod service;
mod session;
mod shared;

mod standing;
mod sticky;
mod tiers;
mod waiting;
mod watch;
mod window;

pub use admission::Smoothing;
pub use arranging::Balancing;
pub use budget::Budget;
pub use connection::{Connection, Share, Whole};
pub use learnt::Lesson;
pub use service::{Admitting, Ask, Refusal, Service};
pub use session::{Lease, SessionSettings};
pub use shared::{Protocol, Settings};
pub use standing::Standing;
pub use sticky::Sticky;
pub use watch::{InstanceStatus, Watch, WhenAllFail};
