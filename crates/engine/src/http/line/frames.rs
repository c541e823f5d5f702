//! One stream of an HTTP/2 connection to a service (RFC 9113 §8.1).
//!
//! The head that goes up is written once, as text, for all versions; here it becomes fields of HTTP/2. The head that comes
//! down is kept in the form of HTTP/1.1 and judged as strictly.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::HeaderName;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Uri};
use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::field::Known;
use tollgate_core::head::{Method, ReplyHead, Version};
use tollgate_http1::HeadLimits;
use tollgate_http1::response::Verdict;
use tollgate_upstream::Share;

use super::{has_no_content, told};
use crate::http::attempt::Ended;
use crate::http::ends::{Sink, Source, broken_stream};
use crate::http::h2::copy::{Copied, NoCopy};
use crate::http::turn::Turn;

/// One request on a shared connection.
#[derive(Debug)]
pub(crate) struct Frames {
    /// None: the request has no body.
    send: Option<SendStream<Bytes>>,
    /// What another protocol would be sent on, once it is agreed to.
    tunnel: Option<SendStream<Bytes>>,
    answer: Answer,
    share: Share,
}

#[derive(Debug)]
enum Answer {
    /// Its head has not come.
    Awaited(ResponseFuture),
    /// The rest of it.
    Body(RecvStream),
}

impl Frames {
    /// Begins the request whose head was written.
    ///
    /// # Errors
    /// It was not begun.
    pub(super) async fn begin(share: Share, turn: &mut Turn, deadline: Instant) -> Result<Self, Ended> {
        // A wish to change that comes with a body may be ignored (RFC 9110 §7.8); a `CONNECT` has no body to send before.
        turn.upgrade.take_if(|_| turn.x.length != Length::None);
        if turn.upgrade.is_some() {
            let allowed = tokio::time::timeout_at(deadline.into(), share.lease.allows_connect()).await;
            match allowed.map_err(|_| Ended::Timeout)? {
                Some(true) => {}
                Some(false) => return Err(Ended::Unsupported("it takes no other protocol over HTTP/2 (RFC 8441)")),
                None => {
                    let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed before its settings");
                    return Err(Ended::Reset { reused: false, error });
                }
            }
        }
        let request = request(turn, share.lease.scheme())?;
        turn.request_head.set_out();
        let (has_body, changes) = (turn.x.length != Length::None, turn.upgrade.is_some());
        let begun = share.lease.requests().send_request(request, !has_body && !changes);
        let (response, stream) = begun.map_err(|error| ended(error, share.reused))?;
        let (send, tunnel) = match changes {
            true => (None, Some(stream)),
            false => (has_body.then_some(stream), None),
        };
        Ok(Self { send, tunnel, answer: Answer::Awaited(response), share })
    }

    /// The stream carries another protocol from now on.
    pub(super) fn change(&mut self) {
        self.send = self.tunnel.take();
    }

    pub(super) fn source(&mut self) -> Source<'_> {
        match &mut self.answer {
            Answer::Body(body) => Source::Frames(body),
            Answer::Awaited(_) => Source::Held,
        }
    }

    pub(super) fn sink(&mut self) -> Sink<'_> {
        match &mut self.send {
            Some(send) => Sink::Frames(send),
            None => Sink::Nowhere,
        }
    }

    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ReplyHead,
        limits: &HeadLimits,
    ) -> Poll<Result<(), Ended>> {
        let reused = self.share.reused;
        let Answer::Awaited(response) = &mut self.answer else {
            return Poll::Ready(Err(Ended::Malformed("a second answer")));
        };
        // Pending, too, if the next thing to come is no interim answer.
        let interim = match response.poll_informational(cx) {
            Poll::Ready(Some(interim)) => Some(interim.map_err(|error| ended(error, reused))?),
            Poll::Ready(None) | Poll::Pending => None,
        };
        let parts = match interim {
            Some(interim) => interim.into_parts().0,
            None => {
                let answer = ready!(Pin::new(response).poll(cx)).map_err(|error| ended(error, reused))?;
                let (parts, body) = answer.into_parts();
                self.answer = Answer::Body(body);
                parts
            }
        };
        self.share.lease.heard();
        head.status = parts.status.as_u16();
        head.version = Version::Http2;
        Poll::Ready(copy(head, &parts.headers, limits).map_err(Ended::Malformed))
    }

    pub(super) fn judge(&self, head: &ReplyHead, request: Method) -> Result<Verdict, &'static str> {
        // RFC 9113 §8.6: HTTP/2 knows no change of protocol for a whole connection.
        if head.status == 101 {
            return Err("a 101 over HTTP/2");
        }
        // RFC 9110 §15: everything else is invalid.
        if !(100..600).contains(&head.status) {
            return Err("a status code outside 100 to 599");
        }
        let ended = match &self.answer {
            Answer::Body(body) => body.is_end_stream(),
            Answer::Awaited(_) => false,
        };
        let told = told(head)?;
        if head.status < 200 && !matches!(told, None | Some(Length::Known(0))) {
            return Err("an interim answer that announces a body");
        }
        let length = match (ended, told) {
            _ if has_no_content(request, head.status) => Length::None,
            (true, _) => Length::None,
            (false, Some(told)) => told,
            (false, None) => Length::Chunked,
        };
        Ok(Verdict { length, told: told.unwrap_or(length), keep_alive: true })
    }

    /// See [`super::Line::suspect`].
    pub(super) fn suspect(&self) {
        self.share.lease.suspect();
    }
}

