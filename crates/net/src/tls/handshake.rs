//! A client's handshake, and how it may end.

use std::future::poll_fn;
use std::io;

use rustls::{Error, PeerIncompatible};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tollgate_core::facts::Tls;

use super::facts::facts;
use super::server::Server;
use crate::{Socket, Stream};

/// How a client's handshake ended: the label of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// It took too long.
    Timeout,
    /// The client went away in the middle of it.
    Closed,
    /// The client speaks HTTP without TLS.
    PlainHttp,
    /// No common version of TLS.
    NoVersion,
    /// No common cipher suite, group or signature.
    NoCipher,
    /// No common protocol above TLS (ALPN).
    NoProtocol,
    /// A client certificate is required, and none came.
    NoCertificate,
    /// The client's certificate is not believed.
    BadCertificate,
    /// The client refused, most often because it does not believe our certificate.
    RefusedByClient,
    /// What came is no TLS, or breaks its rules.
    Malformed,
    /// Anything else.
    Other,
}

impl Outcome {
    /// Its label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::PlainHttp => "plain_http",
            Self::NoVersion => "no_version",
            Self::NoCipher => "no_cipher",
            Self::NoProtocol => "no_protocol",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::Malformed => "malformed",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Closed,
            _ => Self::Other,
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            // Clients that know nothing newer than TLS 1.1 send no signature algorithms, which rustls misses first.
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::NoVersion,
            Error::PeerIncompatible(_) => Self::NoCipher,
            Error::NoApplicationProtocol => Self::NoProtocol,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => Self::BadCertificate,
            Error::AlertReceived(_) => Self::RefusedByClient,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError => Self::Malformed,
            _ => Self::Other,
        }
    }
}

/// A handshake that did not end well.
#[derive(Debug)]
pub enum Failure {
    /// The client speaks HTTP without TLS; nothing was read yet, and it can be answered likewise.
    PlainHttp(Socket),
    /// Something else; the connection is closed.
    Ended(Outcome, io::Error),
}

/// The first byte of a record that begins a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

impl Server {
    /// Carries out a client's handshake. Takes as long as the client does: the caller sets the limit.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn accept(&self, socket: Socket) -> Result<(Stream, Tls), Failure> {
        let ended = |error: io::Error| Failure::Ended(Outcome::of(&error), error);
        match first_byte(&socket).await.map_err(ended)? {
            // A request line begins with a method, which is a token (RFC 9110 §9.1); methods in use are letters.
            Some(byte) if byte != HANDSHAKE && byte.is_ascii_alphabetic() => return Err(Failure::PlainHttp(socket)),
            Some(_) => {}
            None => return Err(Failure::Ended(Outcome::Closed, io::ErrorKind::UnexpectedEof.into())),
        }
        let stream = TlsAcceptor::from(self.config()).accept(socket).await.map_err(ended)?;
        let facts = facts(stream.get_ref().1);
        Ok((Stream::from(TlsStream::from(stream)), facts))
    }
}

/// The first byte that comes, left where it is; `None`: the client closed.
async fn first_byte(socket: &Socket) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = poll_fn(|cx| socket.poll_peek(cx, &mut byte)).await?;
    Ok(byte.first().copied().filter(|_| count > 0))
}
