//! Moves a body from where it comes from to where it goes.
//!
//! Reads only when everything read is written: back-pressure without a queue. From one HTTP/1.1 connection to another a
//! body passes through the one buffer in which it arrives, and head and first content leave in one write: [`wires`]. All other ways
//! are in [`pieces`].

mod limits;
mod memory;
mod pieces;
mod prefix;
mod recode;
mod tee;
mod wires;

pub(crate) use limits::BodyLimits;
pub(crate) use pieces::{add_field, header_map};
pub(crate) use prefix::Prefix;
pub(crate) use tee::{Kept, Tee};

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tollgate_core::body::{Length, RecodeError, Recoder};
use tollgate_core::buffer::{self, Buffer};
use tollgate_core::head::Fields;
use tollgate_core::problem::Problem;
use tollgate_http1::transfer::{Bad, Batch, Inflow, Outflow, Runs, SLICES};
use tollgate_net::Stream;

use self::memory::Memory;
use self::recode::Recoding;
use crate::http::ends::{Sink, Source};
use crate::http::reports::Reports;
use crate::http::websocket::Track;
use crate::pace::{Least, Meter};

/// Why a body did not get across.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The sender closed before the end.
    CutShort,
    /// Reading failed.
    Source(io::Error),
    /// Writing failed.
    Sink(io::Error),
    /// What came is not to be passed on.
    Bad(Bad),
    /// What came cannot be recoded; what its sender is told of that.
    Recode(RecodeError, Option<Problem>),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("closed before the end of the body"),
            Self::Source(error) => write!(f, "reading failed: {error}"),
            Self::Sink(error) => write!(f, "writing failed: {error}"),
            Self::Bad(Bad::Malformed(what)) => f.write_str(what),
            Self::Bad(Bad::TooLarge) => f.write_str("a body that is too large"),
            Self::Recode(error, _) => error.fmt(f),
        }
    }
}

/// One body on its way.
#[derive(Debug)]
pub(crate) struct Pump {
    inflow: Inflow,
    outflow: Outflow,
    limits: BodyLimits,
    batch: Batch,
    /// Where undecoded bytes start in the buffer.
    pub(crate) from: usize,
    /// Where the head ends, and so the room for content starts.
    floor: usize,
    /// The last batch was made.
    ended: bool,
    /// The body was refused: nothing behind that point can be understood.
    refused: bool,
    /// The whole body fits into the buffer and stays there, so that it can be sent once more.
    keep: bool,
    /// Bytes in the buffer were overwritten by later ones.
    recycled: bool,
    /// Some of the body was decoded, content or framing.
    begun: bool,
    /// The buffer is given back while there is nothing to read.
    frugal: bool,
    /// What was written has not all left yet.
    flushing: bool,
    /// What changes the content on its way.
    recoding: Option<Box<Recoding>>,
    /// All of a body that is there already.
    held: Option<Bytes>,
    /// What of it has passed, if it may have to be sent once more.
    memory: Option<Box<Memory>>,
    /// Who keeps what passes.
    tee: Option<Box<Tee>>,
    /// Who knows where it may end.
    track: Option<Box<Track>>,
    /// A piece that is to be written, on every way but the short one.
    piece: Bytes,
    /// The source has said its last, where that is not for [`Inflow`] to find.
    exhausted: bool,
    /// What the source said behind its last piece.
    trailers: Option<Fields>,
    /// Who reads what instances report in trailers.
    reports: Option<Box<Reports>>,
    /// Bytes taken from an HTTP/2 stream that its sender has not been told of.
    unreleased: usize,
    /// How often anything moved: tells whoever watches the time that the other side is alive.
    pub(crate) moves: u64,
    /// Content bytes written.
    pub(crate) sent: u64,
    /// Bytes that the sink took, framing and all.
    passed: u64,
    /// Whether the client at one of its ends keeps the pace.
    pace: Meter,
}

