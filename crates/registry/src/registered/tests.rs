//! The registry over a store that a test has in its hands.

mod edges;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::SystemTime;

use tokio::sync::Notify;
use tollgate_durable::{Change as Stored, Entry, LeaseId, OnlyIf, Seen, Watch, Written};

use super::outlet::TooMany;
use super::*;
use crate::{Follower, State, dns};

/// A store in memory, which can be cut off.
#[derive(Debug, Default)]
struct Hand {
    inside: Mutex<Inside>,
    changed: Notify,
    confirm: Notify,
    renewed: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inside {
    entries: BTreeMap<String, Entry>,
    leases: BTreeSet<i64>,
    history: Vec<(u64, Stored)>,
    revision: u64,
    is_cut: bool,
    is_compacted: bool,
}

impl Hand {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    fn write(&self, key: &str, value: Option<&[u8]>, lease: Option<LeaseId>) -> Revision {
        let mut inside = self.inside();
        inside.revision += 1;
        let revision = Revision(inside.revision);
        let key = key.to_owned();
        let change = match value {
            Some(value) => {
                let (value, created, modified) = (value.to_vec(), revision, revision);
                let entry = Entry { key: key.clone(), value, created, modified, lease };
                inside.entries.insert(key, entry.clone());
                Stored::Put(entry)
            }
            None => {
                inside.entries.remove(&key);
                Stored::Gone { key, revision }
            }
        };
        inside.history.push((revision.0, change));
        self.changed.notify_waiters();
        revision
    }

    fn cut(&self, is_cut: bool) {
        self.inside().is_cut = is_cut;
        self.changed.notify_waiters();
        self.confirm.notify_waiters();
    }

    fn asked(&self) -> Result<MutexGuard<'_, Inside>, durable::Trouble> {
        let inside = self.inside();
        if inside.is_cut { Err(durable::Trouble::Unavailable("cut off".to_owned())) } else { Ok(inside) }
    }
}

impl Durable for Hand {
    fn get<'a>(&'a self, key: &'a str) -> durable::Outcome<'a, Option<Entry>> {
        Box::pin(async move { Ok(self.asked()?.entries.get(key).cloned()) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> durable::Outcome<'a, durable::Listing> {
        Box::pin(async move {
            let mut inside = self.asked()?;
            inside.is_compacted = false;
            let entries = inside.entries.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect();
            Ok(durable::Listing { entries, revision: Revision(inside.revision) })
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
        only_if: OnlyIf,
    ) -> durable::Outcome<'a, Written> {
        Box::pin(async move {
            {
                let inside = self.asked()?;
                let there = inside.entries.get(key);
                if !only_if.holds(there) {
                    return Ok(Written::Conflict(there.cloned()));
                }
                if lease.is_some_and(|lease| !inside.leases.contains(&lease.0)) {
                    return Ok(Written::NoLease);
                }
            }
            Ok(Written::Done(self.write(key, Some(&value), lease)))
        })
    }

    fn delete<'a>(&'a self, key: &'a str, only_if: OnlyIf) -> durable::Outcome<'a, Written> {
        Box::pin(async move {
            let (is_there, revision) = {
                let inside = self.asked()?;
                let there = inside.entries.get(key);
                if matches!(only_if, OnlyIf::Unchanged(at) if there.is_none_or(|entry| entry.modified != at)) {
                    return Ok(Written::Conflict(there.cloned()));
                }
                (there.is_some(), inside.revision)
            };
            Ok(Written::Done(if is_there { self.write(key, None, None) } else { Revision(revision) }))
        })
    }

    fn grant(&self, _: Duration) -> durable::Outcome<'_, LeaseId> {
        Box::pin(async move {
            let mut inside = self.asked()?;
            let id = inside.leases.last().map_or(1, |last| last + 1);
            inside.leases.insert(id);
            Ok(LeaseId(id))
        })
    }

    fn renew(&self, lease: LeaseId) -> durable::Outcome<'_, Option<Duration>> {
        Box::pin(async move {
            self.renewed.fetch_add(1, Relaxed);
            Ok(self.asked()?.leases.contains(&lease.0).then_some(Duration::from_secs(10)))
        })
    }

    fn revoke(&self, lease: LeaseId) -> durable::Outcome<'_, bool> {
        Box::pin(async move {
            let was_there = self.asked()?.leases.remove(&lease.0);
            let of_it = |entry: &&Entry| entry.lease == Some(lease);
            let keys: Vec<_> = self.asked()?.entries.values().filter(of_it).map(|entry| entry.key.clone()).collect();
            for key in &keys {
                self.write(key, None, None);
            }
            Ok(was_there)
        })
    }

