//! Facts that the gateway states and policies read: which route, connection, instance, service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of a route.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Its label in metrics, logs and `explain`: the key in the file, or its `name`.
    pub name: String,
    /// The api it belongs to; empty for routes at top level.
    pub api: String,
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
