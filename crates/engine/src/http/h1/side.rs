//! The client's side of an exchange over HTTP/1.1.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tollgate_core::body::Length;
use tollgate_core::field::Known;
use tollgate_core::head::Version;
use tollgate_http1::write;

use super::Wire;
use crate::deployment::Deployment;
use crate::http::downstream::{Cut, Downstream, Framing, Gone, Unread};
use crate::http::ends::{Sink, Source};
use crate::http::pump::{Prefix, read_into};
use crate::http::turn::Turn;
use crate::worker::Worker;

/// Most bytes of an unwanted body that are read to keep a connection.
pub(crate) const LITTLE: u64 = 64 * 1024;

impl Downstream for Wire<'_> {
    fn source(&mut self) -> Source<'_> {
        Source::Wire(self.stream)
    }

    fn sink<'a>(&'a mut self, head: &'a mut Prefix) -> Sink<'a> {
        Sink::Wire(self.stream, head)
    }

    fn arriving(&self) -> u64 {
        0
    }

    /// Requests that the client sends meanwhile stay in the buffer, as far as that has room.
    fn is_gone(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> bool {
        let buffer = &mut turn.x.head.fields.buffer;
        while !self.half_closed && !buffer.spare().is_empty() {
            match read_into(cx, self.stream, buffer) {
                Poll::Ready(Ok(0)) => self.half_closed = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return true,
                Poll::Pending => break,
            }
        }
        false
    }

    fn may_stay(&self, turn: &Turn, d: &Deployment) -> bool {
        let most = d.rules.limits.requests_per_connection.as_ref().map_or(u64::MAX, |n| n.get());
        // A client that has sent its last byte may have sent more requests before it.
        let may_ask = !self.half_closed || turn.upload.from < turn.x.head.fields.buffer.len();
        turn.verdict.keep_alive && may_ask && self.served < most
    }

    fn poll_unread(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Unread {
        if turn.upload.is_done() || (turn.x.length == Length::None && turn.upload.has_arrived()) {
            return Unread::Nothing;
        }
        match turn.upload.poll_discard(cx, self.stream, &mut turn.x.head.fields.buffer) {
            Poll::Ready(Ok(())) => Unread::Nothing,
            Poll::Ready(Err(_)) => Unread::Much,
            Poll::Pending => Self::outstanding(turn),
        }
    }

    fn outstanding(turn: &Turn) -> Unread {
        match turn.x.length {
            _ if turn.upload.has_arrived() => Unread::Nothing,
            // Told to go on, it may or may not send its body: nobody can tell a body from the next request then.
            _ if turn.verdict.expects_continue => Unread::Much,
            Length::Known(n) if n - turn.upload.taken().min(n) > LITTLE => Unread::Much,
            _ => Unread::Little,
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<bool> {
        turn.upload.poll_discard(cx, self.stream, &mut turn.x.head.fields.buffer).map(|ended| ended.is_ok())
    }

    /// Clients of HTTP/1.0 do not know interim answers.
    async fn inform(&mut self, turn: &mut Turn) -> Result<(), Gone> {
        if turn.x.head.version == Version::Http10 {
            return Ok(());
        }
        let head = &turn.x.reply.head;
        let mut out = Vec::with_capacity(256);
        write::status_line(&mut out, head.status);
        write::fields(&mut out, &head.fields, |_, _| false);
        out.extend_from_slice(b"\r\n");
        self.stream.write_all(&out).await.map_err(|_| Gone)?;
        self.stream.flush().await.map_err(|_| Gone)
    }

    fn begin(
        &mut self,
        turn: &mut Turn,
        d: &Deployment,
        worker: &Worker,
        framing: Framing,
        stays: bool,
    ) -> Result<(), Gone> {
        let (x, out) = (&turn.x, turn.reply_head.clear());
        write::status_line(out, x.reply.head.status);
        let correlation = &d.rules.correlation;
        let echo = correlation.echo;
        write::fields(out, &x.reply.head.fields, |known, name| echo && correlation.is_header(known, name));
        // RFC 9110 §6.6.1: a message without `Date` gets one.
        if x.reply.head.fields.known(Known::Date).is_none() {
            out.extend_from_slice(b"Date: ");
            worker.write_date(out);
            out.extend_from_slice(b"\r\n");
        }
        match framing.told {
            Length::None | Length::UntilClose => {}
            Length::Known(n) => write::content_length(out, n),
            Length::Chunked => write::chunked(out),
        }
        if echo {
            write::field(out, &correlation.header, x.id.as_bytes());
        }
        match (stays, x.head.version) {
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, _) => {}
        }
        out.extend_from_slice(b"\r\n");
        self.answering = true;
        Ok(())
    }

    fn switch(&mut self, turn: &mut Turn, d: &Deployment, protocol: &[u8]) -> Result<(), Gone> {
        let (x, out) = (&turn.x, turn.reply_head.clear());
        write::status_line(out, 101);
        let correlation = &d.rules.correlation;
        let echo = correlation.echo;
        write::fields(out, &x.reply.head.fields, |known, name| echo && correlation.is_header(known, name));
        write::field(out, b"Upgrade", protocol);
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        if echo {
            write::field(out, &correlation.header, x.id.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        self.answering = true;
        Ok(())
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whether the farewell reaches the client or not, it is over.
        Pin::new(&mut *self.stream).poll_shutdown(cx).map(|_| ())
    }

    fn end(&mut self) {
        self.answering = false;
    }

    /// `answering` stays: dropped, the connection is reset.
    fn cut(&mut self, _: Cut) {}
}
