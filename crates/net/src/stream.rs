//! The bytes of a connection, plain or under TLS.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::socket::Socket;

/// The bytes of a connection.
#[derive(Debug)]
pub enum Stream {
    /// As they are on the wire.
    Plain(Socket),
    /// Under TLS, the handshake done. Boxed: a plain connection does not pay for it.
    Tls(Box<TlsStream<Socket>>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream.into())
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Plain(stream.into())
    }
}

impl From<TlsStream<Socket>> for Stream {
    fn from(stream: TlsStream<Socket>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Stream {
    /// The socket under it.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The protocol that both sides agreed to speak above TLS (RFC 7301).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Ready once there is content to read, or its end; needs no buffer of the caller's.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            // A record may hold no content (a session ticket, say), and content may be there already, decrypted.
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_fill_buf(cx).map_ok(|_| ()),
        }
    }

    /// Whether the peer left a connection at rest alone: no content, no end, no error. What the event loop has not heard of
    /// yet does not show, and costs no system call; see [`Stream::is_surely_quiet`].
    pub fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(socket) => is_would_block(&socket.try_read(&mut [0])),
            Self::Tls(stream) => {
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(stream.as_mut()).poll_fill_buf(&mut nobody).is_pending()
            }
        }
    }

    /// The same, asked of the system. Under TLS also bytes that are no content count as noise.
    #[must_use]
    pub fn is_surely_quiet(&self) -> bool {
        is_would_block(&self.socket().peek(&mut [MaybeUninit::uninit()]))
    }

    /// Whether bytes have come that were not read yet. The event loop may not know of them.
    pub fn has_input(&mut self) -> bool {
        let is_decrypted = match self {
            Self::Plain(_) => false,
            Self::Tls(_) => !self.is_quiet(),
        };
        is_decrypted || matches!(self.socket().peek(&mut [MaybeUninit::uninit()]), Ok(1..))
    }

    /// See [`Socket::reset_on_close`]. Under TLS the missing close alert says the same (RFC 8446 §6.1).
    pub fn reset_on_close(&self) {
        self.socket().reset_on_close();
    }
}

fn is_would_block(read: &io::Result<usize>) -> bool {
    matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
