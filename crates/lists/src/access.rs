//! Who is let in by their address: those of some networks and lists, but not those of others.

use std::net::IpAddr;
use std::sync::Arc;

use tollgate_core::address_list::AddressList;
use tollgate_core::facts::ClientAddress;

use crate::Networks;

/// Whom to let in, and whom to keep out.
#[derive(Debug, Default)]
pub struct Access {
    /// Without it, everybody who is not kept out is let in.
    pub allow: Option<Side>,
    /// Who is kept out, unless a smaller network of `allow` has them.
    pub deny: Side,
}

/// Those of one kind.
#[derive(Debug, Default)]
pub struct Side {
    /// Networks that are written.
    pub written: Networks,
    /// Lists that are named.
    pub lists: Vec<Arc<dyn AddressList>>,
    /// Whoever comes by a Unix socket.
    pub has_unix: bool,
    /// All of them, as they are written.
    pub texts: Vec<String>,
}

impl Side {
    /// The prefix of the smallest network that has this client; those without an address are in one as large as any.
    fn smallest_with(&self, client: ClientAddress) -> Option<u8> {
        match client {
            ClientAddress::Ip(address) => self.smallest_with_ip(address),
            ClientAddress::Unix => self.has_unix.then_some(0),
        }
    }

    fn smallest_with_ip(&self, address: IpAddr) -> Option<u8> {
        let of_lists = self.lists.iter().filter_map(|list| list.smallest_with(address)).max();
        self.written.smallest_with(address).max(of_lists)
    }
}

impl Access {
    /// Whether this client is let in: the smallest network that has it decides, and in doubt it is no.
    #[must_use]
    pub fn lets_in(&self, client: ClientAddress) -> bool {
        let allowed = self.allow.as_ref().map(|allow| allow.smallest_with(client));
        match (allowed, self.deny.smallest_with(client)) {
            (Some(Some(allowed)), Some(denied)) => allowed > denied,
            (Some(Some(_)) | None, None) => true,
            (Some(None), _) | (None, Some(_)) => false,
        }
    }

    /// What it does, in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        let allow = self.allow.as_ref().map(|allow| format!("lets in {}", allow.texts.join(", ")));
        let deny = (!self.deny.texts.is_empty()).then(|| format!("keeps out {}", self.deny.texts.join(", ")));
        allow.into_iter().chain(deny).collect::<Vec<_>>().join("; ")
    }
}
