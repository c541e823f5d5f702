//! What became of every request, as its client knows it and as the backends do.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Judged;
use super::allowed::{Got, Missed};
use super::histogram::Histogram;
use super::lane::Ask;
use crate::deadline::now;

/// How often a request came to the backends.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    received: u8,
    answered: u8,
}

/// What the backends served, by id: ids are given one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    seen: Arc<Mutex<Vec<Seen>>>,
    arrivals: Arrivals,
}

/// Which requests came to one backend, and when; `None`: nobody wants to know.
pub(super) type Arrivals = Arc<Mutex<Option<Vec<(u64, Instant)>>>>;

impl Log {
    /// The same, of one backend.
    pub(super) fn of_one(&self, arrivals: &Arrivals) -> Self {
        Self { seen: Arc::clone(&self.seen), arrivals: Arc::clone(arrivals) }
    }

    pub(super) fn received(&self, id: u64) {
        self.change(id, |seen| seen.received = seen.received.saturating_add(1));
        if let Some(arrivals) = &mut *lock(&self.arrivals) {
            arrivals.push((id, now()));
        }
    }

    pub(super) fn answered(&self, id: u64) {
        self.change(id, |seen| seen.answered = seen.answered.saturating_add(1));
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Seen)) {
        let mut log = lock(&self.seen);
        let at = id as usize;
        // What no client of ours can have sent is none of its ids.
        assert!(at < 1 << 32, "a request with the id {id}");
        if log.len() <= at {
            log.resize(at + 1, Seen::default());
        }
        change(&mut log[at]);
    }

    fn seen(&self, id: u64) -> Seen {
        lock(&self.seen).get(id as usize).copied().unwrap_or_default()
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Another load's.
    NotOurs,
    /// It is on its way.
    Begun,
    /// As it should be.
    Answered,
    /// Not as it should be.
    Missed(Got),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    fate: Fate,
    /// A backend may see it once only, come what may.
    once: bool,
    retries: u8,
}

/// The client's book.
#[derive(Debug)]
pub(super) struct Ledger {
    log: Log,
    /// The id of the first entry.
    first: u64,
    began: Instant,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    entries: Vec<Entry>,
    latency: Histogram,
    troubles: Vec<String>,
    missed: Vec<Missed>,
}

/// Troubles that are told: one is enough to begin with, and all of them are counted.
const TOLD: usize = 20;

impl Ledger {
    pub(super) fn new(log: Log, first: u64) -> Self {
        Self { log, first, began: now(), book: Mutex::default() }
    }

    pub(super) fn begin(&self, ask: &Ask) {
        let mut book = lock(&self.book);
        let at = (ask.id - self.first) as usize;
        let not_ours = Entry { fate: Fate::NotOurs, once: false, retries: 0 };
        if book.entries.len() <= at {
            book.entries.resize(at + 1, not_ours);
        }
        book.entries[at] = Entry { fate: Fate::Begun, once: !ask.body.is_empty(), ..not_ours };
    }

    /// `due`: when it was to be sent.
    pub(super) fn end(&self, ask: &Ask, fate: Fate, retries: u8, due: Instant) {
        let (mut book, ended) = (lock(&self.book), now());
        let entry = &mut book.entries[(ask.id - self.first) as usize];
        (entry.fate, entry.retries) = (fate, retries);
        match fate {
            Fate::Answered => book.latency.add(ended.saturating_duration_since(due)),
            Fate::Missed(got) => book.missed.push(Missed { id: ask.id, got, due, ended, received: 0 }),
            Fate::NotOurs | Fate::Begun => {}
        }
    }

    pub(super) fn trouble(&self, ask: &Ask, what: &str) {
        let mut book = lock(&self.book);
        if book.troubles.len() < TOLD {
            let method = if ask.body.is_empty() { "GET" } else { "POST" };
            book.troubles.push(format!("{method} {} (target {}): {what}", ask.path, ask.lane));
        }
    }

    pub(super) fn troubles(&self) -> Vec<String> {
        lock(&self.book).troubles.clone()
    }

    pub(super) fn outcome(&self, refusals: Judged, retries: Judged) -> Outcome {
        let book = lock(&self.book);
        let mut outcome = Outcome {
            begun: 0,
            answered: 0,
            refused: 0,
            retried: 0,
            lost: 0,
            doubled: 0,
            unseen: 0,
            latency: book.latency.clone(),
            troubles: book.troubles.clone(),
            missed: book.missed.clone(),
            began: self.began,
            judged: [refusals, retries],
        };
        for missed in &mut outcome.missed {
            missed.received = self.log.seen(missed.id).received;
        }
        for (id, entry) in (self.first..).zip(&book.entries).filter(|(_, entry)| entry.fate != Fate::NotOurs) {
            let seen = self.log.seen(id);
            outcome.begun += 1;
            match entry.fate {
                Fate::Answered => outcome.answered += 1,
                Fate::Missed(Got::NoConnection) => outcome.refused += 1,
                _ => outcome.lost += 1,
            }
            outcome.retried += u64::from(entry.retries > 0);
            outcome.unseen += u64::from(entry.fate == Fate::Answered && seen.received == 0);
            // A GET may be sent again, by its client and by the gateway, if no answer came: a backend that died has
            // received it without answering it.
            let times = if entry.once { seen.received } else { seen.answered.saturating_sub(entry.retries) };
            if times > 1 {
                outcome.doubled += 1;
                let method = if entry.once { "POST" } else { "GET" };
                outcome.troubles.push(format!("{method} with the id {id} came {times} times"));
            }
        }
        outcome.troubles.truncate(2 * TOLD);
        outcome
    }
}

/// What became of all requests.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All of them.
    pub begun: u64,
    /// Those that were answered as they should be.
    pub answered: u64,
    /// Those for which there was no connection.
    pub refused: u64,
    /// Those that had to be sent more than once, whatever became of them then.
    pub retried: u64,
    /// Those that were sent and not answered, or not rightly.
    pub lost: u64,
    /// Those that backends served more than once: POSTs received twice, GETs answered twice.
    pub doubled: u64,
    /// Those that were answered though no backend saw them.
    pub unseen: u64,
    /// How long those took that were answered, from when they were due.
    pub latency: Histogram,
    /// The first things that went wrong, in words.
    pub troubles: Vec<String>,
    /// Those that were not answered as they should be, in the order in which that was known.
    pub missed: Vec<Missed>,
    pub(super) began: Instant,
    /// How refused and retried ones are judged.
    pub(super) judged: [Judged; 2],
}

impl Outcome {
    /// Whether every request had its answer, and was served once.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let [refusals, retries] = self.judged;
        let bad = |count: u64, judged: Judged| judged == Judged::Fault && count > 0;
        self.answered > 0
            && (self.lost, self.doubled, self.unseen) == (0, 0, 0)
            && !bad(self.refused, refusals)
            && !bad(self.retried, retries)
    }

    /// Claims that.
    ///
    /// # Panics
    /// When it is not so; the message tells what went wrong.
    #[track_caller]
    pub fn is_complete(&self) {
        assert!(self.is_good(), "{self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begun, answered, refused, retried, lost, doubled, unseen, .. } = self;
        write!(f, "{begun} requests: {answered} answered, {refused} refused, {retried} retried, {lost} lost, ")?;
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.latency.quantile(share));
        write!(f, "{doubled} doubled, {unseen} unseen; p50 {half:?}, p99 {most:?}, at most {all:?}")?;
        self.troubles.iter().try_for_each(|trouble| write!(f, "\n  {trouble}"))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
