//! K2, T1: counters that several gateways share are those of memory, and exact: the contract of `Counters`, on a real Redis that is killed, paused
//! and replaced. Four nodes stand in for gateways; `t1_cluster.rs` has real ones.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail it by panicking")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tollgate_core::clock::Clock;
use tollgate_core::counters::{Amount, Counter, Counters, Each, Limit, StoreFacts, Taken, Taking, WhenAlone};
use tollgate_store::{Credentials, MemoryCounters, RedisAt, RedisCounters, RedisSettings};
use tollgate_testkit::{Redis, free_port, wait_until};

const SECOND: Duration = Duration::from_secs(1);

/// One gateway's view of the counters.
struct Node {
    runtime: Runtime,
    counters: RedisCounters,
    facts: Arc<StoreFacts>,
}

impl Node {
    fn new(at: RedisAt) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let facts = Arc::new(StoreFacts::default());
        let settings = RedisSettings {
            at,
            credentials: Credentials::default(),
            tls: None,
            prefix: "test".to_owned(),
            // On a machine that is busy, milliseconds mean little.
            timeout: Duration::from_millis(250),
        };
        let handle = runtime.handle();
        let counters = RedisCounters::new(settings, 10_000, Clock::real(), handle, &Arc::default(), &facts);
        counters.start();
        Self { runtime, counters, facts }
    }

    fn counter(&self, id: &str, amount: Amount) -> Arc<dyn Counter> {
        self.counters.counter(&Limit { id: id.to_owned(), amount, alone: WhenAlone::Share })
    }

    fn take(&self, counter: &Arc<dyn Counter>, key: &str, cost: u32) -> Option<Taken> {
        match counter.take(key.as_bytes(), cost) {
            Taking::Now(taken) => Some(taken),
            Taking::Later(later) => self.runtime.block_on(later).ok(),
        }
    }

    fn passes(&self, counter: &Arc<dyn Counter>, key: &str) -> bool {
        self.take(counter, key, 1).is_some_and(|taken| taken.refused.is_none())
    }

    /// Until it knows of a replica of this master, and waits for it with what it writes.
    fn await_waiting(&self, master: &Redis) {
        let waits = || {
            let told = master.tell("INFO commandstats");
            let calls =
                told.split("cmdstat_wait:calls=").nth(1).and_then(|calls| calls.split(',').next()?.parse().ok());
            calls.unwrap_or(0_u32)
        };
        let counter = self.counter("any", day(9999));
        wait_until("it waits for the replica", || {
            let before = waits();
            self.passes(&counter, "anybody") && waits() > before
        });
    }

    fn is_up(&self) -> bool {
        self.facts.is_up.load(Ordering::Relaxed)
    }
}

fn at(redis: &Redis) -> RedisAt {
    RedisAt::Server { host: "127.0.0.1".to_owned(), port: redis.port(), database: 0 }
}

/// Four nodes that know of each other.
fn four(at: &RedisAt) -> Vec<Node> {
    let nodes: Vec<Node> = (0..4).map(|_| Node::new(at.clone())).collect();
    let all_know = || nodes.iter().all(|node| node.is_up() && node.facts.gateways.load(Ordering::Relaxed) == 4);
    wait_until("four nodes know of each other", all_know);
    nodes
}

fn day(count: u32) -> Amount {
    Amount::Calendar { count, each: Each::Day, zone: jiff::tz::TimeZone::UTC }
}

