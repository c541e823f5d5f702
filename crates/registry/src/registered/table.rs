//! All instances in memory, what changed lately, and whether the store vouches for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tollgate_durable::LeaseId;

use super::Standing;
use crate::Load;
use crate::directory::{Change, Listing, Registered, Trouble};

/// An instance as it is known here.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) registered: Arc<Registered>,
    pub(super) lease: Option<LeaseId>,
}

type Instances = BTreeMap<Arc<str>, Item>;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    services: BTreeMap<Arc<str>, Instances>,
    len: usize,
    pub(super) revision: u64,
    history: VecDeque<Change>,
    most_history: usize,
    /// What changed up to here is not in `history` any more.
    forgotten: u64,
    /// Whoever waits for a change of a service, or of any (`None`); and how often it happened meanwhile that what they know must be listed
    /// anew.
    waiting: BTreeMap<Option<Arc<str>>, watch::Sender<u64>>,
    /// When the store last vouched for all of it; `None`: it never did.
    vouched: Option<Instant>,
    stale: Option<(SystemTime, String)>,
    /// Instances whose time to live is not longer than this are not used: nobody vouches for them any more. The longest time that one of
    /// them has.
    lapsed: Option<Duration>,
    /// Services of which an instance reported another load.
    loaded: BTreeSet<Arc<str>>,
    /// The store has instances for which there was no room.
    pub(super) leaves_out: bool,
}

/// What is used otherwise than before, though nothing changed.
#[derive(Debug, Default)]
pub(super) struct Lapse {
    /// Whose instances these are.
    pub(super) services: Vec<Arc<str>>,
    /// So many are used no more.
    pub(super) ended: usize,
    /// So many are used again.
    pub(super) again: usize,
}

impl Table {
    pub(super) fn new(most_history: usize) -> Self {
        Self {
            services: BTreeMap::new(),
            len: 0,
            revision: 0,
            history: VecDeque::new(),
            most_history,
            forgotten: 0,
            waiting: BTreeMap::new(),
            vouched: None,
            stale: None,
            lapsed: None,
            loaded: BTreeSet::new(),
            leaves_out: false,
        }
    }

    pub(super) fn set_history(&mut self, most: usize) {
        self.most_history = most;
        self.forget();
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn len_of(&self, service: &str) -> usize {
        self.services.get(service).map_or(0, BTreeMap::len)
    }

    pub(super) fn item(&self, service: &str, id: &str) -> Option<&Item> {
        self.services.get(service)?.get(id)
    }

    /// Whether this is known already, all but what no change tells.
    pub(super) fn has(&self, item: &Item) -> bool {
        let new = &item.registered;
        self.item(&new.registration.service, &new.registration.id).is_some_and(|known| {
            let own = &known.registered;
            (known.lease, own.revision, own.draining, &own.registration)
                == (item.lease, new.revision, new.draining, &new.registration)
        })
    }

    /// The ids of all instances, with their services.
    pub(super) fn names(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let of = |(service, instances): (&Arc<str>, &Instances)| {
            instances.keys().map(|id| (Arc::clone(service), Arc::clone(id))).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of).collect()
    }

    /// How many instances each service has, and how many of them drain.
    pub(super) fn counts(&self, service: &str) -> (usize, usize) {
        let instances = self.services.get(service);
        let draining = instances.into_iter().flat_map(BTreeMap::values).filter(|item| item.registered.draining).count();
        (instances.map_or(0, BTreeMap::len) - draining, draining)
    }

    /// An instance is like this from now on. What is known of its load and end holds on.
    pub(super) fn put(&mut self, item: Item) {
        let said = &item.registered.registration;
        let (service, id) = (Arc::clone(&said.service), Arc::clone(&said.id));
        let instances = self.services.entry(Arc::clone(&service)).or_default();
        let before = instances.remove(&id);
        self.len += usize::from(before.is_none());
        let mut registered = item.registered;
        if let Some(before) = before.filter(|before| before.lease == item.lease) {
            let own = Arc::make_mut(&mut registered);
            own.expires = before.registered.expires;
            own.load = own.load.take().or_else(|| before.registered.load.clone());
        }
        instances.insert(id, Item { registered: Arc::clone(&registered), lease: item.lease });
        self.note(Change::Put(registered));
    }

    /// An instance is gone. Whether there was one.
    pub(super) fn gone(&mut self, service: &str, id: &str, revision: u64) -> bool {
        let Some(instances) = self.services.get_mut(service) else { return false };
        let Some((id, _)) = instances.remove_entry(id) else { return false };
        self.len -= 1;
        let service: Arc<str> = service.into();
        if instances.is_empty() {
            self.services.remove(&service);
        }
        self.note(Change::Gone { service, id, revision });
        true
    }

    fn note(&mut self, change: Change) {
        self.history.push_back(change);
        self.forget();
    }

    fn forget(&mut self) {
        while self.history.len() > self.most_history {
            self.forgotten = self.history.pop_front().map_or(self.forgotten, |change| change.revision());
        }
    }

    /// All up to this revision is known; these services have changed.
    pub(super) fn reached(&mut self, revision: u64, services: &BTreeSet<Arc<str>>) {
        self.revision = self.revision.max(revision);
        self.tell(services, false);
    }

    /// Tells those who wait for these services that something changed, or that what they know must be listed anew (`is_broken`).
    fn tell<'s>(&mut self, services: impl IntoIterator<Item = &'s Arc<str>>, is_broken: bool) {
        let mut of = services.into_iter().map(|service| Some(Arc::clone(service))).peekable();
        if of.peek().is_none() {
            return;
        }
        for waiting in of.chain([None]).filter_map(|of| self.waiting.get(&of)) {
            waiting.send_modify(|broken| *broken += u64::from(is_broken));
        }
    }

