//! HTTP/2 by hand (RFC 9113): frames valid or not towards the gateway, and a strict reading of what comes back.
//!
//! It shares no code with the gateway or with the library that reads the gateway's frames. `tests/http2/README.md`
//! describes the case files that [`run`] holds the gateway against.

pub mod case;
pub mod client;
pub mod frame;
pub mod hpack;
mod huffman;
pub mod outcome;
pub mod run;

pub use client::{Answer, Came, FrameClient};
pub use frame::{Code, Frame, Kind, flag};