/// All amounts of which little is given, so that it is exact.
fn small() -> [(&'static str, Amount); 4] {
    [
        ("day", day(7)),
        ("bucket", Amount::Bucket { count: 7, period: SECOND * 3600, burst: 7 }),
        ("fast", Amount::Bucket { count: 7000, period: SECOND * 3600, burst: 7 }),
        ("sliding", Amount::Sliding { count: 7, period: SECOND * 3600 }),
    ]
}

#[test]
fn what_is_small_is_exact_over_all_nodes() {
    let redis = Redis::start();
    let nodes = four(&at(&redis));
    for (id, amount) in small() {
        let passed: usize = thread::scope(|scope| {
            let tries = nodes.iter().map(|node| {
                let counter = node.counter(id, amount.clone());
                scope.spawn(move || (0..20).filter(|_| node.passes(&counter, "alice")).count())
            });
            let tries: Vec<_> = tries.collect();
            tries.into_iter().map(|passed| passed.join().unwrap()).sum()
        });
        // What comes in meanwhile is given, too: of 7000 an hour two in a second.
        assert!((7..=if id == "fast" { 12 } else { 7 }).contains(&passed), "{id}: {passed}");
        let other = nodes[0].counter(id, amount);
        assert!(nodes[0].passes(&other, "bob"), "{id}: another caller has their own");
    }
}

#[test]
fn redis_and_memory_say_the_same() {
    let redis = Redis::start();
    let node = Node::new(at(&redis));
    wait_until("Redis was asked", || node.is_up());
    let memory = MemoryCounters::new(1000, Clock::real(), &Arc::default());
    for (id, amount) in small() {
        let (shared, own) = (
            node.counter(id, amount.clone()),
            memory.counter(&Limit { id: id.to_owned(), amount, alone: WhenAlone::Share }),
        );
        for cost in [1, 3, 2, 2, 1, 1] {
            let told = node.take(&shared, "alice", cost).unwrap();
            let Taking::Now(wanted) = own.take(b"alice", cost) else { panic!("memory need not wait") };
            assert_eq!((told.refused.is_none(), told.left), (wanted.refused.is_none(), wanted.left), "{id} {cost}");
            // Parts of windows that slide begin when the clock says so.
            let slack = if id == "sliding" { SECOND * 120 } else { SECOND * 2 };
            let near = |told: Duration, wanted: Duration| told.abs_diff(wanted) < slack;
            assert!(near(told.whole, wanted.whole), "{id}: whole {told:?} {wanted:?}");
            let (wait, want) = (told.refused.unwrap_or_default(), wanted.refused.unwrap_or_default());
            // What is used up is looked at again after a second.
            assert!(near(wait, want) || (told.left == 0 && wait <= want), "{id}: {told:?} {wanted:?}");
        }
        shared.give_back(b"alice", 2);
        wait_until("what was given back is there", || node.passes(&shared, "alice"));
        // Of 7000 an hour two come in every second.
        assert!(node.passes(&shared, "alice") && (id == "fast" || !node.passes(&shared, "alice")), "{id}");
    }
}

/// What was admitted, and when.
#[derive(Default)]
struct Admitted(Vec<Duration>);

impl Admitted {
    /// In no time t more than burst + t × rate; `slack`: how late an admission may have been noted.
    fn never_more_than(&self, rate: f64, burst: f64, slack: Duration) {
        let mut most_before = 0.0_f64;
        for (number, at) in self.0.iter().enumerate() {
            let number = number as f64;
            let at = at.as_secs_f64() * rate;
            most_before = most_before.max(at - number);
            let level = number + 1.0 - at + most_before;
            let allowed = burst + slack.as_secs_f64() * rate;
            assert!(level <= allowed + 1e-6, "{level} of {allowed} after {:?}", self.0[number as usize]);
        }
    }

    fn between(&self, from: Duration, to: Duration) -> usize {
        self.0.iter().filter(|at| (from..to).contains(*at)).count()
    }
}

/// All nodes take as much as they get until `run` is done.
fn flood(nodes: &[Node], amount: &Amount, run: impl FnOnce(Instant)) -> Admitted {
    let (began, over) = (Clock::real().now(), AtomicBool::new(false));
    let admitted = thread::scope(|scope| {
        let floods: Vec<_> = nodes
            .iter()
            .map(|node| {
                let (counter, over) = (node.counter("flood", amount.clone()), &over);
                scope.spawn(move || {
                    let mut admitted = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        if node.passes(&counter, "all") {
                            admitted.push(Clock::real().now() - began);
                        } else {
                            // A client that comes again at once would only keep the machine busy.
                            thread::yield_now();
                            #[expect(
                                clippy::disallowed_methods,
                                reason = "an open loop: refused clients come again later"
                            )]
                            thread::sleep(Duration::from_micros(500));
                        }
                    }
                    admitted
                })
            })
            .collect();
        run(began);
        over.store(true, Ordering::Relaxed);
        floods.into_iter().flat_map(|flood| flood.join().unwrap()).collect::<Vec<_>>()
    });
    let mut admitted = Admitted(admitted);
    admitted.0.sort_unstable();
    admitted
}

#[expect(clippy::disallowed_methods, reason = "the measured time itself")]
fn lasts(time: Duration) {
    thread::sleep(time);
}

