//! The admin API: for those who run the gateway, to look at it and to change it while it runs. Not for its clients: it is
//! served on a listener of its own, to those who have its token.
//!
//! What it shows and does is asked of [`Control`](tollgate_core::control::Control), a port; it knows neither engine nor files
//! of the config. `guard.rs` says who may ask, `api.rs` what can be asked.

#![forbid(unsafe_code)]

mod api;
pub mod faults;
mod guard;
mod openapi;
pub mod registry;
mod token;

pub use api::{routes, served};
pub use guard::Guard;
pub use token::Token;
