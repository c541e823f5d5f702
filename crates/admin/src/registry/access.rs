//! Who may ask, and how many may wait, as the config in force says. It outlives reloads, as those do who wait.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tollgate_config::model;

use super::rights::{Asker, Right, Rights};
use crate::token::{Digest, Token};

/// One for as long as the same keeps the instances.
#[derive(Debug)]
pub struct Access {
    /// `None`: nobody may any more, this registry is not in force.
    rights: watch::Sender<Option<Arc<Rights>>>,
    /// The admin token of the config that comes into force next, or is: its SHA-256.
    admin: Mutex<Option<Digest>>,
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