#[test]
fn leases_give_never_more_and_hardly_less_than_the_limit() {
    let redis = Redis::start();
    let nodes = four(&at(&redis));
    for (rate, burst) in [(1000, 1000), (2000, 500)] {
        let amount = Amount::Bucket { count: rate, period: SECOND, burst };
        let asked = || nodes.iter().map(|node| node.facts.answered.load(Ordering::Relaxed)).sum::<u64>();
        let before = asked();
        let admitted = flood(&nodes, &amount, |_| lasts(SECOND * 5));
        admitted.never_more_than(rate.into(), burst.into(), Duration::from_millis(60));
        // Once the bucket is empty: what comes in is given, but for what was leased when time was up.
        let steady = admitted.between(SECOND * 2, SECOND * 5) as f64 / (f64::from(rate) * 3.0);
        assert!(steady > 0.97, "{rate}: {steady}");
        let share = (asked() - before) as f64 / admitted.0.len() as f64;
        assert!(share < 0.5, "{rate}: Redis is asked for {share} of what passes");
    }
}

#[test]
fn a_store_that_is_killed_and_comes_back_lets_never_more_pass() {
    let mut redis = Redis::with("");
    let nodes = four(&at(&redis));
    let (rate, burst) = (400, 400);
    let amount = Amount::Bucket { count: rate, period: SECOND, burst };
    let (down, back) = (AtomicU64::new(0), AtomicU64::new(0));
    let admitted = flood(&nodes, &amount, |began| {
        let note = |to: &AtomicU64| {
            let passed = (Clock::real().now() - began).as_millis();
            to.store(u64::try_from(passed).unwrap(), Ordering::Relaxed);
        };
        lasts(SECOND * 2);
        redis.kill();
        note(&down);
        lasts(SECOND * 6);
        redis.start_again();
        note(&back);
        wait_until("counters are shared again", || nodes.iter().all(Node::is_up));
        lasts(SECOND * 4);
    });
    let millis = |at: &AtomicU64| Duration::from_millis(at.load(Ordering::Relaxed));
    let (down, back) = (millis(&down), millis(&back));
    admitted.never_more_than(rate.into(), burst.into(), Duration::from_millis(60));
    let rate_between = |from: Duration, to: Duration| admitted.between(from, to) as f64 / (to - from).as_secs_f64();
    // Each gives its share of a quarter, once the others can know.
    let alone = rate_between(down + SECOND * 2, back);
    assert!((0.9..=1.01).contains(&(alone / f64::from(rate))), "alone: {alone} a second");
    let again = rate_between(back + SECOND * 2, back + SECOND * 4);
    assert!((0.9..=1.01).contains(&(again / f64::from(rate))), "again: {again} a second");
}

#[test]
fn counts_of_the_calendar_outlive_a_store_that_writes_them_down() {
    let mut redis = Redis::start();
    let nodes = four(&at(&redis));
    let counters: Vec<_> = nodes.iter().map(|node| node.counter("once", day(1))).collect();
    assert!(nodes[0].passes(&counters[0], "alice"));
    redis.kill();
    wait_until("all count alone", || nodes.iter().all(|node| !node.is_up()));
    for (node, counter) in nodes.iter().zip(&counters) {
        assert_eq!(node.take(counter, "alice", 1), None, "nobody can tell");
        assert_eq!(node.take(counter, "bob", 1), None, "nobody can tell");
    }
    redis.start_again();
    wait_until("counters are shared again", || nodes.iter().all(Node::is_up));
    assert!(!nodes.iter().zip(&counters).any(|(node, counter)| node.passes(counter, "alice")));
    assert_eq!(nodes.iter().zip(&counters).filter(|(node, counter)| node.passes(counter, "bob")).count(), 1);
}

#[test]
fn a_master_that_fails_is_replaced_and_nothing_is_given_twice() {
    let mut master = Redis::start();
    let replica = master.replica();
    wait_until("the replica is in step", || master.ask("WAIT 1 100").as_deref() == Some(":1"));
    let sentinels: Vec<Redis> = (0..3).map(|_| master.sentinel(2)).collect();
    let nodes = four(&RedisAt::Sentinels {
        nodes: sentinels.iter().map(|sentinel| ("127.0.0.1".to_owned(), sentinel.port())).collect(),
        master: "shop".to_owned(),
        credentials: Credentials::default(),
        database: 0,
    });
    wait_until("Sentinels know of the replica and of each other", || {
        sentinels
            .iter()
            .all(|sentinel| sentinel.ask("SENTINEL CKQUORUM shop").is_some_and(|told| told.starts_with("+OK 3")))
            && sentinels.iter().all(|sentinel| sentinel.ask("SENTINEL REPLICAS shop").as_deref() == Some("*1"))
    });
    let once: Vec<_> = nodes.iter().map(|node| node.counter("once", day(1))).collect();
    nodes.iter().for_each(|node| node.await_waiting(&master));
    for user in 0..20 {
        assert!(nodes[user % 4].passes(&once[user % 4], &format!("user{user}")));
    }
    let (rate, burst) = (400, 400);
    let amount = Amount::Bucket { count: rate, period: SECOND, burst };
    let admitted = flood(&nodes, &amount, |_| {
        lasts(SECOND);
        master.kill();
        wait_until("they noticed", || nodes.iter().all(|node| !node.is_up()));
        wait_until("counters are shared again", || nodes.iter().all(Node::is_up));
        lasts(SECOND * 3);
    });
    admitted.never_more_than(rate.into(), burst.into(), Duration::from_millis(60));
    assert_eq!(replica.ask("ROLE").as_deref(), Some("*3"));
    for user in 0..20 {
        for (node, counter) in nodes.iter().zip(&once) {
            assert!(!node.passes(counter, &format!("user{user}")), "user{user} came twice");
        }
    }
}