    /// The store was read as a whole, as of this revision: what was before it is not known. It may have gone back (it was restored from a
    /// backup); whoever waits for what comes after the revision that it had would wait for another registry's.
    pub(super) fn begin_at(&mut self, revision: u64) {
        self.history.clear();
        let is_broken = revision < self.revision;
        (self.forgotten, self.revision) = (revision, revision);
        self.waiting.values().for_each(|waiting| waiting.send_modify(|broken| *broken += u64::from(is_broken)));
    }

    /// A way to wait for changes of a service, or of any.
    pub(super) fn news(&mut self, service: Option<&str>) -> watch::Receiver<u64> {
        // Whoever asked before and has gone leaves nothing behind: not even of services that there are not.
        self.waiting.retain(|_, waiting| waiting.receiver_count() > 0);
        self.waiting.entry(service.map(Arc::from)).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// How many services are waited for, by somebody or by nobody any more.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What changed after this revision, and up to when that is all.
    pub(super) fn changes(&self, service: Option<&str>, after: u64) -> Result<(u64, Vec<Change>), Trouble> {
        if after < self.forgotten {
            return Err(Trouble::Compacted);
        }
        let first = self.history.partition_point(|change| change.revision() <= after);
        let is_wanted = |change: &&Change| service.is_none_or(|service| **change.service() == *service);
        let changes = self.history.range(first..).filter(is_wanted).cloned().collect();
        Ok((self.revision.max(after), changes))
    }

    /// An instance was renewed: until when, and how busy it is. What is known of it.
    pub(super) fn renewed(
        &mut self,
        service: &str,
        id: &str,
        expires: Option<SystemTime>,
        load: Option<Load>,
    ) -> Option<Registered> {
        let is_other = load.is_some();
        let item = self.services.get_mut(service)?.get_mut(id)?;
        let registered = Arc::make_mut(&mut item.registered);
        registered.expires = expires;
        if is_other && registered.load != load {
            registered.load = load;
            let service = Arc::clone(&registered.registration.service);
            let known = registered.clone();
            self.loaded.insert(service);
            return Some(known);
        }
        Some(registered.clone())
    }

    /// The store says how busy an instance is.
    pub(super) fn load(&mut self, service: &str, id: &str, load: Load) {
        let Some(item) = self.services.get_mut(service).and_then(|instances| instances.get_mut(id)) else { return };
        if item.registered.load.as_ref() != Some(&load) {
            let registered = Arc::make_mut(&mut item.registered);
            registered.load = Some(load);
            self.loaded.insert(Arc::clone(&registered.registration.service));
        }
    }

    /// The services of which loads changed since it was last asked.
    pub(super) fn loaded(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.loaded)
    }

