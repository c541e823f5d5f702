//! `trust`: whose word about the client is believed.

use std::net::IpAddr;

use ipnet::IpNet;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::facts::ClientAddress;
use tollgate_core::section;

use crate::model::defaults::v1;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

words! {
    /// The fields in which proxies tell of their client.
    pub enum ProxyHeaders {
        /// `X-Forwarded-For`, `-Proto` and `-Host`.
        XForwarded = "x-forwarded",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

section! {
    /// Who is believed. By default nobody: `Forwarded` and `X-Forwarded-*` that a client sends are dropped.
    pub struct Trust {
        /// Networks of the proxies in front, which are believed about their clients. `unix`: whoever connects to a Unix socket.
        proxies: Option<Vec<Proxies>>,
        /// The fields that these proxies write, all the others being their clients' own and dropped: `x-forwarded`
        /// (`X-Forwarded-For`, `-Proto` and `-Host`) or `forwarded` (RFC 7239).
        headers: ProxyHeaders = v1::TRUST_HEADERS,
    }
}

impl Trust {
    /// Whether this is one of the proxies in front.
    #[must_use]
    pub fn is_proxy(&self, peer: ClientAddress) -> bool {
        self.proxies.iter().flatten().any(|proxies| match (proxies, peer) {
            (Proxies::Network(network), ClientAddress::Ip(address)) => network.0.contains(&address),
            (Proxies::Unix, ClientAddress::Unix) => true,
            _ => false,
        })
    }
}

/// Proxies that are believed: those of a network, or those that reach us by a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxies {
    /// Those of a network.
    Network(Network),
    /// Whoever may open one of the Unix sockets that are listened on.
    Unix,
}

impl FromText for Proxies {
    const WHAT: &'static str = "a network, or `unix`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if text == ClientAddress::UNIX { Ok(Self::Unix) } else { Network::from_text(text).map(Self::Network) }
    }
}

/// A network, or a single address: `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromText for Network {
    const WHAT: &'static str = "a network";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let read = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let Some(network) = read else {
            return Err(Diagnostic::error(format!("`{text}` is no network"))
                .hint("an address with or without a prefix length: `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`"));
        };
        if network.trunc() != network {
            return Err(Diagnostic::error(format!("`{text}` has bits beyond its prefix"))
                .hint(format!("did you mean `{}`?", network.trunc())));
        }
        Ok(Self(network))
    }
}

decode_from_text!(Network, Proxies);
text_schema!(Network, "Network", "description": "A network, or a single address.", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", "examples": ["10.0.0.0/8", "192.0.2.1"]);
text_schema!(Proxies, "Proxies", "description": "A network, a single address, or `unix`: whoever connects to a Unix socket.",  "pattern": r"^(unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)$", "examples": ["10.0.0.0/8", "192.0.2.1", "unix"]);
