//! `tollgate status`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use tollgate_config::Part;
use tollgate_config::model::{Bind, ListenerKind};
use tollgate_core::facts::Address;
use tollgate_core::head::Method;

use crate::cli::output::{Failure, Output};
use crate::cli::run::load_part;
use crate::cli::{ConfigArgs, failure};
use crate::{http, status};

/// Whom to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct Gateway {
    #[command(flatten)]
    config: ConfigArgs,
    /// The health listener, instead of the one that the config names: `http://127.0.0.1:9900`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// What to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    gateway: Gateway,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Asks and shows the answer.
pub(crate) fn status(args: &StatusArgs, output: &Output) -> Result<(), Failure> {
    let told = args.gateway.find()?.ask()?;
    output.print(&if args.json { format!("{told}\n") } else { status::as_text(&told) })
}

/// A health listener.
#[derive(Debug)]
pub(crate) struct Found {
    address: Address,
    host: String,
}

impl Gateway {
    /// Where its health listener is.
    pub(crate) fn find(&self) -> Result<Found, Failure> {
        let (address, host) = match &self.url {
            Some(url) => from_url(url, "a health listener: `http://127.0.0.1:9900`")?,
            None => from_config(&self.config.config)?,
        };
        Ok(Found { address, host })
    }
}

impl Found {
    /// What the gateway says of itself.
    pub(crate) fn ask(&self) -> Result<Value, Failure> {
        let Self { address, host } = self;
        let head = format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = http::request(address, Method::Get, &head, &[]).map_err(|e| Failure::Other {
            message: format!("no answer from {address}: {e}"),
            hint: Some("is the gateway running, and is that its health listener?".to_owned()),
        })?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let parsed = serde_json::from_str::<Value>(&text).ok().filter(|_| answer.status == 200);
        let Some(parsed) = parsed else {
            return Err(failure(format!(
                "{address} answered {} and no status: is it a health listener?",
                answer.status
            )));
        };
        Ok(parsed)
    }
}

/// Address and host of a URL. `of`: what it should be the URL of.
pub(super) fn from_url(url: &str, of: &str) -> Result<(Address, String), Failure> {
    let wrong = || failure(format!("`{url}` is no URL of {of}"));
    let host = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let with_port = if host.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    #[expect(clippy::disallowed_methods, reason = "a command line may wait for a look-up")]
    let address = with_port.to_socket_addrs().ok().and_then(|mut a| a.next()).ok_or_else(wrong)?;
    Ok((address.into(), host.to_owned()))
}

fn from_config(path: &Path) -> Result<(Address, String), Failure> {
    let config = load_part(path, Part::Places)?;
    let health = config.listen.iter().find(|l| l.kind == ListenerKind::Health);
    let Some(listener) = health else {
        return Err(Failure::Other {
            message: format!("{} has no health listener", path.display()),
            hint: Some("add `\"127.0.0.1:9900\": health` under `listen`".to_owned()),
        });
    };
    Ok(reached(&listener.address))
}

/// Address and host of a listener of this machine.
pub(super) fn reached(bind: &Bind) -> (Address, String) {
    let mut address = match bind {
        Bind::AllAddresses(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
        Bind::Socket(address) => *address,
        Bind::Unix(path) => return (Address::Unix(Arc::clone(path)), "localhost".to_owned()),
    };
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    (address.into(), address.to_string())
}
