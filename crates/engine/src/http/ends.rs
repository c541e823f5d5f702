//! The two ends of a body on its way: where it comes from and where it goes.

use std::io;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use tollgate_core::body::BodyStream;
use tollgate_net::Stream;

use crate::http::pump::Prefix;

/// Where a body comes from.
pub(crate) enum Source<'a> {
    /// HTTP/1.1: read into the message's buffer and decoded there.
    Wire(&'a mut Stream),
    /// HTTP/2: frames of one stream.
    Frames(&'a mut RecvStream),
    /// Made here, piece by piece.
    Made(&'a mut dyn BodyStream),
    /// Nowhere: the pump holds all of it.
    Held,
}

/// Where a body goes.
pub(crate) enum Sink<'a> {
    /// HTTP/1.1: written behind its head, with the framing that the head told.
    Wire(&'a mut Stream, &'a mut Prefix),
    /// HTTP/2: frames of one stream, the head of which is out.
    Frames(&'a mut SendStream<Bytes>),
    /// Nowhere: its head was all there is.
    Nowhere,
}

/// An error of an HTTP/2 stream as one of input or output; a reset by the peer shows as such.
pub(crate) fn broken_stream(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(reason) => io::Error::new(io::ErrorKind::ConnectionReset, format!("stream reset: {reason}")),
        None => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
    }
}
