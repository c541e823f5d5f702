//! The short way of a body: from one HTTP/1.1 connection to another, within the buffer in which it arrives.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tollgate_core::buffer::Buffer;
use tollgate_http1::transfer::{Bad, Batch};
use tollgate_net::Stream;

use super::{Broken, Prefix, Pump};

impl Pump {
    /// The short way.
    pub(super) fn poll_wires(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        buffer: &mut Buffer,
        sink: &mut Stream,
        prefix: &mut Prefix,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if self.batch.is_out() && !self.ended && self.is_at_end() {
                self.conclude(buffer)?;
            }
            if self.batch.is_out() && !self.ended && (self.from < buffer.len() || self.inflow.is_done()) {
                self.fill(buffer)?;
            }
            if !prefix.left().is_empty() || !self.batch.is_out() {
                ready!(self.poll_write(cx, buffer.filled(), sink, prefix))?;
                continue;
            }
            let flushed = self.poll_flush(cx, sink)?;
            if self.ended {
                return flushed.map(Ok);
            }
            if self.from < buffer.len() {
                continue;
            }
            ready!(self.poll_read(cx, source, buffer))?;
        }
    }

    /// Reads and throws away; ready when all of the body has arrived.
    pub(crate) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        buffer: &mut Buffer,
    ) -> Poll<Result<(), Broken>> {
        if self.held.is_some() {
            // What stands in the buffer now is the next request.
            (self.ended, self.exhausted) = (true, true);
            (self.batch, self.piece) = (Batch::default(), Bytes::new());
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.refused {
                return Poll::Ready(Err(Broken::Bad(Bad::Malformed("a body that was refused already"))));
            }
            if self.from < buffer.len() {
                self.take(buffer)?;
            }
            if self.inflow.is_done() {
                self.trailers()?;
                self.ended = true;
                self.batch = Batch::default();
                return Poll::Ready(Ok(()));
            }
            if self.from == buffer.len() {
                ready!(self.poll_read(cx, source, buffer))?;
            }
        }
    }

    /// Decodes what is there into the next write.
    fn fill(&mut self, buffer: &mut Buffer) -> Result<(), Broken> {
        let runs = self.take(buffer)?;
        let trailers = if self.inflow.is_done() { self.trailers()? } else { None };
        self.ended = self.inflow.is_done();
        if let Some(tee) = &mut self.tee {
            runs.iter().for_each(|range| tee.keep(buffer.filled().get(range).unwrap_or_default()));
            self.ended.then(|| tee.end());
        }
        self.batch = Batch::new(self.outflow, runs, self.ended, trailers.as_ref());
        self.sent += self.batch.content() as u64;
        Ok(())
    }

    /// Says what is to be said at the end, and ends it.
    fn conclude(&mut self, buffer: &mut Buffer) -> Result<(), Broken> {
        let mut track = self.track.take();
        *buffer =
            track.as_mut().and_then(|track| track.goodbye()).map_or_else(Buffer::none, |last| Buffer::holding(&last));
        self.from = 0;
        let said = self.fill(buffer);
        self.track = track;
        self.inflow.closed();
        said
    }
}
