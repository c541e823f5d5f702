//! A watch: a place in what changed lately.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::memory::{Memory, revision_of};
use crate::{CONFIRMED_EVERY, Change, Outcome, Revision, Seen, Watch};

/// Most changes of one batch.
const MOST_AT_ONCE: usize = 1000;
/// How long it pauses when nothing can be vouched for.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct SqliteWatch {
    memory: Arc<Memory>,
    prefix: String,
    /// Everything up to here was shown.
    shown: Revision,
    changed: watch::Receiver<Revision>,
}

impl SqliteWatch {
    pub(super) fn new(memory: Arc<Memory>, prefix: &str, after: Revision) -> Self {
        let changed = memory.revision.subscribe();
        Self { memory, prefix: prefix.to_owned(), shown: after, changed }
    }

    /// What changed since.
    fn look(&mut self) -> Option<Seen> {
        let state = self.memory.state();
        if self.shown < state.forgotten {
            return Some(Seen::Compacted);
        }
        let first = state.history.partition_point(|change| revision_of(change) <= self.shown);
        let new = state.history.range(first..).filter(|change| key(change).starts_with(&self.prefix));
        let changes: Vec<Change> = new.take(MOST_AT_ONCE).cloned().collect();
        let last = match changes.last() {
            Some(last) if changes.len() == MOST_AT_ONCE => revision_of(last),
            _ => state.revision.max(self.shown),
        };
        self.shown = last;
        (!changes.is_empty()).then_some(Seen::Changed(last, changes))
    }
}

impl Watch for SqliteWatch {
    fn next(&mut self) -> Outcome<'_, Seen> {
        Box::pin(async move {
            let quiet = async {
                loop {
                    self.changed.mark_unchanged();
                    if let Some(seen) = self.look() {
                        break seen;
                    }
                    // The sender lives as long as the memory, which this holds.
                    if self.changed.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            // Changes are on the disk when they are shown; that there are none is only so while it answers.
            if let Ok(seen) = timeout(CONFIRMED_EVERY / 2, quiet).await {
                return Ok(seen);
            }
            match self.memory.vouched() {
                Ok(()) => Ok(Seen::Confirmed(self.shown)),
                Err(trouble) => {
                    sleep(PAUSE).await;
                    Err(trouble)
                }
            }
        })
    }
}

fn key(change: &Change) -> &str {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Gone { key, .. } => key,
    }
}
