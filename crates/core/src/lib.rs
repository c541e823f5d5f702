//! What every other crate speaks of. Knows no network, no HTTP library, no runtime.

#![forbid(unsafe_code)]

pub mod address_list;
pub mod body;
pub mod buffer;
pub mod cache;
pub mod caller;
pub mod clock;
pub mod control;
pub mod counters;
pub mod country;
pub mod criticality;
pub mod decision;
pub mod decode;
pub mod diagnostic;
pub mod dialect;
pub mod exchange;
pub mod facts;
pub mod field;
pub mod handler;
pub mod head;
pub mod host;
pub mod ids;
pub mod in_flight;
pub mod node;
pub mod onward;
pub mod pacer;
pub mod path;
pub mod policy;
pub mod principal;
pub mod problem;
pub mod reply;
pub mod secrets;
pub mod text;
pub mod units;

pub use schemars;
pub use serde_json;
