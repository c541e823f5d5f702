//! What the gateway says of itself, written to standard error by a thread of its own: a terminal that was stopped, or a
//! pipe that nobody reads, must not hold up a worker. What may wait is bounded; lines beyond it are dropped, counted and
//! mentioned.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::access_log::queue::{Batch, Queue, Work};
use crate::access_log::writer::Sink;

/// Most bytes that may wait.
const MOST: usize = 1024 * 1024;

/// The log of the process. Dropped, it takes nothing more.
#[derive(Debug)]
pub struct OwnLog {
    queue: Arc<Queue>,
    lost: Arc<AtomicU64>,
}

impl OwnLog {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Sink::open(crate::access_log::Target::Stderr)?, MOST)
    }

    fn start_with(sink: Sink, most: usize) -> io::Result<Self> {
        let (queue, lost) = (Arc::new(Queue::new(most)), Arc::new(AtomicU64::new(0)));
        let (own, missed) = (Arc::clone(&queue), Arc::clone(&lost));
        thread::Builder::new().name("own-log".into()).spawn(move || write(&own, sink, &missed))?;
        Ok(Self { queue, lost })
    }

    /// Takes one line with each call of `write`.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines { queue: Arc::clone(&self.queue), lost: Arc::clone(&self.lost) }
    }

    /// Ends the log: waits until all is written, for at most `patience`. Blocks: not on a worker.
    pub fn close(&self, patience: Duration) {
        self.queue.close(patience);
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        self.queue.close(Duration::ZERO);
    }
}

/// Where lines are put.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: Arc<Queue>,
    lost: Arc<AtomicU64>,
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.queue.push(&mut Batch { bytes: line.to_vec(), lines: 1 }) {
            self.lost.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(queue: &Queue, mut sink: Sink, lost: &AtomicU64) {
    let (written, mut told) = (AtomicU64::new(0), 0);
    loop {
        match queue.next() {
            Work::Write(batch) => {
                // If nobody can be told, nobody can be told of that either.
                let _ = sink.write(&batch.bytes);
                let missed = lost.load(Relaxed);
                if missed > told {
                    let _ = sink.write(format!("WARN {} lines of this log were lost here\n", missed - told).as_bytes());
                    told = missed;
                }
                queue.done(&batch, &written);
            }
            Work::Reopen => {}
            Work::End => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A target that takes each write only when told to.
    struct Slow(Arc<Mutex<Vec<u8>>>, Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.1.recv();
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_the_target_and_what_is_lost_is_told() {
        let (seen, (go, wait)) = (Arc::new(Mutex::new(Vec::new())), sync_channel(100));
        let mut target = Some(Slow(Arc::clone(&seen), wait));
        let sink = Sink::new(Box::new(move || Ok(Box::new(target.take().unwrap())))).unwrap();
        let log = OwnLog::start_with(sink, 10).unwrap();
        let mut lines = log.lines();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(go);
        log.close(Duration::from_secs(20));
        let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        assert_eq!(seen, "one\nWARN 2 lines of this log were lost here\ntwo\n");
    }
}
