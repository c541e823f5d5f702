//! Facts that the gateway states and policies read: which route, connection, instance, service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::problem::Fault;

/// What is known of a route. In the order of the apis, within them of the names.
///
/// Its texts are shared: there may be ten thousands of routes, and matcher, plan and metrics all know them by name.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The other end.
    pub peer: SocketAddr,
    /// Its address as text, IPv4 in its own form: what `X-Forwarded-For` says of it.
    pub peer_text: Box<str>,
    /// Our end.
    pub local: SocketAddr,
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
}

impl Conn {
    /// A connection from `peer` to `local`, carried by this worker.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, worker: usize) -> Self {
        Self { peer, peer_text: peer.ip().to_canonical().to_string().into(), local, worker, tls: None, refused: None }
    }

    /// The same, but the other end speaks for this client.
    #[must_use]
    pub fn on_behalf_of(self, client: SocketAddr) -> Self {
        Self { peer: client, peer_text: client.ip().to_canonical().to_string().into(), ..self }
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

    /// The other end's address, IPv4 in its own form even on a dual-stack socket.
    #[must_use]
    pub fn peer_ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
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