    /// The instances of a service that are used; and whether the store was heard of yet.
    pub(super) fn used(&self, service: &str) -> (Vec<Arc<Registered>>, bool) {
        let instances = self.services.get(service).into_iter().flat_map(BTreeMap::values);
        let used = instances.filter(|item| !self.is_lapsed(item)).map(|item| Arc::clone(&item.registered));
        (used.collect(), self.is_heard())
    }

    /// Whether the store was heard of yet.
    pub(super) fn is_heard(&self) -> bool {
        self.vouched.is_some()
    }

    fn is_lapsed(&self, item: &Item) -> bool {
        self.has_lapsed(item.registered.registration.ttl)
    }

    /// Whether instances that live so long are not used.
    pub(super) fn has_lapsed(&self, ttl: Duration) -> bool {
        self.lapsed.is_some_and(|lapsed| ttl <= lapsed)
    }

    /// The store vouches for all of it now. The services whose instances are used again.
    pub(super) fn vouch(&mut self, now: Instant) -> (Vec<Arc<str>>, Option<(SystemTime, String)>) {
        let again = if self.lapsed.is_some() { self.lapsed_services() } else { Vec::new() };
        (self.vouched, self.lapsed) = (Some(now), None);
        self.tell(&again, true);
        (again, self.stale.take())
    }

    /// The store cannot be asked. Whether that is new.
    pub(super) fn doubt(&mut self, since: SystemTime, why: &str) -> bool {
        let is_new = self.stale.is_none();
        let since = self.stale.take().map_or(since, |(since, _)| since);
        self.stale = Some((since, why.to_owned()));
        is_new
    }

    /// Takes out of use what nobody vouches for any more; and into use again what is held for longer now than it was before.
    pub(super) fn lapse(&mut self, now: Instant, hold: Duration) -> Lapse {
        let Some(vouched) = self.vouched else { return Lapse::default() };
        let passed = now.saturating_duration_since(vouched).checked_sub(hold);
        let ttls = self.services.values().flat_map(BTreeMap::values).map(|item| item.registered.registration.ttl);
        let lapsed = ttls.filter(|ttl| Some(*ttl) <= passed).max();
        let before = std::mem::replace(&mut self.lapsed, lapsed);
        let mut lapse = Lapse::default();
        if before == lapsed {
            return lapse;
        }
        for (service, instances) in &self.services {
            let ttls = instances.values().map(|item| Some(item.registered.registration.ttl));
            let (mut ended, mut again) = (0, 0);
            ttls.for_each(|ttl| match (ttl <= before, ttl <= lapsed) {
                (false, true) => ended += 1,
                (true, false) => again += 1,
                _ => {}
            });
            if ended + again > 0 {
                lapse.services.push(Arc::clone(service));
                (lapse.ended, lapse.again) = (lapse.ended + ended, lapse.again + again);
            }
        }
        self.tell(&lapse.services, true);
        lapse
    }

    fn lapsed_services(&self) -> Vec<Arc<str>> {
        let has_lapsed = |instances: &Instances| instances.values().any(|item| self.is_lapsed(item));
        self.services
            .iter()
            .filter(|(_, instances)| has_lapsed(instances))
            .map(|(service, _)| Arc::clone(service))
            .collect()
    }

    pub(super) fn list(&self, service: Option<&str>, now: Instant) -> Listing {
        let one = service.map(|service| self.services.get(service));
        let all = self.services.values().filter(|_| one.is_none());
        let wanted = one.flatten().into_iter().chain(all).flat_map(BTreeMap::values);
        let items = wanted.filter(|item| !self.is_lapsed(item));
        Listing {
            instances: items.map(|item| Arc::clone(&item.registered)).collect(),
            revision: self.revision,
            age: self.age(now),
            lapsed: self.lapsed,
        }
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        self.vouched.map(|vouched| now.saturating_duration_since(vouched))
    }

    pub(super) fn standing(&self, now: Instant, hold: Duration) -> Standing {
        let items = self.services.values().flat_map(BTreeMap::values);
        Standing {
            revision: self.revision,
            age: self.age(now),
            instances: self.len,
            services: self.services.len(),
            lapsed: if self.lapsed.is_some() { items.filter(|item| self.is_lapsed(item)).count() } else { 0 },
            stale: self.stale.clone(),
            hold,
        }
    }
}