    fn watch(&self, _: &str, _: Revision) -> Box<dyn Watch> {
        unreachable!("each test holds its store by `Held`")
    }
}

/// The same, with watches.
#[derive(Debug)]
struct Held(Arc<Hand>);

impl Durable for Held {
    fn get<'a>(&'a self, key: &'a str) -> durable::Outcome<'a, Option<Entry>> {
        self.0.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> durable::Outcome<'a, durable::Listing> {
        self.0.list(prefix)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Vec<u8>,
        lease: Option<LeaseId>,
        only_if: OnlyIf,
    ) -> durable::Outcome<'a, Written> {
        self.0.put(key, value, lease, only_if)
    }

    fn delete<'a>(&'a self, key: &'a str, only_if: OnlyIf) -> durable::Outcome<'a, Written> {
        self.0.delete(key, only_if)
    }

    fn grant(&self, ttl: Duration) -> durable::Outcome<'_, LeaseId> {
        self.0.grant(ttl)
    }

    fn renew(&self, lease: LeaseId) -> durable::Outcome<'_, Option<Duration>> {
        self.0.renew(lease)
    }

    fn revoke(&self, lease: LeaseId) -> durable::Outcome<'_, bool> {
        self.0.revoke(lease)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Box<dyn Watch> {
        Box::new(Watching { hand: Arc::clone(&self.0), prefix: prefix.to_owned(), shown: after.0 })
    }
}

#[derive(Debug)]
struct Watching {
    hand: Arc<Hand>,
    prefix: String,
    shown: u64,
}

impl Watch for Watching {
    fn next(&mut self) -> durable::Outcome<'_, Seen> {
        Box::pin(async move {
            let hand = Arc::clone(&self.hand);
            loop {
                let (changed, confirm) = (hand.changed.notified(), hand.confirm.notified());
                let (mut changed, mut confirm) = (Box::pin(changed), Box::pin(confirm));
                changed.as_mut().enable();
                confirm.as_mut().enable();
                {
                    let inside = hand.inside();
                    if inside.is_compacted {
                        return Ok(Seen::Compacted);
                    }
                    let new = inside.history.iter().filter(|(revision, _)| *revision > self.shown);
                    let new: Vec<Stored> = new
                        .filter(|(_, change)| change.key().starts_with(&self.prefix))
                        .map(|(_, c)| c.clone())
                        .collect();
                    if !inside.is_cut {
                        self.shown = inside.revision;
                        if !new.is_empty() {
                            return Ok(Seen::Changed(Revision(self.shown), new));
                        }
                    }
                }
                tokio::select! {
                    () = changed => {}
                    () = confirm => {}
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
                let is_cut = hand.inside().is_cut;
                if is_cut {
                    return Err(durable::Trouble::Unavailable("cut off".to_owned()));
                }
                let revision = hand.inside().revision;
                if self.shown == revision {
                    return Ok(Seen::Confirmed(Revision(revision)));
                }
            }
        })
    }
}

struct Test {
    hand: Arc<Hand>,
    clock: Clock,
    registry: Registry,
    resolver: Arc<Dns>,
    metrics: Arc<Metrics>,
}

fn settings() -> Settings {
    Settings {
        ttl: Duration::from_secs(30),
        hold: Duration::ZERO,
        most: 100,
        most_of_one: 3,
        history: 5,
        loads: Loads::Here,
    }
}