impl Pump {
    /// A body that ends like `length` and whose first bytes stand behind the head, at `floor`.
    pub(crate) fn new(length: Length, limits: BodyLimits, floor: usize) -> Self {
        Self {
            inflow: Inflow::new(length),
            outflow: Outflow::Nothing,
            limits,
            batch: Batch::default(),
            from: floor,
            floor,
            ended: false,
            refused: false,
            keep: matches!(length, Length::Known(n) if n <= (buffer::SIZE - floor.min(buffer::SIZE)) as u64),
            recycled: false,
            begun: false,
            frugal: false,
            flushing: false,
            recoding: None,
            held: None,
            memory: None,
            tee: None,
            track: None,
            piece: Bytes::new(),
            exhausted: false,
            trailers: None,
            reports: None,
            unreleased: 0,
            moves: 0,
            sent: 0,
            passed: 0,
            pace: Meter::default(),
        }
    }

    /// A body that is there already.
    pub(crate) fn holding(bytes: Bytes) -> Self {
        let limits = BodyLimits { content: u64::MAX, trailer: 0, trailer_fields: 0 };
        Self { held: Some(bytes), ..Self::new(Length::Chunked, limits, 0) }
    }

    /// All of the body was read, and this is what goes on instead of it, as often as need be.
    pub(crate) fn hold(&mut self, content: Bytes) {
        let (from, floor, moves, taken) = (self.from, self.floor, self.moves, self.inflow.taken);
        *self = Self { from, floor, moves, ..Self::holding(content) };
        self.inflow.taken = taken;
    }

    /// Bytes of a protocol that is not understood here, as they come, until the source closes. Nothing is held while
    /// nothing moves.
    pub(crate) fn tunnel() -> Self {
        let limits = BodyLimits { content: u64::MAX, trailer: 0, trailer_fields: 0 };
        Self { outflow: Outflow::Plain, frugal: true, ..Self::new(Length::UntilClose, limits, 0) }
    }

    /// The same, of which somebody knows where it may end.
    pub(crate) fn tracked(track: Box<Track>) -> Self {
        Self { track: Some(track), ..Self::tunnel() }
    }

    /// Who knows where it may end.
    pub(crate) fn track(&mut self) -> Option<&mut Track> {
        self.track.as_deref_mut()
    }

    /// Begins anew behind the end, with what is known of it; what is counted goes on.
    pub(crate) fn part(&mut self) {
        let track = self.track.take();
        *self = Self { moves: self.moves, sent: self.sent, track, ..Self::tunnel() };
    }

    /// Changes the content of a body of this length on its way, or looks at it; before the first byte is moved.
    pub(crate) fn recode_with(&mut self, recoders: Vec<Box<dyn Recoder>>, length: Length) {
        if !recoders.is_empty() {
            self.recoding = Some(Box::new(Recoding::new(recoders, length)));
        }
    }

    /// Keeps what passes, up to a bound, so that it can be sent once more though its source cannot begin anew; before the first byte
    /// is moved.
    pub(crate) fn remember(&mut self) {
        // What was made of it by others cannot be made once more; what is held is there.
        if !self.is_changed() && self.held.is_none() && !self.begun {
            self.memory = Some(Box::default());
        }
    }

    /// It will not be sent once more.
    pub(crate) fn forget(&mut self) {
        // What is left of it still has to pass.
        self.memory.take_if(|memory| !memory.has_more());
    }

    /// Gives all content that passes to somebody else, too; before the first byte is moved.
    pub(crate) fn tee_to(&mut self, tee: Tee) {
        self.tee = Some(Box::new(tee));
    }

    /// Whether the content is changed, so that nobody knows its length beforehand.
    fn is_changed(&self) -> bool {
        self.recoding.as_ref().is_some_and(|recoding| !recoding.chain.only_looks())
    }

    /// How a body of this length ends where it goes.
    pub(crate) fn outgoing(&self, length: Length) -> Length {
        if self.is_changed() { Length::Chunked } else { length }
    }

    /// What somebody who only looks on would have refused of it.
    pub(crate) fn shadow(&self) -> Option<Problem> {
        self.recoding.as_ref().and_then(|recoding| recoding.chain.shadow())
    }

