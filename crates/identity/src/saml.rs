//! SAML 2.0 for a service that users sign in to: what identity providers say of them, and what they are asked.
//!
//! A message is believed once [`Expected`] has judged it, and of it only what is signed. Keys come from the provider's metadata
//! ([`Provider`]) alone. Each assertion is good for once: `replays` sees to that. What is asked, and our own metadata, is what a
//! [`Service`] writes.
//!
//! Not here: artifacts and SOAP (Bindings §3.2, §3.6), attribute queries, and the provider's own side.

mod assertion;
mod binding;
mod canonical;
mod certificate;
mod encryption;
mod faults;
mod logout;
mod own_key;
mod provider;
mod replays;
mod response;
mod service;
mod signature;
mod xml;

pub use assertion::{Accepted, NameId, Session};
pub use binding::{Brought, Kind, Page, Sent};
pub use certificate::{Certificate, Method};
pub use faults::FAULTS;
pub(crate) use logout::OLDEST as OLDEST_LOGOUT;
pub use logout::{Ended, LogoutRequest};
pub use own_key::OwnKey;
pub use provider::{Binding, Endpoint, Provider, Requests};
pub(crate) use replays::{is_new, take};
pub use response::{Answers, Expected, MustBeSigned};
pub use service::{Asked, Service, SignIn, User};

#[cfg(test)]
mod tests;
