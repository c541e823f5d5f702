//! What hyper's server makes of the bytes of one connection, in memory. Shared with the fuzz targets.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

use crate::ours::{self, End, Lines, Message, Refusal, allowed_in_trailer, sorted};
use crate::stricter::{STRICTER, Stricter};

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
}

/// The requests that hyper understood, bodies and all. Why it went no further, if it says.
pub(crate) fn requests(bytes: &[u8]) -> (Vec<Message>, Option<String>) {
    RUNTIME.with(|runtime| runtime.block_on(serve(bytes)))
}

async fn serve(bytes: &[u8]) -> (Vec<Message>, Option<String>) {
    // Room for all that may come and go, so that one task can play both sides.
    let (mut client, server) = tokio::io::duplex(1 << 22);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            if let Some(message) = message(request).await {
                seen.lock().unwrap().push(message);
            }
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let mut builder = http1::Builder::new();
    builder.half_close(true).header_read_timeout(None);
    let end = builder.serve_connection(TokioIo::new(server), service).await;
    let messages = seen.lock().unwrap().clone();
    (messages, end.err().map(|error| format!("{error:?}")))
}

/// The message, if its body is complete.
async fn message(request: Request<Incoming>) -> Option<Message> {
    let (head, mut body) = request.into_parts();
    let (mut content, mut trailers) = (Vec::new(), Lines::new());
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.ok()?;
        match frame.into_data() {
            Ok(data) => content.extend_from_slice(&data),
            Err(frame) => trailers = lines(&frame.into_trailers().ok()?),
        }
    }
    Some(Message {
        method: head.method.as_str().to_owned(),
        minor: u8::from(head.version == Version::HTTP_11),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        fields: lines(&head.headers),
        content,
        trailers: allowed_in_trailer(trailers),
    })
}

fn lines(map: &HeaderMap) -> Lines {
    sorted(map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
}

/// How two readings differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// One message, read in two ways.
    Meaning(Box<(Message, Message)>),
    /// We refuse what hyper accepts.
    Stricter(Refusal),
    /// We accept what hyper does not.
    Laxer(Box<Message>, Option<String>),
    /// We wait, or stop, where hyper goes on.
    Shorter(End),
}

/// The first difference between what we make of `bytes` and what hyper does, listed or not.
pub(crate) fn difference(bytes: &[u8]) -> Option<Difference> {
    let (ours, end) = ours::requests(bytes);
    let (theirs, error) = requests(bytes);
    if let Some((one, other)) = ours.iter().zip(&theirs).find(|(one, other)| one != other) {
        return Some(Difference::Meaning(Box::new((one.clone(), other.clone()))));
    }
    if let Some(message) = ours.get(theirs.len()) {
        return Some(Difference::Laxer(Box::new(message.clone()), error));
    }
    match end {
        _ if theirs.len() == ours.len() => None,
        End::Refused(refusal) => Some(Difference::Stricter(refusal)),
        end => Some(Difference::Shorter(end)),
    }
}

/// Compares what we make of `bytes` with what hyper does.
///
/// # Panics
/// If there is a difference for which no reason is listed.
pub(crate) fn compare(bytes: &[u8]) {
    let is_listed = match difference(bytes) {
        None => true,
        Some(Difference::Stricter(refusal)) => STRICTER.iter().any(|known| is_reason(known, &refusal)),
        Some(Difference::Laxer(message, _)) => is_beyond_hyper(&message),
        Some(Difference::Meaning(_) | Difference::Shorter(_)) => false,
    };
    assert!(is_listed, "{:#?} in {}", difference(bytes), bytes.escape_ascii());
}

/// Whether `refusal` is for this reason.
pub(crate) fn is_reason(known: &Stricter, refusal: &Refusal) -> bool {
    (known.slug, known.detail) == (refusal.slug, &refusal.detail[..])
}

/// Requests that we accept and hyper does not: its URI type has no place for these bytes. RFC 3986 has not either, but
/// they are seen in the wild and mean one thing only; those of the path are sent on percent-encoded.
fn is_beyond_hyper(message: &Message) -> bool {
    message.path.contains(['<', '>', '`'])
        || message.query.as_ref().is_some_and(|query| query.contains(['<', '>', '"']))
}
