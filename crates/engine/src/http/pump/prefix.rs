//! What goes out before a body.

/// Bytes to write before the content: a head, or nothing once it is out.
#[derive(Debug, Default)]
pub(crate) struct Prefix {
    pub(crate) bytes: Vec<u8>,
    written: usize,
}

impl Prefix {
    /// Starts afresh; the memory stays.
    pub(crate) fn clear(&mut self) -> &mut Vec<u8> {
        self.written = 0;
        self.bytes.clear();
        &mut self.bytes
    }

    /// What did not go out yet.
    pub(super) fn left(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// It went out some other way.
    pub(crate) fn set_out(&mut self) {
        self.written = self.bytes.len();
    }

    /// Whether all of it went out.
    pub(crate) fn is_out(&self) -> bool {
        self.left().is_empty()
    }

    /// How many bytes of it went out.
    pub(crate) fn written(&self) -> u64 {
        self.written as u64
    }

    /// So many more bytes of it went out.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// Whether any of it went out.
    pub(crate) fn is_begun(&self) -> bool {
        self.written > 0
    }
}
