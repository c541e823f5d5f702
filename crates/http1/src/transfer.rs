//! Passing a body on: what comes in is decoded where it lies, what goes out is framed around it.
//!
//! [`Inflow`] finds the content in the bytes received, [`Batch`] is one write of it: chunk line, content, chunk end.
//! Many small chunks leave as few large ones. Whoever owns the sockets drives both.

use std::io::IoSlice;
use std::ops::Range;

use tollgate_core::body::Length;
use tollgate_core::head::Fields;

use crate::chunked::{Decoder, Step};
use crate::write;

/// Most separate pieces of content in one write.
const RUNS: usize = 16;
/// Pieces smaller than this are moved next to the one before, which is cheaper than a slice of their own.
const SMALL: usize = 1024;
/// Most slices in one write: head, chunk line, pieces, end.
pub const SLICES: usize = RUNS + 3;

/// Why a body cannot be taken further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It breaks the grammar.
    Malformed(&'static str),
    /// It is larger than allowed.
    TooLarge,
}

/// Finds the content of one body in the bytes received.
#[derive(Debug, Default)]
pub struct Inflow {
    source: Source,
    /// Content bytes found so far.
    pub taken: u64,
}

#[derive(Debug, Default)]
enum Source {
    #[default]
    Done,
    Known(u64),
    Chunked(Decoder),
    UntilClose,
}

impl Inflow {
    /// For a body that ends like `length`.
    #[must_use]
    pub fn new(length: Length) -> Self {
        let source = match length {
            Length::None | Length::Known(0) => Source::Done,
            Length::Known(n) => Source::Known(n),
            Length::Chunked => Source::Chunked(Decoder::default()),
            Length::UntilClose => Source::UntilClose,
        };
        Self { source, taken: 0 }
    }

    /// Whether all of it was found.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.source {
            Source::Done => true,
            Source::Known(left) => *left == 0,
            Source::Chunked(decoder) => decoder.is_done(),
            Source::UntilClose => false,
        }
    }

    /// The sender closed. True: that was the end of the body. False: the body is cut short.
    pub fn closed(&mut self) -> bool {
        if matches!(self.source, Source::UntilClose) {
            self.source = Source::Done;
        }
        self.is_done()
    }

    /// Finds content in `bytes[range]`, as much as fits into one write; gives where to go on.
    ///
    /// # Errors
    /// See [`Bad`]. `most` bounds the content in bytes, `most_trailer` the trailer section.
    pub fn take(
        &mut self,
        bytes: &mut [u8],
        range: Range<usize>,
        runs: &mut Runs,
        most: u64,
        most_trailer: usize,
    ) -> Result<usize, Bad> {
        let (there, before) = (range.len(), runs.content);
        let mut at = range.start;
        match &mut self.source {
            Source::Done => {}
            Source::Known(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
                *left -= n as u64;
                runs.push(bytes, at..at + n);
                at += n;
            }
            Source::UntilClose => {
                runs.push(bytes, range.clone());
                at = range.end;
            }
            Source::Chunked(decoder) => {
                while !runs.is_full() {
                    match decoder.step(&bytes[..range.end], at, most_trailer).map_err(Bad::Malformed)? {
                        Step::Data(data) => {
                            at = data.end;
                            runs.push(bytes, data);
                        }
                        Step::More => {
                            at = range.end;
                            break;
                        }
                        Step::Done(end) => {
                            at = end;
                            break;
                        }
                    }
                }
            }
        }
        self.taken += (runs.content - before) as u64;
        if self.taken > most { Err(Bad::TooLarge) } else { Ok(at) }
    }

    /// The trailers of a body that is done.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn trailers(&self, most_fields: usize) -> Result<Option<Fields>, &'static str> {
        match &self.source {
            Source::Chunked(decoder) => decoder.trailers(most_fields),
            _ => Ok(None),
        }
    }
}

/// The pieces of content for one write, as ranges of the buffer.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    ranges: [(u32, u32); RUNS],
    len: usize,
    content: usize,
}

