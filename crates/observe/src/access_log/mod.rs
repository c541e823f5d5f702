//! One JSON line per request, written off the hot path.
//!
//! A worker builds its lines in a [`LogBuffer`] of its own and hands them over in batches; one thread writes them.
//! The worker never waits: what may be outstanding is bounded in bytes, and lines beyond it are dropped, counted in
//! [`LogLines`] and mentioned in the gateway's own log at most once a minute.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use tollgate_core::clock::Clock;

use crate::metrics::LogLines;

mod buffer;
mod entry;
mod json;
mod query;
pub(crate) mod queue;
pub(crate) mod writer;

pub use buffer::LogBuffer;
pub use entry::Entry;
pub use query::Queries;

use queue::Queue;
use writer::{Sink, Writer};

/// Where lines go, and how many may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where lines go.
    pub target: Target,
    /// How many bytes may wait to be written. Each worker holds up to 16 KiB more in its buffer.
    pub queue: usize,
    /// How much of queries is shown.
    pub queries: Queries,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// This file: made if it is not there (mode 0640), appended to if it is.
    File(PathBuf),
}

/// The access log: hands out buffers and ends the writing. One for the process, or a new one where the settings change.
#[derive(Debug)]
pub struct AccessLog {
    queue: Arc<Queue>,
    lines: Arc<LogLines>,
    queries: Queries,
}

impl AccessLog {
    /// Opens the target and starts the thread that writes to it.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to be had.
    pub fn start(settings: &Settings, lines: Arc<LogLines>, clock: Clock) -> io::Result<Self> {
        let mut log = Self::start_with(Sink::open(settings.target.clone())?, settings.queue, lines, clock)?;
        log.queries = settings.queries;
        Ok(log)
    }

    fn start_with(sink: Sink, most: usize, lines: Arc<LogLines>, clock: Clock) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(most));
        let writer = Writer::new(queue.clone(), sink, lines.clone(), clock);
        thread::Builder::new().name("access-log".into()).spawn(move || writer.run())?;
        Ok(Self { queue, lines, queries: Queries::default() })
    }

    /// A buffer for one worker.
    pub fn buffer(&self) -> LogBuffer {
        LogBuffer::new(self.queue.clone(), self.lines.clone(), self.queries)
    }

    /// Closes a file and opens it anew under its name, before the next line: for whoever has moved it away.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Ends the log: waits, for at most `patience`, until all is written that the workers have handed over (they
    /// flush their buffers before), then ends the thread. Blocks: not on a worker. Returns how many lines were still
    /// to be written when patience ended; they are counted as lost.
    pub fn close(&self, patience: Duration) -> u64 {
        let left = self.queue.close(patience);
        self.lines.lost.fetch_add(left, Relaxed);
        left
    }
}

impl Drop for AccessLog {
    /// Ends the thread once it has written what is there; does not wait for it.
    fn drop(&mut self) {
        self.queue.close(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests;
