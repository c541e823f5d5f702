//! R2: of three nodes of etcd one is killed, paused, or cut off; or two of them, and nothing is confirmed.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

#[path = "r2_etcd/reach.rs"]
mod reach;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::timeout;
use tollgate_core::caller::{Answer, Call, CallError, Caller, Opened};
use tollgate_core::clock::Clock;
use tollgate_core::policy::BoxFuture;
use tollgate_durable::{Change, Durable, Etcd, EtcdSettings, OnlyIf, Revision, Seen, Trouble, Watch, Written};
use tollgate_net::tls::Roots;
use tollgate_testkit as testkit;
use tollgate_testkit::deadline::PATIENCE;
use tollgate_testkit::durable::{changes, confirmed, done, eventually, next, put};

use self::reach::{caller, runtime, settings, store};

/// In which the gateway must know that a node is of no use; some more, for a machine that is busy.
const SOON: Duration = Duration::from_secs(4);

/// All endpoints, this one first: so that it is asked first.
fn beginning_with(etcd: &testkit::Etcd, node: usize) -> EtcdSettings {
    let mut settings = settings(etcd);
    settings.endpoints.rotate_left(node);
    settings
}

/// All but this one.
fn without(etcd: &testkit::Etcd, node: usize) -> EtcdSettings {
    let mut settings = settings(etcd);
    settings.endpoints.remove(node);
    settings
}