    /// Says how it goes out.
    pub(crate) fn send_as(&mut self, outflow: Outflow) {
        self.outflow = outflow;
    }

    /// Whether all of the body has arrived.
    pub(crate) fn has_arrived(&self) -> bool {
        self.held.is_some() || self.is_drawn()
    }

    /// Whether the source has nothing more to give.
    fn is_drawn(&self) -> bool {
        (self.exhausted || self.inflow.is_done()) && !self.refused
    }

    /// Whether neither the source nor the memory of what it gave has anything more.
    fn is_through(&self) -> bool {
        self.is_drawn() && !self.memory.as_ref().is_some_and(|memory| memory.has_more())
    }

    /// Whether all of the body has arrived and left again.
    pub(crate) fn is_done(&self) -> bool {
        self.is_through() && self.ended && self.batch.is_out() && !self.flushing && self.piece.is_empty()
    }

    /// Whether what holds it up is whoever should take it.
    pub(crate) fn is_blocked_on_sink(&self, prefix: &Prefix) -> bool {
        !prefix.is_out() || !self.batch.is_out() || self.flushing || !self.piece.is_empty()
    }

    /// See [`pace::upload`](crate::pace::upload). `arriving`: bytes that have come and cannot be read yet.
    pub(crate) fn pace_in(
        &mut self,
        least: Least,
        arriving: u64,
        waits: bool,
        now: impl FnOnce() -> Instant,
    ) -> Option<Instant> {
        self.pace.look(least, self.inflow.taken + arriving, waits, now)
    }

    /// See [`pace::download`](crate::pace::download).
    pub(crate) fn pace_out(&mut self, least: Least, waits: bool, now: impl FnOnce() -> Instant) -> Option<Instant> {
        self.pace.look(least, self.passed, waits, now)
    }

    /// Content bytes that arrived.
    pub(crate) fn taken(&self) -> u64 {
        self.inflow.taken
    }

    /// Whether the same body can be sent once more from what is in the buffer.
    pub(crate) fn can_repeat(&self, length: Length) -> bool {
        match length {
            _ if self.is_changed() => !self.begun,
            _ if self.held.is_some() || self.memory.is_some() => true,
            Length::None => true,
            // Decoding chunks moves bytes about, and half a chunk line that was read is gone: only a body of which
            // not one byte was looked at can be sent again.
            Length::Chunked | Length::UntilClose => !self.begun,
            Length::Known(_) => !self.recycled,
        }
    }

    /// Back to the first byte; only after [`Pump::can_repeat`].
    pub(crate) fn repeat(&mut self, length: Length) {
        let (mut recoding, mut tee) = (self.recoding.take(), self.tee.take());
        // What changes it took nothing yet.
        recoding.iter_mut().filter(|recoding| recoding.chain.only_looks()).for_each(|recoding| recoding.start_over());
        tee.iter_mut().for_each(|tee| tee.start_over());
        match (self.held.take(), self.memory.take()) {
            (Some(held), _) => self.hold(held),
            (None, Some(memory)) => self.begin_anew(memory),
            (None, None) => *self = Self { moves: self.moves, ..Self::new(length, self.limits, self.floor) },
        }
        (self.recoding, self.tee) = (recoding, tee);
    }

    /// The source goes on where it is, once what has passed has passed again.
    fn begin_anew(&mut self, mut memory: Box<Memory>) {
        memory.start_over();
        self.memory = Some(memory);
        (self.ended, self.flushing, self.outflow) = (false, false, Outflow::Nothing);
        (self.batch, self.piece) = (Batch::default(), Bytes::new());
        (self.sent, self.passed) = (0, 0);
    }

