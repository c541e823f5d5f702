//! How the tests reach etcd: as the gateway does.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_durable::{ETCD_PREFIX, Etcd, EtcdSettings};
use tollgate_net::tls::{Client, ClientSettings, Pair, Roots, Verify};
use tollgate_observe::metrics::Metrics;
use tollgate_registry::dns::{Dns, Settings};
use tollgate_testkit as testkit;
use tollgate_upstream::outbound::Outbound;

/// Where all of a test runs.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// All endpoints of a fixture, without a name, below the prefix that is the default.
pub(crate) fn settings(etcd: &testkit::Etcd) -> EtcdSettings {
    EtcdSettings { endpoints: etcd.endpoints(), credentials: None, prefix: ETCD_PREFIX.to_owned() }
}

/// The store, by a caller that believes whom the system believes.
pub(crate) fn store(settings: EtcdSettings, runtime: &Runtime) -> Etcd {
    Etcd::new(settings, caller(Roots::System, None, runtime), Clock::real()).unwrap()
}

/// Makes calls, with this TLS.
pub(crate) fn caller(roots: Roots, certificate: Option<Pair>, runtime: &Runtime) -> Arc<dyn Caller> {
    let settings = ClientSettings {
        roots,
        verify: Verify::Chain,
        pins: Vec::new(),
        name: None,
        certificate,
        alpn: vec![b"http/1.1".to_vec()],
    };
    let (tls, handle, clock) = (Client::build(settings).unwrap(), runtime.handle().clone(), Clock::real());
    let lookups = Settings {
        servers: Vec::new(),
        timeout: Duration::from_secs(2),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
    };
    let dns = Dns::new(&lookups, handle.clone(), clock.clone(), Metrics::new(1), None).unwrap();
    Arc::new(Outbound::new(tls, dns, handle, clock))
}
