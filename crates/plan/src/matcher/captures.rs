//! What the variable parts of a pattern stood for in one path; kept inline, nothing is copied.

use std::ops::Range;

use super::pattern::MAX_CAPTURES;

/// Byte ranges into the normalised path, in the order of [`super::Pattern::names`]. What lies there is in the
/// encoded form; [`tollgate_core::path::percent_decode`] makes text of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    ranges: [(u32, u32); MAX_CAPTURES],
    count: usize,
    tail: Option<u32>,
}

impl Captures {
    /// The range of the parameter with this number. `None` if there is none, or if it is a group that took no
    /// part in a regex's match.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<Range<usize>> {
        let &(start, end) = self.ranges[..self.count].get(number)?;
        (start != ABSENT).then_some(start as usize..end as usize)
    }

    /// How many parameters the pattern has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the pattern has no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where what `**` stands for begins; it goes to the path's end and is empty or begins with a slash: for
    /// `/a/**` it is `` in `/a`, `/` in `/a/`, `/b` in `/a/b`. `None` if the pattern has no `**`.
    #[must_use]
    pub fn tail_start(&self) -> Option<usize> {
        self.tail.map(|start| start as usize)
    }

    /// One more; patterns with more than [`MAX_CAPTURES`] do not come this far.
    pub(super) fn push(&mut self, range: Range<usize>) {
        if let Some(slot) = self.ranges.get_mut(self.count) {
            *slot = (offset(range.start), offset(range.end));
            self.count += 1;
        }
    }

    pub(super) fn push_absent(&mut self) {
        if let Some(slot) = self.ranges.get_mut(self.count) {
            *slot = (ABSENT, ABSENT);
            self.count += 1;
        }
    }

    pub(super) fn pop(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    pub(super) fn set_tail(&mut self, start: Option<usize>) {
        self.tail = start.map(offset);
    }
}

const ABSENT: u32 = u32::MAX;

/// A request head is far below 4 GiB, so offsets fit; if one did not, it must at least not point elsewhere.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(ABSENT)
}