#[test]
fn a_replica_that_is_behind_keeps_nobody_from_being_served() {
    let master = Redis::start();
    let replica = master.replica();
    wait_until("the replica is in step", || master.ask("WAIT 1 100").as_deref() == Some(":1"));
    let node = Node::new(at(&master));
    wait_until("Redis was asked", || node.is_up());
    node.await_waiting(&master);
    replica.pause();
    let counter = node.counter("day", day(3));
    assert_eq!((0..5).filter(|_| node.passes(&counter, "alice")).count(), 3);
}

#[test]
fn a_store_that_does_not_answer_is_waited_for_a_moment_only() {
    let redis = Redis::start();
    let node = Node::new(at(&redis));
    wait_until("Redis was asked", || node.is_up());
    let counter = node.counter("slow", day(5));
    assert!(node.passes(&counter, "alice"));
    redis.pause();
    let began = Clock::real().now();
    assert_eq!(node.take(&counter, "alice", 1), None);
    let took = Clock::real().now() - began;
    assert!(took < SECOND, "{took:?}");
    wait_until("it counts alone", || !node.is_up());
    let began = Clock::real().now();
    (0..1000).for_each(|_| assert_eq!(node.take(&counter, "alice", 1), None));
    let took = Clock::real().now() - began;
    assert!(took < Duration::from_millis(250), "nobody is waited for any more: {took:?}");
    redis.resume();
    wait_until("counters are shared again", || node.is_up());
    // What nobody waited for was counted.
    assert!((1..=4).contains(&(0..9).filter(|_| node.passes(&counter, "alice")).count()));
}

/// Three masters of a Cluster, each with a third of the slots.
fn cluster() -> Vec<Redis> {
    let config = || format!("cluster-enabled yes\ncluster-node-timeout 2000\ncluster-port {}\n", free_port());
    let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(&config())).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(nodes.iter().map(Redis::address))
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .expect("redis-cli is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let is_whole = |node: &Redis| node.tell("CLUSTER INFO").contains("cluster_state:ok");
    wait_until("the Cluster is whole", || nodes.iter().all(is_whole));
    nodes
}

#[test]
fn a_cluster_counts_as_one_server_does() {
    let mut servers = cluster();
    let nodes = four(&RedisAt::Cluster { nodes: vec![("127.0.0.1".to_owned(), servers[0].port())] });
    let once: Vec<_> = nodes.iter().map(|node| node.counter("once", day(1))).collect();
    for user in 0..30 {
        let user = format!("user{user}");
        assert_eq!(nodes.iter().zip(&once).filter(|(node, counter)| node.passes(counter, &user)).count(), 1, "{user}");
    }
    let rate = 400;
    let amount = Amount::Bucket { count: rate, period: SECOND, burst: rate };
    let admitted = flood(&nodes, &amount, |_| {
        lasts(SECOND * 2);
        servers[1].kill();
        wait_until("they noticed", || nodes.iter().all(|node| !node.is_up()));
        lasts(SECOND * 2);
        servers[1].start_again();
        wait_until("counters are shared again", || nodes.iter().all(Node::is_up));
        lasts(SECOND * 2);
    });
    admitted.never_more_than(rate.into(), rate.into(), Duration::from_millis(60));
    assert!(admitted.0.len() > rate as usize * 3, "{}", admitted.0.len());
}

#[test]
fn what_stands_in_the_store_tells_nobody_who_called() {
    let redis = Redis::start();
    let node = Node::new(at(&redis));
    wait_until("Redis was asked", || node.is_up());
    for (id, amount) in small() {
        assert!(node.passes(&node.counter(id, amount), "alice@example.com"));
    }
    let text = redis.tell("KEYS *");
    assert!(text.contains("test:c:") && text.contains("test:b:") && text.contains("test:s:"), "{text}");
    assert!(!text.contains("alice"), "{text}");
}
