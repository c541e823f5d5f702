//! What goes back to the client.

use bytes::Bytes;

use crate::body::{Body, Recoder};
use crate::head::ReplyHead;

/// An answer: from an upstream, a handler, a policy, or the gateway itself.
#[derive(Debug, Default)]
pub struct Reply {
    /// Status and fields.
    pub head: ReplyHead,
    /// The body.
    pub body: Body,
    /// What changes the body on its way to the client, whatever kind it is: the first one reads the body, each other one
    /// what the one before it gives. With any of them, nobody knows how long the body will be.
    pub recoders: Vec<Box<dyn Recoder>>,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self { head: ReplyHead::new(status), ..Self::default() }
    }

    /// An answer with all of its body.
    #[must_use]
    pub fn full(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut head = ReplyHead::new(status);
        head.fields.add("Content-Type", content_type);
        Self { head, body: Body::Full(body.into()), ..Self::default() }
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        self.head.fields.add(name, value);
        self
    }
}
