//! HTTP/1.1 grammar after RFC 9112: heads, framing, chunks. Pure functions over buffers, no I/O, fuzzed.
//!
//! Whatever is accepted here has exactly one meaning; everything doubtful is refused. What is written out is made from
//! what was understood, never copied from what was received.

#![forbid(unsafe_code)]

pub mod chunked;
mod extension;
pub mod faults;
mod fields;
pub mod request;
pub mod response;
mod scan;
pub mod target;
pub mod transfer;
pub mod write;

pub use fields::list;

/// Limits of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Longest request target, in bytes.
    pub target: usize,
    /// Largest head, its empty line included, in bytes; at most 48 KiB, so that a buffer always has room for content.
    pub head: usize,
    /// Most field lines.
    pub fields: usize,
}

impl HeadLimits {
    /// The same as RFC 9113 §6.5.2 counts it: 32 bytes more for each field.
    #[must_use]
    pub fn for_http2(&self) -> usize {
        self.head + 32 * self.fields
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { target: 8 * 1024, head: 32 * 1024, fields: 100 }
    }
}

/// Whether a head is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Yes.
    Complete,
    /// More bytes are needed.
    Partial,
}
