//! One target: its connections, and a request over them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;

use bytes::Bytes;
use h2::client::SendRequest;

use super::connection::AnyStream;
use super::wire::Wire;
use super::{Target, Way};

/// A request.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: u64,
    /// The number of its target.
    pub(super) lane: usize,
    pub(super) path: String,
    /// Empty for a GET.
    pub(super) body: Vec<u8>,
}

impl Ask {
    pub(super) fn method(&self) -> &'static str {
        if self.body.is_empty() { "GET" } else { "POST" }
    }

    /// Judges an answer: it must be this request's own.
    pub(super) fn judge(&self, status: &str, body: &[u8]) -> Result<(), Trouble> {
        let expected = answer(self.id, &self.body);
        if status == "200" && body == expected {
            return Ok(());
        }
        let shown = body[..body.len().min(300)].escape_ascii();
        let said = format!("answered {status} with {} bytes: {shown}", body.len());
        match status.parse() {
            Ok(status) if status != 200 => Err(Trouble::Told(status, said)),
            _ => Err(Trouble::Lost(said)),
        }
    }
}

/// What a backend answers.
pub(super) fn answer(id: u64, body: &[u8]) -> Vec<u8> {
    [id.to_string().as_bytes(), b" ", body].concat()
}

/// Why a try had no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No connection: nothing was sent.
    Refused(String),
    /// The server said that it did not begin it.
    NotBegun(String),
    /// A connection that was used before was closed before any byte of an answer.
    Unheard(String),
    /// It was answered with this status instead of 200.
    Told(u16, String),
    /// Anything else.
    Lost(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, why) = match self {
            Self::Refused(why) => ("no connection", why),
            Self::NotBegun(why) => ("not begun", why),
            Self::Unheard(why) => ("no byte of an answer", why),
            Self::Told(_, why) | Self::Lost(why) => ("lost", why),
        };
        write!(f, "{what}: {why}")
    }
}

/// HTTP/2 connections to each target.
const CONNECTIONS: usize = 3;

pub(super) type Sender = tokio::sync::Mutex<Option<SendRequest<Bytes>>>;

/// A target with its connections.
pub(super) struct Lane {
    pub(super) target: Target,
    /// HTTP/1.1 connections that rest.
    pub(super) idle: Mutex<VecDeque<Wire<AnyStream>>>,
    pub(super) senders: [Sender; CONNECTIONS],
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl Lane {
    pub(super) fn new(target: Target) -> Self {
        Self { target, idle: Mutex::default(), senders: Default::default() }
    }

    /// Sends it once and reads its answer.
    pub(super) async fn send(&self, ask: &Ask) -> Result<(), Trouble> {
        match self.target.way {
            Way::Kept | Way::New => self.http1(ask).await,
            Way::Http2 => self.http2(ask).await,
        }
    }
}