    /// Moves what can be moved. Ready when the body, and the head before it, is out.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: Source<'_>,
        buffer: &mut Buffer,
        sink: Sink<'_>,
    ) -> Poll<Result<(), Broken>> {
        let source = if self.held.is_some() { Source::Held } else { source };
        match (source, sink) {
            (Source::Wire(source), Sink::Wire(sink, prefix)) if self.recoding.is_none() && self.memory.is_none() => {
                self.poll_wires(cx, source, buffer, sink, prefix)
            }
            (source, sink) => self.poll_pieces(cx, source, buffer, sink),
        }
    }

    /// Under TLS what was written may still wait for the socket: sent off before anybody waits for what comes next.
    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Result<Poll<()>, Broken> {
        let flushed = Pin::new(sink).poll_flush(cx);
        self.flushing = flushed.is_pending();
        match flushed {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(Broken::Sink(error)),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Whether nothing more is to pass, though more may come.
    fn is_at_end(&self) -> bool {
        self.track.as_ref().is_some_and(|track| track.is_at_end())
    }

    fn take(&mut self, buffer: &mut Buffer) -> Result<Runs, Broken> {
        let (mut range, mut runs) = (self.from..buffer.len(), Runs::default());
        if let Some(track) = &mut self.track {
            range.end = range.start + track.pass(buffer.filled().get(range.clone()).unwrap_or_default());
        }
        self.begun |= !range.is_empty();
        let limits = self.limits;
        let next = self.inflow.take(buffer.filled_mut(), range, &mut runs, limits.content, limits.trailer);
        self.refused |= next.is_err();
        self.from = next.map_err(Broken::Bad)?;
        Ok(runs)
    }

    fn trailers(&mut self) -> Result<Option<Fields>, Broken> {
        let trailers = self.inflow.trailers(self.limits.trailer_fields);
        self.refused |= trailers.is_err();
        let trailers = trailers.map_err(|what| Broken::Bad(Bad::Malformed(what)))?;
        Ok(self.reported(trailers))
    }

    /// Has somebody read reports of load in the trailers.
    pub(crate) fn report_to(&mut self, reports: Box<Reports>) {
        self.reports = Some(reports);
    }

    /// The trailers without what was only for the gateway.
    fn reported(&mut self, trailers: Option<Fields>) -> Option<Fields> {
        let Some(reports) = &self.reports else { return trailers };
        let mut trailers = trailers?;
        reports.read(&mut trailers);
        let is_empty = trailers.iter().next().is_none();
        (!is_empty).then_some(trailers)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        body: &[u8],
        sink: &mut Stream,
        prefix: &mut Prefix,
    ) -> Poll<Result<(), Broken>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let n = self.batch.slices(prefix.left(), body, &mut slices);
        let written = match n {
            1 => ready!(Pin::new(sink).poll_write(cx, &slices[0])),
            _ => ready!(Pin::new(sink).poll_write_vectored(cx, &slices[..n])),
        };
        let written = written.and_then(|n| if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) });
        let written = written.map_err(Broken::Sink)?;
        let of_prefix = written.min(prefix.left().len());
        prefix.advance(of_prefix);
        self.batch.advance(written - of_prefix);
        self.moves += 1;
        self.passed += written as u64;
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), Broken>> {
        if self.from > self.floor && (!self.keep || buffer.spare().is_empty()) {
            buffer.truncate(self.floor);
            self.from = self.floor;
            self.recycled = true;
        }
        if self.frugal && !buffer.is_lent() {
            if let Err(e) = ready!(source.poll_read_ready(cx)) {
                return Poll::Ready(Err(Broken::Source(e)));
            }
            *buffer = Buffer::lend();
        }
        let read = read_into(cx, source, buffer);
        if self.frugal && read.is_pending() {
            *buffer = Buffer::none();
        }
        match ready!(read) {
            Ok(0) => {
                if !self.inflow.closed() {
                    return Poll::Ready(Err(Broken::CutShort));
                }
            }
            Ok(_) => self.moves += 1,
            Err(e) => return Poll::Ready(Err(Broken::Source(e))),
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads once into all free space; 0: the peer will send no more.
pub(crate) fn read_into(cx: &mut Context<'_>, source: &mut Stream, buffer: &mut Buffer) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(buffer.spare());
    ready!(Pin::new(source).poll_read(cx, &mut room))?;
    let n = room.filled().len();
    buffer.advance(n);
    Poll::Ready(Ok(n))
}
