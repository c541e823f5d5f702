//! The names of the elements that were begun, one behind the other.

/// Names, the last one is the innermost.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: Vec<u8>,
    starts: Vec<usize>,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// One more, of which nothing is known yet.
    pub(super) fn begin(&mut self) {
        self.starts.push(self.text.len());
    }

    /// The last one goes on so.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.text.extend_from_slice(part);
    }

    /// The last one.
    pub(super) fn last(&self) -> &[u8] {
        self.starts.last().and_then(|start| self.text.get(*start..)).unwrap_or_default()
    }

    /// The last one is over.
    pub(super) fn end(&mut self) {
        if let Some(start) = self.starts.pop() {
            self.text.truncate(start);
        }
    }
}
