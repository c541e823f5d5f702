//! The client's side of an exchange over one HTTP/2 stream.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Response, StatusCode};
use tollgate_core::body::Length;
use tollgate_core::field::Known;
use tollgate_http1::transfer::Outflow;
use tollgate_http1::write;

use super::standing::Standing;
use crate::deployment::Deployment;
use crate::http::downstream::{Cut, Downstream, Framing, Gone, Unread};
use crate::http::ends::{Sink, Source};
use crate::http::pump::{Prefix, add_field, header_map};
use crate::http::turn::Turn;
use crate::pace::has_events;
use crate::worker::Worker;

/// One stream of a client.
#[derive(Debug)]
pub(super) struct Frames {
    body: RecvStream,
    respond: SendResponse<Bytes>,
    /// The rest of the answer, once its head is out; none if that was all.
    answer: Option<SendStream<Bytes>>,
    standing: Arc<Standing>,
    /// It is told of as one that lasts.
    lasts: bool,
}

impl Frames {
    pub(super) fn new(body: RecvStream, respond: SendResponse<Bytes>, standing: &Arc<Standing>) -> Self {
        Self { body, respond, answer: None, standing: Arc::clone(standing), lasts: false }
    }

    fn lasts(&mut self) {
        if !self.lasts {
            self.lasts = true;
            self.standing.lasts();
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if self.lasts {
            self.standing.rests();
        }
    }
}

impl Downstream for Frames {
    fn source(&mut self) -> Source<'_> {
        Source::Frames(&mut self.body)
    }

    fn sink<'a>(&'a mut self, _: &'a mut Prefix) -> Sink<'a> {
        match &mut self.answer {
            Some(answer) => Sink::Frames(answer),
            None => Sink::Nowhere,
        }
    }

    fn arriving(&self) -> u64 {
        self.standing.arriving(self.body.stream_id().as_u32())
    }

    fn is_gone(&mut self, cx: &mut Context<'_>, _: &mut Turn) -> bool {
        match &mut self.answer {
            Some(answer) => answer.poll_reset(cx).is_ready(),
            None => self.respond.poll_reset(cx).is_ready(),
        }
    }

    fn may_stay(&self, _: &Turn, _: &Deployment) -> bool {
        true
    }

    /// Whatever is still to come of a body is no other stream's concern: h2 tells the client to stop sending.
    fn poll_unread(&mut self, _: &mut Context<'_>, _: &mut Turn) -> Unread {
        Unread::Nothing
    }

    fn outstanding(_: &Turn) -> Unread {
        Unread::Nothing
    }

    fn poll_discard(&mut self, _: &mut Context<'_>, _: &mut Turn) -> Poll<bool> {
        Poll::Ready(true)
    }

    async fn inform(&mut self, turn: &mut Turn) -> Result<(), Gone> {
        let head = &turn.x.reply.head;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| Gone)?;
        *response.headers_mut() = header_map(&head.fields);
        self.respond.send_informational(response).map_err(|_| Gone)
    }

    fn begin(
        &mut self,
        turn: &mut Turn,
        d: &Deployment,
        worker: &Worker,
        framing: Framing,
        _: bool,
    ) -> Result<(), Gone> {
        let x = &turn.x;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(x.reply.head.status).map_err(|_| Gone)?;
        let map = response.headers_mut();
        let (correlation, fields) = (&d.rules.correlation, &x.reply.head.fields);
        let echo = correlation.echo;
        write::each(
            fields,
            |known, name| echo && correlation.is_header(known, name),
            |name, value| add_field(map, name, value),
        );
        // RFC 9110 §6.6.1: a message without `Date` gets one.
        if fields.known(Known::Date).is_none() {
            let mut date = Vec::with_capacity(32);
            worker.write_date(&mut date);
            add_field(map, b"date", &date);
        }
        if let Length::Known(n) = framing.told {
            map.insert(http::header::CONTENT_LENGTH, n.into());
        }
        if echo {
            add_field(map, &correlation.header, x.id.as_bytes());
        }
        let ends = framing.outflow == Outflow::Nothing || framing.told == Length::Known(0);
        let answer = self.respond.send_response(response, ends).map_err(|_| Gone)?;
        self.answer = (!ends).then_some(answer);
        if !ends && has_events(fields) {
            self.lasts();
        }
        Ok(())
    }

    /// RFC 8441 §5: agreed to by a plain 2xx, without `Upgrade`.
    fn switch(&mut self, turn: &mut Turn, d: &Deployment, _: &[u8]) -> Result<(), Gone> {
        turn.x.reply.head.fields.remove("Sec-WebSocket-Accept");
        turn.x.reply.head.status = 200;
        let mut response = Response::new(());
        *response.headers_mut() = header_map(&turn.x.reply.head.fields);
        let correlation = &d.rules.correlation;
        if correlation.echo {
            add_field(response.headers_mut(), &correlation.header, turn.x.id.as_bytes());
        }
        self.answer = Some(self.respond.send_response(response, false).map_err(|_| Gone)?);
        self.lasts();
        Ok(())
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // The end of the stream was sent with the last byte.
        Poll::Ready(())
    }

    fn end(&mut self) {
        self.standing.was_read();
    }

    /// RFC 9113 §8.1: an answer that cannot be completed is reset. §7: `ENHANCE_YOUR_CALM` is for peers that cost too much.
    fn cut(&mut self, why: Cut) {
        let reason = match why {
            Cut::Broken => Reason::INTERNAL_ERROR,
            Cut::Slow => Reason::ENHANCE_YOUR_CALM,
        };
        if why == Cut::Slow {
            self.standing.was_slow();
        }
        match &mut self.answer {
            Some(answer) => answer.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }
}
