//! The thread that writes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tollgate_core::clock::Clock;

use super::Target;
use super::queue::{Queue, Work};
use crate::metrics::LogLines;

/// Losses are mentioned at most this often.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

pub(crate) type Open = Box<dyn FnMut() -> io::Result<Box<dyn Write + Send>> + Send>;

/// Something to write to that can be opened anew.
pub(crate) struct Sink {
    open: Open,
    current: Box<dyn Write + Send>,
}

impl Sink {
    pub(crate) fn open(target: Target) -> io::Result<Self> {
        Self::new(Box::new(move || {
            Ok(match &target {
                Target::Stdout => Box::new(io::stdout()),
                Target::Stderr => Box::new(io::stderr()),
                Target::File(path) => Box::new(appending().open(path)?),
            })
        }))
    }

    pub(crate) fn new(mut open: Open) -> io::Result<Self> {
        Ok(Self { current: open()?, open })
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.current = (self.open)()?;
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current.write_all(bytes)?;
        self.current.flush()
    }
}

fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    sink: Sink,
    lines: Arc<LogLines>,
    clock: Clock,
    warned: Option<(Instant, u64)>,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, sink: Sink, lines: Arc<LogLines>, clock: Clock) -> Self {
        Self { queue, sink, lines, clock, warned: None }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.queue.next() {
                Work::Write(batch) => {
                    let done = self.sink.write(&batch.bytes);
                    self.queue.done(&batch, if done.is_ok() { &self.lines.written } else { &self.lines.lost });
                    self.warn(done.err());
                }
                Work::Reopen => {
                    if let Err(error) = self.sink.reopen() {
                        tracing::warn!(%error, "the access log cannot be opened anew, the old file is written on");
                    }
                }
                Work::End => return,
            }
        }
    }

    /// Mentions lines lost since the last time. Said by this thread, as the gateway's own log may be slow as well.
    fn warn(&mut self, error: Option<io::Error>) {
        let lost = self.lines.lost.load(Relaxed);
        let (at, known) = self.warned.map_or((None, 0), |(at, known)| (Some(at), known));
        if lost <= known {
            return;
        }
        let now = self.clock.now();
        if at.is_some_and(|at| now.saturating_duration_since(at) < BETWEEN_WARNINGS) {
            return;
        }
        self.warned = Some((now, lost));
        let lines = lost - known;
        match error {
            Some(error) => tracing::warn!(lines, %error, "lines of the access log were lost"),
            None => tracing::warn!(lines, "lines of the access log were lost: the target is too slow"),
        }
    }
}
