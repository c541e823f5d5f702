//! What workers have handed over and the writer has not written yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Some whole lines.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) lines: u64,
}

/// Batches in the order they came. The lock is held for a few instructions once per batch, never while writing.
#[derive(Debug)]
pub(crate) struct Queue {
    most: usize,
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Bytes and lines not written yet, those in the writer's hands included.
    bytes: usize,
    lines: u64,
    reopen: bool,
    closed: bool,
    /// The writer ended, or is given up: what is still here will not be written.
    abandoned: bool,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Open the target anew.
    Reopen,
    /// Write these lines, then call [`Queue::done`].
    Write(Batch),
    /// All is written and nothing more comes.
    End,
}

impl Queue {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, state: Mutex::default(), work: Condvar::new(), idle: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the batch and leaves an empty one; `false` if there is no room for it or the log is closed.
    pub(crate) fn push(&self, batch: &mut Batch) -> bool {
        let mut state = self.state();
        // A batch that is longer than the whole queue passes where nothing else waits.
        let fits = state.bytes == 0 || state.bytes + batch.bytes.len() <= self.most;
        if state.closed || !fits {
            return false;
        }
        state.bytes += batch.bytes.len();
        state.lines += batch.lines;
        state.batches.push_back(std::mem::take(batch));
        drop(state);
        self.work.notify_one();
        true
    }

    /// Waits for something to do.
    pub(crate) fn next(&self) -> Work {
        let idle = |state: &mut State| state.batches.is_empty() && !state.reopen && !state.closed;
        let mut state = self.work.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.reopen) {
            return Work::Reopen;
        }
        match state.batches.pop_front() {
            Some(batch) if !state.abandoned => Work::Write(batch),
            _ => Work::End,
        }
    }

    /// The batch left the writer's hands: its lines go into `count`, unless they were given up and counted as lost.
    pub(crate) fn done(&self, batch: &Batch, count: &AtomicU64) {
        let mut state = self.state();
        if state.abandoned {
            return;
        }
        state.bytes -= batch.bytes.len();
        state.lines -= batch.lines;
        // Counted before whoever waits in `close` goes on and reads the count.
        count.fetch_add(batch.lines, Relaxed);
        if state.lines == 0 {
            self.idle.notify_all();
        }
    }

    pub(crate) fn reopen(&self) {
        self.state().reopen = true;
        self.work.notify_one();
    }

    /// Takes nothing more and waits until all is written. With patience at its end, what is left is abandoned, unless
    /// there was no patience at all: then the writer ends in its own time. Returns the lines abandoned.
    pub(crate) fn close(&self, patience: Duration) -> u64 {
        let mut state = self.state();
        state.closed = true;
        self.work.notify_one();
        if patience.is_zero() || state.abandoned {
            return 0;
        }
        let busy = |state: &mut State| state.lines > 0;
        let (mut state, _) =
            self.idle.wait_timeout_while(state, patience, busy).unwrap_or_else(PoisonError::into_inner);
        state.abandoned = state.lines > 0;
        state.lines
    }
}
