//! Lists of networks: written in the config, or in files that are followed. Whom to let in by them is a policy's business.

#![forbid(unsafe_code)]

mod list;
mod networks;

pub use list::List;
pub use networks::Networks;
