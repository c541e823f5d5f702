//! Who calls: the protocols of identity. Knows no engine and no HTTP library: whom it has to ask, it asks through
//! [`Caller`](tollgate_core::caller::Caller).

#![forbid(unsafe_code)]

pub mod api_key;
pub mod bearer;
pub mod client;
pub mod exchange;
pub mod faults;
mod followed;
pub mod json;
pub mod jwk;
pub mod jwt;
pub mod keys;
mod metadata;
pub mod mint;
pub mod opaque;
pub mod private_file;
mod remembered;
pub mod saml;
pub mod signing;
mod source;
mod together;
pub mod trade;

pub use source::{JwtSettings, JwtSource, principal};
