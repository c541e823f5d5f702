//! Sockets, as both sides of the gateway use them: TCP and Unix, plain or under TLS.
//!
//! Not HTTP, and no decision about who may connect: only bytes, and whose they are.

#![forbid(unsafe_code)]

pub mod handover;
mod listener;
pub mod proxy_protocol;
mod socket;
mod stream;
pub mod tls;

pub use listener::{Acceptor, Listener};
pub use socket::Socket;
pub use stream::Stream;
