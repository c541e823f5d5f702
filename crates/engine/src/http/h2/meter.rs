//! Counts, on the socket, the frames of HTTP/2 that cost their sender nothing and us something, and what is written.
//!
//! The frames themselves are read by the crate h2, which bounds what it keeps of them; it does not say how many of each
//! kind came. So they are followed in the bytes on their way to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tollgate_core::buffer::Buffer;
use tollgate_core::clock::Clock;
use tollgate_net::Stream;

use super::follow::Follow;
use super::standing::Standing;

/// For so many bytes written the peer may tell of room once more: many do so for each packet that comes, once for the stream and
/// once for the connection.
const BYTES_PER_UPDATE: u64 = 256;

/// A connection whose frames are counted on their way in.
#[derive(Debug)]
pub(super) struct Metered {
    stream: Stream,
    /// What was read before anybody knew that this is HTTP/2, from `given` on.
    read: Buffer,
    given: usize,
    follow: Follow,
    clock: Clock,
    standing: Arc<Standing>,
    /// Bytes written for which the peer was given frames.
    credited: u64,
}

impl Metered {
    pub(super) fn new(stream: Stream, read: Buffer, clock: Clock, standing: Arc<Standing>) -> Self {
        let follow = Follow::new(clock.now());
        Self { stream, read, given: 0, follow, clock, standing, credited: 0 }
    }

    fn count(&mut self, bytes: &[u8]) {
        let updates = (self.standing.written() - self.credited) / BYTES_PER_UPDATE;
        if updates > 0 {
            self.credited += updates * BYTES_PER_UPDATE;
            self.follow.may_update(updates);
        }
        // Once per read, and only if a frame that counts is in it, or half a head.
        let clock = &self.clock;
        if let Some(kind) = self.follow.take(bytes, || clock.now()) {
            self.standing.raise(kind);
        }
        self.standing.awaits_head(self.follow.head);
        let (stream, there) = self.follow.half_data();
        self.standing.awaits_data(stream, there);
    }

    /// Tells of what became of a write.
    fn told<T>(&self, polled: Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(Ok(written)) => self.standing.wrote(bytes(written)),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.standing.block(true),
        }
        polled
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if self.standing.is_blocked() {
            // Else the system would keep what the peer does not take for as long as it likes.
            self.stream.reset_on_close();
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let left = this.read.filled().get(this.given..).unwrap_or_default();
        if left.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, into))?;
        } else {
            let n = left.len().min(into.remaining());
            into.put_slice(&left[..n]);
            this.given += n;
            if this.given == this.read.len() {
                this.read = Buffer::none();
                this.given = 0;
            }
        }
        this.count(into.filled().get(before..).unwrap_or_default());
        match this.follow.begins_wrongly {
            // RFC 9113 §3.4: a connection error, of which nothing need be said. h2 would serve such a client.
            true => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "no SETTINGS behind the preface"))),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.told(written, |n| *n)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.told(written, |n| *n)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.told(flushed, |()| 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Whether h2 ended the connection because of too much of something: it has bounds of its own, and does not say which was
/// met.
pub(super) fn is_flood(error: &h2::Error) -> bool {
    error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
}
