//! Who may ask, and how many may wait, as the config in force says. It outlives reloads, as those do who wait.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tollgate_config::model::{self, Address, Bind};

use super::rights::{Asker, Right, Rights};
use crate::token::{Digest, Token};

/// One for as long as the same keeps the instances.
#[derive(Debug)]
pub struct Access {
    /// `None`: nobody may any more, this registry is not in force.
    rights: watch::Sender<Option<Arc<Rights>>>,
    /// The admin token of the config that comes into force next, or is: its SHA-256.
    admin: Mutex<Option<Digest>>,
    /// Where the gateway itself listens.
    own: Mutex<Vec<Bind>>,
    waiting: AtomicUsize,
    watchers: AtomicUsize,
    history: AtomicU64,
}

/// A place among those who wait.
#[derive(Debug)]
pub(super) struct Place(Arc<Access>);

impl Access {
    /// As this config says.
    #[must_use]
    pub fn new(written: &model::Registry) -> Arc<Self> {
        let access = Self {
            rights: watch::Sender::default(),
            admin: Mutex::default(),
            own: Mutex::default(),
            waiting: AtomicUsize::new(0),
            watchers: AtomicUsize::new(0),
            history: AtomicU64::new(0),
        };
        access.set(written);
        Arc::new(access)
    }

    /// With the config that comes next, this is the admin token.
    pub fn admin_will_be(&self, token: &Token) {
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.digest());
    }

    /// From now on as this config says; whoever waits and may not any more is sent away. If no right is another one, nobody hears anything.
    pub fn set(&self, written: &model::Registry) {
        self.watchers.store(usize::try_from(written.watchers.get()).unwrap_or(usize::MAX), Relaxed);
        self.history.store(written.history.get(), Relaxed);
        let admin = *self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Rights::new(written, admin);
        self.rights.send_if_modified(|rights| {
            let is_other = rights.as_deref() != Some(&new);
            if is_other {
                *rights = Some(Arc::new(new));
            }
            is_other
        });
    }

    /// From now on the gateway itself listens there.
    pub fn listens(&self, listen: &[model::Listener]) {
        let own = listen.iter().map(|listener| listener.address.clone()).collect();
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// Whether an instance there would be the gateway itself, going by what is written: requests would go round and round, or come to the
    /// admin API.
    pub(super) fn is_own(&self, address: &str, port: u16) -> bool {
        let there = match address.parse::<IpAddr>() {
            Ok(ip) => Address::Socket((ip, port).into()),
            Err(_) => Address::Name { name: address.to_ascii_lowercase(), port },
        };
        self.own.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|own| own.is_reached_at(&there))
    }

    /// This registry is in force no more: whoever waits is sent away.
    pub fn close(&self) {
        self.rights.send_replace(None);
    }

    /// Whether somebody has this right for the service; without one, for any.
    pub(super) fn may(&self, asker: &Asker, right: Right, service: Option<&str>) -> bool {
        let rights = self.rights.borrow().clone();
        rights.is_some_and(|rights| match service {
            Some(service) => rights.may(asker, right, service),
            None => rights.knows(asker, right),
        })
    }

    /// What somebody sees of all services, as a number: another one when that becomes other services.
    pub(super) fn sees(&self, asker: &Asker) -> u32 {
        self.rights.borrow().as_ref().map_or(0, |rights| rights.sees(asker))
    }

    /// How many may wait.
    pub(super) fn watchers(&self) -> usize {
        self.watchers.load(Relaxed)
    }

    /// How many changes are remembered.
    pub(super) fn history(&self) -> u64 {
        self.history.load(Relaxed)
    }

    /// A way to hear that rights are others.
    pub(super) fn changes(&self) -> watch::Receiver<Option<Arc<Rights>>> {
        self.rights.subscribe()
    }

    /// A place among those who wait; `None`: all are taken.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let most = self.watchers.load(Relaxed);
        // Given back by being dropped.
        let place = (self.waiting.fetch_add(1, Relaxed), Place(Arc::clone(self)));
        (place.0 < most).then_some(place.1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_registered_where_the_gateway_itself_listens() {
        let text = "listen: { \"10.0.0.5:8080\": http, \"127.0.0.1:9901\": admin, 8443: http }\nregistry: {}\nroutes: { /a: { reply: 204 } }";
        let config = tollgate_config::load_text("test", text, &|_| None, &[]).unwrap().config;
        let access = Access::new(config.registry.as_ref().unwrap());
        assert!(!access.is_own("127.0.0.1", 9901), "not heard of yet");
        access.listens(&config.listen);
        for (address, port) in
            [("127.0.0.1", 9901), ("localhost", 9901), ("10.0.0.5", 8080), ("::1", 8443), ("127.0.0.2", 8443)]
        {
            assert!(access.is_own(address, port), "{address}:{port}");
        }
        for (address, port) in [("127.0.0.1", 9902), ("10.0.0.6", 8080), ("orders.internal", 9901), ("10.0.0.7", 8443)]
        {
            assert!(!access.is_own(address, port), "{address}:{port}");
        }
    }
}
