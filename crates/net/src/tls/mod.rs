//! TLS on both sides: rustls with aws-lc-rs, always named and never installed for the whole process.
//!
//! - [`Server`]: certificates chosen by the name that the client asks for, client certificates, session tickets.
//! - [`Client`]: whom to believe, as whom to appear.
//!
//! Both are made of files, look at them again now and then ([`Server::refresh`]), and keep what they have if the new
//! files are not right.

mod client;
mod facts;
mod handshake;
mod material;
mod pin;
mod resolver;
mod server;
mod watch;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::client::{Client, ClientSettings, NoHandshake, Roots, Verify};
pub use self::handshake::{Failure, Outcome};
pub use self::material::{FileError, Pair, Part};
pub use self::pin::Pin;
pub use self::server::{ClientCertificates, Policy, Server, ServerSettings, Shown};
pub use self::watch::Refreshed;

/// The one crypto library. Handed over wherever rustls asks for one, so that no default can be another.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
