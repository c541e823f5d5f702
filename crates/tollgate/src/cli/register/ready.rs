//! Whether the service is there.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use tokio::time::sleep;
use tollgate_core::head::Method;

use super::RegisterArgs;
use crate::http;

/// How often that is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// How long a connect may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How it is seen whether the service is ready.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    hosts: Vec<String>,
    port: u16,
    path: Option<String>,
}

impl Ready {
    pub(super) fn new(args: &RegisterArgs) -> Self {
        // Where nothing else is said, it listens on all addresses, or on one of these.
        let hosts = match &args.address {
            Some(address) => vec![address.clone()],
            None => vec!["127.0.0.1".to_owned(), "::1".to_owned()],
        };
        Self { hosts, port: args.port, path: args.ready.clone() }
    }

    /// Waits until it is.
    pub(super) async fn wait(&self) {
        loop {
            let own = self.clone();
            if tokio::task::spawn_blocking(move || own.is_so()).await.unwrap_or(false) {
                return;
            }
            sleep(EVERY).await;
        }
    }

    /// Whether it is. Blocks.
    fn is_so(&self) -> bool {
        let addresses = self.hosts.iter().filter_map(|host| {
            #[expect(clippy::disallowed_methods, reason = "a command line may wait for a look-up")]
            let found = (host.as_str(), self.port).to_socket_addrs().ok();
            found
        });
        addresses.flatten().any(|address| match &self.path {
            Some(path) => answers(address, path),
            None => TcpStream::connect_timeout(&address, PATIENCE).is_ok(),
        })
    }
}

fn answers(address: SocketAddr, path: &str) -> bool {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    http::request(&address.into(), Method::Get, &head, &[]).is_ok_and(|answer| (200..300).contains(&answer.status))
}
