//! Sources of single services, and how they are found: by the service, so that a change of one is no work for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Wanted;
use crate::directory::Registered;
use crate::dns::Dns;
use crate::{Endpoint, Follower, Source, State, View};

/// Most host names among the instances that are wanted of a service: each is looked up again and again.
pub(super) const MOST_HOSTS: usize = 1_000;

/// There are more host names than [`MOST_HOSTS`], and this is one of those that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// All sources that are in use, by their service.
#[derive(Debug, Default)]
pub(super) struct Outlets(Mutex<BTreeMap<Arc<str>, Vec<Weak<Outlet>>>>);

impl Outlets {
    pub(super) fn add(&self, outlet: &Arc<Outlet>) {
        let mut all = self.lock();
        all.retain(|_, outlets| {
            outlets.retain(|outlet| outlet.strong_count() > 0);
            !outlets.is_empty()
        });
        all.entry(Arc::clone(&outlet.wanted.service)).or_default().push(Arc::downgrade(outlet));
    }

    /// Those of a service.
    pub(super) fn of(&self, service: &str) -> Vec<Arc<Outlet>> {
        self.lock().get(service).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// The services of which there are any.
    pub(super) fn services(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<Weak<Outlet>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The instances that are wanted of one service, as a source.
pub(super) struct Outlet {
    /// Itself, for the tasks that follow host names.
    own: Weak<Self>,
    wanted: Wanted,
    resolver: Arc<Dns>,
    runtime: Handle,
    inside: Mutex<Inside>,
    view: watch::Sender<Arc<View>>,
    followers: Mutex<Vec<Weak<Follower>>>,
}

#[derive(Default)]
struct Inside {
    /// What is shown of the registry: all that is wanted and gets requests.
    instances: Vec<Arc<Registered>>,
    /// Host names among them.
    hosts: BTreeMap<(Arc<str>, u16), Host>,
    /// How many of them there are that are not looked up.
    beyond: usize,
}

/// A host name that is looked up.
struct Host {
    view: watch::Receiver<Arc<View>>,
    _source: Arc<dyn Source>,
    task: AbortHandle,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outlet {
    pub(super) fn new(wanted: Wanted, resolver: &Arc<Dns>, runtime: &Handle) -> Arc<Self> {
        let view = watch::Sender::new(Arc::new(View::pending()));
        Arc::new_cyclic(|own| Self {
            own: own.clone(),
            wanted,
            resolver: Arc::clone(resolver),
            runtime: runtime.clone(),
            inside: Mutex::default(),
            view,
            followers: Mutex::default(),
        })
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Shows what is wanted of these instances of its service.
    pub(super) fn show(&self, mut instances: Vec<Arc<Registered>>) {
        instances.retain(|registered| !registered.draining && self.wants(registered));
        let mut inside = self.inside();
        let is_host = |registered: &&Arc<Registered>| registered.registration.address.parse::<IpAddr>().is_err();
        let mut named: BTreeSet<(Arc<str>, u16)> = instances
            .iter()
            .filter(is_host)
            .map(|registered| (Arc::clone(&registered.registration.address), registered.registration.port))
            .collect();
        let beyond = named.iter().nth(MOST_HOSTS).cloned().map_or(0, |first| named.split_off(&first).len());
        if beyond != std::mem::replace(&mut inside.beyond, beyond) && beyond > 0 {
            let (service, most) = (&*self.wanted.service, MOST_HOSTS);
            tracing::warn!(service, beyond, most, "too many host names: those beyond are left out");
        }
        inside.hosts.retain(|host, _| named.contains(host));
        for host in named {
            inside.hosts.entry(host).or_insert_with_key(|(host, port)| self.follow(host, *port));
        }
        inside.instances = instances;
        drop(inside);
        self.publish();
    }

    fn wants(&self, registered: &Registered) -> bool {
        let Wanted { tags, version, .. } = &self.wanted;
        let said = &registered.registration;
        tags.iter().all(|tag| said.tags.contains(tag)) && (version.is_none() || *version == said.version)
    }

    /// Looks a host name up for as long as it is among the instances.
    fn follow(&self, host: &str, port: u16) -> Host {
        let source = self.resolver.source(host, port, 1);
        let (view, mut changes, own) = (source.watch(), source.watch(), self.own.clone());
        let task = self.runtime.spawn(async move {
            while changes.changed().await.is_ok() {
                let Some(outlet) = own.upgrade() else { break };
                outlet.publish();
            }
        });
        Host { view, _source: source, task: task.abort_handle() }
    }

    /// Waits until the host of an instance is found, and shown; at once if it is not among those that are wanted, or is an address.
    ///
    /// # Errors
    /// It is not looked up.
    pub(super) async fn found(&self, host: &Arc<str>, port: u16) -> Result<(), TooMany> {
        let is_wanted = |registered: &Arc<Registered>| {
            let said = &registered.registration;
            said.address == *host && said.port == port && host.parse::<IpAddr>().is_err()
        };
        let views = {
            let inside = self.inside();
            if !inside.instances.iter().any(is_wanted) {
                return Ok(());
            }
            inside.hosts.get(&(Arc::clone(host), port)).map(|host| host.view.clone())
        };
        let mut views = views.ok_or(TooMany)?;
        if views.wait_for(|view| !view.endpoints.is_empty()).await.is_ok()
            && let Some(own) = self.own.upgrade()
        {
            // Where all is published, so that followers are told one after the other.
            let _ = self.runtime.spawn(async move { own.publish() }).await;
        }
        Ok(())
    }

    /// Shows what there is now, to those who wait for it, and to those who are told before anybody is answered. One after the other, so
    /// that what is shown last is what holds.
    fn publish(&self) {
        let inside = self.inside();
        let endpoints: Vec<Endpoint> =
            inside.instances.iter().flat_map(|registered| endpoints(registered, &inside.hosts)).collect();
        let is_pending = |host: &Host| host.view.borrow().state == State::Pending;
        let view = View::fresh(endpoints);
        // Once something was shown, also when nobody vouches for it: what was before must not be taken for what holds.
        let may_begin = self.view.borrow().state == State::Pending;
        let view = match may_begin && view.endpoints.is_empty() && inside.hosts.values().any(is_pending) {
            true => Arc::new(View::pending()),
            false => Arc::new(view),
        };
        let is_other = self.view.send_if_modified(|shown| {
            let is_other = **shown != *view;
            if is_other {
                *shown = Arc::clone(&view);
            }
            is_other
        });
        if is_other {
            let followers: Vec<Arc<Follower>> = {
                let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
                followers.retain(|follower| follower.strong_count() > 0);
                followers.iter().filter_map(Weak::upgrade).collect()
            };
            followers.iter().for_each(|follower| follower(&view));
        }
    }

    /// How many host names are looked up.
    #[cfg(test)]
    pub(super) fn hosts(&self) -> usize {
        self.inside().hosts.len()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an instance is: at its address, or at all those of its host.
fn endpoints(registered: &Registered, hosts: &BTreeMap<(Arc<str>, u16), Host>) -> Vec<Endpoint> {
    let said = &registered.registration;
    let of = |endpoint: Endpoint| Endpoint {
        weight: said.weight,
        zone: said.zone.clone(),
        group: said.group,
        load: registered.load.clone(),
        ..endpoint
    };
    if let Ok(address) = said.address.parse::<IpAddr>() {
        return vec![of(Endpoint::new(SocketAddr::new(address, said.port), said.weight))];
    }
    let known = hosts.get(&(Arc::clone(&said.address), said.port)).map(|host| host.view.borrow().clone());
    known.into_iter().flat_map(|view| view.endpoints.clone()).map(of).collect()
}

impl Source for Outlet {
    fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn tell(&self, follower: &Arc<Follower>) -> bool {
        follower(&self.view.borrow().clone());
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(follower));
        true
    }
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
