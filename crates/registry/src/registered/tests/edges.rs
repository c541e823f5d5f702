//! What is seldom: backups, outages that last, more instances than there may be, hosts that nobody finds.

use super::*;

/// As if the store had been restored from a backup that had been taken at this revision, and others had written since.
fn restore(hand: &Hand, revision: u64, key: &str, value: &str) {
    let mut inside = hand.inside();
    let (at, value) = (Revision(revision), value.as_bytes().to_vec());
    let entry = Entry { key: key.to_owned(), value, created: at, modified: at, lease: None };
    inside.entries = BTreeMap::from([(key.to_owned(), entry)]);
    (inside.revision, inside.is_compacted) = (revision, true);
    inside.history.clear();
}

#[tokio::test]
async fn a_store_that_was_restored_is_taken_as_it_is() {
    let test = test(settings());
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    for port in 2..5 {
        test.register("stock", port, 10).await;
    }
    let waiting = test.registry.changes(Some("orders"), 4, Duration::from_secs(5));
    let (waited, ()) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Another instance under the revision at which this one was known.
        restore(&test.hand, 1, "instances/orders/10.0.0.1:1", r#"{"address":"10.0.0.1","port":81}"#);
    });
    assert_eq!(waited.map(drop), Err(Trouble::Compacted), "who waits for the other history is told so");
    eventually("what is there now is used", || ports(&source) == [81]).await;
    let listing = test.registry.list(None);
    assert_eq!((listing.revision, listing.instances.len()), (1, 1));
    assert_eq!(*test.registry.shared.applied.borrow(), 1, "or the next change would be answered before it is used");
    let (next, _) = test.register("orders", 2, 10).await;
    assert_eq!((next.revision, ports(&source)), (2, vec![2, 81]));
}

#[tokio::test]
async fn whoever_waits_hears_of_a_lapse() {
    let test = test(settings());
    let source = test.source("orders");
    let (registered, _) = test.register("orders", 1, 10).await;
    test.register("orders", 2, 20).await;
    test.register("stock", 3, 30).await;
    assert_eq!(test.registry.list(None).lapsed, None);
    test.hand.cut(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waits = |of: &'static str, most| test.registry.changes(Some(of), 3, most);
    let (orders, stock, ()) =
        tokio::join!(waits("orders", Duration::from_secs(9)), waits("stock", Duration::from_secs(1)), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            test.clock.advance(Duration::from_secs(12));
        });
    assert_eq!(orders.map(drop), Err(Trouble::Compacted));
    assert!(stock.is_ok_and(|(_, changes)| changes.is_empty()), "nothing lapsed there");
    let listing = test.registry.list(Some("orders"));
    assert_eq!((listing.instances.len(), listing.lapsed), (1, Some(Duration::from_secs(10))));
    assert!(listing.revision >= registered.revision, "nothing changed in the registry");
    let (again, ()) = tokio::join!(waits("orders", Duration::from_secs(9)), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        test.hand.cut(false);
    });
    assert_eq!(again.map(drop), Err(Trouble::Compacted), "nor when it is used again");
    assert_eq!((ports(&source), test.registry.list(None).lapsed), (vec![1, 2], None));
}

