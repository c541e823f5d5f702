//! What every other crate speaks of. Knows no network, no HTTP library, no runtime.

pub mod decode;
pub mod diagnostic;
pub mod node;
pub mod units;

pub use schemars;
pub use serde_json;
