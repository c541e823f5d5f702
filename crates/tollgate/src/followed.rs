//! One service's list of instances: where it comes from, and that it holds as it changes.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tollgate_config::model::{self, Address};
use tollgate_core::facts;
use tollgate_registry::{Endpoint, Fixed, Follower, Merged, Placed, Source, State, View};
use tollgate_upstream::Service;

use crate::discovery::Discovery;
use crate::instances::{Instances, wanted};
use crate::wire::World;

/// Keeps a list of instances up to date, for as long as it lives.
pub(crate) struct Followed {
    discovery: Arc<Discovery>,
    /// Where instances register themselves, if these do.
    instances: Option<Arc<Instances>>,
    source: Arc<dyn Source>,
    /// What each source alone says: all of them together may have addresses while one was not heard of yet.
    alone: Vec<watch::Receiver<Arc<View>>>,
    /// Tells the service.
    telling: Mutex<Option<AbortHandle>>,
}

impl Followed {
    /// The addresses of a service, and the names that stand for more; or the instances that register themselves.
    pub(crate) fn new(
        written: &model::Service,
        discovery: &Arc<Discovery>,
        instances: Option<&Arc<Instances>>,
        world: &World,
    ) -> Self {
        let mut fixed = Vec::new();
        let mut sources: Vec<Arc<dyn Source>> = discovery.other(written).into_iter().collect();
        let resolver = &discovery.resolver;
        // A target without a weight is nobody's instance, not even if it is the only one whose name is found.
        for target in written.to.0.iter().filter(|target| target.weight.get() > 0) {
            let weight = u32::try_from(target.weight.get()).unwrap_or(u32::MAX);
            let (zone, group) = (target.zone.as_ref().map(|zone| Arc::clone(&zone.0)), group(target));
            let endpoint =
                |address: facts::Address| Endpoint { zone: zone.clone(), group, ..Endpoint::new(address, weight) };
            match &target.address.value {
                Address::Socket(address) => fixed.push(endpoint((*address).into())),
                Address::Unix(path) => fixed.push(endpoint(facts::Address::Unix(Arc::clone(path)))),
                Address::Name { name, port } => {
                    let source = resolver.source(name, *port, weight);
                    let is_placed = zone.is_some() || group > 0;
                    sources.push(if is_placed {
                        Arc::new(Placed::new(source, zone, group, &world.slow))
                    } else {
                        source
                    });
                }
                Address::Srv(name) => sources.push(resolver.services(name)),
            }
        }
        if let (Some(from), Some(instances)) = (&written.registry, instances) {
            sources.push(instances.registry.source(wanted(&from.value), resolver));
        }
        if !fixed.is_empty() {
            sources.push(Arc::new(Fixed::new(fixed)));
        }
        let alone = sources.iter().map(|source| source.watch()).collect();
        let source: Arc<dyn Source> = match <[_; 1]>::try_from(sources) {
            Ok([only]) => only,
            Err(many) => Arc::new(Merged::new(many, &world.slow)),
        };
        let instances = instances.filter(|_| written.registry.is_some()).cloned();
        Self { discovery: Arc::clone(discovery), instances, source, alone, telling: Mutex::default() }
    }

    /// Whether it would be made alike.
    pub(crate) fn is_alike(&self, discovery: &Arc<Discovery>, instances: Option<&Arc<Instances>>) -> bool {
        let is_same = |own: &Arc<Instances>| instances.is_some_and(|other| Arc::ptr_eq(own, other));
        Arc::ptr_eq(&self.discovery, discovery) && self.instances.as_ref().is_none_or(is_same)
    }

    /// Waits until every source was heard of once.
    pub(crate) async fn heard(&self) {
        for views in &self.alone {
            let mut views = views.clone();
            // An error means that the source is gone: nothing more will be heard.
            let _ = views.wait_for(|view| view.state != State::Pending).await;
        }
    }

    /// Gives a service that nobody has yet its first instances.
    pub(crate) fn begin(&self, service: &Arc<Service>) {
        service.update(&self.source.watch().borrow());
    }

    /// From now on the service has these instances, unless it has them already; another list that it had must be gone. Told
    /// on the slow runtime, where one task at a time runs: two lists never get in each other's way.
    pub(crate) fn attach(&self, service: &Arc<Service>, world: &World) {
        let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if telling.is_some() {
            return;
        }
        let (service, source) = (Arc::downgrade(service), Arc::clone(&self.source));
        let task = world.slow.spawn(async move {
            let told = service.clone();
            let follower: Arc<Follower> = Arc::new(move |view: &View| {
                if let Some(service) = told.upgrade() {
                    service.update(view);
                }
            });
            if source.tell(&follower) {
                // Told for as long as it lives, and it as long as this task.
                std::future::pending::<()>().await;
            }
            let mut changes = source.watch();
            loop {
                let Some(service) = service.upgrade() else { break };
                service.update(&changes.borrow_and_update());
                drop(service);
                if changes.changed().await.is_err() {
                    break;
                }
            }
        });
        *telling = Some(task.abort_handle());
    }
}

fn group(target: &model::Target) -> u8 {
    u8::try_from(target.group.get()).unwrap_or(u8::MAX)
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(telling) = self.telling.get_mut().unwrap_or_else(PoisonError::into_inner) {
            telling.abort();
        }
    }
}
