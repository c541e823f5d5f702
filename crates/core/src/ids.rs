//! Correlation ids and W3C trace context (row E3).

use crate::field::is_value;

/// Longest correlation id taken from a client, in bytes.
pub const LONGEST: usize = 128;

/// A correlation id: up to [`LONGEST`] bytes of visible ASCII.
#[derive(Clone, Copy, Debug)]
pub struct CorrelationId {
    bytes: [u8; LONGEST],
    len: u8,
}

impl CorrelationId {
    /// None yet.
    pub const EMPTY: Self = Self { bytes: [0; LONGEST], len: 0 };

    /// What a client sent, if it is fit for logs and headers: 1 to [`LONGEST`] bytes of letters, digits and
    /// `-._~+/=:@`.
    #[must_use]
    pub fn accept(text: &[u8]) -> Option<Self> {
        let fit = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=:@".contains(b);
        if text.is_empty() || text.len() > LONGEST || !text.iter().all(fit) || !is_value(text) {
            return None;
        }
        let mut bytes = [0; LONGEST];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { bytes, len: u8::try_from(text.len()).ok()? })
    }

    /// The id in hexadecimal digits of a trace.
    #[must_use]
    pub fn from_trace(trace: u128) -> Self {
        let mut bytes = [0; LONGEST];
        hex(trace, &mut bytes[..32]);
        Self { bytes, len: 32 }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same as bytes, for whoever only passes it on.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A `traceparent` (W3C Trace Context, level 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace's id, never 0.
    pub id: u128,
    /// Id of the span that this gateway is in the trace, never 0.
    pub span: u64,
    /// The flags byte; bit 0: sampled.
    pub flags: u8,
}

impl Trace {
    /// A new trace. Ids are random, not secret.
    #[must_use]
    pub fn start() -> Self {
        Self { id: fastrand::u128(1..), span: fastrand::u64(1..), flags: 0 }
    }

    /// The trace that a client's `traceparent` names, with a span of our own; `None` if it is malformed
    /// (W3C Trace Context §3.2.2) and a new trace must be started.
    #[must_use]
    pub fn continued(field: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(field).ok()?;
        let mut parts = text.split('-');
        let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let well_formed = lower_hex(version, 2) && lower_hex(id, 32) && lower_hex(span, 16) && lower_hex(flags, 2);
        // Version 00 ends here; a later one may go on, ff is invalid.
        if !well_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let id = u128::from_str_radix(id, 16).ok()?;
        if id == 0 || u64::from_str_radix(span, 16).ok()? == 0 {
            return None;
        }
        Some(Self { id, span: fastrand::u64(1..), flags: u8::from_str_radix(flags, 16).ok()? & 1 })
    }

    /// The field's value for the next hop.
    #[must_use]
    pub fn field(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(self.id, &mut text[3..35]);
        hex(u128::from(self.span), &mut text[36..52]);
        hex(u128::from(self.flags), &mut text[53..55]);
        text
    }
}

/// Fills `into` with the last digits of `value`.
fn hex(mut value: u128, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_continued_with_a_span_of_our_own() {
        let sent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::continued(sent).unwrap();
        let field = trace.field();
        assert_eq!(&field[..36], &sent[..36]);
        assert_ne!(&field[36..52], &sent[36..52]);
        assert_eq!(&field[52..], b"-01");
    }

    #[test]
    fn a_malformed_traceparent_is_not_believed() {
        for bad in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "",
        ] {
            assert_eq!(Trace::continued(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_plain_correlation_ids_are_taken() {
        assert_eq!(CorrelationId::accept(b"order-17").unwrap().as_str(), "order-17");
        assert!(CorrelationId::accept(b"a b").is_none());
        assert!(CorrelationId::accept(b"a\"b").is_none());
        assert!(CorrelationId::accept(&[b'a'; 129]).is_none());
    }
}
