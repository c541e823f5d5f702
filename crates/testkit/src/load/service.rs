//! What one connection of a backend does.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream, server};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::fate::Log;
use super::http2::whole;
use super::lane::answer;
use super::wire::{Head, Wire};

/// What a download sends at once, and how often.
pub(super) const CHUNK: usize = 1024;
const EVERY: Duration = Duration::from_millis(50);
/// The length of what is much: more than fits into all that stands on the way to a client that does not read.
const MUCH: usize = 512 * 1024;

/// The byte at this place of a download.
pub(super) fn byte_at(place: usize) -> u8 {
    u8::try_from(place / CHUNK % 251).unwrap_or_default()
}

pub(super) async fn http1(stream: TcpStream, log: Log, delay: Duration) {
    // How it ends is the gateway's to see.
    let _ = try_http1(Wire::new(stream), log, delay).await;
}

async fn try_http1(mut wire: Wire<TcpStream>, log: Log, delay: Duration) -> io::Result<()> {
    while let Ok(head) = wire.head().await {
        let path = head.word(1).to_owned();
        if path.ends_with("/ws") {
            return websocket(wire).await;
        }
        if path.ends_with("/slow") {
            return download(wire).await;
        }
        if path.ends_with("/much") {
            wire.send(&reply(&head, &[b'm'; MUCH])).await?;
            continue;
        }
        let id = id(&path);
        if let Some(id) = id {
            log.received(id);
        }
        let body = wire.body(&head).await?;
        if !delay.is_zero() && id.is_some() {
            sleep(delay).await;
        }
        let body = id.map_or_else(|| b"ok".to_vec(), |id| answer(id, &body));
        wire.send(&reply(&head, &body)).await?;
        if let Some(id) = id {
            log.answered(id);
        }
        if head.is_last() {
            return Ok(());
        }
    }
    Ok(())
}

fn id(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.parse().ok()
}

fn reply(to: &Head, body: &[u8]) -> Vec<u8> {
    let close = if to.is_last() { "Connection: close\r\n" } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{close}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The answer to the key that our client sends (RFC 6455 §1.3).
const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Sends short frames back.
async fn websocket(mut wire: Wire<TcpStream>) -> io::Result<()> {
    wire.send(AGREED).await?;
    loop {
        let start = wire.take(2).await?;
        let (first, length) = (start[0], usize::from(start[1] & 0x7F));
        let mask = wire.take(4).await?;
        let mut payload = wire.take(length).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let length = u8::try_from(length).map_err(io::Error::other)?;
        wire.send(&[&[first, length], &payload[..]].concat()).await?;
        if first & 0x0F == 8 {
            return Ok(());
        }
    }
}

async fn download(mut wire: Wire<TcpStream>) -> io::Result<()> {
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        let chunk = [byte_at(number * CHUNK); CHUNK];
        wire.send(&[format!("{CHUNK:x}\r\n").as_bytes(), &chunk, b"\r\n"].concat()).await?;
    }
    Ok(())
}

pub(super) async fn http2(stream: TcpStream, log: Log, delay: Duration) {
    let Ok(mut connection) = server::handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let log = log.clone();
        streams.spawn(async move {
            let _ = stream_of(request, respond, log, delay).await;
        });
        while streams.try_join_next().is_some() {}
    }
}

async fn stream_of(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    log: Log,
    delay: Duration,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let Some(id) = id(&path) else {
        let answer = Response::builder().header("content-type", "application/grpc").body(()).expect("an answer");
        return echo(request.into_body(), respond.send_response(answer, false)?).await;
    };
    log.received(id);
    let body = whole(request.into_body()).await?;
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let mut stream = respond.send_response(Response::new(()), false)?;
    stream.send_data(answer(id, &body).into(), true)?;
    log.answered(id);
    Ok(())
}

/// Sends back what comes as it comes, then says that all is well, as gRPC does.
async fn echo(mut body: RecvStream, mut stream: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        stream.send_data(data, false)?;
    }
    let trailers = [("grpc-status", "0")]
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)));
    stream.send_trailers(HeaderMap::from_iter(trailers))
}
