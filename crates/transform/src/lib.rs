//! Content changed or judged while it passes. Pure functions: bytes in, bytes out, no I/O.

#![forbid(unsafe_code)]

pub mod accept;
pub mod bounds;
pub mod coding;
