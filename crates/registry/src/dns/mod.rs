//! Host names, looked up again in the background when their time to live is over.
//!
//! - `/etc/hosts` comes first, then A and AAAA records from the configured name servers or the system's.
//! - Each distinct name is looked up by one task, however many services use it; the task ends with its last user.
//! - A look-up that fails keeps the last answer and shows as [`State::Stale`](crate::State::Stale); it is tried again
//!   after a second, then less and less often, at last every 30 seconds.
//! - "There is no such name" is such a failure too: an operator who removes instances says so in the configuration,
//!   while a zone that is empty by mistake must not take a service down.
//! - SRV records (RFC 2782) say hosts, ports, weights and which to ask first; their hosts are looked up like any other. There,
//!   "no such service" can be said (a target of `.`), and then there is no instance.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tollgate_core::clock::Clock;
use tollgate_observe::Metrics;

use crate::{Source, View};

mod lookup;
mod name;
mod srv;

pub use lookup::LookupError;

use lookup::{Lookup, Record};
use name::Name;
use srv::Srv;

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name servers to ask; empty: those of the system, with its search list.
    pub servers: Vec<SocketAddr>,
    /// How long one look-up may take, with its retries.
    pub timeout: Duration,
    /// An answer holds at least this long.
    pub min_ttl: Duration,
    /// An answer holds at most this long.
    pub max_ttl: Duration,
}

/// Looks names up and keeps their answers; one for the process, or a new one where the settings change, which begins with
/// what was known.
#[derive(Debug)]
pub struct Dns {
    lookup: Arc<Lookup>,
    runtime: Handle,
    clock: Clock,
    metrics: Arc<Metrics>,
    names: Mutex<BTreeMap<String, Weak<Name>>>,
    services: Mutex<BTreeMap<String, Weak<Srv>>>,
    /// Whoever looked them up before, while it is in use.
    before: Weak<Self>,
}

impl Dns {
    /// A resolver whose tasks run on `runtime`, never a worker's. Names that are in use with the one `before` have the
    /// addresses that it knows until they are heard of here.
    ///
    /// # Errors
    /// The system's own settings (`/etc/resolv.conf`) are asked for and cannot be read.
    pub fn new(
        settings: &Settings,
        runtime: Handle,
        clock: Clock,
        metrics: Arc<Metrics>,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, LookupError> {
        let lookup = Arc::new(Lookup::new(settings)?);
        let before = before.map(Arc::downgrade).unwrap_or_default();
        Ok(Arc::new(Self {
            lookup,
            runtime,
            clock,
            metrics,
            names: Mutex::default(),
            services: Mutex::default(),
            before,
        }))
    }

    /// The instances behind a host name, all with this port and weight. A name that is looked up already answers at
    /// once; a new one is [`State::Pending`](crate::State::Pending) until its first look-up ends.
    pub fn source(self: &Arc<Self>, host: &str, port: u16, weight: u32) -> Arc<dyn Source> {
        self.named(host.trim_end_matches('.').to_ascii_lowercase(), port, weight)
    }

    /// The same for a name that is whole (`orders.example.com.`): the search list of the system is not applied.
    pub(crate) fn whole(self: &Arc<Self>, host: &str, port: u16, weight: u32) -> Arc<dyn Source> {
        self.named(format!("{}.", host.trim_end_matches('.').to_ascii_lowercase()), port, weight)
    }

    /// The instances that the SRV records of a name say (RFC 2782): each with its port, its share by weight, and its group by
    /// priority. Like [`Dns::source`] otherwise.
    pub fn services(self: &Arc<Self>, name: &str) -> Arc<dyn Source> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|_, service| service.strong_count() > 0);
        services.get(&name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let known = self.before.upgrade().and_then(|before| before.records(&name));
            let service = Srv::start(self, &name, known.unwrap_or_default());
            services.insert(name, Arc::downgrade(&service));
            service
        })
    }

    fn named(self: &Arc<Self>, host: String, port: u16, weight: u32) -> Arc<dyn Source> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, name| name.strong_count() > 0);
        let name = names.get(&host).and_then(Weak::upgrade).unwrap_or_else(|| {
            let known = self.before.upgrade().and_then(|before| before.addresses(&host));
            let name = Name::start(self, &host, known.unwrap_or_default());
            names.insert(host, Arc::downgrade(&name));
            name
        });
        let view = name.outlet(port, weight);
        Arc::new(Host { _name: name, view })
    }

    /// Looks a name up once.
    ///
    /// # Errors
    /// There is no answer, and why.
    pub async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        self.lookup.addresses(host.trim_end_matches('.')).await.map(|answer| answer.addresses)
    }

    /// The SRV records of a name that is in use.
    fn records(&self, name: &str) -> Option<Vec<Record>> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(name).and_then(Weak::upgrade).map(|service| service.records())
    }

    /// The addresses of a name that is in use.
    fn addresses(&self, host: &str) -> Option<Vec<IpAddr>> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(host).and_then(Weak::upgrade).map(|name| name.addresses())
    }
}

/// A host name as a source.
#[derive(Debug)]
struct Host {
    /// Held so that it goes on being looked up.
    _name: Arc<Name>,
    view: watch::Receiver<Arc<View>>,
}

impl Source for Host {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}
