//! The ways of a body on which at least one end is not HTTP/1.1: piece by piece, each owned.
//!
//! A piece is taken only once the one before has left; what was taken from an HTTP/2 stream is acknowledged to its sender
//! then, so that the windows of HTTP/2 carry the back-pressure on.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::buffer::Buffer;
use tollgate_core::field::{Known, is_value};
use tollgate_core::head::Fields;
use tollgate_http1::transfer::{Bad, Batch, Runs};
use tollgate_http1::write;

use super::recode::{Pulled, Recoding};
use super::{Broken, Pump};
use crate::http::ends::{Sink, Source, broken_stream};

impl Pump {
    pub(super) fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Source<'_>,
        buffer: &mut Buffer,
        mut sink: Sink<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let is_loaded = !self.batch.is_out() || !self.piece.is_empty();
            if !is_loaded && !self.ended {
                if self.poll_next(cx, &mut source, buffer)?.is_pending() {
                    // The head does not wait for content that is not there yet.
                    ready!(self.poll_put(cx, &mut sink))?;
                    return Poll::Pending;
                }
                let is_last = self.is_last();
                if let Some(tee) = &mut self.tee {
                    tee.keep(&self.piece);
                    is_last.then(|| tee.end());
                }
                self.wrap(&sink);
            }
            ready!(self.poll_put(cx, &mut sink))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the next piece, recoded if that is asked for, or learns that there is none.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source<'_>,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), Broken>> {
        let Some(mut recoding) = self.recoding.take() else {
            return if self.is_through() { Poll::Ready(Ok(())) } else { self.poll_get(cx, source, buffer) };
        };
        let got = self.poll_recoded(cx, source, buffer, &mut recoding);
        self.recoding = Some(recoding);
        got
    }

    fn poll_recoded(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source<'_>,
        buffer: &mut Buffer,
        recoding: &mut Recoding,
    ) -> Poll<Result<(), Broken>> {
        let failed = |(error, problem)| Broken::Recode(error, problem);
        loop {
            let piece = match recoding.chain.pull().map_err(failed)? {
                Pulled::Piece(piece) => piece,
                Pulled::Done => {
                    recoding.done = true;
                    self.piece = std::mem::take(&mut recoding.last);
                    return Poll::Ready(Ok(()));
                }
                Pulled::Hungry if self.is_through() => {
                    recoding.chain.end();
                    continue;
                }
                Pulled::Hungry => match self.poll_get(cx, source, buffer)? {
                    Poll::Ready(()) => {
                        recoding.chain.push(std::mem::take(&mut self.piece));
                        continue;
                    }
                    Poll::Pending => match recoding.chain.flush().map_err(failed)? {
                        Some(piece) => piece,
                        None => return Poll::Pending,
                    },
                },
            };
            self.piece = recoding.pass(piece);
            if !self.piece.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether nothing follows the piece.
    fn is_last(&self) -> bool {
        match &self.recoding {
            Some(recoding) => recoding.done,
            None => self.is_through(),
        }
    }

    /// Frames the piece for an HTTP/1.1 connection.
    fn wrap(&mut self, sink: &Sink<'_>) {
        if let Sink::Wire(..) = sink {
            let last = self.is_last();
            self.batch = Batch::new(self.outflow, Runs::whole(self.piece.len()), last, self.trailers.as_ref());
            self.sent += self.batch.content() as u64;
            self.ended = last;
        }
    }

    /// Writes the piece. Ready when it is out; for the last one, when everything is.
    fn poll_put(&mut self, cx: &mut Context<'_>, sink: &mut Sink<'_>) -> Poll<Result<(), Broken>> {
        match sink {
            Sink::Wire(sink, prefix) => {
                while !self.batch.is_out() || !prefix.is_out() {
                    let piece = std::mem::take(&mut self.piece);
                    let written = self.poll_write(cx, &piece, sink, prefix);
                    self.piece = piece;
                    ready!(written)?;
                }
                self.piece = Bytes::new();
                let flushed = self.poll_flush(cx, sink)?;
                if self.ended { flushed.map(Ok) } else { Poll::Ready(Ok(())) }
            }
            Sink::Frames(sink) => self.poll_put_frames(cx, sink),
            Sink::Nowhere => {
                self.piece = Bytes::new();
                self.ended = self.is_last();
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_put_frames(&mut self, cx: &mut Context<'_>, sink: &mut SendStream<Bytes>) -> Poll<Result<(), Broken>> {
        while !self.piece.is_empty() {
            sink.reserve_capacity(self.piece.len());
            // Capacity that is there already is not told of again.
            let room = match sink.capacity() {
                0 => match ready!(sink.poll_capacity(cx)) {
                    Some(room) => room.map_err(|error| Broken::Sink(broken_stream(error)))?,
                    None => return Poll::Ready(Err(Broken::Sink(io::ErrorKind::BrokenPipe.into()))),
                },
                room => room,
            };
            if room == 0 {
                continue;
            }
            let part = self.piece.split_to(room.min(self.piece.len()));
            self.sent += part.len() as u64;
            self.passed += part.len() as u64;
            self.moves += 1;
            let last = self.piece.is_empty() && self.is_last() && self.trailers.is_none();
            sink.send_data(part, last).map_err(|error| Broken::Sink(broken_stream(error)))?;
            self.ended |= last;
        }
        if self.is_last() && !self.ended {
            self.ended = true;
            match self.trailers.take() {
                Some(trailers) => sink.send_trailers(header_map(&trailers)),
                None => sink.send_data(Bytes::new(), true),
            }
            .map_err(|error| Broken::Sink(broken_stream(error)))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece, or learns that there is none.
    fn poll_get(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source<'_>,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), Broken>> {
        if let Some(piece) = self.memory.as_mut().and_then(|memory| memory.again()) {
            self.piece = piece;
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_source(cx, source, buffer))?;
        // Trailers are sent once.
        let (piece, is_whole) = (&self.piece, self.trailers.is_none());
        self.memory.take_if(|memory| !(memory.keep(piece) && is_whole));
        Poll::Ready(Ok(()))
    }

    /// Takes what the source has.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source<'_>,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), Broken>> {
        if self.is_at_end() {
            self.piece = self.track.as_mut().and_then(|track| track.goodbye()).unwrap_or_default();
            self.from = buffer.len();
            self.exhausted = true;
            return Poll::Ready(Ok(()));
        }
        match source {
            Source::Held => {
                self.piece = self.held.clone().unwrap_or_default();
                (self.begun, self.exhausted) = (true, true);
            }
            Source::Wire(source) => {
                if self.from == buffer.len() && !self.inflow.is_done() {
                    ready!(self.poll_read(cx, source, buffer))?;
                }
                let runs = self.take(buffer)?;
                let mut piece = BytesMut::with_capacity(runs.content());
                runs.iter().for_each(|range| piece.extend_from_slice(buffer.filled().get(range).unwrap_or_default()));
                self.piece = piece.freeze();
                self.trailers = if self.inflow.is_done() { self.trailers()? } else { None };
            }
            Source::Made(stream) => match ready!(stream.poll_next(cx)) {
                Some(piece) => {
                    self.piece = piece.map_err(Broken::Source)?;
                    self.moves += 1;
                }
                None => self.exhausted = true,
            },
            Source::Frames(stream) => {
                if self.unreleased > 0 {
                    // Fails only if the stream is gone, which the next line tells.
                    let _ = stream.flow_control().release_capacity(std::mem::take(&mut self.unreleased));
                }
                match ready!(stream.poll_data(cx)) {
                    Some(Ok(piece)) => self.took(piece)?,
                    Some(Err(error)) => return Poll::Ready(Err(Broken::Source(broken_stream(error)))),
                    None => {
                        let trailers = ready!(stream.poll_trailers(cx));
                        let trailers = trailers.map_err(|error| Broken::Source(broken_stream(error)))?;
                        let trailers = trailers.map(|map| self.checked(&map)).transpose()?.flatten();
                        self.trailers = self.reported(trailers);
                        self.exhausted = true;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Counts a piece of an HTTP/2 stream.
    fn took(&mut self, piece: Bytes) -> Result<(), Broken> {
        self.begun = true;
        // What was taken is passed on, not kept: this body cannot be sent once more.
        self.recycled = true;
        self.moves += 1;
        self.unreleased = piece.len();
        self.inflow.taken += piece.len() as u64;
        if self.inflow.taken > self.limits.content {
            self.refused = true;
            return Err(Broken::Bad(Bad::TooLarge));
        }
        self.piece = piece;
        if let Some(track) = &mut self.track {
            self.piece.truncate(track.pass(&self.piece));
        }
        Ok(())
    }

    /// The trailers of an HTTP/2 stream, held to the same rules as those of HTTP/1.1 (RFC 9110 §6.5.1).
    fn checked(&mut self, map: &HeaderMap) -> Result<Option<Fields>, Broken> {
        let size: usize = map.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if map.len() > self.limits.trailer_fields || size > self.limits.trailer {
            self.refused = true;
            return Err(Broken::Bad(Bad::Malformed("a trailer section that is too large")));
        }
        let mut fields = Fields::default();
        for (name, value) in map {
            if !is_value(value.as_bytes()) {
                self.refused = true;
                return Err(Broken::Bad(Bad::Malformed("a trailer field whose value may not stand there")));
            }
            if !Known::of(name.as_str().as_bytes()).is_forbidden_in_trailer() {
                fields.add(Bytes::copy_from_slice(name.as_str().as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
            }
        }
        Ok((!fields.added().is_empty()).then_some(fields))
    }
}

/// Fields as HTTP/2 has them: names in lower case (RFC 9113 §8.2.1). What has no place there is left out.
pub(crate) fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    write::each(fields, |_, _| false, |name, value| add_field(&mut map, name, value));
    map
}

/// Adds a field whose name and value were found well formed before.
pub(crate) fn add_field(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}
