//! Making a connection to an instance: the socket, then TLS if it is spoken. Whoever calls bounds the time it may take.
//!
//! Not which instance, and not whether there may be one more connection.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tollgate_core::facts::Address;
use tollgate_net::{Socket, Stream};

use crate::service::Refusal;
use crate::shared::Settings;

/// How long a Unix socket whose queue is full is left alone before it is tried again: the system does not wait there.
const FULL: Duration = Duration::from_millis(5);

/// Connects to an address as the service's settings say. `host`: the name by which the address was found, if it was by one.
///
/// # Errors
/// [`Refusal::Connect`] and [`Refusal::Tls`].
pub(crate) async fn connect(settings: &Settings, address: &Address, host: Option<&str>) -> Result<Stream, Refusal> {
    let socket = socket(address).await.map_err(|e| Refusal::Connect(address.clone(), e))?;
    match &settings.tls {
        None => Ok(Stream::Plain(socket)),
        Some(tls) => tls.connect(socket, host, address.ip()).await.map_err(|e| Refusal::Tls(address.clone(), e)),
    }
}

async fn socket(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Socket(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream.into())
        }
        Address::Unix(path) => unix(path).await.map(Socket::from),
    }
}

async fn unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL).await,
            connected => return connected,
        }
    }
}
