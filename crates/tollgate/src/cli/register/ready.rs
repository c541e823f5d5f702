//! Whether the service is there.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use tokio::time::sleep;
use tollgate_core::head::Method;

use super::RegisterArgs;
use crate::http;

/// How often that is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// After so many looks it is late: about two seconds.
const LATE: u32 = 20;
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

    /// Waits until it is; if that takes long, `late` is told why it is not.
    pub(super) async fn wait(&self, mut late: impl FnMut(String)) {
        for tries in 1_u32.. {
            match self.look().await {
                Ok(()) => return,
                Err(why) if tries >= LATE => late(why),
                Err(_) => {}
            }
            sleep(EVERY).await;
        }
    }

    /// Whether it is.
    ///
    /// # Errors
    /// Why it is not, in words.
    pub(super) async fn look(&self) -> Result<(), String> {
        let own = self.clone();
        tokio::task::spawn_blocking(move || own.is_so()).await.map_err(|error| error.to_string())?
    }

    /// Blocks.
    fn is_so(&self) -> Result<(), String> {
        let mut last = Err("nowhere to look".to_owned());
        for host in &self.hosts {
            #[expect(clippy::disallowed_methods, reason = "a command line may wait for a look-up")]
            let found = (host.as_str(), self.port).to_socket_addrs();
            let addresses = match found {
                Ok(addresses) => addresses,
                Err(error) => {
                    last = Err(format!("{host}: {error}"));
                    continue;
                }
            };
            for address in addresses {
                let looked = match &self.path {
                    Some(path) => answers(address, path),
                    None => {
                        TcpStream::connect_timeout(&address, PATIENCE).map(drop).map_err(|e| format!("{address}: {e}"))
                    }
                };
                match looked {
                    Ok(()) => return Ok(()),
                    // What is said of the first one tells most: where nothing else is written, it is 127.0.0.1.
                    Err(why) if last.as_ref().is_err_and(|last| last == "nowhere to look") => last = Err(why),
                    Err(_) => {}
                }
            }
        }
        last
    }
}

fn answers(address: SocketAddr, path: &str) -> Result<(), String> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    match http::request(&address.into(), Method::Get, &head, &[]) {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(format!("GET {path} at {address} is answered with {}", answer.status)),
        Err(error) => Err(format!("GET {path} at {address}: {error}")),
    }
}

/// A path for `--ready`.
pub(super) fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(text.to_owned()) } else { Err("expected a path, such as `/healthz`".to_owned()) }
}
