//! The body of a message, as policies see it.

use bytes::Bytes;

/// How the end of a body is told (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// There is no body.
    #[default]
    None,
    /// So many bytes follow.
    Known(u64),
    /// In chunks, the last one empty.
    Chunked,
    /// Until the sender closes; answers only.
    UntilClose,
}

/// A body.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Still on its way: the engine passes it on without keeping it.
    Wire(Length),
}
