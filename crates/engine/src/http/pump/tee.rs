//! What passes a pump, kept for somebody else: in memory, up to a bound.

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

/// What became of a body that was to be kept. If it does not come to its end, the sender is dropped.
#[derive(Debug)]
pub(crate) enum Kept {
    /// All of it.
    Whole(Bytes),
    /// It was larger than what may be kept.
    TooLarge,
}

/// Keeps content.
#[derive(Debug)]
pub(crate) struct Tee {
    content: BytesMut,
    most: usize,
    /// Whom it is for; nobody once that was told.
    to: Option<oneshot::Sender<Kept>>,
}

impl Tee {
    /// Keeps up to `most` bytes for whoever has the other end of `to`.
    pub(crate) fn new(most: usize, to: oneshot::Sender<Kept>) -> Self {
        Self { content: BytesMut::new(), most, to: Some(to) }
    }

    /// These bytes pass.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.to.is_none() {
            return;
        }
        match self.content.len() + bytes.len() <= self.most {
            true => self.content.extend_from_slice(bytes),
            false => self.tell(Kept::TooLarge),
        }
    }

    /// That was all.
    pub(super) fn end(&mut self) {
        let content = std::mem::take(&mut self.content).freeze();
        self.tell(Kept::Whole(content));
    }

    /// The same body will pass once more.
    pub(super) fn start_over(&mut self) {
        self.content.clear();
    }

    fn tell(&mut self, kept: Kept) {
        self.content = BytesMut::new();
        if let Some(to) = self.to.take() {
            // Whoever does not wait for it any more does not need it.
            let _ = to.send(kept);
        }
    }
}