fn test(settings: Settings) -> Test {
    let (hand, clock) =
        (Arc::new(Hand::default()), Clock::fake(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
    let (runtime, metrics) = (Handle::current(), Metrics::new(1));
    let servers = dns::Settings {
        servers: vec!["127.0.0.1:1".parse().unwrap()],
        timeout: Duration::from_millis(50),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(60),
    };
    let resolver = Dns::new(&servers, runtime.clone(), clock.clone(), Arc::clone(&metrics), None).unwrap();
    let store = Arc::new(Held(Arc::clone(&hand)));
    let registry = Registry::new(store, settings, clock.clone(), &runtime, Arc::clone(&metrics));
    Test { hand, clock, registry, resolver, metrics }
}

fn registration(service: &str, port: u16, ttl: u64) -> Registration {
    Registration {
        service: service.into(),
        id: format!("10.0.0.1:{port}").into(),
        address: "10.0.0.1".into(),
        port,
        ttl: Duration::from_secs(ttl),
        zone: None,
        version: None,
        weight: 1,
        group: 0,
        tags: BTreeSet::new(),
    }
}

impl Test {
    fn source(&self, service: &str) -> Arc<dyn Source> {
        self.registry.source(Wanted { service: service.into(), tags: Vec::new(), version: None }, &self.resolver)
    }

    async fn register(&self, service: &str, port: u16, ttl: u64) -> (Registered, bool) {
        self.registry.register(registration(service, port, ttl)).await.unwrap()
    }
}

/// The ports that a source shows.
fn ports(source: &Arc<dyn Source>) -> Vec<u16> {
    let view = source.watch().borrow().clone();
    let port = |endpoint: &crate::Endpoint| match &endpoint.address {
        tollgate_core::facts::Address::Socket(address) => address.port(),
        tollgate_core::facts::Address::Unix(_) => 0,
    };
    view.endpoints.iter().map(port).collect()
}

/// Waits until it is so.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

#[tokio::test]
async fn whoever_is_answered_is_used_or_not_used() {
    let test = test(settings());
    let source = test.source("orders");
    let told: Arc<Mutex<Vec<usize>>> = Arc::default();
    let telling = Arc::clone(&told);
    let follower: Arc<Follower> =
        Arc::new(move |view: &crate::View| telling.lock().unwrap().push(view.endpoints.len()));
    assert!(source.tell(&follower));
    let (first, is_new) = test.register("orders", 1, 10).await;
    assert!(is_new && !first.draining);
    assert_eq!(told.lock().unwrap().last(), Some(&1), "before it was answered");
    let (again, is_new) = test.register("orders", 1, 10).await;
    assert!(!is_new && again.revision == first.revision, "the same again changes nothing");
    test.register("orders", 2, 10).await;
    assert_eq!(ports(&source), [1, 2]);
    let drained = test.registry.drain("orders", "10.0.0.1:1", true).await.unwrap();
    assert!(drained.draining && drained.revision > first.revision);
    assert_eq!((ports(&source), told.lock().unwrap().last().copied()), (vec![2], Some(1)));
    test.registry.drain("orders", "10.0.0.1:1", false).await.unwrap();
    assert_eq!(ports(&source), [1, 2]);
    assert!(test.registry.deregister("orders", "10.0.0.1:1").await.unwrap());
    assert_eq!(ports(&source), [2]);
    assert!(!test.registry.deregister("orders", "10.0.0.1:1").await.unwrap());
    assert_eq!(test.registry.renew("orders", "10.0.0.1:1", None).await, Err(Trouble::NotFound));
    assert_eq!(test.registry.drain("orders", "10.0.0.1:1", true).await, Err(Trouble::NotFound));
    drop(follower);
    test.register("orders", 3, 10).await;
    assert_eq!(told.lock().unwrap().last(), Some(&1), "who is gone is told nothing");
    let scrape = test.metrics.registry();
    scrape.end();
}

#[tokio::test]
async fn tags_and_versions_choose_and_weights_are_shown() {
    let test = test(settings());
    let canary = Wanted { service: "orders".into(), tags: vec!["canary".into()], version: Some("v2".into()) };
    let canary = test.registry.source(canary, &test.resolver);
    test.register("orders", 1, 10).await;
    let chosen = Registration {
        version: Some("v2".into()),
        tags: ["canary".into(), "eu".into()].into(),
        weight: 7,
        zone: Some("a".into()),
        group: 2,
        ..registration("orders", 2, 10)
    };
    test.registry.register(chosen.clone()).await.unwrap();
    test.registry.register(Registration { tags: BTreeSet::new(), port: 3, id: "3".into(), ..chosen }).await.unwrap();
    let view = canary.watch().borrow().clone();
    let [endpoint] = view.endpoints.as_slice() else { panic!("{view:?}") };
    assert_eq!((endpoint.weight, endpoint.zone.as_deref(), endpoint.group), (7, Some("a"), 2));
}

#[tokio::test]
async fn without_its_store_an_instance_is_used_until_its_time_is_over() {
    let test = test(settings());
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    test.register("orders", 2, 20).await;
    // Some confirmation, so that it counts from now.
    tokio::time::sleep(Duration::from_millis(100)).await;
    test.hand.cut(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    test.clock.advance(Duration::from_millis(9_900));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ports(&source), [1, 2]);
    test.clock.advance(Duration::from_millis(200));
    eventually("the first lapses", || ports(&source) == [2]).await;
    assert_eq!(source.watch().borrow().state, State::Fresh, "nobody keeps what was before");
    test.clock.advance(Duration::from_secs(10));
    eventually("the second lapses", || ports(&source).is_empty()).await;
    let standing = test.registry.standing();
    assert!(
        standing.lapsed == 2 && standing.stale.is_some() && standing.age > Some(Duration::from_secs(19)),
        "{standing:?}"
    );
    let listing = test.registry.list(None);
    assert!(listing.instances.is_empty() && listing.age > Some(Duration::from_secs(19)));
    test.hand.cut(false);
    eventually("they are used again", || ports(&source) == [1, 2]).await;
    assert_eq!(test.registry.standing().stale, None);
}

#[tokio::test]
async fn what_is_held_is_used_that_much_longer() {
    let test = test(Settings { hold: Duration::from_secs(600), ..settings() });
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    test.hand.cut(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    test.clock.advance(Duration::from_secs(600));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ports(&source), [1]);
    test.clock.advance(Duration::from_secs(11));
    eventually("it lapses", || ports(&source).is_empty()).await;
}

#[tokio::test]
async fn what_others_write_is_read_and_what_is_wrong_is_left_out() {
    let test = test(settings());
    let source = test.source("orders");
    test.hand.write("instances/orders/a", Some(br#"{"address":"10.0.0.1","port":80}"#), None);
    eventually("it is used", || ports(&source) == [80]).await;
    test.hand.write("instances/orders/b", Some(b"no"), None);
    test.hand.write("elsewhere/orders/c", Some(br#"{"address":"10.0.0.1","port":81}"#), None);
    test.hand.write("instances/orders/a", Some(br#"{"address":"10.0.0.1"}"#), None);
    eventually("what is wrong now is not used", || ports(&source).is_empty()).await;
    test.hand.write("instances/orders/a", Some(br#"{"address":"10.0.0.1","port":82,"draining":false}"#), None);
    eventually("what is right again is", || ports(&source) == [82]).await;
    let renewed = test.registry.renew("orders", "a", None).await.unwrap();
    assert_eq!(renewed.expires, None, "it has no lease: it is there until it is taken away");
    test.hand.inside().is_compacted = true;
    test.hand.inside().entries.remove("instances/orders/a");
    eventually("what is gone when all is read again is gone", || ports(&source).is_empty()).await;
}

#[tokio::test]
async fn there_is_a_most_of_everything() {
    let test = test(Settings { most: 4, ..settings() });
    for port in 1..=3 {
        test.register("orders", port, 10).await;
    }
    let full = |service: &str, bound, most| Err(Trouble::Full { service: service.into(), bound, most });
    assert_eq!(test.registry.register(registration("orders", 4, 10)).await, full("orders", Bound::Each, 3));
    test.register("orders", 3, 10).await;
    test.register("stock", 1, 10).await;
    assert_eq!(test.registry.register(registration("bills", 1, 10)).await, full("bills", Bound::Most, 4));
}

#[tokio::test]
async fn changes_are_told_as_they_come_and_old_ones_are_forgotten() {
    let test = test(settings());
    // What was before it was read as a whole is not known.
    let (before, _) = test.register("bills", 1, 10).await;
    let (first, _) = test.register("orders", 1, 10).await;
    assert!(test.registry.changes(None, before.revision, Duration::ZERO).await.is_ok());
    let (after, changes) = test.registry.changes(None, first.revision - 1, Duration::ZERO).await.unwrap();
    assert_eq!((after, changes.len()), (first.revision, 1));
    let waiting = test.registry.changes(Some("stock"), first.revision, Duration::from_secs(5));
    let (waited, _) = tokio::join!(waiting, async {
        test.register("orders", 2, 10).await;
        test.register("stock", 7, 10).await
    });
    let (after, changes) = waited.unwrap();
    assert!(
        matches!(&*changes, [Change::Put(put)] if &*put.registration.service == "stock" && put.revision == after),
        "{changes:?}"
    );
    test.registry.deregister("stock", "10.0.0.1:7").await.unwrap();
    let (_, changes) = test.registry.changes(Some("stock"), after, Duration::ZERO).await.unwrap();
    assert!(matches!(&*changes, [Change::Gone { service, .. }] if &**service == "stock"), "{changes:?}");
    for weight in 2..8 {
        test.registry.register(Registration { weight, ..registration("orders", 1, 10) }).await.unwrap();
    }
    let old = test.registry.changes(None, first.revision, Duration::ZERO).await;
    assert_eq!(old.map(|_| ()), Err(Trouble::Compacted));
}

#[tokio::test]
async fn a_renewal_changes_nothing_but_tells_of_the_load() {
    let test = test(settings());
    let source = test.source("orders");
    let (first, _) = test.register("orders", 1, 10).await;
    let mut load = Load::default();
    load.set("cpu_utilization", 0.5);
    let renewed = test.registry.renew("orders", "10.0.0.1:1", Some(load.clone())).await.unwrap();
    assert_eq!((renewed.revision, renewed.load.as_ref()), (first.revision, Some(&load)));
    assert_eq!(renewed.expires, test.clock.unix().checked_add(Duration::from_secs(10)));
    let shown = || source.watch().borrow().endpoints.first().and_then(|endpoint| endpoint.load.clone());
    eventually("services know it", || shown().as_ref() == Some(&load)).await;
    assert_eq!(test.registry.list(Some("orders")).revision, first.revision);
    assert_eq!(test.hand.inside().history.len(), 1, "nothing is written");
}

#[tokio::test]
async fn loads_are_in_the_store_where_several_gateways_need_them() {
    let test = test(Settings { loads: Loads::InStore, ..settings() });
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    let mut load = Load::default();
    load.set("cpu_utilization", 0.5);
    test.registry.renew("orders", "10.0.0.1:1", Some(load)).await.unwrap();
    assert_eq!(test.hand.inside().entries["loads/orders/10.0.0.1:1"].value, br#"{"cpu_utilization":0.5}"#);
    // Another gateway was told.
    test.hand.write("loads/orders/10.0.0.1:1", Some(br#"{"cpu_utilization":0.75}"#), None);
    let shown = || source.watch().borrow().endpoints.first().and_then(|e| e.load.as_ref()?.get("cpu_utilization"));
    eventually("it is known here too", || shown() == Some(0.75)).await;
}

#[tokio::test]
async fn one_services_change_touches_no_other() {
    let test = test(Settings { most: 10_000, ..settings() });
    let told = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&told);
    let follower: Arc<Follower> = Arc::new(move |_: &crate::View| {
        counting.fetch_add(1, Relaxed);
    });
    let sources: Vec<_> = (0..100).map(|n| test.source(&format!("s{n}"))).collect();
    test.register("s0", 1, 10).await;
    sources.iter().for_each(|source| assert!(source.tell(&follower)));
    let before = told.load(Relaxed);
    test.register("s7", 1, 10).await;
    assert_eq!(told.load(Relaxed), before + 1);
}
