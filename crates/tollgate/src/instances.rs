//! The registry of instances that register themselves: what keeps it, made of the config, and kept over reloads as long as that is the
//! same.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tollgate_admin::registry::Access;
use tollgate_config::model::{self, Config};
use tollgate_core::caller::Caller;
use tollgate_durable::{Durable, Etcd, EtcdCredentials, EtcdSettings, Sqlite, sqlite};
use tollgate_registry::dns::Dns;
use tollgate_registry::registered::{Loads, Registry, Settings, Wanted};
use tollgate_upstream::outbound::Outbound;

use crate::tls::Tls;
use crate::wire::World;

/// How many changes the embedded store remembers for the registry, which follows it closely.
const HISTORY: usize = 10_000;
/// Keys of which the embedded store has room beyond the instances.
const BESIDE: usize = 1_000;

/// How long a process that is to take another one's place may take to read the registry.
const FIRST_READ: Duration = Duration::from_secs(10);
/// How often is looked whether it has.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

/// The registry, and what it was made of.
#[derive(Debug)]
pub(crate) struct Instances {
    /// It.
    pub(crate) registry: Arc<Registry>,
    /// Who may ask it.
    pub(crate) access: Arc<Access>,
    cluster: Option<model::Cluster>,
    data: PathBuf,
    /// What keeps it on this machine.
    embedded: Option<Arc<Sqlite>>,
}

impl Instances {
    /// The registry of a config, if it has one; the same as `before`, if the same keeps it.
    ///
    /// # Errors
    /// Its folder cannot be used; in words for a person.
    pub(crate) fn build(
        config: &Config,
        world: &World,
        tls: &Tls,
        resolver: &Arc<Dns>,
        before: Option<&Arc<Self>>,
    ) -> Result<Option<Arc<Self>>, String> {
        let Some(written) = &config.registry else { return Ok(None) };
        let is_alike = |before: &&Arc<Self>| {
            before.cluster == config.cluster && (config.cluster.is_some() || before.data == config.data.0)
        };
        if let Some(known) = before.filter(is_alike) {
            return Ok(Some(Arc::clone(known)));
        }
        let mut embedded = None;
        let store: Arc<dyn Durable> = match &config.cluster {
            Some(cluster) => Arc::new(etcd(cluster, world, tls, resolver)?),
            None => {
                let folder = config.data.0.clone();
                let settings = sqlite::Settings { folder, history: HISTORY, bounds: bounds(written) };
                let store = Arc::new(Sqlite::open(&settings, world.clock.clone())?);
                embedded = Some(Arc::clone(&store));
                store
            }
        };
        let (settings, clock) = (settings(written, config), world.clock.clone());
        let registry = Registry::new(store, settings, clock, &world.slow, Arc::clone(&world.metrics));
        let (registry, access) = (Arc::new(registry), Access::new(written));
        let (cluster, data) = (config.cluster.clone(), config.data.0.clone());
        Ok(Some(Arc::new(Self { registry, access, cluster, data, embedded })))
    }

    /// Waits until the registry was read: who takes the place of a process that knows the instances must know them as well, since that one may
    /// go on using them (`hold`) while nobody can read anything.
    ///
    /// # Errors
    /// It was not, for a while; why, in words.
    pub(crate) async fn read(&self) -> Result<(), String> {
        let read = async {
            while self.registry.standing().age.is_none() {
                tokio::time::sleep(LOOKED_EVERY).await;
            }
        };
        let in_time = tokio::time::timeout(FIRST_READ, read).await;
        in_time.map_err(|_| self.registry.standing().stale.map_or_else(|| "no answer".to_owned(), |(_, why)| why))
    }

    /// It is in force.
    pub(crate) fn take_effect(&self, config: &Config) {
        if let Some(written) = &config.registry {
            self.registry.set(settings(written, config));
            self.access.set(written);
            self.access.listens(&config.listen);
            self.embedded.iter().for_each(|embedded| embedded.set(bounds(written)));
        }
    }

    /// Lets another process keep it from now on. Blocks, for a moment.
    pub(crate) fn hand_over(&self, most: Duration) {
        if let Some(embedded) = &self.embedded {
            embedded.hand_over(most);
        }
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        // Another one is in force, or none.
        self.access.close();
    }
}

/// Which instances a service wants.
pub(crate) fn wanted(from: &model::FromRegistry) -> Wanted {
    Wanted {
        service: from.service.value.0.as_str().into(),
        tags: from.tags.iter().flatten().map(|tag| tag.0.as_str().into()).collect(),
        version: from.version.as_ref().map(|version| version.0.as_str().into()),
    }
}

fn bounds(written: &model::Registry) -> sqlite::Bounds {
    sqlite::Bounds { grace: written.grace.0, most: size(written.most.get()).saturating_add(BESIDE) }
}

fn settings(written: &model::Registry, config: &Config) -> Settings {
    Settings {
        ttl: written.ttl.value.0,
        hold: written.hold.as_ref().map_or(Duration::ZERO, |hold| hold.value.0),
        most: size(written.most.get()),
        most_of_one: size(written.each.get()),
        history: size(written.history.get()),
        loads: if config.cluster.is_some() { Loads::InStore } else { Loads::Here },
    }
}

fn etcd(cluster: &model::Cluster, world: &World, tls: &Tls, resolver: &Arc<Dns>) -> Result<Etcd, String> {
    let Some(tls) = tls.cluster() else { return Err("etcd has no TLS of its own".to_owned()) };
    let (asking, clock) = (world.asking().clone(), world.clock.clone());
    let caller: Arc<dyn Caller> = Arc::new(Outbound::new(Arc::clone(tls), Arc::clone(resolver), asking, clock.clone()));
    let credentials = cluster.password.as_ref().map(|password| EtcdCredentials {
        user: cluster.user.as_ref().map(|user| user.value.clone()).unwrap_or_default(),
        password: password.0.clone(),
    });
    let settings = EtcdSettings {
        endpoints: cluster.etcd.value.iter().map(|member| member.value.0.clone()).collect(),
        credentials,
        prefix: cluster.prefix.value.0.clone(),
    };
    Etcd::new(settings, caller, clock)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
