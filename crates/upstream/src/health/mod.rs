//! Active checks: every instance is asked now and then whether it is well, on the slow runtime, over a connection of its
//! own that is opened like those of requests. Workers only read what became of it.
//!
//! `schedule` decides when and what follows; `http` and `grpc` ask. A check that fails says why, for
//! people.

mod grpc;
mod http;
mod schedule;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tollgate_core::facts::Address;
use tollgate_net::Stream;

use crate::connect::connect;
use crate::exchange::Speaks;
use crate::instance::Instance;
use crate::service::{Refusal, Service};
use crate::shared::{Protocol, Settings};

pub use self::grpc::GrpcCheck;
pub use self::http::HttpCheck;

/// How instances are checked.
#[derive(Clone, Debug)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// The port that is asked; `None`: the instance's own.
    pub port: Option<u16>,
    /// Between two checks of an instance.
    pub interval: Duration,
    /// For one check, connecting included.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy instance healthy.
    pub healthy: u32,
    /// Failures in a row that make an instance unhealthy.
    pub unhealthy: u32,
    /// By which share of itself an interval is made shorter or longer at random, 0 to 1.
    pub jitter: f64,
    /// Where checks run: never on a worker.
    pub runtime: Handle,
}

/// What an instance is asked.
#[derive(Clone, Debug)]
pub enum Check {
    /// To accept a connection, with TLS if the service has it.
    Tcp,
    /// To answer a request.
    Http(HttpCheck),
    /// To answer a call of the gRPC health protocol.
    Grpc(GrpcCheck),
}

/// The checks of one instance; dropped, they end.
#[derive(Debug, Default)]
pub(crate) struct Checking(Mutex<Option<AbortHandle>>);

impl Checking {
    /// Ends them.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Service {
    /// Has an instance checked from now on, until it leaves the list.
    pub(crate) fn check(self: &Arc<Self>, instance: &Arc<Instance>) {
        let Some(health) = &self.shared.settings.watch.health else { return };
        let checks = schedule::run(Arc::downgrade(self), Arc::downgrade(instance));
        let task = health.runtime.spawn(checks).abort_handle();
        *instance.checking.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// Asks at this address. `name`: that by which the instance was found.
    async fn ask(&self, health: &Health, address: &Address, name: Option<&str>) -> Result<(), String> {
        let settings = &self.shared.settings;
        // gRPC is HTTP/2, whatever else requests are sent in.
        let alpn = matches!(health.check, Check::Grpc(_)).then_some(&b"h2"[..]);
        let stream = connect(settings, address, name, None, alpn).await.map_err(|refusal| why(&refusal))?;
        let authority = authority(address, name);
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        match &health.check {
            Check::Tcp => Ok(()),
            Check::Http(check) => {
                let speaks = speaks(settings, &stream)?;
                check.ask(stream, speaks, scheme, authority).await
            }
            Check::Grpc(check) => check.ask(stream, scheme, authority).await,
        }
    }
}

/// What requests would be sent in over this connection.
fn speaks(settings: &Settings, stream: &Stream) -> Result<Speaks, String> {
    match (settings.protocol, stream.alpn()) {
        (_, Some(b"h2")) => Ok(Speaks::Http2),
        (Protocol::Http2, _) if settings.tls.is_none() => Ok(Speaks::Http2),
        (Protocol::Http2, _) => Err("it does not agree to HTTP/2 (ALPN `h2`)".to_owned()),
        (Protocol::Http1 | Protocol::Alpn, _) => Ok(Speaks::Http1),
    }
}

/// What an instance is called if the file says nothing: as in requests.
fn authority(address: &Address, name: Option<&str>) -> String {
    match (address, name) {
        (Address::Socket(address), Some(name)) => format!("{name}:{}", address.port()),
        (Address::Socket(address), None) => address.to_string(),
        (Address::Unix(_), name) => name.unwrap_or("localhost").to_owned(),
    }
}

fn why(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Connect(_, error) => format!("no connection: {error}"),
        Refusal::Tls(_, error) => format!("no TLS: {error}"),
        _ => "no connection".to_owned(),
    }
}
