//! A request, as rules look at it.

use std::net::IpAddr;

use bytes::Bytes;

/// A request, whole.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query as they came.
    pub target: Vec<u8>,
    /// The path in the form that routes are found by.
    pub path: String,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// Names and values of its fields, in their order, with `Host`.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
    /// Who sent it, if that is an address.
    pub client: Option<IpAddr>,
    /// What it is called in logs.
    pub id: String,
    /// How long it is here already, in microseconds.
    pub age: u128,
}

impl Request {
    /// The first field of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.headers.iter();
        all.find(|(own, _)| own.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value.as_slice())
    }

    /// About how many bytes there are to look at; each value beside the first of a text counts for a hundred, as it costs about that much.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |text: &[u8]| text.len() + 100 * text.iter().filter(|byte| b"&;,".contains(byte)).count();
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + size(value)).sum();
        size(&self.target) + headers + size(&self.body)
    }
}
