//! Lists of networks that a config names: a port.

use std::fmt;
use std::net::IpAddr;

use crate::principal::Standing;

/// Networks by a name.
pub trait AddressList: fmt::Debug + Send + Sync + 'static {
    /// Its name under `lists`.
    fn name(&self) -> &str;

    /// The length of the prefix of the smallest of its networks that has this address, in bits.
    fn smallest_with(&self, address: IpAddr) -> Option<u8>;

    /// What it is, in a few words.
    fn describe(&self) -> String;

    /// Whether its file can be used.
    fn standing(&self) -> Standing;
}