/// Puts a number, whatever is there, again and again until it is known to be put. It may be put twice.
async fn put_surely(store: &Etcd, key: &str, number: u32) -> Revision {
    let putting = async {
        loop {
            match store.put(key, number.to_string().into_bytes(), None, OnlyIf::Always).await {
                Ok(Written::Done(revision)) => break revision,
                Err(Trouble::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, putting).await.expect("it can be put")
}

/// The numbers that were put, as a watch shows them, up to this revision; each revision once, and in order.
async fn numbers(watch: &mut dyn Watch, until: Revision) -> Vec<u32> {
    let (mut numbers, mut last) = (Vec::new(), Revision(0));
    for change in changes(watch, until).await {
        let Change::Put(entry) = change else { panic!("{change:?}") };
        assert!(entry.modified > last, "twice, or out of order");
        last = entry.modified;
        numbers.push(std::str::from_utf8(&entry.value).unwrap().parse().unwrap());
    }
    numbers
}

/// Writes through an outage, and holds what a watch shows against what was written. `victim`: the node that is struck; it is the one that is
/// asked first, and shows the watch.
fn nothing_is_lost_while(victim: fn(&testkit::Etcd) -> usize, strike: fn(&mut testkit::Etcd, usize)) {
    let (mut etcd, runtime) = (testkit::Etcd::cluster(), runtime());
    let victim = victim(&etcd);
    let store = store(beginning_with(&etcd, victim), &runtime);
    let (from, mut watch) = runtime.block_on(async {
        let from = put_surely(&store, "n/a", 0).await;
        let mut watch = store.watch("n/", from);
        confirmed(&mut *watch, from).await;
        (from, watch)
    });
    let mut last = from;
    for number in 1..=60 {
        if number == 20 {
            strike(&mut etcd, victim);
        }
        last = runtime.block_on(put_surely(&store, "n/a", number));
    }
    runtime.block_on(async {
        let seen = numbers(&mut *watch, last).await;
        let mut once = seen.clone();
        once.dedup();
        assert_eq!(once, (1..=60).collect::<Vec<_>>(), "{seen:?}");
        // What a watch that went through it all has shown is all there was.
        assert_eq!(numbers(&mut *store.watch("n/", from), last).await, seen);
        confirmed(&mut *watch, last).await;
    });
}

#[test]
fn nothing_is_lost_or_doubled_while_the_leader_is_killed() {
    nothing_is_lost_while(testkit::Etcd::leader, testkit::Etcd::kill);
}

#[test]
fn nothing_is_lost_or_doubled_while_a_follower_is_killed() {
    nothing_is_lost_while(testkit::Etcd::follower, testkit::Etcd::kill);
}

#[test]
fn nothing_is_lost_or_doubled_while_the_leader_is_paused() {
    nothing_is_lost_while(testkit::Etcd::leader, |etcd, victim| etcd.pause(victim));
}

#[test]
fn nothing_is_lost_or_doubled_while_a_follower_is_paused() {
    nothing_is_lost_while(testkit::Etcd::follower, |etcd, victim| etcd.pause(victim));
}

#[test]
fn a_watch_that_hangs_on_a_paused_node_moves_to_another_and_confirms_nothing_that_it_has_not_shown() {
    let (etcd, runtime) = (testkit::Etcd::cluster(), runtime());
    let follower = etcd.follower();
    let watching = store(beginning_with(&etcd, follower), &runtime);
    let others = store(without(&etcd, follower), &runtime);
    let shown = runtime.block_on(async {
        let from = put(&others, "n/a", b"1").await;
        let mut watch = watching.watch("n/", from);
        confirmed(&mut *watch, from).await;
        etcd.pause(follower);
        let changed = put(&others, "n/a", b"2").await;
        // Fails if it is confirmed before it is shown.
        timeout(SOON, changes(&mut *watch, changed)).await.expect("it is shown soon").len()
    });
    assert_eq!(shown, 1);
    etcd.resume(follower);
}

#[test]
fn a_watch_of_a_node_that_is_cut_off_moves_to_another_and_confirms_nothing_that_it_has_not_shown() {
    let (etcd, runtime) = (testkit::Etcd::severable(), runtime());
    for node in [etcd.follower(), etcd.leader()] {
        let watching = store(beginning_with(&etcd, node), &runtime);
        let others = store(without(&etcd, node), &runtime);
        runtime.block_on(async {
            let from = put_surely(&others, "n/a", 1).await;
            let mut watch = watching.watch("n/", from);
            confirmed(&mut *watch, from).await;
            etcd.cut(node);
            // The others may have to find a leader first.
            let changed = put_surely(&others, "n/a", 2).await;
            // Fails if it is confirmed before it is shown.
            timeout(SOON, changes(&mut *watch, changed)).await.expect("it is shown soon");
            timeout(SOON, confirmed(&mut *watch, changed)).await.expect("it is confirmed soon");
        });
        etcd.join();
    }
}

#[test]
fn what_a_node_that_is_cut_off_says_is_not_believed() {
    let (etcd, runtime) = (testkit::Etcd::severable(), runtime());
    let leader = etcd.leader();
    let alone = EtcdSettings { endpoints: vec![etcd.endpoints()[leader].clone()], ..settings(&etcd) };
    let (alone, others) = (store(alone, &runtime), store(without(&etcd, leader), &runtime));
    runtime.block_on(async {
        let from = put_surely(&others, "n/a", 1).await;
        let mut watch = alone.watch("n/", from);
        confirmed(&mut *watch, from).await;
        etcd.cut(leader);
        let changed = put_surely(&others, "n/a", 2).await;
        assert_eq!(said(&mut *watch, Duration::from_secs(3)).await, []);
        assert!(matches!(alone.get("n/a").await, Err(Trouble::Unavailable(_))));
        assert!(matches!(alone.put("n/a", Vec::new(), None, OnlyIf::Always).await, Err(Trouble::Unavailable(_))));
        etcd.join();
        assert_eq!(numbers(&mut *watch, changed).await.last(), Some(&2));
        confirmed(&mut *watch, changed).await;
    });
}

#[test]
fn confirmations_go_on_while_a_node_is_paused() {
    let (etcd, runtime) = (testkit::Etcd::cluster(), runtime());
    let follower = etcd.follower();
    let store = store(beginning_with(&etcd, follower), &runtime);
    runtime.block_on(async {
        let from = put(&store, "n/a", b"1").await;
        let mut watch = store.watch("n/", from);
        confirmed(&mut *watch, from).await;
        etcd.pause(follower);
        for _ in 0..5 {
            timeout(SOON, confirmed(&mut *watch, from)).await.expect("it is confirmed soon");
        }
    });
    etcd.resume(follower);
}

/// What a watch says for so long; trouble is not told.
async fn said(watch: &mut dyn Watch, most: Duration) -> Vec<Seen> {
    let mut said = Vec::new();
    let listening = async {
        loop {
            said.extend(watch.next().await);
        }
    };
    let endless: Result<(), _> = timeout(most, listening).await;
    assert!(endless.is_err());
    said
}

#[test]
fn a_node_without_the_others_confirms_nothing() {
    let (etcd, runtime) = (testkit::Etcd::cluster(), runtime());
    let leader = etcd.leader();
    let store = store(beginning_with(&etcd, leader), &runtime);
    runtime.block_on(async {
        let from = put(&store, "n/a", b"1").await;
        let mut watch = store.watch("n/", from);
        confirmed(&mut *watch, from).await;
        let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
        others.iter().for_each(|node| etcd.pause(*node));
        // What was asked before may still come.
        said(&mut *watch, Duration::from_secs(1)).await;
        assert_eq!(said(&mut *watch, Duration::from_secs(4)).await, []);
        let asked = timeout(Duration::from_secs(6), store.get("n/a")).await.expect("it ends by itself");
        assert!(matches!(asked, Err(Trouble::Unavailable(_))), "a value that may be old: {asked:?}");
        others.iter().for_each(|node| etcd.resume(*node));
        confirmed(&mut *watch, from).await;
        let second = put_surely(&store, "n/a", 2).await;
        assert_eq!(numbers(&mut *watch, second).await.last(), Some(&2));
    });
}

#[test]
fn a_quorum_that_comes_back_is_what_it_was() {
    let (mut etcd, runtime) = (testkit::Etcd::cluster(), runtime());
    let store = store(settings(&etcd), &runtime);
    let (from, mut watch) = runtime.block_on(async {
        let from = put(&store, "n/a", b"1").await;
        let mut watch = store.watch("n/", from);
        confirmed(&mut *watch, from).await;
        (from, watch)
    });
    etcd.kill(0);
    etcd.kill(1);
    runtime.block_on(async {
        said(&mut *watch, Duration::from_secs(1)).await;
        assert_eq!(said(&mut *watch, Duration::from_secs(2)).await, []);
        let put = store.put("n/a", b"lost".to_vec(), None, OnlyIf::Unchanged(from)).await;
        assert!(matches!(put, Err(Trouble::Unavailable(_))), "{put:?}");
    });
    etcd.spawn_again(0);
    etcd.start_again(1);
    etcd.await_ready(0);
    runtime.block_on(async {
        let last = put_surely(&store, "n/a", 2).await;
        let all = changes(&mut *watch, last).await;
        let anew = changes(&mut *store.watch("n/", from), last).await;
        assert_eq!(all, anew);
    });
}

/// Keeps a transaction back, as a node does that is paused while the request waits in its socket: it is made later, long after it was given up.
#[derive(Debug)]
struct Ambush {
    inner: Arc<dyn Caller>,
    /// The next one is kept back.
    is_set: AtomicBool,
    kept: Mutex<Option<Call>>,
}

impl Ambush {
    fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
    }

    /// The node goes on.
    async fn release(&self) -> Answer {
        let call = self.kept.lock().unwrap().take().expect("one was kept back");
        self.inner.call(call).await.expect("it is made, or refused")
    }
}

impl Caller for Ambush {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, CallError>> {
        if call.url.ends_with("/v3/kv/txn") && self.is_set.swap(false, Ordering::Relaxed) {
            *self.kept.lock().unwrap() = Some(call);
            return Box::pin(async { Err(CallError("no answer within 1000 ms".to_owned())) });
        }
        self.inner.call(call)
    }

    fn open(&self, call: Call) -> BoxFuture<'static, Result<Opened, CallError>> {
        self.inner.open(call)
    }
}

/// A store with an ambush in its way, and one without.
fn ambush(etcd: &testkit::Etcd, runtime: &Runtime) -> (Arc<Ambush>, Etcd) {
    let inner = caller(Roots::System, None, runtime);
    let ambush = Arc::new(Ambush { inner, is_set: AtomicBool::new(false), kept: Mutex::default() });
    // The same node twice: what it does not answer the first time, it does the second.
    let endpoints = [etcd.endpoints(), etcd.endpoints()].concat();
    let settings = EtcdSettings { endpoints, ..settings(etcd) };
    let store = Etcd::new(settings, Arc::clone(&ambush) as Arc<dyn Caller>, Clock::real()).unwrap();
    (ambush, store)
}

#[test]
fn a_change_that_was_stuck_is_not_made_after_a_later_one() {
    let (etcd, runtime) = (testkit::Etcd::start(), runtime());
    let (ambush, store) = ambush(&etcd, &runtime);
    runtime.block_on(async {
        let from = put(&store, "n/a", b"1").await;
        ambush.set();
        // It is tried again, with another endpoint.
        put(&store, "n/a", b"2").await;
        let third = put(&store, "n/a", b"3").await;
        assert_eq!(ambush.release().await.status, 200, "it was understood");
        let there = store.get("n/a").await.unwrap().unwrap();
        assert_eq!((&there.value[..], there.modified), (&b"3"[..], third));
        assert_eq!(numbers(&mut *store.watch("n/", from), third).await, [2, 3]);
        ambush.set();
        store.delete("n/a", OnlyIf::Unchanged(third)).await.unwrap();
        let fourth = put(&store, "n/a", b"4").await;
        ambush.release().await;
        assert_eq!(store.get("n/a").await.unwrap().map(|there| there.modified), Some(fourth));
    });
}

#[test]
fn a_new_key_of_which_nobody_knows_whether_it_was_made_is_not_tried_again() {
    let (etcd, runtime) = (testkit::Etcd::start(), runtime());
    let (ambush, store) = ambush(&etcd, &runtime);
    runtime.block_on(async {
        ambush.set();
        let why = match store.put("n/new", b"1".to_vec(), None, OnlyIf::Absent).await {
            Err(Trouble::Unavailable(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why.contains("whether the change was made is not known"), "{why}");
        // Else it might be made twice, and the second time after somebody deleted it.
        assert_eq!(store.get("n/new").await, Ok(None));
        ambush.release().await;
        let asked = store.put("n/new", b"2".to_vec(), None, OnlyIf::Absent).await;
        assert!(matches!(&asked, Ok(Written::Conflict(Some(there))) if there.value == b"1"), "{asked:?}");
    });
}

#[test]
fn a_lease_lasts_while_the_leader_is_killed_and_ends_afterwards() {
    let (mut etcd, runtime) = (testkit::Etcd::cluster(), runtime());
    let leader = etcd.leader();
    let store = store(beginning_with(&etcd, leader), &runtime);
    let (lease, mut watch) = runtime.block_on(async {
        let lease = store.grant(Duration::from_secs(2)).await.unwrap();
        let from = done(store.put("n/a", Vec::new(), Some(lease), OnlyIf::Absent).await);
        (lease, store.watch("n/", from))
    });
    etcd.kill(leader);
    runtime.block_on(async {
        eventually("it is renewed", async || store.renew(lease).await.is_ok_and(|lasts| lasts.is_some())).await;
        let gone = async {
            loop {
                match next(&mut *watch).await {
                    Seen::Changed(_, changes) => break changes,
                    Seen::Confirmed(_) => {}
                    Seen::Compacted => panic!("nothing was forgotten"),
                }
            }
        };
        assert!(matches!(&gone.await[..], [Change::Gone { key, .. }] if key == "n/a"));
        assert_eq!(store.renew(lease).await, Ok(None));
    });
}
