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

use crate::ours::{Lines, Message, allowed_in_trailer, sorted};

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
}

/// The requests that hyper understood, bodies and all. Why it went no further, if it says.
pub fn requests(bytes: &[u8]) -> (Vec<Message>, Option<String>) {
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
