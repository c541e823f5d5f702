//! What the backend does about a request.

use std::net::SocketAddr;

use crate::gate::Gate;

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read until the request is complete.
    ReadRequest,
    /// Read until so many bytes of the body, as framed, are there.
    ReadBody(usize),
    /// Write these bytes, at once and by themselves.
    Send(Vec<u8>),
    /// Read until the request is complete, and answer 200 with its body.
    Echo,
    /// Wait until the test opens the gate.
    Wait(Gate),
    /// Open a gate that the test waits at.
    Open(Gate),
    /// Send nothing more, but go on reading.
    HalfClose,
    /// Close in order.
    Close,
    /// Close hard: the peer sees a reset.
    Reset,
    /// Answer nothing any more; only record.
    Silence,
}

/// Steps in order. Afterwards the next request is awaited, unless the connection was closed.
#[derive(Clone, Debug, Default)]
pub struct Script(pub Vec<Step>);

/// A request whose head has come.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Counted from 0 over all connections.
    pub number: usize,
    /// Counted from 0 in the order accepted.
    pub connection: usize,
    /// Our own address, as the peer called it.
    pub local: SocketAddr,
    /// The first word of the start line.
    pub method: String,
    /// The second word.
    pub target: String,
    /// The start line and the fields, as they came, with the empty line.
    pub head: Vec<u8>,
}

impl Script {
    /// Reads the whole request, then sends this.
    #[must_use]
    pub fn reply(answer: impl AsRef<[u8]>) -> Self {
        Self(vec![Step::ReadRequest, Step::Send(answer.as_ref().to_vec())])
    }

    /// Reads the whole request, then sends each part by itself.
    #[must_use]
    pub fn parts<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let sends = parts.into_iter().map(|part| Step::Send(part.as_ref().to_vec()));
        Self(std::iter::once(Step::ReadRequest).chain(sends).collect())
    }

    /// Reads the whole request, then answers 200 with this body, or with the head alone if HEAD was asked.
    #[must_use]
    pub fn ok(taken: &Taken, body: &str) -> Self {
        let sent = if taken.method == "HEAD" { "" } else { body };
        let length = body.len();
        Self::reply(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{sent}"))
    }

    /// The same, and one step more.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}
