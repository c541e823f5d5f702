//! Opening the sockets of listeners, all before any listens.

use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tollgate_config::model::{Bind, FileMode};
use tollgate_core::facts::Address;
use tollgate_net::Listener;

/// Connections that may wait to be accepted, per socket.
pub(crate) const BACKLOG: i32 = 4096;

/// The sockets of a listener.
#[derive(Debug)]
pub struct Bound {
    /// One per worker.
    pub listeners: Vec<Listener>,
    /// The file of a Unix socket.
    pub file: Option<SocketFile>,
}

/// The file of a Unix socket that is listened on. Dropped, it is removed, unless another process has put its own there, or has
/// taken the socket over.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    identity: (u64, u64),
    ours: Arc<AtomicBool>,
}

impl SocketFile {
    /// It is another's from now on.
    pub(crate) fn give(self) {
        self.ours.store(false, Ordering::Release);
    }
}

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: Address,
    /// What the system says.
    pub error: io::Error,
}

/// Whose port it is that is to be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Nobody's, or it is an error: it is looked at whether somebody else listens there.
    Free,
    /// Ours: more sockets are opened beside those that there are.
    Ours,
}

/// `EAFNOSUPPORT` and `EADDRNOTAVAIL` of Linux.
const NO_FAMILY: i32 = 97;
const NO_ADDRESS: i32 = 99;

/// Opens so many sockets of a listener, one per worker. A Unix socket is one that they share; see [`SocketFile`]. Those of a port
/// do not listen yet: what connected to one that is given up in the end would be reset with it.
///
/// # Errors
/// The address, and what the system says of it.
pub fn bind(bind: &Bind, mode: FileMode, workers: usize, port: Port) -> Result<Bound, BindError> {
    let whose = port;
    let listeners = match bind {
        Bind::Socket(address) => sockets(*address, workers, whose)?,
        Bind::AllAddresses(port) => match sockets((Ipv6Addr::UNSPECIFIED, *port).into(), workers, whose) {
            // A machine without IPv6.
            Err(e) if matches!(e.error.raw_os_error(), Some(NO_FAMILY | NO_ADDRESS)) => {
                sockets((Ipv4Addr::UNSPECIFIED, *port).into(), workers, whose)?
            }
            bound => bound?,
        },
        Bind::Unix(path) => {
            let bound = unix(path, mode, workers);
            return bound.map_err(|error| BindError { address: Address::Unix(Arc::clone(path)), error });
        }
    };
    Ok(Bound { listeners, file: None })
}

/// The same with sockets that were open before, all of this address; more are opened beside them, or where that is not allowed,
/// shared. `ours`: whether the file of a Unix socket is to be removed in the end.
///
/// # Errors
/// The address, and what the system says of it.
pub fn adopt(bind: &Bind, open: Vec<Listener>, workers: usize, ours: &Arc<AtomicBool>) -> Result<Bound, BindError> {
    let missing = workers.saturating_sub(open.len());
    let more = match bind {
        // Who opened the first ones may have had another user's rights, or not have meant them to be shared.
        Bind::Socket(_) | Bind::AllAddresses(_) => self::bind(bind, FileMode::default(), missing, Port::Ours).ok(),
        Bind::Unix(_) => None,
    };
    let copies = || open.iter().cycle().take(missing).map(Listener::try_clone).collect::<io::Result<Vec<_>>>();
    let failed = |error| BindError { address: address(bind), error };
    let more = more.map_or_else(copies, |bound| Ok(bound.listeners)).map_err(failed)?;
    let file = match bind {
        Bind::Unix(path) => {
            let identity = identity(&fs::symlink_metadata(path).map_err(failed)?);
            Some(SocketFile { path: Arc::clone(path), identity, ours: Arc::clone(ours) })
        }
        Bind::Socket(_) | Bind::AllAddresses(_) => None,
    };
    Ok(Bound { listeners: open.into_iter().chain(more).collect(), file })
}

