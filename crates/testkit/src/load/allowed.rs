//! What a fault may cost: held against what became of every request.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::{Judged, Outcome};

/// What a request got instead of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// No connection: nothing was sent, or only what the server said that it did not begin.
    NoConnection,
    /// An answer with this status.
    Status(u16),
    /// No answer, or a wrong one.
    Nothing,
}

/// A request that was not answered as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Missed {
    /// Its id.
    pub id: u64,
    /// What it got.
    pub got: Got,
    /// When it was due.
    pub due: Instant,
    /// When it was known what it got.
    pub ended: Instant,
    /// How often backends received it.
    pub received: u8,
}

/// A row of the table of what a fault may cost: what requests may get while it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// What they may get.
    pub got: Got,
    /// From when on.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
}

impl Allowed {
    /// What was on its way when the time began or ended may get it, too.
    fn covers(&self, missed: &Missed) -> bool {
        self.got == missed.got && missed.ended >= self.from && missed.due <= self.until
    }
}

/// Faults that are told.
const TOLD: usize = 10;

impl Outcome {
    /// Claims that every request is accounted for. Those that were answered had come to a backend; none came twice that must not; those
    /// that were not are allowed by a row of this table, and came to no backend at all.
    ///
    /// # Panics
    /// When it is not so; the message tells what went wrong.
    #[track_caller]
    pub fn reconciles(&self, table: &[Allowed]) {
        let mut faults = self.unaccounted();
        let is_wrong = |missed: &&Missed| missed.received > 0 || !table.iter().any(|row| row.covers(missed));
        let wrong: Vec<&Missed> = self.missed.iter().filter(is_wrong).collect();
        for missed in wrong.iter().take(TOLD) {
            let [due, ended] = [missed.due, missed.ended].map(|at| self.since_began(at));
            let _ = writeln!(
                faults,
                "  request {}: {:?}, due at {due:?}, known at {ended:?}, received {} times",
                missed.id, missed.got, missed.received
            );
        }
        let rows = table.iter().map(|row| (row.got, self.since_began(row.from), self.since_began(row.until)));
        let rows: Vec<_> = rows.collect();
        assert!(faults.is_empty(), "{} wrong ones; allowed: {rows:?}\n{faults}{self}", wrong.len());
    }

    /// How many got this.
    #[must_use]
    pub fn got(&self, got: Got) -> usize {
        self.missed.iter().filter(|missed| missed.got == got).count()
    }

    /// What was wrong whatever may be allowed.
    fn unaccounted(&self) -> String {
        let mut faults = String::new();
        let known = self.answered + self.missed.len() as u64;
        let is_retried = self.judged[1] == Judged::Fault && self.retried > 0;
        for (is_wrong, what) in [
            (self.answered == 0, "nothing was answered"),
            (self.begun != known, "there are requests of which nobody knows what became of them"),
            (self.doubled > 0, "some came twice"),
            (self.unseen > 0, "some were answered that no backend has seen"),
            (is_retried, "some had to be sent again"),
        ] {
            if is_wrong {
                let _ = writeln!(faults, "  {what}");
            }
        }
        faults
    }

    /// How long after the beginning that was.
    #[must_use]
    pub fn since_began(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }
}
