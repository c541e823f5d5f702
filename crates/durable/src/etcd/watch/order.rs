//! What a member shows, put together revision by revision: a message may hold many, or a piece of one.

use super::super::client::Client;
use super::super::wire::{Event, EventKind, KeyValue, Watched};
use crate::{Change, Revision, Seen};

/// Most changes of one revision.
const MOST_CHANGES: usize = 100_000;
/// Most bytes of the keys and values of one revision.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Up to where all was shown, and what is there of the next revision.
#[derive(Debug)]
pub(super) struct Order {
    shown: Revision,
    /// Changes of one revision that may be incomplete.
    half: Vec<Event>,
    bytes: usize,
}

/// One revision is more than may be held.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Order {
    pub(super) fn new(after: Revision) -> Self {
        Self { shown: after, half: Vec::new(), bytes: 0 }
    }

    /// All up to here was shown.
    pub(super) fn shown(&self) -> Revision {
        self.shown
    }

    /// What is incomplete comes again.
    pub(super) fn forget_halves(&mut self) {
        self.half.clear();
        self.bytes = 0;
    }

    /// The revisions that are complete with this message.
    pub(super) fn take(&mut self, message: Watched, client: &Client) -> Result<Vec<Seen>, TooMuch> {
        let mut batches = Vec::new();
        if message.events.is_empty() && !message.fragment && self.half.is_empty() {
            // etcd has shown all up to here: it says so now and then, and in order with what it shows.
            self.shown = self.shown.max(Revision(message.header.revision));
        }
        for event in message.events {
            // The revision of the head may be ahead of what is shown: only that of a change tells.
            let revision = event.kv.mod_revision;
            if revision <= self.shown.0 {
                continue;
            }
            if self.half.first().is_some_and(|first| first.kv.mod_revision != revision) {
                batches.extend(self.whole(client));
            }
            self.bytes += event.kv.key.len() + event.kv.value.len();
            self.half.push(event);
            if self.half.len() > MOST_CHANGES || self.bytes > MOST_BYTES {
                return Err(TooMuch);
            }
        }
        if !message.fragment {
            batches.extend(self.whole(client));
        }
        Ok(batches)
    }

    /// What was incomplete is complete.
    fn whole(&mut self, client: &Client) -> Option<Seen> {
        self.bytes = 0;
        let events = std::mem::take(&mut self.half);
        self.shown = Revision(events.first()?.kv.mod_revision);
        let changes: Vec<Change> = events.into_iter().filter_map(|event| change(event, client)).collect();
        (!changes.is_empty()).then_some(Seen::Changed(self.shown, changes))
    }
}

/// A change of a user's key.
fn change(event: Event, client: &Client) -> Option<Change> {
    match event {
        Event { kind: EventKind::Put, kv } => client.ours(kv).map(Change::Put),
        Event { kind: EventKind::Delete, kv: KeyValue { key, mod_revision, .. } } => {
            Some(Change::Gone { key: client.our_key(&key)?, revision: Revision(mod_revision) })
        }
    }
}
