//! Active checks: every instance is asked now and then whether it is well, on the slow runtime, over a connection of its
//! own that is opened like those of requests. Workers only read what became of it.
//!
//! `schedule` decides when and what follows; `http` and `grpc` ask. A check that fails says why, for people.

mod grpc;
mod http;
mod schedule;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tollgate_core::facts::Address;

use crate::connect::connect;
use crate::instance::Instance;
use crate::service::{Refusal, Service};
use crate::shared::Protocol;

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

    /// Asks once.
    async fn ask(&self, health: &Health, instance: &Instance) -> Result<(), String> {
        // Whatever requests are sent in, these are.
        let settings = &self.shared.settings;
        let speaks_http2 = settings.protocol == Protocol::Http2;
        let alpn: Option<&[u8]> = match health.check {
            Check::Tcp => None,
            Check::Http(_) if !speaks_http2 => Some(b"http/1.1"),
            Check::Http(_) | Check::Grpc(_) => Some(b"h2"),
        };
        let connecting = connect(settings, &instance.address, instance.host.as_deref(), None, alpn);
        let stream = connecting.await.map_err(|refusal| why(&refusal))?;
        let name = instance.host.as_deref();
        match &health.check {
            Check::Tcp => Ok(()),
            Check::Http(check) if speaks_http2 => check.ask_http2(stream, name, &instance.address).await,
            Check::Http(check) => check.ask(stream, name, &instance.address).await,
            Check::Grpc(check) => check.ask(stream, name, &instance.address).await,
        }
    }
}

/// What is sent as the host: what the file says, else the name by which the instance was found, else its address.
fn authority(host: Option<&str>, name: Option<&str>, at: &Address) -> String {
    match (host, name, at) {
        (Some(host), _, _) => host.to_owned(),
        (None, Some(name), Address::Socket(at)) => format!("{name}:{}", at.port()),
        (None, None, Address::Socket(at)) => at.to_string(),
        (None, _, Address::Unix(_)) => "localhost".to_owned(),
    }
}

fn why(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Connect(_, error) => format!("no connection: {error}"),
        Refusal::Tls(_, error) => format!("no TLS: {error}"),
        _ => "no connection".to_owned(),
    }
}
