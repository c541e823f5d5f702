//! What instances ask for: to be there, to be still there, to get no new requests, to be gone. Each is written to the store, and answered
//! once it holds here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use tollgate_core::serde_json::{Value, json};
use tollgate_durable::{self as durable, LeaseId, OnlyIf, Revision, Written};

use super::outlet::{MOST_HOSTS, TooMany};
use super::table::Item;
use super::{Loads, Shared, TAKEN_OVER, record, unavailable};
use crate::Load;
use crate::directory::{Registered, Registration, Trouble};

/// How often somebody else may be faster before it is given up.
const TRIES: usize = 8;

/// The lease of an instance.
#[derive(Clone, Copy, Debug)]
struct Lease {
    id: LeaseId,
    /// It was granted just now: no key has it yet.
    is_new: bool,
}

impl Shared {
    /// What is known of an instance; of one that is not known yet here, what the store says.
    async fn item(&self, service: &str, id: &str) -> Result<Item, Trouble> {
        if let Some(known) = self.table().item(service, id) {
            return Ok(known.clone());
        }
        let key = record::key(service, id);
        let entry = self.store.get(&key).await.map_err(unavailable)?.ok_or(Trouble::NotFound)?;
        let ttl = self.settings().ttl;
        record::read(&entry, ttl, self.clock.unix()).map_err(|_| Trouble::NotFound)
    }

    /// Whether an instance that the store has is not in the table, though all is there up to that revision. There was no room for it: that
    /// is said to it when it registers again.
    fn is_left_out(&self, service: &str, id: &str, revision: u64) -> bool {
        let applied = *self.applied.borrow();
        applied >= revision && self.table().item(service, id).is_none()
    }

    /// A lease for an instance: the one that it has, if it lasts as long as that and has not ended.
    async fn lease(&self, known: Option<&Item>, ttl: Duration) -> Result<Lease, Trouble> {
        if let Some(lease) = known.filter(|item| item.registered.registration.ttl == ttl).and_then(|item| item.lease)
            && self.store.renew(lease).await.map_err(unavailable)?.is_some()
        {
            return Ok(Lease { id: lease, is_new: false });
        }
        self.granted(ttl).await
    }

    async fn granted(&self, ttl: Duration) -> Result<Lease, Trouble> {
        Ok(Lease { id: self.store.grant(ttl).await.map_err(unavailable)?, is_new: true })
    }

    /// Nothing is under this lease, and nobody else knows of it: it need not last for its whole time.
    async fn give_back(&self, lease: Lease) {
        if lease.is_new {
            // If not, it ends by itself.
            let _ = self.store.revoke(lease.id).await;
        }
    }

