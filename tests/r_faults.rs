//! R2, R3: etcd fails while the gateway is under load. For each fault a table says what requests may get beside their answer, and for how
//! long; and then every request is held against what the backends received. Longer runs: `FAULT_SECONDS=20 FAULT_RPS=1000`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail it by panicking"
)]

#[path = "r_faults/run.rs"]
mod run;

use std::time::{Duration, Instant};

use tollgate_testkit::load::{Allowed, Got, Options};
use tollgate_testkit::{Backends, Etcd, Load, Registrant, Signal, wait_until};

use self::run::{
    INSTANCES, LONG_TTL, NONE, Node, TTL, await_renewals, cluster, load, now, outage, reconciled, registered,
};

const STALE: &str = "tollgate_registry_stale";
const SECOND: Duration = Duration::from_secs(1);
/// So much earlier than a time to live after the outage began an instance may lapse: etcd last vouched for it before that.
const VOUCHED_BEFORE: Duration = Duration::from_secs(2);
/// So long after its time to live an instance is surely not used any more, on a machine however busy.
const LAPSED: Duration = Duration::from_secs(2);

/// Three instances, registered with a gateway that keeps the registry in etcd, and load.
struct Run {
    etcd: Etcd,
    node: Node,
    registrants: Vec<Registrant>,
    load: Load,
    backends: Backends,
}

impl Run {
    /// `first`: the member that the gateway asks first. `registry`: further settings.
    fn start(first: fn(&Etcd) -> usize, ttl: Duration, registry: &str) -> (Self, usize) {
        let (etcd, backends) = (Etcd::cluster(), Backends::start(INSTANCES));
        let first = first(&etcd);
        let node = Node::with(&cluster(&etcd, first), registry);
        let registrants = registered(&backends, &[node.admin], ttl);
        let load = load(&backends, &node.targets(), Options::default());
        (Self { etcd, node, registrants, load, backends }, first)
    }

    /// Holds what became of every request against this table.
    fn reconcile(self, what: &str, table: &[Allowed]) {
        self.node.await_known(INSTANCES);
        self.load.go_on(SECOND);
        reconciled(what, self.load, table);
    }

    /// Two of three members are killed, and start again after longer than a time to live. When that began, when both ran again, and when
    /// the gateway knew all instances again.
    fn lose_quorum(&mut self, ttl: Duration) -> [Instant; 3] {
        let began = now();
        self.etcd.kill(0);
        self.etcd.kill(1);
        self.load.go_on(outage(ttl + LAPSED + SECOND));
        assert_eq!(self.node.gateway.metric(STALE), 1.0, "it is told");
        self.etcd.spawn_again(0);
        self.etcd.start_again(1);
        self.etcd.await_ready(0);
        let back = now();
        self.node.gateway.await_metric(STALE, |stale| stale == 0.0);
        self.node.await_known(INSTANCES);
        let over = now();
        self.load.go_on(SECOND);
        [began, back, over]
    }
}

#[test]
fn the_leader_is_killed_and_no_request_fails() {
    let (mut run, leader) = Run::start(Etcd::leader, LONG_TTL, "");
    run.etcd.kill(leader);
    run.load.go_on(outage(4 * SECOND));
    run.etcd.start_again(leader);
    run.reconcile("leader killed", NONE);
}

#[test]
fn the_member_that_is_asked_is_paused_and_no_request_fails() {
    let (run, follower) = Run::start(Etcd::follower, LONG_TTL, "");
    run.etcd.pause(follower);
    await_renewals(&run.registrants, 1);
    run.load.go_on(outage(SECOND));
    run.etcd.resume(follower);
    run.reconcile("member paused", NONE);
}

/// A leader that wakes up after longer than a time to live may take leases away that were renewed with its successor; those that the
/// instances have are gone then, until they renew themselves, and are told to register again.
#[test]
fn the_leader_is_paused_and_no_request_fails_unless_it_takes_leases_away() {
    let (run, leader) = Run::start(Etcd::leader, LONG_TTL, "");
    let outage = outage(4 * SECOND);
    run.etcd.pause(leader);
    run.load.go_on(outage);
    let woke = now();
    run.etcd.resume(leader);
    run.load.go_on(SECOND);
    let again = if outage > LONG_TTL { LONG_TTL / 3 + LAPSED } else { Duration::ZERO };
    run.load.go_on(again);
    let table = [Allowed { got: Got::Status(503), from: woke, until: woke + again }];
    run.reconcile("leader paused", if outage > LONG_TTL { &table } else { NONE });
}

#[test]
fn without_a_quorum_for_longer_than_the_leases_nobody_is_asked() {
    let (mut run, _) = Run::start(Etcd::leader, TTL, "");
    (0..INSTANCES).for_each(|number| drop(run.backends.arrivals(number)));
    let [began, back, _] = run.lose_quorum(TTL);
    let lease_ends = began + TTL;
    let came: Vec<_> = (0..INSTANCES).flat_map(|number| run.backends.arrivals(number)).collect();
    // Until then, on a busy machine, a lease so short may end once more.
    await_renewals(&run.registrants, 2);
    run.node.await_known(INSTANCES);
    let table = [Allowed { got: Got::Status(503), from: lease_ends - VOUCHED_BEFORE, until: now() }];
    let outcome = reconciled("quorum lost", run.load, &table);
    let unanswered = || outcome.missed.iter().map(|missed| missed.ended);
    let (first, last) = (unanswered().min().expect("503"), unanswered().max().expect("503"));
    println!(
        "quorum lost for {:?}: 503 from {:?} after it was lost until {:?} after it was back",
        back - began,
        first - began,
        last.saturating_duration_since(back)
    );
    let is_late = |at: &Instant| (lease_ends + LAPSED..back).contains(at);
    assert_eq!(came.iter().filter(|(_, at)| is_late(at)).count(), 0, "an instance was used for which nobody vouched");
}

#[test]
fn without_a_quorum_the_last_view_is_used_where_that_is_wanted() {
    let (mut run, _) = Run::start(Etcd::leader, LONG_TTL, ", hold: 10m");
    run.lose_quorum(LONG_TTL);
    await_renewals(&run.registrants, 2);
    run.reconcile("quorum lost, with hold", NONE);
}

/// The successor would know no instance; who runs does.
#[test]
fn without_a_quorum_a_gateway_that_knows_its_instances_is_not_replaced_by_one_that_does_not() {
    let (mut run, _) = Run::start(Etcd::leader, LONG_TTL, ", hold: 10m");
    let pid = run.node.gateway.pid();
    (0..2).for_each(|node| run.etcd.kill(node));
    run.node.gateway.await_metric(STALE, |stale| stale == 1.0);
    run.node.gateway.signal(Signal::USR2);
    wait_until("it is told", || run.node.gateway.status()["upgrades"]["failed"] == 1);
    let log = run.node.gateway.log();
    assert!(log.contains("the registry cannot be read: etcd: "), "{log}");
    assert_eq!(run.node.gateway.pid(), pid);
    // Who begins now knows nobody, until somebody can be asked.
    let blind = Node::with(&cluster(&run.etcd, 2), ", hold: 10m");
    assert_eq!(blind.gateway.client().get("/a").status, 503);
    run.etcd.spawn_again(0);
    run.etcd.start_again(1);
    blind.await_known(INSTANCES);
    assert_eq!(blind.gateway.client().get("/a").status, 200);
    run.node.gateway.await_metric(STALE, |stale| stale == 0.0);
    run.node.gateway.upgrade();
    assert_eq!(run.node.gateway.ended().code(), Some(0));
    run.reconcile("upgraded without a quorum, then with one", NONE);
}
