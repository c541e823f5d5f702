//! Heads of HTTP/2 kept in the form of HTTP/1.1: names and values one behind the other in the message's buffer, and an index
//! of them.

use tollgate_core::field::{Known, is_token, is_value};
use tollgate_core::head::{Field, Fields, Part};

/// Why something cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCopy {
    /// The head would be larger than it may.
    TooLarge,
    /// A name or value that may not stand there (RFC 9113 §8.2.1): no NUL, CR or LF, no white space around a value.
    Malformed,
}

/// Fields on their way into their buffer.
pub(crate) struct Copied<'f> {
    /// Where to.
    pub(crate) fields: &'f mut Fields,
    /// Largest size of the head in bytes.
    pub(crate) most: usize,
}

impl Copied<'_> {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`NoCopy::TooLarge`].
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<Part, NoCopy> {
        let buffer = &mut self.fields.buffer;
        let start = buffer.len();
        let end = start + bytes.len();
        let fits = end <= self.most && buffer.append(bytes);
        match (fits, u16::try_from(start), u16::try_from(end)) {
            (true, Ok(start), Ok(end)) => Ok(Part { start, end }),
            _ => Err(NoCopy::TooLarge),
        }
    }

    /// Adds a field; gives the place of its value.
    ///
    /// # Errors
    /// See [`NoCopy`].
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8], known: Known) -> Result<Part, NoCopy> {
        if !is_token(name) || !is_value(value) {
            return Err(NoCopy::Malformed);
        }
        let name = self.put(name)?;
        let value = self.put(value)?;
        self.fields.push(Field { name, value, known, dropped: false });
        Ok(value)
    }

    /// That was the head.
    pub(crate) fn end(self) {
        self.fields.head_len = self.fields.buffer.len();
    }
}
