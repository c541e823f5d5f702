//! Sockets that are listened on, TCP or Unix.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use socket2::{SockFilter, SockRef};
use tollgate_core::facts::{Address, Ends};

use crate::Socket;

/// A socket that is listened on and does not block.
#[derive(Debug)]
pub enum Listener {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpListener),
    /// A Unix socket of this machine.
    Unix(UnixListener),
}

impl Listener {
    /// Has the system take connections from now on, so many before they are accepted. A socket on which it does so already is
    /// left as it is: who opened it has chosen.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        let socket = match self {
            Self::Tcp(listener) => SockRef::from(listener),
            Self::Unix(listener) => SockRef::from(listener),
        };
        if socket.is_listener()? { Ok(()) } else { socket.listen(backlog) }
    }

    /// Has the system not answer those who begin to connect from now on; connections that are half made may come to their
    /// end. Of Unix sockets it is the file that decides whether anybody connects.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn turn_away(&self) -> io::Result<()> {
        // Looks at the flags in a segment's header (RFC 9293 §3.1): SYN without ACK is dropped, everything else passes. The
        // codes are those of the classic packet filter: load a byte, and, jump if equal, return.
        const NO_SYN: [SockFilter; 5] = [
            SockFilter::new(0x30, 0, 0, 13),
            SockFilter::new(0x54, 0, 0, 0x12),
            SockFilter::new(0x15, 0, 1, 0x02),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        match self {
            Self::Tcp(listener) => SockRef::from(listener).attach_filter(&NO_SYN),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Takes the next connection that waits, asking the system rather than the event loop.
    ///
    /// # Errors
    /// `WouldBlock` if none waits; `ConnectionAborted` if it is gone already; whatever the system says.
    pub fn accept(&self) -> io::Result<(Socket, Ends)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                over_ip(tokio::net::TcpStream::from_std(stream)?, peer)
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((tokio::net::UnixStream::from_std(stream)?.into(), Ends::Unix))
            }
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Whatever the system says; `Unsupported`: a Unix socket without a file.
    pub fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Socket),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or(io::ErrorKind::Unsupported)?;
                Ok(Address::Unix(path.into()))
            }
        }
    }

    /// The same socket once more: connections go to whoever takes them first.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }
}

/// A socket that another process opened. It must be listened on; that it does not block is seen to.
impl TryFrom<OwnedFd> for Listener {
    type Error = io::Error;

    fn try_from(socket: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(socket);
        if !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket that is not listened on"));
        }
        socket.set_nonblocking(true)?;
        match socket.local_addr()?.domain() {
            socket2::Domain::UNIX => Ok(Self::Unix(socket.into())),
            socket2::Domain::IPV4 | socket2::Domain::IPV6 => Ok(Self::Tcp(socket.into())),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A listening socket in an event loop.
#[derive(Debug)]
pub enum Acceptor {
    /// TCP over IPv4 or IPv6.
    Tcp(tokio::net::TcpListener),
    /// A Unix socket of this machine.
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// Puts it into the event loop of the calling thread.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp(listener) => tokio::net::TcpListener::from_std(listener).map(Self::Tcp),
            Listener::Unix(listener) => tokio::net::UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// Takes the next connection, once there is one. May be dropped at any time: no connection is lost.
    ///
    /// # Errors
    /// `ConnectionAborted` if it is gone already; whatever the system says.
    pub async fn accept(&self) -> io::Result<(Socket, Ends)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                over_ip(stream, peer)
            }
            Self::Unix(listener) => Ok((listener.accept().await?.0.into(), Ends::Unix)),
        }
    }

    /// Takes it out of the event loop.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn into_listener(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(listener) => listener.into_std().map(Listener::Tcp),
            Self::Unix(listener) => listener.into_std().map(Listener::Unix),
        }
    }
}

fn over_ip(stream: tokio::net::TcpStream, peer: SocketAddr) -> io::Result<(Socket, Ends)> {
    let settled = || {
        stream.set_nodelay(true)?;
        Ok(Ends::Sockets { peer, local: stream.local_addr()? })
    };
    // A connection that was reset in the queue is none any more.
    let ends = settled().map_err(|_: io::Error| io::Error::from(io::ErrorKind::ConnectionAborted))?;
    Ok((stream.into(), ends))
}
