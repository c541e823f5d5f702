//! HTTP/1.1 messages over a connection, as far as the load client and its backends need them.
//!
//! Not strict, unlike [`crate::strict`]: here it is counted, not judged how a message is written.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a head may be at most.
const MOST: usize = 64 * 1024;

/// A connection, and what came over it and was not read yet.
#[derive(Debug)]
pub(super) struct Wire<S> {
    pub(super) stream: S,
    buffer: Vec<u8>,
}

/// Why there is no whole message.
#[derive(Debug)]
pub(super) enum Ended {
    /// Not a single byte of it came.
    Unheard(String),
    /// Some came.
    Cut(String),
}

/// The head of a message.
#[derive(Debug)]
pub(super) struct Head {
    /// As it came.
    pub(super) text: String,
}

impl Head {
    /// The value of a field; the name in lower case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.text.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// A word of the first line.
    pub(super) fn word(&self, number: usize) -> &str {
        self.text.lines().next().unwrap_or_default().split(' ').nth(number).unwrap_or_default()
    }

    /// Whether the connection ends with this message.
    pub(super) fn is_last(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next head, interim answers left out.
    pub(super) async fn head(&mut self) -> Result<Head, Ended> {
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                let before = self.buffer.len();
                let ended = match self.receive().await {
                    Ok(()) if before < MOST => continue,
                    Ok(()) => "a head without end".to_owned(),
                    Err(error) => error.to_string(),
                };
                return Err(if before == 0 { Ended::Unheard(ended) } else { Ended::Cut(ended) });
            };
            let head = Head { text: String::from_utf8_lossy(&self.buffer[..end]).into_owned() };
            self.buffer.drain(..end);
            if !(head.text.starts_with("HTTP/1.1 1") && head.word(1) != "101") {
                return Ok(head);
            }
        }
    }

    /// The whole body behind a head.
    pub(super) async fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if head.is_chunked() {
            let mut body = Vec::new();
            loop {
                let chunk = self.chunk().await?;
                if chunk.is_empty() {
                    return Ok(body);
                }
                body.extend(chunk);
            }
        }
        let length = head.field("content-length").map_or(Ok(0), str::parse);
        self.take(length.map_err(|_| io::Error::other("no length"))?).await
    }

    /// The next chunk; the last one is empty. There are no trailers here.
    pub(super) async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = loop {
            match self.buffer.windows(2).position(|two| two == b"\r\n") {
                Some(at) => break self.take(at + 2).await?,
                None => self.receive().await?,
            }
        };
        let size = String::from_utf8_lossy(&size);
        let size = usize::from_str_radix(size.trim_end(), 16).map_err(|_| io::Error::other("no size of a chunk"))?;
        let mut chunk = self.take(size + 2).await?;
        chunk.truncate(size);
        Ok(chunk)
    }

    /// Exactly so many bytes.
    pub(super) async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.receive().await?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Whether nothing is there that was not asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    async fn receive(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed")),
            _ => Ok(()),
        }
    }
}
