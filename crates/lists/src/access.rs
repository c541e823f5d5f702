//! Who is let in by their address: those of some networks and lists, but not those of others.

use std::net::IpAddr;
use std::sync::Arc;

use tollgate_core::address_list::AddressList;
use tollgate_core::country::{Countries, Country};
use tollgate_core::exchange::Exchange;
use tollgate_core::facts::ClientAddress;

use crate::Networks;

/// Whom to let in, and whom to keep out.
#[derive(Debug, Default)]
pub struct Access {
    /// Without it, everybody who is not kept out is let in.
    pub allow: Option<Side>,
    /// Who is kept out, unless a smaller network of `allow` has them.
    pub deny: Side,
    /// Who knows the countries of addresses, if some are named.
    pub countries: Option<Arc<dyn Countries>>,
}

/// Those of one kind.
#[derive(Debug, Default)]
pub struct Side {
    /// Networks that are written.
    pub written: Networks,
    /// Lists that are named.
    pub lists: Vec<Arc<dyn AddressList>>,
    /// Countries that are named.
    pub countries: Vec<Country>,
    /// Whoever comes by a Unix socket.
    pub has_unix: bool,
    /// All of them, as they are written.
    pub texts: Vec<String>,
}

impl Side {
    /// The prefix of the smallest network that has this client. A country is larger than any network, and so is what has no address.
    fn smallest_with(&self, client: ClientAddress, country: &impl Fn() -> Option<Country>) -> Option<u8> {
        let network = match client {
            ClientAddress::Ip(address) => self.smallest_with_ip(address),
            ClientAddress::Unix => self.has_unix.then_some(0),
        };
        let is_from_there = || !self.countries.is_empty() && country().is_some_and(|own| self.countries.contains(&own));
        network.or_else(|| is_from_there().then_some(0))
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
        let look_up = || self.countries.as_ref().zip(client.ip()).and_then(|(known, address)| known.of(address));
        self.decide(client, look_up)
    }

    /// The same for whoever sent this, whose country is looked up once, however many ask.
    #[must_use]
    pub fn lets_in_sender(&self, x: &Exchange) -> bool {
        self.decide(x.client, || self.countries.as_ref().and_then(|known| x.country(&**known)))
    }

    fn decide(&self, client: ClientAddress, country: impl Fn() -> Option<Country>) -> bool {
        let allowed = self.allow.as_ref().map(|allow| allow.smallest_with(client, &country));
        match (allowed, self.deny.smallest_with(client, &country)) {
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
