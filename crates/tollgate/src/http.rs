//! A minimal HTTP client for the command line's own questions to a gateway on this or a near machine: one GET, the
//! connection closed afterwards. Not the gateway's way to services.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tollgate_core::buffer::Buffer;
use tollgate_core::facts::Address;
use tollgate_core::head::{Method, ReplyHead};
use tollgate_http1::transfer::{Batch, Inflow, Outflow, Runs, SLICES};
use tollgate_http1::{HeadLimits, Parsed, response};

/// Most bytes of an answer.
const MOST: usize = 16 * 1024 * 1024;
/// How long a connect or a write may take, and a read unless more is asked for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// An answer.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its fields, as lines.
    pub(crate) fields: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// Sends `method target` to `address` and reads the answer.
pub(crate) fn request(address: &Address, method: Method, head: &str, body: &[u8]) -> std::io::Result<Answer> {
    patiently(address, method, head, body, PATIENCE)
}

/// The same, where the answer takes its time: each read may take as long as `patience`.
pub(crate) fn patiently(
    address: &Address,
    method: Method,
    head: &str,
    body: &[u8],
    patience: Duration,
) -> std::io::Result<Answer> {
    over(&mut *connect(address, patience)?, method, head, body)
}

/// The same over a connection that is there.
pub(crate) fn over(stream: &mut dyn Duplex, method: Method, head: &str, body: &[u8]) -> std::io::Result<Answer> {
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()?;
    read(stream, method)
}

/// What is read from and written to.
pub(crate) trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

fn connect(address: &Address, patience: Duration) -> std::io::Result<Box<dyn Duplex>> {
    match address {
        Address::Socket(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
    }
}

fn read(stream: &mut dyn Duplex, method: Method) -> std::io::Result<Answer> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut head = ReplyHead::default();
    head.fields.buffer = Buffer::lend();
    let mut reader = response::Reader::default();
    while reader.read(&mut head, &HeadLimits::default()).map_err(invalid)? == Parsed::Partial {
        fill(stream, &mut head.fields.buffer)?;
    }
    let verdict = response::judge(&mut head, method).map_err(invalid)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = head.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    let (mut inflow, floor, mut body) = (Inflow::new(verdict.length), head.fields.head_len, Vec::new());
    let (status, mut buffer) = (head.status, std::mem::take(&mut head.fields.buffer));
    let mut from = floor;
    while !inflow.is_done() {
        if from == buffer.len() {
            buffer.truncate(0);
            from = 0;
            match fill(stream, &mut buffer) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof && inflow.closed() => break,
                Err(e) => return Err(e),
            }
        }
        let (range, mut runs) = (from..buffer.len(), Runs::default());
        let taken = inflow.take(buffer.filled_mut(), range, &mut runs, MOST as u64, 64 * 1024);
        from = taken.map_err(|bad| invalid(&format!("{bad:?}")))?;
        let batch = Batch::new(Outflow::Plain, runs, false, None);
        let mut slices = [std::io::IoSlice::new(&[]); SLICES];
        let n = batch.slices(&[], buffer.filled(), &mut slices);
        slices[..n].iter().for_each(|slice| body.extend_from_slice(slice));
    }
    Ok(Answer { status, fields, body })
}

fn fill(stream: &mut dyn Duplex, buffer: &mut Buffer) -> std::io::Result<()> {
    match stream.read(buffer.spare())? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        n => {
            buffer.advance(n);
            Ok(())
        }
    }
}