    /// Waits until an instance that was written at this revision is used here. `false`: it is not there (any more), though there is room.
    async fn is_used(&self, registration: &Registration, revision: Revision) -> Result<bool, Trouble> {
        self.taken_over(revision).await?;
        let Registration { service, id, address, port, ttl, .. } = registration;
        let full = {
            let table = self.table();
            match table.item(service, id) {
                Some(_) => None,
                None => Some(self.has_room(&table, service)),
            }
        };
        match full {
            None => {}
            Some(Ok(())) => return Ok(false),
            Some(Err(full)) => {
                // Others took the last places, while this one was written: it is left out, and must not take one later unasked.
                let _ = self.store.delete(&record::key(service, id), OnlyIf::Unchanged(revision)).await;
                return Err(full);
            }
        }
        self.not_lapsed(*ttl).await?;
        let outlets = self.outlets.of(service);
        let found = async {
            for outlet in &outlets {
                outlet.found(address, *port).await?;
            }
            Ok(())
        };
        let why = match timeout(TAKEN_OVER, found).await {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(TooMany)) => format!("not looked up: {MOST_HOSTS} hosts of the service are already"),
            Err(_) => "not found".to_owned(),
        };
        Err(Trouble::Unavailable(format!("`{id}` of `{service}` is written, but its host `{address}` is {why}")))
    }

    /// Waits until instances that live so long are used: just after an outage the store takes what is written before it has vouched for
    /// all the rest.
    async fn not_lapsed(&self, ttl: Duration) -> Result<(), Trouble> {
        let mut told = self.applied.subscribe();
        let is_used = |_: &u64| !self.table().has_lapsed(ttl);
        match timeout(TAKEN_OVER, told.wait_for(is_used)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                Err(Trouble::Unavailable("it is written, but not used: nobody vouches for the registry yet".to_owned()))
            }
        }
    }

    /// Whether the store has just this of an instance, as it is known here. It is asked: somebody else may have changed it or taken it away,
    /// and was answered, before that is heard of here.
    async fn is_said(&self, known: &Item, lease: LeaseId, registration: &Registration) -> Result<bool, Trouble> {
        let own = &known.registered;
        if known.lease != Some(lease) || own.draining || own.registration != *registration {
            return Ok(false);
        }
        let there = self.store.get(&record::key(&registration.service, &registration.id)).await.map_err(unavailable)?;
        Ok(there.is_some_and(|entry| entry.modified.0 == own.revision))
    }

    pub(super) async fn register(&self, registration: Registration) -> Result<(Registered, bool), Trouble> {
        let (service, id) = (Arc::clone(&registration.service), Arc::clone(&registration.id));
        let known = match self.item(&service, &id).await {
            Ok(item) => Some(item),
            Err(Trouble::NotFound) => None,
            Err(trouble) => return Err(trouble),
        };
        if known.is_none() {
            self.has_room(&self.table(), &service)?;
        }
        let lease = self.lease(known.as_ref(), registration.ttl).await?;
        if let Some(item) = &known
            && self.is_said(item, lease.id, &registration).await?
            && self.is_used(&registration, Revision(item.registered.revision)).await?
        {
            let renewed = self.renewed(&service, &id, registration.ttl, None);
            return Ok((renewed.unwrap_or_else(|| item.registered.as_ref().clone()), false));
        }
        let since = known.as_ref().map_or_else(|| self.clock.unix(), |item| item.registered.since);
        let made = self.put(&registration, since, lease).await?;
        Ok((self.renewed(&service, &id, registration.ttl, None).unwrap_or(made), known.is_none()))
    }

    /// Puts an instance, and waits until it is used.
    async fn put(&self, said: &Registration, since: SystemTime, mut lease: Lease) -> Result<Registered, Trouble> {
        let (key, value) = (record::key(&said.service, &said.id), record::write(said, false, since));
        let mut done: Option<Registered> = None;
        for _ in 0..TRIES {
            let only_if = done.as_ref().map_or(OnlyIf::Always, |done| OnlyIf::Unchanged(Revision(done.revision)));
            let put = self.store.put(&key, value.clone(), Some(lease.id), only_if).await;
            if let (Err(durable::Trouble::Refused(_)), None) = (&put, &done) {
                self.give_back(lease).await;
            }
            match put.map_err(unavailable)? {
                // A lease that it had before ends by itself: somebody may just be putting the key under that again.
                Written::Done(revision) => {
                    let made = record::made(said.clone(), revision, since);
                    if self.is_used(said, revision).await? {
                        return Ok(made);
                    }
                    // There was no room for it when it came, and now there is; or somebody has taken it away since.
                    done = Some(made);
                }
                Written::Conflict(_) if let Some(made) = done.take() => return Ok(made),
                Written::NoLease | Written::Conflict(_) => {
                    lease = self.granted(said.ttl).await?;
                }
            }
        }
        Err(Trouble::Unavailable("its lease ended again and again, or there was no room".to_owned()))
    }

    /// Notes that an instance was renewed just now; what is known of it.
    fn renewed(&self, service: &str, id: &str, ttl: Duration, load: Option<Load>) -> Option<Registered> {
        let expires = self.clock.unix().checked_add(ttl);
        self.table().renewed(service, id, expires, load)
    }

    pub(super) async fn renew(&self, service: &str, id: &str, load: Option<Load>) -> Result<Registered, Trouble> {
        let item = self.item(service, id).await?;
        if self.is_left_out(service, id, item.registered.revision) {
            return Err(Trouble::NotFound);
        }
        let ttl = match item.lease {
            Some(lease) => Some(self.store.renew(lease).await.map_err(unavailable)?.ok_or(Trouble::NotFound)?),
            // It was written without one: it is there until it is taken away.
            None => None,
        };
        let is_shared = self.settings().loads == Loads::InStore;
        if let (Some(load), true) = (&load, is_shared && load != item.registered.load) {
            let fields: Value = load.fields().map(|(name, number)| (name.to_owned(), json!(number))).collect();
            let key = record::load_key(service, id);
            // The instance is there all the same; the load comes again with its next sign of life.
            let _ = self.store.put(&key, fields.to_string().into_bytes(), item.lease, OnlyIf::Always).await;
        }
        let expires = ttl.and_then(|ttl| self.clock.unix().checked_add(ttl));
        let known = self.table().renewed(service, id, expires, load.clone());
        Ok(known.unwrap_or_else(|| Registered { load, expires, ..item.registered.as_ref().clone() }))
    }

    pub(super) async fn drain(&self, service: &str, id: &str, draining: bool) -> Result<Registered, Trouble> {
        let key = record::key(service, id);
        for _ in 0..TRIES {
            let entry = self.store.get(&key).await.map_err(unavailable)?.ok_or(Trouble::NotFound)?;
            let ttl = self.settings().ttl;
            let item = record::read(&entry, ttl, self.clock.unix()).map_err(|_| Trouble::NotFound)?;
            let known = item.registered.as_ref().clone();
            if known.draining == draining {
                self.taken_over(entry.modified).await?;
                return Ok(known);
            }
            let value = record::write(&known.registration, draining, known.since);
            let only_if = OnlyIf::Unchanged(entry.modified);
            match self.store.put(&key, value, entry.lease, only_if).await.map_err(unavailable)? {
                Written::Done(revision) => {
                    self.taken_over(revision).await?;
                    return Ok(Registered { draining, revision: revision.0, ..known });
                }
                Written::NoLease => return Err(Trouble::NotFound),
                Written::Conflict(_) => {}
            }
        }
        Err(Trouble::Unavailable("others changed it again and again".to_owned()))
    }

    pub(super) async fn deregister(&self, service: &str, id: &str) -> Result<bool, Trouble> {
        let key = record::key(service, id);
        let there = self.store.get(&key).await.map_err(unavailable)?;
        let Written::Done(revision) = self.store.delete(&key, OnlyIf::Always).await.map_err(unavailable)? else {
            return Err(Trouble::Unavailable("it was not taken away".to_owned()));
        };
        // Also if somebody else took it away: who asks may rely on its getting nothing from here.
        let must_be_gone = there.is_some() || self.table().item(service, id).is_some();
        let taken_over = async { if must_be_gone { self.taken_over(revision).await } else { Ok(()) } };
        let is_shared = self.settings().loads == Loads::InStore;
        let load = async {
            if is_shared {
                // If it cannot be taken away, it goes with its lease. That is not revoked: the instance may just be registering again.
                let _ = self.store.delete(&record::load_key(service, id), OnlyIf::Always).await;
            }
        };
        tokio::join!(taken_over, load).0?;
        Ok(there.is_some())
    }
}
