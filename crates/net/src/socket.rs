//! A connected socket: TCP or Unix.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix socket of this machine.
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl Socket {
    /// Ready once there is something to read, or the peer closed.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Bytes that can be read now, up to the size of `into`, as far as the event loop knows: no system call unless
    /// something happened.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; whatever the system says.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(into),
            Self::Unix(stream) => stream.try_read(into),
        }
    }

    /// Looks at bytes without taking them, asking the system rather than the event loop.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; whatever the system says.
    pub fn peek(&self, into: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(into),
            Self::Unix(stream) => SockRef::from(stream).peek(into),
        }
    }

    /// Looks at bytes without taking them, once there are any, up to the size of `into`; the first `n` of it are then set. 0:
    /// the peer closed.
    pub fn poll_peek(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            // Told through the event loop, which else would call it readable for ever.
            let peeked = match self {
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, || peek_into(stream, into)),
                Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek_into(stream, into)),
            };
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return Poll::Ready(peeked),
            }
        }
    }

    /// From now on closing it resets the connection: what was sent does not look complete to the peer. A Unix socket
    /// knows no reset; there the peer sees an end.
    pub fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // The socket is as good as gone; if it is already, there is nothing to reset.
            let _ = stream.set_zero_linger();
        }
    }
}

fn peek_into(socket: impl AsFd, into: &mut [u8]) -> io::Result<usize> {
    rustix::net::recv(socket, into, RecvFlags::PEEK).map(|(count, _)| count).map_err(Into::into)
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets keep nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
