//! How large a body may be.

/// Limits of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Content bytes.
    pub(crate) content: u64,
    /// Bytes of the trailer section.
    pub(crate) trailer: usize,
    /// Trailer fields.
    pub(crate) trailer_fields: usize,
}
