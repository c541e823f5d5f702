//! Who may ask, and how many may wait, as the config in force says. It outlives reloads, as those do who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::watch;
use tollgate_config::model;

use super::rights::{Asker, Right, Rights};

/// One for as long as the same keeps the instances.
#[derive(Debug)]
pub struct Access {
    /// `None`: nobody may any more, this registry is not in force.
    rights: watch::Sender<Option<Arc<Rights>>>,
    waiting: AtomicUsize,
    watchers: AtomicUsize,
}

/// A place among those who wait.
#[derive(Debug)]
pub(super) struct Place(Arc<Access>);

impl Access {
    /// As this config says.
    #[must_use]
    pub fn new(written: &model::Registry) -> Arc<Self> {
        let access =
            Self { rights: watch::Sender::default(), waiting: AtomicUsize::new(0), watchers: AtomicUsize::new(0) };
        access.set(written);
        Arc::new(access)
    }

    /// From now on as this config says; whoever waits and may not any more is sent away.
    pub fn set(&self, written: &model::Registry) {
        self.watchers.store(usize::try_from(written.watchers.get()).unwrap_or(usize::MAX), Relaxed);
        self.rights.send_replace(Some(Arc::new(Rights::new(written))));
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