impl Runs {
    /// One piece, all of a buffer of `len` bytes.
    #[must_use]
    pub fn whole(len: usize) -> Self {
        let mut runs = Self::default();
        if len > 0 {
            runs.ranges[0] = (0, u32::try_from(len).unwrap_or(u32::MAX));
            (runs.len, runs.content) = (1, len);
        }
        runs
    }

    /// Bytes of content in all pieces.
    #[must_use]
    pub fn content(&self) -> usize {
        self.content
    }

    fn is_full(&self) -> bool {
        self.len == RUNS
    }

    fn push(&mut self, bytes: &mut [u8], range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.content += range.len();
        let to32 = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if let Some((_, end)) = self.len.checked_sub(1).and_then(|last| self.ranges.get_mut(last)) {
            let behind = *end as usize;
            if behind == range.start || range.len() < SMALL {
                bytes.copy_within(range.clone(), behind);
                *end += to32(range.len());
                return;
            }
        }
        if let Some(slot) = self.ranges.get_mut(self.len) {
            *slot = (to32(range.start), to32(range.end));
            self.len += 1;
        }
    }

    /// Where the pieces stand, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.ranges[..self.len].iter().map(|(start, end)| *start as usize..*end as usize)
    }
}

/// How a body goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outflow {
    /// Not at all (answers to `HEAD`).
    #[default]
    Nothing,
    /// As it is: the head told its length, or the close will tell its end.
    Plain,
    /// In chunks.
    Chunked,
}

/// One write of content with its framing, which may take several calls to get out.
#[derive(Debug, Default)]
pub struct Batch {
    line: [u8; 20],
    line_len: usize,
    runs: Runs,
    end: End,
    written: usize,
    total: usize,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Nothing,
    Fixed(&'static [u8]),
    Trailers(Vec<u8>),
}

impl End {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => b"",
            Self::Fixed(bytes) => bytes,
            Self::Trailers(bytes) => bytes,
        }
    }
}

impl Batch {
    /// Frames `runs`; `last` if the body ends with them, with its trailers.
    #[must_use]
    pub fn new(out: Outflow, runs: Runs, last: bool, trailers: Option<&Fields>) -> Self {
        let mut batch = Self::default();
        match out {
            Outflow::Nothing => return batch,
            Outflow::Plain => {}
            Outflow::Chunked => {
                if runs.content > 0 {
                    batch.line_len = write::chunk_line(&mut batch.line, runs.content);
                }
                batch.end = match (trailers, runs.content > 0, last) {
                    (None, true, true) => End::Fixed(b"\r\n0\r\n\r\n"),
                    (None, false, true) => End::Fixed(b"0\r\n\r\n"),
                    (Some(fields), has_content, true) => End::Trailers(write::last_chunk(fields, has_content)),
                    (_, true, false) => End::Fixed(b"\r\n"),
                    (_, false, false) => End::Nothing,
                };
            }
        }
        batch.total = batch.line_len + runs.content + batch.end.bytes().len();
        batch.runs = runs;
        batch
    }

    /// Content bytes in it, framing not counted.
    #[must_use]
    pub fn content(&self) -> usize {
        self.runs.content
    }

