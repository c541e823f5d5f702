//! The service's side of an exchange: an HTTP/1.1 connection, or one stream of an HTTP/2 connection.

mod frames;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::AsyncWrite;
use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::head::{Method, ReplyHead};
use tollgate_http1::response::{self, Verdict};
use tollgate_http1::{HeadLimits, Parsed};
use tollgate_upstream::{Share, Whole};

use self::frames::Frames;
use crate::http::attempt::Ended;
use crate::http::ends::{Sink, Source};
use crate::http::pump::{Prefix, read_into};
use crate::http::turn::Turn;

/// What the request goes up on and the answer comes down on. Dropped, what is not over is given up.
#[derive(Debug)]
pub(crate) enum Line {
    /// HTTP/1.1, or whatever it changed to.
    Wire(Whole, response::Reader),
    /// HTTP/2. Boxed: whoever speaks HTTP/1.1 does not keep room for it.
    Frames(Box<Frames>),
}

impl Line {
    /// The request whose head was written goes out on a connection of its own.
    pub(crate) fn whole(whole: Whole) -> Self {
        Self::Wire(whole, response::Reader::default())
    }

    /// Begins the request whose head was written on its share of a connection.
    ///
    /// # Errors
    /// It was not begun.
    pub(crate) async fn share(share: Share, turn: &mut Turn, deadline: Instant) -> Result<Self, Ended> {
        Frames::begin(share, turn, deadline).await.map(Box::new).map(Self::Frames)
    }

    /// Where the answer's body comes from.
    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::Wire(whole, _) => Source::Wire(&mut whole.stream),
            Self::Frames(frames) => frames.source(),
        }
    }

    /// Where the request's body goes; `head` is written before it where heads are text.
    pub(crate) fn sink<'a>(&'a mut self, head: &'a mut Prefix) -> Sink<'a> {
        match self {
            Self::Wire(whole, _) => Sink::Wire(&mut whole.stream, head),
            Self::Frames(frames) => frames.sink(),
        }
    }

    /// Reads the head of the answer, or of an interim one, into `head`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ReplyHead,
        limits: &HeadLimits,
    ) -> Poll<Result<(), Ended>> {
        match self {
            Self::Wire(whole, reader) => poll_wire_head(cx, whole, reader, head, limits),
            Self::Frames(frames) => frames.poll_head(cx, head, limits),
        }
    }

    /// What a head that was read means.
    ///
    /// # Errors
    /// Says what is doubtful.
    pub(crate) fn judge(&self, head: &mut ReplyHead, request: Method) -> Result<Verdict, &'static str> {
        match self {
            Self::Wire(..) => response::judge(head, request),
            Self::Frames(frames) => frames.judge(head, request),
        }
    }

    /// An interim head was passed on; `head` is made ready for the next.
    pub(crate) fn next_head(&mut self, head: &mut ReplyHead) {
        let (end, len) = (head.fields.head_len, head.fields.buffer.len());
        head.clear();
        match self {
            Self::Wire(_, reader) => {
                head.fields.buffer.keep(end..len);
                *reader = response::Reader::default();
            }
            Self::Frames(_) => head.fields.buffer.truncate(0),
        }
    }

    /// Whether the answer whose head was read, not an interim one, agrees to the protocol that was asked for. If so, that is
    /// what is carried from now on.
    pub(crate) fn agrees(&mut self, status: u16) -> bool {
        match self {
            // RFC 8441 §5.
            Self::Frames(frames) if (200..300).contains(&status) => {
                frames.change();
                true
            }
            Self::Wire(..) | Self::Frames(_) => false,
        }
    }

    /// No answer came in time: whether the connection as a whole is at fault is to be found out.
    pub(crate) fn suspect(&self) {
        if let Self::Frames(frames) = self {
            frames.suspect();
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Wire(whole, _) => Pin::new(&mut whole.stream).poll_shutdown(cx).map(|_| ()),
            // The end of the stream was sent with the last byte.
            Self::Frames(_) => Poll::Ready(()),
        }
    }

    /// The exchange is over, in good order on both ways. `is_clean`: nothing was read behind the answer.
    pub(crate) fn release(self, is_clean: bool, now: Instant) {
        match self {
            Self::Wire(whole, _) if is_clean => whole.release(now),
            Self::Wire(..) | Self::Frames(_) => {}
        }
    }
}

fn poll_wire_head(
    cx: &mut Context<'_>,
    whole: &mut Whole,
    reader: &mut response::Reader,
    head: &mut ReplyHead,
    limits: &HeadLimits,
) -> Poll<Result<(), Ended>> {
    let reused = whole.reused;
    loop {
        if !head.fields.buffer.is_empty() && reader.read(head, limits).map_err(Ended::Malformed)? == Parsed::Complete {
            return Poll::Ready(Ok(()));
        }
        if !head.fields.buffer.is_lent() {
            ready!(whole.stream.poll_read_ready(cx)).map_err(|error| Ended::Reset { reused, error })?;
            head.fields.buffer = Buffer::lend();
        }
        let reused = reused && head.fields.buffer.is_empty();
        match ready!(read_into(cx, &mut whole.stream, &mut head.fields.buffer)) {
            Ok(0) => {
                let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed before the answer's head");
                return Poll::Ready(Err(Ended::Reset { reused, error }));
            }
            Ok(_) => {}
            Err(error) => return Poll::Ready(Err(Ended::Reset { reused, error })),
        }
    }
}

/// Whether an answer of this status to this request has no content whatever its head tells (RFC 9110 §6.4.1).
pub(super) fn has_no_content(request: Method, status: u16) -> bool {
    request == Method::Head || status < 200 || matches!(status, 204 | 304)
}

/// How the content ends that a head tells of.
pub(super) fn told(head: &ReplyHead) -> Result<Option<Length>, &'static str> {
    use tollgate_core::field::Known;
    let mut told = head.fields.received().iter().filter(|field| field.known == Known::ContentLength);
    match (told.next(), told.next()) {
        (None, _) => Ok(None),
        (Some(field), None) => {
            let value = field.value.of(head.fields.buffer.filled());
            tollgate_http1::request::content_length(value).map(Length::Known).map(Some)
        }
        (Some(_), Some(_)) => Err("more than one `content-length`"),
    }
}
