//! Facts that the gateway states and policies read: which route, connection, instance, service.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::problem::Fault;

/// What is known of a route. In the order of the apis, within them of the names.
///
/// Its texts are shared: there may be ten thousands of routes, and matcher, plan and metrics all know them by name.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The api it belongs to; empty for routes at top level.
    pub api: Arc<str>,
    /// Its label in metrics, logs and `explain`: the key in the file, or its `name`.
    pub name: Arc<str>,
}

impl Route {
    /// A route with this name, of this api.
    #[must_use]
    pub fn new(api: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { api: api.into(), name: name.into() }
    }
}

/// What is known of a client's connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Conn {
    /// Its ends, or those that a proxy in front told of.
    pub ends: Ends,
    /// The other end's address as text, IPv4 in its own form; [`Conn::UNKNOWN`] on a Unix socket. What `X-Forwarded-For` says
    /// of it.
    pub peer_text: Box<str>,
    /// The worker that carries it.
    pub worker: usize,
    /// What its handshake settled; `None`: the connection is in the clear. Boxed, since most of it is for few.
    pub tls: Option<Box<Tls>>,
    /// What every request on it is refused with, if nothing may be served there.
    pub refused: Option<&'static Fault>,
}

/// What a client's TLS handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The version: `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, as IANA calls it.
    pub cipher: &'static str,
    /// The host that the client asked for (SNI), in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocol agreed upon (ALPN): `http/1.1`, `h2`.
    pub alpn: Option<Box<[u8]>>,
    /// Whether an earlier session was taken up again.
    pub is_resumed: bool,
    /// The client's certificate; if it is here, it was verified.
    pub client: Option<ClientCertificate>,
}

/// Who a client is by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject, as text.
    pub subject: Box<str>,
    /// The alternative names, each with its kind before it: `dns:`, `uri:`, `email:`, `ip:`.
    pub names: Box<[Box<str>]>,
    /// The SHA-256 of the certificate, in hexadecimal digits.
    pub sha256: Box<str>,
    /// The certificate as it was shown (DER), for whoever wants to know more of it.
    pub der: Bytes,
}

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// IP addresses and ports.
    Sockets {
        /// The client's.
        peer: SocketAddr,
        /// Ours, or the one at which a proxy in front was reached.
        local: SocketAddr,
    },
    /// A Unix socket of this machine: whoever is at its other end has no address.
    Unix,
}

/// Whom a request comes from, by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// This one; IPv4 in its own form.
    Ip(IpAddr),
    /// Somebody on this machine, by a Unix socket.
    Unix,
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl ClientAddress {
    /// Its text if there is no address.
    pub const UNIX: &str = "unix";

    /// The address, if there is one.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Unix => None,
        }
    }
}

impl FromStr for ClientAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::UNIX { Ok(Self::Unix) } else { text.parse::<IpAddr>().map(Self::from) }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.pad(Self::UNIX),
        }
    }
}

impl Conn {
    /// How a list of forwarders names one without an address (RFC 7239 §6.2).
    pub const UNKNOWN: &str = "unknown";

    /// A connection from `peer` to `local`, carried by this worker.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, worker: usize) -> Self {
        let ends = Ends::Sockets { peer, local };
        Self { ends, peer_text: peer.ip().to_canonical().to_string().into(), worker, tls: None, refused: None }
    }

    /// A connection by a Unix socket, carried by this worker.
    #[must_use]
    pub fn by_unix_socket(worker: usize) -> Self {
        Self { ends: Ends::Unix, peer_text: Self::UNKNOWN.into(), worker, tls: None, refused: None }
    }

    /// The same, but the other end speaks for this client, which reached it at `local`.
    #[must_use]
    pub fn on_behalf_of(self, peer: SocketAddr, local: SocketAddr) -> Self {
        Self { tls: self.tls, refused: self.refused, ..Self::new(peer, local, self.worker) }
    }

    /// The same, under TLS.
    #[must_use]
    pub fn under(self, tls: Tls) -> Self {
        Self { tls: Some(Box::new(tls)), ..self }
    }

    /// `https` or `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The other end, IPv4 in its own form even on a dual-stack socket.
    #[must_use]
    pub fn peer(&self) -> ClientAddress {
        match self.ends {
            Ends::Sockets { peer, .. } => peer.ip().into(),
            Ends::Unix => ClientAddress::Unix,
        }
    }
}

/// Where an instance of a service is reached. Copying it allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A Unix socket of this machine, by its path.
    Unix(Arc<Path>),
}

impl Address {
    /// What stands before the path of a Unix socket.
    pub const UNIX: &str = "unix:";

    /// The IP address, unless it is a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Socket(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(Self::UNIX) {
            Some(path) => Ok(Self::Unix(Path::new(path).into())),
            None => text.parse().map(Self::Socket),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            // As a whole, so that a width holds for both parts.
            Self::Unix(path) => f.pad(&format!("{}{}", Self::UNIX, path.display())),
        }
    }
}

/// A service by name and by its place in the deployment's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    /// The name in the file; the route's name for addresses written in the route.
    pub name: Arc<str>,
    /// Index into the list of services.
    pub slot: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        for text in ["10.0.0.1:80", "[2001:db8::1]:443", "unix:/run/app.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert!("orders:80".parse::<Address>().is_err());
        assert_eq!(size_of::<Option<Address>>(), size_of::<SocketAddr>(), "no larger than what most of them are");
    }
}