/// Whether a socket that listens there is one of this listener.
#[must_use]
pub fn is_of(bind: &Bind, at: &Address) -> bool {
    match (bind, at) {
        (Bind::AllAddresses(port), Address::Socket(at)) => at.ip().is_unspecified() && at.port() == *port,
        (Bind::Socket(address), Address::Socket(at)) => address == at,
        (Bind::Unix(path), Address::Unix(at)) => path == at,
        _ => false,
    }
}

/// Where a listener is.
pub(crate) fn address(bind: &Bind) -> Address {
    match bind {
        Bind::Unix(path) => Address::Unix(Arc::clone(path)),
        Bind::Socket(address) => (*address).into(),
        Bind::AllAddresses(port) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)).into(),
    }
}

/// A port that is not ours is probed without `SO_REUSEPORT` first, so that one that somebody else listens on is an error and not
/// silently shared.
fn sockets(address: SocketAddr, workers: usize, port: Port) -> Result<Vec<Listener>, BindError> {
    let open = |share: bool| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for old connections to time out.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(share)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    // Bound only: what connected to a probe that listens would be reset with it.
    if port == Port::Free {
        let probe: io::Result<Socket> = open(false);
        drop(probe.map_err(|error| BindError { address: address.into(), error })?);
    }
    let bound = |_| open(true).map(|socket: Socket| Listener::Tcp(socket.into()));
    (0..workers).map(bound).collect::<io::Result<_>>().map_err(|error| BindError { address: address.into(), error })
}

fn unix(path: &Arc<Path>, mode: FileMode, workers: usize) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let ours = Arc::new(AtomicBool::new(true));
    let file = SocketFile { path: Arc::clone(path), identity: identity(&fs::symlink_metadata(path)?), ours };
    // Before it listens: nobody connects whom the permissions would not let.
    fs::set_permissions(path, Permissions::from_mode(mode.0))?;
    socket.listen(BACKLOG)?;
    let first = Listener::Unix(socket.into());
    let mut listeners = (1..workers).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>()?;
    listeners.push(first);
    Ok(Bound { listeners, file: Some(file) })
}

/// Removes the file of a socket on which nobody listens any more: its process ended without doing so.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => return Err(ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A queue that is full would else keep us waiting; it is somebody's too.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) => Err(ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.ours.load(Ordering::Acquire)
            && fs::symlink_metadata(&self.path).is_ok_and(|file| identity(&file) == self.identity)
        {
            // There is nobody left to tell; who starts next finds it stale and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_stale_file_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("g.sock").into();
        let at = Bind::Unix(Arc::clone(&path));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = bind(&at, FileMode(0o600), 3, Port::Free).unwrap();
        assert_eq!((bound.listeners.len(), mode(&path)), (3, 0o600));
        assert!(UnixStream::connect(&path).is_ok());
        let error = bind(&at, FileMode(0o600), 1, Port::Free).unwrap_err();
        assert_eq!((error.error.kind(), error.address), (ErrorKind::AddrInUse, Address::Unix(Arc::clone(&path))));
        drop(bound);
        assert!(!path.exists(), "removed with its listener");
    }

    #[test]
    fn what_is_no_socket_or_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("g.sock").into();
        fs::write(&path, "precious").unwrap();
        let error = bind(&Bind::Unix(Arc::clone(&path)), FileMode(0o660), 1, Port::Free).unwrap_err();
        assert_eq!(error.error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
        let bound = bind(&Bind::Unix(Arc::clone(&path)), FileMode(0o660), 1, Port::Free).unwrap();
        // As a successor does that found nobody listening while we were about to end.
        fs::remove_file(&path).unwrap();
        let _successor = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists(), "the successor's file");
    }

    #[test]
    fn a_port_that_is_bound_takes_nobody_until_it_listens() {
        let bound = bind(&Bind::Socket(([127, 0, 0, 1], 0).into()), FileMode::default(), 1, Port::Free).unwrap();
        let Listener::Tcp(socket) = &bound.listeners[0] else { panic!("{bound:?}") };
        let address = socket.local_addr().unwrap();
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        bound.listeners[0].listen(BACKLOG).unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }
}
