//! Lists of networks: written in the config, or in files that are followed; and who is let in by them; and from which country an address is.

#![forbid(unsafe_code)]

mod access;
mod countries;
mod list;
mod networks;

pub use access::{Access, Side};
pub use countries::CountryFile;
pub use list::List;
pub use networks::Networks;
