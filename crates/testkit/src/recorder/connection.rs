//! One connection of the recorder: read, record, do as the script says.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use super::extent::{Extent, head_end};
use super::script::{Script, Step, Taken};
use super::{Ended, Shared};
use crate::strict::{self, Parsed};

/// Serves until the connection ends, and says how it ended.
pub(super) fn serve(number: usize, stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let mut connection = Connection { number, stream, shared, unread: Vec::new(), hard: false };
    let ended = connection.run().err().unwrap_or(Ended::Closed);
    if ended == Ended::ByUs && !connection.hard {
        connection.drain();
    }
    shared.change(|state| {
        // The last copy goes before the socket itself: a reset needs a close without a shutdown before it.
        state.streams.retain(|(of, _)| *of != number);
        drop(connection);
        if let Some(recorded) = state.connections.iter_mut().find(|c| c.number == number) {
            recorded.ended = Some(ended);
        }
    });
}

struct Connection<'s> {
    number: usize,
    stream: TcpStream,
    shared: &'s Shared,
    /// What was received and belongs to no finished request.
    unread: Vec<u8>,
    /// To be closed by a reset.
    hard: bool,
}

impl Connection<'_> {
    fn run(&mut self) -> Result<(), Ended> {
        loop {
            let head = loop {
                match head_end(&self.unread) {
                    Some(end) => break self.unread[..end].to_vec(),
                    None => self.receive()?,
                }
            };
            let script = (self.shared.answer)(&self.taken(&head));
            self.perform(&head, script)?;
        }
    }

    fn taken(&self, head: &[u8]) -> Taken {
        let number = self.shared.change(|state| {
            state.requests += 1;
            state.requests - 1
        });
        let line = String::from_utf8_lossy(head);
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let local = self.stream.local_addr().unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into());
        Taken { number, connection: self.number, local, method: word(), target: word(), head: head.to_vec() }
    }

    fn perform(&mut self, head: &[u8], script: Script) -> Result<(), Ended> {
        let mut extent = Extent::of(head);
        for step in script.0 {
            match step {
                Step::ReadRequest => {
                    self.read_request(&mut extent)?;
                }
                Step::ReadBody(length) => {
                    while self.unread.len() < head.len() + length {
                        self.receive()?;
                    }
                }
                Step::Echo => {
                    let end = self.read_request(&mut extent)?;
                    self.echo(end);
                }
                // A peer that is gone shows at the next reading.
                Step::Send(bytes) => drop(self.stream.write_all(&bytes)),
                Step::Wait(gate) => {
                    if !gate.pass() {
                        return Err(Ended::ByUs);
                    }
                }
                Step::Open(gate) => gate.open(),
                Step::HalfClose => drop(self.stream.shutdown(Shutdown::Write)),
                Step::Close => return Err(Ended::ByUs),
                Step::Reset => {
                    let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    self.hard = true;
                    return Err(Ended::ByUs);
                }
                Step::Silence => loop {
                    self.receive()?;
                },
            }
        }
        let end = self.read_request(&mut extent)?;
        self.unread.drain(..end);
        Ok(())
    }

    /// Sends the body of the request that ends at `end` back.
    fn echo(&mut self, end: usize) {
        let answer = match strict::request(&self.unread[..end]) {
            Ok(Parsed::Whole(request, _)) => {
                let body = request.content.body;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                [head.into_bytes(), body].concat()
            }
            other => format!("HTTP/1.1 500 Echo\r\nContent-Length: 0\r\nX-Why: {other:?}\r\n\r\n").into_bytes(),
        };
        let _ = self.stream.write_all(&answer);
    }

    fn read_request(&mut self, extent: &mut Extent) -> Result<usize, Ended> {
        loop {
            if let Some(end) = extent.end(&self.unread) {
                return Ok(end);
            }
            self.receive()?;
        }
    }

    /// Records what comes next.
    fn receive(&mut self) -> Result<(), Ended> {
        let mut buffer = [0; 65536];
        let count = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended::Reset),
            }
        };
        self.unread.extend_from_slice(&buffer[..count]);
        self.shared.change(|state| {
            if let Some(recorded) = state.connections.iter_mut().find(|c| c.number == self.number) {
                recorded.bytes.extend_from_slice(&buffer[..count]);
            }
        });
        Ok(())
    }

    /// After an orderly close by the script: takes what is still on its way, so that the close is no reset.
    fn drain(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        while self.receive().is_ok() {}
    }
}