/// How an attempt ended that h2 tells of.
fn ended(error: h2::Error, reused: bool) -> Ended {
    // RFC 9113 §8.7: neither was looked at. A stream below the one that `GOAWAY` names goes on.
    if error.is_remote() && error.is_go_away() {
        return Ended::Left(broken_stream(error));
    }
    if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        return Ended::Unread(broken_stream(error));
    }
    // A stream that was reset says nothing about how long its connection had rested.
    let reused = reused && !error.is_reset();
    Ended::Reset { reused, error: broken_stream(error) }
}

/// The head that was written, in the form of HTTP/2 (RFC 9113 §8.3.1).
fn request(turn: &mut Turn, scheme: &'static str) -> Result<Request<()>, Ended> {
    let unfit = |_: &dyn std::error::Error| Ended::Unsupported("HTTP/2 cannot carry this request's target");
    let text = Bytes::copy_from_slice(&turn.request_head.bytes);
    let mut lines = Lines { text: &text, at: 0 };
    let (start, mut headers, mut authority) = (lines.next().unwrap_or_default(), HeaderMap::new(), Bytes::new());
    for line in lines {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = (line.slice(..colon), line.slice((colon + 2).min(line.len())..));
        match Known::of(&name) {
            Known::Host => authority = value,
            Known::Te => drop(headers.insert(http::header::TE, HeaderValue::from_static("trailers"))),
            Known::Connection | Known::TransferEncoding | Known::Upgrade => {}
            // RFC 8441 §4: HTTP/2 has no need of a key.
            _ if turn.upgrade.is_some() && name.eq_ignore_ascii_case(b"sec-websocket-key") => {}
            _ => {
                let name = HeaderName::from_bytes(&name);
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(value)) {
                    headers.append(name, value);
                }
            }
        }
    }
    let mut words = start.split(|b| *b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = PathAndQuery::from_maybe_shared(encoded(target)).map_err(|error| unfit(&error))?;
    let uri = Uri::builder().scheme(scheme).authority(&authority[..]).path_and_query(path);
    let mut request = Request::new(());
    *request.uri_mut() = uri.build().map_err(|error| unfit(&error))?;
    *request.method_mut() = HttpMethod::from_bytes(method).map_err(|error| unfit(&error))?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = headers;
    if let Some(protocol) = &turn.upgrade {
        *request.method_mut() = HttpMethod::CONNECT;
        let name = std::str::from_utf8(protocol).unwrap_or_default();
        request.extensions_mut().insert(h2::ext::Protocol::from(name));
    }
    Ok(request)
}

/// The lines of a head of our own writing, without its last, empty one.
struct Lines<'t> {
    text: &'t Bytes,
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let rest = self.text.get(self.at..)?;
        let end = rest.iter().position(|b| *b == b'\r').filter(|end| *end > 0)?;
        let line = self.text.slice(self.at..self.at + end);
        self.at += end + 2;
        Some(line)
    }
}

/// The target with what RFC 3986 §2 has no place for written as `%XX`, which means the same: HTTP/1.1 lets it pass, the
/// types of HTTP/2 do not.
fn encoded(target: &[u8]) -> Bytes {
    let fits = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b);
    if target.iter().all(|b| fits(*b)) {
        return Bytes::copy_from_slice(target);
    }
    let mut out = Vec::with_capacity(target.len() + 16);
    for b in target {
        match fits(*b) {
            true => out.push(*b),
            false => out.extend_from_slice(format!("%{b:02X}").as_bytes()),
        }
    }
    out.into()
}

/// Copies the fields of an answer's head into its buffer, as if it had been received as text.
fn copy(head: &mut ReplyHead, map: &HeaderMap, limits: &HeadLimits) -> Result<(), &'static str> {
    let fields = &mut head.fields;
    fields.clear();
    fields.buffer = Buffer::lend();
    if map.len() > limits.fields {
        return Err("more fields than `limits.fields`");
    }
    let mut copied = Copied { fields, most: limits.head };
    for (name, value) in map {
        let known = Known::of(name.as_str().as_bytes());
        copied.field(name.as_str().as_bytes(), value.as_bytes(), known).map_err(|no| match no {
            NoCopy::TooLarge => "a head larger than `limits.head`",
            NoCopy::Malformed => "a field whose name or value may not stand there",
        })?;
    }
    copied.end();
    Ok(())
}
