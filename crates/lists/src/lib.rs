//! Lists of networks: written in the config, or in files that are followed; and who is let in by them.

#![forbid(unsafe_code)]

mod access;
mod list;
mod networks;

pub use access::{Access, Side};
pub use list::List;
pub use networks::Networks;