#[tokio::test]
async fn what_is_held_for_longer_is_used_again() {
    let test = test(settings());
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    test.register("orders", 2, 20).await;
    test.hand.cut(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    test.clock.advance(Duration::from_secs(30));
    eventually("both lapse", || ports(&source).is_empty()).await;
    let hold = |seconds| test.registry.set(Settings { hold: Duration::from_secs(seconds), ..settings() });
    hold(15);
    eventually("one is held", || ports(&source) == [2]).await;
    hold(600);
    eventually("both are", || ports(&source) == [1, 2]).await;
    assert_eq!((test.registry.standing().lapsed, test.registry.list(None).instances.len()), (0, 2));
    hold(0);
    eventually("none is", || ports(&source).is_empty()).await;
}

#[tokio::test]
async fn who_comes_too_late_for_the_last_places_is_refused_and_leaves_nothing_behind() {
    let test = test(Settings { most: 4, ..settings() });
    let source = test.source("orders");
    // All of them find room, and then are written.
    let register = |service, port| test.registry.register(registration(service, port, 10));
    let (a, b, c, d) =
        tokio::join!(register("orders", 1), register("orders", 2), register("orders", 3), register("orders", 4));
    let full = |service: &str, bound, most| Trouble::Full { service: service.into(), bound, most };
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(d.unwrap_err(), full("orders", Bound::Each, 3));
    let (a, b) = tokio::join!(register("stock", 5), register("bills", 6));
    assert_eq!((a.is_ok(), b.unwrap_err()), (true, full("bills", Bound::Most, 4)));
    assert_eq!((ports(&source), test.hand.inside().entries.len()), (vec![1, 2, 3], 4));
    test.registry.deregister("stock", "10.0.0.1:5").await.unwrap();
    assert!(register("bills", 6).await.is_ok());
}

#[tokio::test]
async fn what_was_taken_away_elsewhere_is_put_again() {
    let test = test(settings());
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    // By another gateway, which has answered; this one has not heard of it yet.
    test.hand.write("instances/orders/10.0.0.1:1", None, None);
    let (again, _) = test.register("orders", 1, 10).await;
    assert!(test.hand.inside().entries.contains_key("instances/orders/10.0.0.1:1"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((again.revision, ports(&source)), (3, vec![1]));
}

#[tokio::test]
async fn what_is_left_out_is_told_so_and_taken_in_when_there_is_room() {
    let test = test(settings());
    let source = test.source("orders");
    for port in 1..=3 {
        test.register("orders", port, 10).await;
    }
    let lease = test.hand.grant(Duration::from_secs(10)).await.unwrap();
    let elsewhere = |port: u16| {
        let written = record::write(&registration("orders", port, 10), false, SystemTime::UNIX_EPOCH);
        test.hand.write(&format!("instances/orders/10.0.0.1:{port}"), Some(&written), Some(lease));
    };
    // By gateways that have more room.
    elsewhere(4);
    elsewhere(5);
    eventually("both are heard of", || *test.registry.shared.applied.borrow() >= 5).await;
    assert_eq!(test.registry.renew("orders", "10.0.0.1:4", None).await, Err(Trouble::NotFound));
    let full = Trouble::Full { service: "orders".into(), bound: Bound::Each, most: 3 };
    assert_eq!(test.registry.register(registration("orders", 4, 10)).await, Err(full));
    elsewhere(4);
    eventually("it is heard of again", || *test.registry.shared.applied.borrow() >= 7).await;
    test.registry.deregister("orders", "10.0.0.1:1").await.unwrap();
    test.register("orders", 4, 10).await;
    assert_eq!(ports(&source), [2, 3, 4], "there is room: it is put once more");
    test.registry.set(Settings { most_of_one: 5, ..settings() });
    eventually("the other is taken in", || ports(&source) == [2, 3, 4, 5]).await;
    assert!(test.registry.renew("orders", "10.0.0.1:5", None).await.is_ok());
}

#[tokio::test]
async fn who_registers_just_after_an_outage_is_used_when_it_is_answered() {
    let test = test(settings());
    let source = test.source("orders");
    test.register("orders", 1, 10).await;
    test.hand.cut(true);
    tokio::time::sleep(Duration::from_millis(100)).await;
    test.clock.advance(Duration::from_secs(12));
    eventually("it lapses", || ports(&source).is_empty()).await;
    test.hand.cut(false);
    test.register("orders", 2, 10).await;
    assert_eq!(ports(&source), [1, 2]);
}

#[tokio::test]
async fn loads_are_heard_after_the_instances_that_they_are_of() {
    // Which of its tasks begins is chance.
    for _ in 0..30 {
        let test = test(Settings { loads: Loads::InStore, ..settings() });
        let written = record::write(&registration("orders", 1, 10), false, SystemTime::UNIX_EPOCH);
        test.hand.write("instances/orders/10.0.0.1:1", Some(&written), None);
        test.hand.write("loads/orders/10.0.0.1:1", Some(br#"{"cpu_utilization":0.5}"#), None);
        let load = || test.registry.list(None).instances.first().and_then(|instance| instance.load.clone());
        eventually("its load is known", || load().is_some()).await;
    }
}

#[tokio::test]
async fn whoever_has_gone_waits_for_nothing() {
    let test = test(settings());
    for service in 0..100 {
        drop(test.registry.shared.table().news(Some(&format!("s{service}"))));
    }
    assert_eq!(test.registry.shared.table().waiting(), 1);
}

#[test]
fn what_is_full_is_said_with_the_words_of_the_config() {
    let full = |bound| Trouble::Full { service: "orders".into(), bound, most: 3 }.to_string();
    assert_eq!(full(Bound::Each), "`orders` has 3 instances, and no service may have more (`registry: each`)");
    assert!(full(Bound::Most).contains("no room for `orders`: the registry has 3 instances"), "{}", full(Bound::Most));
    assert!(full(Bound::Most).contains("(`registry: most`)"));
}

#[tokio::test]
async fn a_lease_is_left_to_whoever_registers_meanwhile() {
    let test = test(Settings { loads: Loads::InStore, ..settings() });
    test.register("orders", 1, 10).await;
    let mut load = Load::default();
    load.set("cpu_utilization", 0.5);
    test.registry.renew("orders", "10.0.0.1:1", Some(load)).await.unwrap();
    let lease = test.hand.inside().entries["instances/orders/10.0.0.1:1"].lease;
    assert!(test.registry.deregister("orders", "10.0.0.1:1").await.unwrap());
    assert!(test.hand.inside().entries.is_empty(), "its load is gone as well");
    // Somebody had renewed the lease, and puts the key now.
    test.hand.write("instances/orders/10.0.0.1:1", Some(br#"{"address":"10.0.0.1","port":1,"ttl":"10s"}"#), lease);
    eventually("it is there", || test.registry.list(None).instances.len() == 1).await;
    // With another time to live it gets another lease; the same goes for the one that it had.
    test.register("orders", 1, 20).await;
    let inside = test.hand.inside();
    assert_eq!(inside.leases.len(), 2);
    assert_ne!(inside.entries["instances/orders/10.0.0.1:1"].lease, lease);
}

#[tokio::test]
async fn a_host_that_nobody_finds_is_not_used_and_that_is_said() {
    let test = test(settings());
    let source = test.source("orders");
    let named = Registration { address: "nowhere.example".into(), ..registration("orders", 1, 10) };
    let Err(Trouble::Unavailable(why)) = test.registry.register(named).await else { panic!("it was not found") };
    assert!(why.contains("its host `nowhere.example` is not found"), "{why}");
    assert!(ports(&source).is_empty());
    // No service wants it: nobody has to find it.
    let unwanted = Registration { address: "nowhere.example".into(), ..registration("stock", 1, 10) };
    assert!(test.registry.register(unwanted).await.is_ok());
}

#[tokio::test]
async fn hosts_are_bounded() {
    let test = test(settings());
    let outlet = Outlet::new(
        Wanted { service: "orders".into(), tags: Vec::new(), version: None },
        &test.resolver,
        &Handle::current(),
    );
    let named = |n: u16| {
        let registration = Registration { address: format!("h{n}.example").into(), ..registration("orders", n, 10) };
        Arc::new(record::made(registration, Revision(1), SystemTime::UNIX_EPOCH))
    };
    outlet.show((1..=1_100).map(named).collect());
    assert_eq!(outlet.hosts(), 1_000);
    let beyond = (1..=1_100).map(|n| format!("h{n}.example")).max().unwrap();
    assert_eq!(outlet.found(&beyond.into(), 999).await, Err(TooMany), "at once");
    assert_eq!(outlet.watch().borrow().state, State::Pending, "none was found yet");
    outlet.show(vec![named(7)]);
    assert_eq!(outlet.hosts(), 1);
}