    /// Whether all of it is out.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.written >= self.total
    }

    /// Notes that `n` bytes went out.
    pub fn advance(&mut self, n: usize) {
        self.written += n;
    }

    /// What is still to go out, behind `head`, as slices of `body`; gives how many slices there are.
    pub fn slices<'a>(&'a self, head: &'a [u8], body: &'a [u8], into: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut n, mut skip) = (0, self.written);
        let line = &self.line[..self.line_len];
        let runs = self.runs.iter().map(|range| body.get(range).unwrap_or_default());
        let pieces = std::iter::once(line).chain(runs).chain(std::iter::once(self.end.bytes()));
        if !head.is_empty() {
            into[0] = IoSlice::new(head);
            n = 1;
        }
        for piece in pieces {
            let left = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            if let (false, Some(slot)) = (left.is_empty(), into.get_mut(n)) {
                *slot = IoSlice::new(left);
                n += 1;
            }
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a batch of `runs` over `bytes` writes.
    fn written(out: Outflow, runs: Runs, last: bool, bytes: &[u8]) -> Vec<u8> {
        let batch = Batch::new(out, runs, last, None);
        let mut slices = [IoSlice::new(&[]); SLICES];
        let n = batch.slices(b"", bytes, &mut slices);
        slices[..n].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn many_small_chunks_leave_as_one() {
        let mut bytes = b"1\r\na\r\n2\r\nbc\r\n3;x\r\ndef\r\n".to_vec();
        let (mut inflow, mut runs) = (Inflow::new(Length::Chunked), Runs::default());
        let end = bytes.len();
        assert_eq!(inflow.take(&mut bytes, 0..end, &mut runs, 6, 64), Ok(end));
        assert_eq!((inflow.taken, inflow.is_done()), (6, false));
        assert_eq!(written(Outflow::Chunked, runs, false, &bytes), b"6\r\nabcdef\r\n");
    }

    #[test]
    fn a_body_above_the_limit_is_too_large_at_once() {
        for length in [Length::Known(9), Length::UntilClose] {
            let mut inflow = Inflow::new(length);
            assert_eq!(inflow.take(&mut b"abcdef".to_vec(), 0..6, &mut Runs::default(), 5, 0), Err(Bad::TooLarge));
        }
        let mut inflow = Inflow::new(Length::Chunked);
        let mut bytes = b"3\r\nabc\r\n3\r\ndef\r\n".to_vec();
        assert_eq!(inflow.take(&mut bytes, 0..8, &mut Runs::default(), 5, 0), Ok(8));
        assert_eq!(inflow.take(&mut bytes, 8..16, &mut Runs::default(), 5, 0), Err(Bad::TooLarge));
    }

    #[test]
    fn content_is_counted_once_however_the_runs_are_shared() {
        let (mut inflow, mut runs) = (Inflow::new(Length::Known(4)), Runs::default());
        let mut bytes = b"abcdef".to_vec();
        assert_eq!(inflow.take(&mut bytes, 0..2, &mut runs, 4, 0), Ok(2));
        assert_eq!(inflow.take(&mut bytes, 2..6, &mut runs, 4, 0), Ok(4), "what follows the body stays");
        assert_eq!((inflow.taken, inflow.is_done()), (4, true));
        assert_eq!(written(Outflow::Plain, runs, true, &bytes), b"abcd");
    }

    /// RFC 9112 §8.
    #[test]
    fn only_a_body_without_length_may_end_with_the_connection() {
        assert!(Inflow::new(Length::UntilClose).closed());
        assert!(Inflow::new(Length::None).closed());
        assert!(Inflow::new(Length::Known(0)).closed());
        assert!(!Inflow::new(Length::Known(1)).closed());
        assert!(!Inflow::new(Length::Chunked).closed());
    }

    #[test]
    fn the_last_chunk_is_written_with_the_end_and_never_before() {
        let none = Runs::default;
        assert_eq!(written(Outflow::Chunked, none(), true, b""), b"0\r\n\r\n");
        assert_eq!(written(Outflow::Chunked, none(), false, b""), b"");
        assert_eq!(written(Outflow::Plain, none(), true, b""), b"");
        let some = || {
            let mut runs = Runs::default();
            runs.push(&mut b"ab".to_vec(), 0..2);
            runs
        };
        assert_eq!(written(Outflow::Chunked, some(), true, b"ab"), b"2\r\nab\r\n0\r\n\r\n");
        assert_eq!(written(Outflow::Chunked, some(), false, b"ab"), b"2\r\nab\r\n");
        assert_eq!(written(Outflow::Nothing, some(), true, b"ab"), b"");
        assert!(Batch::new(Outflow::Nothing, some(), true, None).is_out());
    }
}
