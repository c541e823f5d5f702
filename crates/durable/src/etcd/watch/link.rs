//! The stream of one member.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use data_encoding::BASE64;
use serde_json::json;
use tollgate_core::caller::{Chunks, Opened};
use tollgate_core::clock::Clock;
use tollgate_core::policy::BoxFuture;

use super::super::TRY;
use super::super::client::{Ask, Client, Failure};
use super::super::lines::Lines;
use super::super::read::after_prefix;
use super::super::wire::{Message, Watched, decoded};
use crate::Revision;

/// Most bytes of a message. etcd cuts what is longer than its own bound (by default 1.5 MiB, before it is written in base 64) into pieces.
const LONGEST: usize = 8 * 1024 * 1024;

/// What a member sends, and the token with which it was asked.
type Begun = (Opened, Option<Arc<str>>);

/// Whether it is there.
pub(super) enum Link {
    Closed,
    Opening(BoxFuture<'static, Result<Begun, Failure>>),
    Open(Stream),
}

/// What a member sends.
pub(super) struct Stream {
    chunks: Box<dyn Chunks>,
    lines: Lines,
    token: Option<Arc<str>>,
    /// Until when it must have said that it watches; it has.
    created: Option<Instant>,
}

/// What came.
pub(super) enum Came {
    Opened(Link),
    Messages(Vec<Watched>),
    /// More than may be held.
    TooMuch,
    /// It ended.
    Ended(Failure),
}

impl Link {
    /// Asks a member for what comes after `shown`.
    pub(super) fn open(client: &Arc<Client>, at: usize, prefix: &str, shown: Revision) -> Self {
        let start = format!("{}{prefix}", client.prefix).into_bytes();
        let request = json!({ "create_request": {
            "key": BASE64.encode(if start.is_empty() { b"\0" } else { &start }),
            "range_end": BASE64.encode(&after_prefix(&start)),
            "start_revision": shown.0.saturating_add(1).to_string(),
            "progress_notify": true,
            "fragment": true,
        }});
        let (ask, client) = (Ask::read("/v3/watch", &request).up_to(LONGEST), Arc::clone(client));
        Self::Opening(Box::pin(async move { client.open(at, &ask).await }))
    }

    /// It shows what changes.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(stream) if stream.created.is_none())
    }

    /// The member says that it watches.
    pub(super) fn created(&mut self) {
        if let Self::Open(stream) = self {
            stream.created = None;
        }
    }

    /// With what it was opened.
    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Open(stream) => stream.token.as_deref(),
            Self::Closed | Self::Opening(_) => None,
        }
    }

    /// What comes next. May be dropped, and called again; what it returned is to be taken into account first.
    pub(super) async fn next(&mut self, clock: &Clock) -> Came {
        match self {
            // It is opened first.
            Self::Closed => std::future::pending().await,
            Self::Opening(opening) => match opening.await {
                Ok((opened, token)) => {
                    let (chunks, created) = (opened.chunks, Some(clock.now() + TRY));
                    Came::Opened(Self::Open(Stream { chunks, lines: Lines::default(), token, created }))
                }
                Err(failure) => Came::Ended(failure),
            },
            Self::Open(stream) => stream.next(clock).await,
        }
    }
}

impl Stream {
    async fn next(&mut self, clock: &Clock) -> Came {
        let chunk = match self.created {
            None => self.chunks.next().await,
            Some(until) => {
                let left = until.saturating_duration_since(clock.now());
                match tokio::time::timeout(left, self.chunks.next()).await {
                    Ok(chunk) => chunk,
                    Err(_) => return unavailable(format!("no watch within {} ms", TRY.as_millis())),
                }
            }
        };
        match chunk {
            Ok(Some(chunk)) => self.read(&chunk),
            Ok(None) => unavailable("it ended the watch".to_owned()),
            Err(error) => unavailable(error.to_string()),
        }
    }

    fn read(&mut self, chunk: &[u8]) -> Came {
        let Ok(lines) = self.lines.take(chunk, LONGEST) else { return Came::TooMuch };
        let message = |line: Vec<u8>| decoded::<Message<Watched>>(&line)?.result();
        match lines.into_iter().map(message).collect() {
            Ok(messages) => Came::Messages(messages),
            // What came before it comes again from wherever the watch goes on.
            Err(failure) => Came::Ended(failure),
        }
    }
}

fn unavailable(why: String) -> Came {
    Came::Ended(Failure::Unavailable(why))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "Closed",
            Self::Opening(_) => "Opening",
            Self::Open(_) => "Open",
        })
    }
}
