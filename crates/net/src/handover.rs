//! Listening sockets that one process hands to the next, over a socket between them (`SCM_RIGHTS`, unix(7)): they stay open,
//! and who waits in their queues is served by whoever takes them.
//!
//! The one that has them gives them ([`Giver`]); the one that takes them ([`Taken`]) says when it serves. What the two say is
//! one byte long, so that nothing comes in parts. Not how a successor is started, nor what follows.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use tokio::io::Interest;

use crate::Listener;

/// Sockets in one message; the system takes 253 at most.
const AT_ONCE: usize = 64;
/// How long the one that gives may take.
const GIVING: Duration = Duration::from_secs(10);

/// There are sockets with this byte.
const SOCKETS: u8 = b'S';
/// There are no more.
const ALL: u8 = b'A';
/// Whoever took them serves.
const SERVING: u8 = b'R';

/// Where a successor comes for the sockets: an address that has no file and ends with this.
#[derive(Debug)]
pub struct Giver {
    name: String,
    listener: tokio::net::UnixListener,
}

impl Giver {
    /// Waits for a successor, which is told the name. To be called on a runtime.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn new() -> io::Result<Self> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        let name = format!("tollgate-{:032x}", u128::from_be_bytes(random));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self { name, listener: tokio::net::UnixListener::from_std(listener)? })
    }

    /// What the successor is to be told.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the sockets to the process of this number, and waits until it serves.
    ///
    /// # Errors
    /// `UnexpectedEof`: it gave up. Else whatever the system says.
    pub async fn give(&self, to: u32, listeners: &[Listener]) -> io::Result<()> {
        let stream = loop {
            let (stream, _) = self.listener.accept().await?;
            // The name is no secret: others of this machine may come, and get nothing.
            if stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(to) {
                break stream;
            }
        };
        for some in listeners.chunks(AT_ONCE) {
            let some: Vec<BorrowedFd<'_>> = some.iter().map(Listener::as_fd).collect();
            stream.async_io(Interest::WRITABLE, || send(&stream, SOCKETS, &some)).await?;
        }
        stream.async_io(Interest::WRITABLE, || send(&stream, ALL, &[])).await?;
        let mut said = [0];
        loop {
            stream.readable().await?;
            match stream.try_read(&mut said) {
                Ok(1) if said == [SERVING] => return Ok(()),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Err(ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn send(stream: &impl AsFd, byte: u8, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(stream, &[IoSlice::new(&[byte])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sockets that were taken over. Dropped before it [serves](Taken::serves), their giver goes on.
#[derive(Debug)]
pub struct Taken {
    stream: UnixStream,
    listeners: Vec<Listener>,
}

impl Taken {
    /// Takes them from the one that is called so.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn take(name: &str) -> io::Result<Self> {
        let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        stream.set_read_timeout(Some(GIVING))?;
        let mut listeners = Vec::new();
        while let Some(some) = receive(&stream)? {
            for socket in some {
                listeners.push(Listener::try_from(socket)?);
            }
        }
        Ok(Self { stream, listeners })
    }

    /// The sockets, once.
    pub fn listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// Says that it serves, so that the one before it need not.
    ///
    /// # Errors
    /// That one is gone or has given up.
    pub fn serves(mut self) -> io::Result<()> {
        self.stream.write_all(&[SERVING])?;
        // It closes once it knows.
        match self.stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// The next sockets; `None`: that was all.
fn receive(stream: &UnixStream) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let (mut byte, mut control) = ([0], RecvAncillaryBuffer::new(&mut room));
    let got = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let sockets: Vec<OwnedFd> = sockets.flatten().collect();
    match (got.bytes, byte) {
        (0, _) => Err(ErrorKind::UnexpectedEof.into()),
        (_, [SOCKETS]) => Ok(Some(sockets)),
        (_, [ALL]) => Ok(None),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[tokio::test]
    async fn whoever_waits_is_served_by_the_successor() {
        let sockets: Vec<TcpListener> = (0..AT_ONCE + 3).map(|_| listener()).collect();
        let at: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let mut waiting = TcpStream::connect(at[AT_ONCE + 1]).unwrap();
        let giver = Giver::new().unwrap();
        let name = giver.name().to_owned();
        let successor = std::thread::spawn(move || {
            let mut taken = Taken::take(&name).unwrap();
            let listeners = taken.listeners();
            taken.serves().unwrap();
            listeners
        });
        let given: Vec<Listener> = sockets.into_iter().map(Listener::Tcp).collect();
        giver.give(std::process::id(), &given).await.unwrap();
        drop((giver, given));
        let taken = successor.join().unwrap();
        let local: Vec<_> = taken.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let expected: Vec<_> = at.iter().copied().map(tollgate_core::facts::Address::Socket).collect();
        assert_eq!(local, expected);
        let Listener::Tcp(socket) = &taken[AT_ONCE + 1] else { panic!("{taken:?}") };
        socket.set_nonblocking(false).unwrap();
        socket.accept().unwrap().0.write_all(b"hello").unwrap();
        let mut said = [0; 5];
        waiting.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"hello");
    }

    #[tokio::test]
    async fn one_that_gives_up_shows() {
        let giver = Giver::new().unwrap();
        let name = giver.name().to_owned();
        let successor = std::thread::spawn(move || drop(Taken::take(&name).unwrap()));
        let given = giver.give(std::process::id(), &[Listener::Tcp(listener())]).await;
        assert_eq!(given.unwrap_err().kind(), ErrorKind::UnexpectedEof);
        successor.join().unwrap();
    }

    #[tokio::test]
    async fn others_get_nothing() {
        let giver = Giver::new().unwrap();
        let name = giver.name().to_owned();
        let other = std::thread::spawn(move || Taken::take(&name).map(|_| ()).unwrap_err());
        let given = [Listener::Tcp(listener())];
        let giving = giver.give(1, &given);
        assert!(tokio::time::timeout(Duration::from_millis(200), giving).await.is_err());
        drop(giver);
        other.join().unwrap();
    }
}
