//! Raw-byte cases as data: what is sent, what must be answered, what the backend may have seen.
//!
//! `tests/conformance/README.md` describes the files. [`run`] holds the gateway against them, [`readers`] shows that
//! what is refused can truly be understood in two ways.

pub mod case;
pub mod readers;
pub mod run;
pub mod seen;
mod yaml;

pub use case::{Case, Exchange};
