//! Content codings (RFC 9110 §8.4.1): gzip, deflate, br and zstd, both ways.
//!
//! Every call is bounded: it takes what it is given and gives 64 KiB at most, however much the content grows. A library
//! stands behind each coding; how it is driven is written once, in `drive`.

mod brotli;
mod compress;
mod decompress;
mod drive;
mod flate;
#[cfg(test)]
mod tests;
mod zstd;

pub use self::compress::{Compressor, Level};
pub use self::decompress::{Bounds, Decompressor};

/// Most bytes that one call gives.
pub const PIECE: usize = 64 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878, and RFC 9659 for its window).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
    /// The zlib format (RFC 1950), which HTTP calls `deflate`.
    Deflate,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Br, Self::Zstd, Self::Gzip, Self::Deflate];

    /// Its name in fields.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The coding of this name, in any case; `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }
}
