//! Facts that the gateway states and policies read: which route, connection, instance, service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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
}

impl Conn {
    /// A connection from `peer` to `local`, carried by this worker.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr, worker: usize) -> Self {
        Self { peer, peer_text: peer.ip().to_canonical().to_string().into(), local, worker }
    }

    /// The other end's address, IPv4 in its own form even on a dual-stack socket.
    #[must_use]
    pub fn peer_ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }
}

/// One place where a service can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceName {
    /// The service.
    pub service: Arc<str>,
    /// The address in use.
    pub address: SocketAddr,
}

/// A service by name and by its place in the deployment's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRef {
    /// The name in the file; the route's name for addresses written in the route.
    pub name: Arc<str>,
    /// Index into the list of services.
    pub slot: usize,
}
