//! Who calls: the protocols of identity. Knows no engine and no HTTP library: whom it has to ask, it asks through
//! [`Caller`](tollgate_core::caller::Caller).

#![forbid(unsafe_code)]

mod answers;
pub mod api_key;
pub mod aws;
pub mod basic;
pub mod bearer;
pub mod bound;
pub mod certificate;
mod checks;
pub mod client;
pub mod content_digest;
pub mod decision;
pub mod dpop;
pub mod exchange;
pub mod failures;
pub mod faults;
mod guard;
pub mod json;
pub mod jwk;
pub mod jwt;
pub mod keys;
pub mod ldap;
pub mod login;
#[cfg(test)]
mod marks;
pub mod message;
mod metadata;
pub mod mint;
pub mod opaque;
mod password;
pub mod private_file;
pub mod profile;
mod remembered;
pub mod saml;
mod saml_grant;
pub mod session;
pub mod signature;
pub mod signed;
pub mod signer;
pub mod signing;
pub mod sigv4;
mod source;
mod together;
pub mod trade;
pub mod verdict;

pub use saml_grant::SamlGrant;
pub use source::{JwtSettings, JwtSource, principal};
