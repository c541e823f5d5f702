//! A client that sends exactly the bytes it is given.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::deadline::{Deadline, PATIENCE};
use crate::strict::{self, End, Parsed, Response};

/// Why no whole answer could be read. Carries what came of it.
#[derive(Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The peer closed in order before the answer was complete.
    Closed(Vec<u8>),
    /// The peer reset the connection.
    Reset(Vec<u8>),
    /// Nothing more came in time.
    TimedOut(Vec<u8>),
    /// The answer breaks the grammar.
    Broken(String, Vec<u8>),
}

impl fmt::Debug for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, bytes) = match self {
            Self::Closed(bytes) => ("a close", bytes),
            Self::Reset(bytes) => ("a reset", bytes),
            Self::TimedOut(bytes) => ("nothing in time", bytes),
            Self::Broken(what, bytes) => (what.as_str(), bytes),
        };
        write!(f, "{what} after \"{}\"", bytes.escape_ascii())
    }
}

/// One connection to the gateway, or to whatever is tested.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    received: Vec<u8>,
    patience: Duration,
}

impl RawClient {
    /// Connects, with `TCP_NODELAY`, so that every write is on its way at once.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("no connection to {address}: {error}"))
    }

    /// The same where the connection may be refused, or reset at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect_timeout(&address, PATIENCE).map(Self::over)
    }

    /// Connects from this address; all of 127.0.0.0/8 is this machine's.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn connect_from(from: [u8; 4], address: SocketAddr) -> Self {
        Self::try_connect_from(from, address).unwrap_or_else(|error| panic!("no connection to {address}: {error}"))
    }

    /// The same where the connection may be refused, or reset at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_connect_from(from: [u8; 4], address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Ok(Self::over(socket.into()))
    }

    /// The port that it connects from.
    ///
    /// # Panics
    /// When the connection is broken.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.stream.local_addr().expect("its address").port()
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self { stream, received: Vec::new(), patience: PATIENCE }
    }

    /// Whether somebody takes a connection there.
    #[must_use]
    pub fn is_accepted(address: SocketAddr) -> bool {
        TcpStream::connect(address).is_ok()
    }

    /// Waits at most so long for each answer from now on.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends all bytes; false if the peer would not take them all, which is its right: what it answered tells more.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends the bytes in several writes, cut at these places.
    pub fn send_split(&mut self, bytes: &[u8], cuts: &[usize]) -> bool {
        let mut start = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            if !self.send(&bytes[start..end]) {
                return false;
            }
            start = end;
        }
        true
    }

    /// Sends every byte by itself.
    pub fn send_each_byte(&mut self, bytes: &[u8]) -> bool {
        self.send_split(bytes, &(1..bytes.len()).collect::<Vec<_>>())
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes hard: the peer sees a reset.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// The next answer, interim ones (1xx) included. `method` is that of the request it belongs to.
    ///
    /// # Errors
    /// [`ReadError`], with the bytes that came.
    pub fn response(&mut self, method: &str) -> Result<Response, ReadError> {
        let deadline = Deadline::after(self.patience);
        let mut end = None;
        loop {
            let state = if matches!(end, Some(ReadError::Closed(_))) { End::Closed } else { End::Open };
            match strict::response(&self.received, method, state) {
                Ok(Parsed::Whole(response, used)) => {
                    self.received.drain(..used);
                    return Ok(response);
                }
                Ok(Parsed::Partial) if end.is_none() => end = self.receive(deadline).err(),
                Ok(Parsed::Partial) => return Err(self.with_bytes(end)),
                Err(broken) => return Err(ReadError::Broken(broken.0, self.received.clone())),
            }
        }
    }

    /// The next answer that is not interim, and the interim ones before it.
    ///
    /// # Errors
    /// [`ReadError`], with the bytes that came.
    pub fn final_response(&mut self, method: &str) -> Result<(Vec<Response>, Response), ReadError> {
        let mut interim = Vec::new();
        loop {
            let response = self.response(method)?;
            if (100..200).contains(&response.status) && response.status != 101 {
                interim.push(response);
            } else {
                return Ok((interim, response));
            }
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub fn call(&mut self, request: &str) -> Response {
        self.send(request);
        let method = request.split(' ').next().unwrap_or_default();
        self.final_response(method).unwrap_or_else(|error| panic!("no answer to {request:?}: {error:?}")).1
    }

    /// Asks for a target with GET, from the host `gateway.test`.
    ///
    /// # Panics
    /// When there is no whole answer.
    pub fn get(&mut self, target: &str) -> Response {
        self.call(&format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"))
    }

    /// Waits for the whole head of the next answer and gives it as it came; it stays to be read by
    /// [`RawClient::response`].
    ///
    /// # Errors
    /// [`ReadError`], with the bytes that came.
    pub fn head(&mut self) -> Result<String, ReadError> {
        let ends = |bytes: &[u8]| bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        self.wait_for_bytes(|bytes| ends(bytes).is_some())?;
        let end = ends(&self.received).unwrap_or_default();
        Ok(String::from_utf8_lossy(&self.received[..end]).into_owned())
    }

    /// Waits until the bytes that came and were not read yet satisfy `condition`.
    ///
    /// # Errors
    /// [`ReadError`], with the bytes that came.
    pub fn wait_for_bytes(&mut self, condition: impl Fn(&[u8]) -> bool) -> Result<(), ReadError> {
        let deadline = Deadline::after(self.patience);
        while !condition(&self.received) {
            if let Err(error) = self.receive(deadline) {
                return Err(self.with_bytes(Some(error)));
            }
        }
        Ok(())
    }

    /// Exactly so many of the bytes that come next.
    ///
    /// # Errors
    /// [`ReadError`], with the bytes that came.
    pub fn take(&mut self, count: usize, deadline: Deadline) -> Result<Vec<u8>, ReadError> {
        while self.received.len() < count {
            if let Err(error) = self.receive(deadline) {
                return Err(self.with_bytes(Some(error)));
            }
        }
        Ok(self.received.drain(..count).collect())
    }

    /// Takes so many of the bytes that come next, without looking at them; gives how many came before the end.
    pub fn skip(&mut self, count: usize) -> usize {
        let mut taken = self.received.len().min(count);
        self.received.drain(..taken);
        while taken < count && self.receive(Deadline::after(self.patience)).is_ok() {
            let more = self.received.len().min(count - taken);
            self.received.drain(..more);
            taken += more;
        }
        taken
    }

    /// Reads on until the peer ends the connection. [`ReadError::Closed`] is the orderly way.
    #[must_use]
    pub fn end(&mut self) -> ReadError {
        let deadline = Deadline::after(self.patience);
        loop {
            if let Err(error) = self.receive(deadline) {
                return self.with_bytes(Some(error));
            }
        }
    }

    fn with_bytes(&mut self, error: Option<ReadError>) -> ReadError {
        let bytes = std::mem::take(&mut self.received);
        match error {
            Some(ReadError::Reset(_)) => ReadError::Reset(bytes),
            Some(ReadError::TimedOut(_)) => ReadError::TimedOut(bytes),
            _ => ReadError::Closed(bytes),
        }
    }

    /// Takes what comes next; the error says only how it ended.
    fn receive(&mut self, deadline: Deadline) -> Result<(), ReadError> {
        let mut buffer = [0; 65536];
        loop {
            let left = deadline.left().ok_or(ReadError::TimedOut(Vec::new()))?;
            self.stream.set_read_timeout(Some(left)).expect("a read timeout");
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ReadError::Closed(Vec::new())),
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                }
                Err(_) => return Err(ReadError::Reset(Vec::new())),
            }
        }
    }
}
