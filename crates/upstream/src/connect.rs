//! Making a connection to an instance: the socket, then whom it is for (PROXY protocol), then TLS; the latter two if they are
//! spoken. Whoever calls bounds the time it may take.
//!
//! Not which instance, and not whether there may be one more connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tollgate_core::facts::{Address, Conn};
use tollgate_net::{Socket, Stream, proxy_protocol};

use crate::service::Refusal;
use crate::shared::Settings;

/// How long a Unix socket whose queue is full is left alone before it is tried again: the system does not wait there.
const FULL: Duration = Duration::from_millis(5);

/// Connects to an address as the service's settings say. `host`: the name by which the address was found, if it was by one.
/// `client`: whom the instance is told that the connection is for, if it is told; without one, for the gateway itself. `alpn`:
/// the protocol to be agreed upon in the TLS handshake, if not the usual ones.
///
/// # Errors
/// [`Refusal::Connect`] and [`Refusal::Tls`].
pub(crate) async fn connect(
    settings: &Settings,
    address: &Address,
    host: Option<&str>,
    client: Option<&Conn>,
    alpn: Option<&[u8]>,
) -> Result<Stream, Refusal> {
    let socket = introduced(settings, address, client).await;
    let socket = socket.map_err(|error| Refusal::Connect(address.clone(), Arc::new(error)))?;
    let Some(tls) = &settings.tls else { return Ok(Stream::Plain(socket)) };
    let settled = tls.connect_as(socket, host, address.ip(), alpn).await;
    settled.map_err(|error| Refusal::Tls(address.clone(), Arc::new(error)))
}

async fn introduced(settings: &Settings, address: &Address, client: Option<&Conn>) -> io::Result<Socket> {
    let mut socket = socket(address, settings.source).await?;
    if let Some(version) = settings.proxy_protocol {
        socket.write_all(&proxy_protocol::header(version, client)).await?;
    }
    Ok(socket)
}

pub(crate) async fn socket(address: &Address, source: Option<IpAddr>) -> io::Result<Socket> {
    match address {
        Address::Socket(address) => {
            let stream = match source {
                None => TcpStream::connect(address).await?,
                Some(source) => from(source, *address).await?,
            };
            stream.set_nodelay(true)?;
            Ok(stream.into())
        }
        Address::Unix(path) => unix(path).await.map(Socket::from),
    }
}

async fn from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match (source, address) {
        (IpAddr::V4(_), SocketAddr::V4(_)) => TcpSocket::new_v4()?,
        (IpAddr::V6(_), SocketAddr::V6(_)) => TcpSocket::new_v6()?,
        _ => {
            let what = format!("`source_address` {source} and the instance are not both IPv4 or both IPv6");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
    };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL).await,
            connected => return connected,
        }
    }
}
