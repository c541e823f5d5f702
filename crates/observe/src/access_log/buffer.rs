//! A worker's own lines.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;

use super::queue::{Batch, Queue};
use super::{Entry, Queries};
use crate::metrics::LogLines;

/// A batch is handed over once it is this long.
const BATCH: usize = 16 * 1024;

/// Lines of one worker on their way to the writer. Nothing here waits for anybody.
#[derive(Debug)]
pub struct LogBuffer {
    batch: Batch,
    moment: Moment,
    queue: Arc<Queue>,
    lines: Arc<LogLines>,
    queries: Queries,
}

impl LogBuffer {
    pub(super) fn new(queue: Arc<Queue>, lines: Arc<LogLines>, queries: Queries) -> Self {
        Self { batch: Batch::default(), moment: Moment::default(), queue, lines, queries }
    }

    /// Adds a line. It is lost if a full batch waits here already and the queue does not take it.
    pub fn push(&mut self, entry: &Entry) {
        if self.batch.bytes.len() >= BATCH && !self.flush() {
            self.lines.lost.fetch_add(1, Relaxed);
            return;
        }
        if self.batch.bytes.capacity() == 0 {
            self.batch.bytes.reserve(BATCH + BATCH / 4);
        }
        entry.write(&mut self.batch.bytes, self.moment.text(entry.time), self.queries);
        self.batch.lines += 1;
        if self.batch.bytes.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what is here: on every housekeeping tick, and when the worker drains. `false` if the queue is full;
    /// the lines then stay for the next time.
    pub fn flush(&mut self) -> bool {
        self.batch.lines == 0 || self.queue.push(&mut self.batch)
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        if !self.flush() {
            self.lines.lost.fetch_add(self.batch.lines, Relaxed);
        }
    }
}

/// A moment as RFC 3339 with milliseconds: what is above a second is formatted once in it.
#[derive(Debug, Default)]
struct Moment {
    second: Option<u64>,
    text: Vec<u8>,
}

impl Moment {
    /// The text of a time in microseconds of Unix time.
    fn text(&mut self, micros: u64) -> &[u8] {
        let second = micros / 1_000_000;
        if self.second != Some(second) {
            let time = i64::try_from(second).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or_default();
            self.text = time.to_string().into_bytes();
            self.text.pop();
            self.text.extend_from_slice(b".000Z");
            self.second = Some(second);
        }
        let millis = (micros / 1000 % 1000) as u16;
        let end = self.text.len() - 1;
        for (place, divisor) in [(end - 3, 100), (end - 2, 10), (end - 1, 1)] {
            self.text[place] = b'0' + (millis / divisor % 10) as u8;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_with_milliseconds() {
        let mut moment = Moment::default();
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_123_999, "2023-11-14T22:13:20.123Z"),
            (1_700_000_000_007_000, "2023-11-14T22:13:20.007Z"),
            (1_700_000_001_000_000, "2023-11-14T22:13:21.000Z"),
            (1_700_000_000_999_999, "2023-11-14T22:13:20.999Z"),
        ] {
            assert_eq!(std::str::from_utf8(moment.text(micros)), Ok(text));
        }
    }
}
