//! A watch: a place in what changed lately.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::memory::Memory;
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
    /// When it is said again that nothing changed.
    ticks: Option<Interval>,
    /// That is due: however much changes, it is said as soon as all of that is shown.
    is_due: bool,
}

impl SqliteWatch {
    pub(super) fn new(memory: Arc<Memory>, prefix: &str, after: Revision) -> Self {
        let changed = memory.revision.subscribe();
        Self { memory, prefix: prefix.to_owned(), shown: after, changed, ticks: None, is_due: false }
    }

    /// What changed since.
    fn look(&mut self) -> Option<Seen> {
        let state = self.memory.state();
        if self.shown < state.forgotten {
            return Some(Seen::Compacted);
        }
        let first = state.history.partition_point(|change| change.revision() <= self.shown);
        let new = state.history.range(first..).filter(|change| change.key().starts_with(&self.prefix));
        let (mut changes, mut last) = (Vec::new(), state.revision.max(self.shown));
        for change in new {
            // What is of one revision is shown together: a watch stands between revisions.
            if changes.len() >= MOST_AT_ONCE && changes.last().map(Change::revision) != Some(change.revision()) {
                last = changes.last().map_or(last, Change::revision);
                break;
            }
            changes.push(Change::clone(change));
        }
        self.shown = last;
        (!changes.is_empty()).then_some(Seen::Changed(last, changes))
    }
}

impl SqliteWatch {
    /// What there is to be said, if it is not that nothing changed.
    async fn news(&mut self) -> Option<Seen> {
        loop {
            self.changed.mark_unchanged();
            if let Some(seen) = self.look() {
                return Some(seen);
            }
            if self.is_due {
                return None;
            }
            let ticks = self.ticks.get_or_insert_with(|| {
                let mut ticks = interval(CONFIRMED_EVERY / 2);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                ticks
            });
            tokio::select! {
                _ = ticks.tick() => self.is_due = true,
                // The sender lives as long as the memory, which this holds.
                _ = self.changed.changed() => {}
            }
        }
    }
}

impl Watch for SqliteWatch {
    fn next(&mut self) -> Outcome<'_, Seen> {
        Box::pin(async move {
            // What changed is on the disk when it is shown; that nothing did is only so while the disk answers.
            if let Some(seen) = self.news().await {
                return Ok(seen);
            }
            if let Err(trouble) = self.memory.vouched() {
                sleep(PAUSE).await;
                return Err(trouble);
            }
            self.is_due = false;
            Ok(Seen::Confirmed(self.shown))
        })
    }
}
