//! A directory in memory: as plain as can be, without leases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tollgate_registry::Load;
use tollgate_registry::directory::{Bound, Change, Directory, Listing, Outcome, Registered, Registration, Trouble};

type Key = (Arc<str>, Arc<str>);

/// Holds three instances at most, and remembers all changes after `forgotten`.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: Mutex<Held>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Held {
    instances: BTreeMap<Key, Arc<Registered>>,
    changes: Vec<Change>,
    revision: u64,
    forgotten: u64,
    is_unheard: bool,
    lapsed: Option<Duration>,
    lapses: u64,
}

impl Shelf {
    /// What changed so far is not known any more.
    pub(super) fn forget(&self) {
        let mut held = self.held.lock().unwrap();
        held.forgotten = held.revision;
        held.changes.clear();
    }

    /// It was not heard of yet, or it was.
    pub(super) fn hear(&self, is_heard: bool) {
        self.held.lock().unwrap().is_unheard = !is_heard;
    }

    /// Instances with at most this time to live are used no more: as if they were not there.
    pub(super) fn lapse(&self, lapsed: Option<Duration>) {
        let mut held = self.held.lock().unwrap();
        held.lapsed = lapsed;
        held.lapses += 1;
        self.bell.notify_waiters();
    }

    fn put(&self, mut instance: Registered) -> Registered {
        let mut held = self.held.lock().unwrap();
        held.revision += 1;
        instance.revision = held.revision;
        let key = (Arc::clone(&instance.registration.service), Arc::clone(&instance.registration.id));
        let kept = Arc::new(instance.clone());
        held.instances.insert(key, Arc::clone(&kept));
        held.changes.push(Change::Put(kept));
        self.bell.notify_waiters();
        instance
    }

    fn find(&self, service: &str, id: &str) -> Result<Registered, Trouble> {
        let found = self.held.lock().unwrap().instances.get(&(service.into(), id.into())).cloned();
        found.map(|found| (*found).clone()).ok_or(Trouble::NotFound)
    }
}

impl Directory for Shelf {
    fn register(&self, registration: Registration) -> Outcome<'_, (Registered, bool)> {
        Box::pin(async move {
            let known = self.find(&registration.service, &registration.id).is_ok();
            if !known && self.held.lock().unwrap().instances.len() == 3 {
                let service = Arc::clone(&registration.service);
                return Err(Trouble::Full { service, bound: Bound::Most, most: 3 });
            }
            let since = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
            let expires = Some(since + registration.ttl);
            let instance = Registered { registration, draining: false, load: None, revision: 0, since, expires };
            Ok((self.put(instance), !known))
        })
    }

    fn renew<'a>(&'a self, service: &'a str, id: &'a str, load: Option<Load>) -> Outcome<'a, Registered> {
        Box::pin(async move {
            let mut found = self.find(service, id)?;
            found.load = load;
            let key = (service.into(), id.into());
            self.held.lock().unwrap().instances.insert(key, Arc::new(found.clone()));
            Ok(found)
        })
    }

    fn drain<'a>(&'a self, service: &'a str, id: &'a str, draining: bool) -> Outcome<'a, Registered> {
        Box::pin(async move { Ok(self.put(Registered { draining, ..self.find(service, id)? })) })
    }

    fn deregister<'a>(&'a self, service: &'a str, id: &'a str) -> Outcome<'a, bool> {
        Box::pin(async move {
            let mut held = self.held.lock().unwrap();
            let key: Key = (service.into(), id.into());
            if held.instances.remove(&key).is_none() {
                return Ok(false);
            }
            held.revision += 1;
            let gone = Change::Gone { service: key.0, id: key.1, revision: held.revision };
            held.changes.push(gone);
            self.bell.notify_waiters();
            Ok(true)
        })
    }

    fn list(&self, service: Option<&str>) -> Listing {
        let held = self.held.lock().unwrap();
        let is_asked_for = |key: &Key| service.is_none_or(|service| *key.0 == *service);
        let instances = held.instances.iter().filter(|(key, _)| is_asked_for(key));
        let instances =
            instances.filter(|(_, one)| Some(one.registration.ttl) > held.lapsed).map(|(_, one)| Arc::clone(one));
        let age = (!held.is_unheard).then_some(Duration::from_millis(7));
        Listing { instances: instances.collect(), revision: held.revision, age, lapsed: held.lapsed }
    }

    fn changes<'a>(&'a self, of: Option<&'a str>, after: u64, most: Duration) -> Outcome<'a, (u64, Vec<Change>)> {
        let began = self.held.lock().unwrap().lapses;
        let seen = move || {
            let held = self.held.lock().unwrap();
            if after < held.forgotten || held.lapses != began {
                return Err(Trouble::Compacted);
            }
            let is_asked_for =
                |change: &&Change| change.revision() > after && of.is_none_or(|of| **change.service() == *of);
            Ok((held.revision, held.changes.iter().filter(is_asked_for).cloned().collect::<Vec<_>>()))
        };
        let come = async move {
            loop {
                let mut bell = std::pin::pin!(self.bell.notified());
                bell.as_mut().enable();
                match seen() {
                    Ok((_, changes)) if changes.is_empty() => bell.await,
                    heard => return heard,
                }
            }
        };
        Box::pin(async move { tokio::time::timeout(most, come).await.unwrap_or_else(|_| seen()) })
    }
}
