//! R1, R2: under load, an instance that registers gets its first request at once, and one that has deregistered gets none that came after
//! that; with the registry in the gateway, in etcd, and at another gateway than the one that was asked. Measured: `CHANGES=200`, with
//! `--nocapture` for the figures.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail it by panicking"
)]

#[path = "r_faults/run.rs"]
mod run;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tollgate_testkit::load::{Histogram, Options};
use tollgate_testkit::{Backends, Etcd, Load, Registrant, wait_until};

use self::run::{NONE, Node, TOKEN, cluster, load, now, reconciled};

/// Changes of each kind, in the suite.
const CHANGES: u64 = 20;
/// Instances that take turns to come and go; so many changes lie between two of one.
const TURNS: usize = 10;
const TTL: Duration = Duration::from_secs(60);
/// Within which 99 of 100 first requests must come, where that is measured.
const SOON: Duration = Duration::from_millis(100);
/// The same in the suite, on a machine however busy.
const AMPLE: Duration = Duration::from_secs(2);

/// How long it took from when a change was sent, and from its acknowledgement.
#[derive(Default)]
struct Took {
    sent: Histogram,
    acknowledged: Histogram,
}

impl Took {
    fn add(&mut self, [sent, acknowledged]: [Instant; 2], seen: Instant) {
        self.sent.add(seen.saturating_duration_since(sent));
        self.acknowledged.add(seen.saturating_duration_since(acknowledged));
    }

    fn shown(&self) -> String {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.acknowledged.quantile(share));
        let [sent_half, sent_most] = [0.5, 0.99].map(|share| self.sent.quantile(share));
        format!(
            "p50 {half:?}, p99 {most:?}, at most {all:?} (from when it was sent: p50 {sent_half:?}, p99 {sent_most:?})"
        )
    }
}

/// What was measured.
#[derive(Default)]
struct Measured {
    /// From a registration to the first request.
    first: Took,
    /// Of the deregistered instances, those that got requests which came after the acknowledgement.
    asked_after: u64,
    /// Until the last of these had come.
    last: Histogram,
}

/// How many changes, and within which time they must have come to their end.
fn asked() -> (u64, Duration) {
    match std::env::var("CHANGES") {
        Ok(count) => (count.parse().expect("a number"), SOON),
        Err(_) => (CHANGES, AMPLE),
    }
}

/// Registers instances with the gateway at `admin`, and takes them away, while another one that stays is asked, too.
fn measure(backends: &Backends, load: &Load, admin: SocketAddr) -> Measured {
    let mut measured = Measured::default();
    for change in 0..asked().0 {
        let number = 1 + usize::try_from(change).unwrap() % TURNS;
        drop(backends.arrivals(number));
        let sent = now();
        let instance = Registrant::start(&[admin], TOKEN, "orders", backends.address(number), TTL);
        let acknowledged = now();
        let mut came = Vec::new();
        wait_until("the first request", || {
            came = backends.arrivals(number);
            !came.is_empty()
        });
        measured.first.add([sent, acknowledged], came[0].1);
        load.await_answers(20);
        instance.deregister();
        // What was begun before may still be on its way there.
        let (gone, first_after) = (now(), load.next_id());
        let mut last = None;
        loop {
            load.await_answers(100);
            let came = backends.arrivals(number).into_iter().filter(|(id, _)| *id >= first_after).map(|(_, at)| at);
            let Some(at) = came.max() else { break };
            let passed = at.saturating_duration_since(gone);
            assert!(passed <= asked().1, "it is still asked {passed:?} after it has deregistered");
            last = Some(passed);
        }
        measured.asked_after += u64::from(last.is_some());
        last.into_iter().for_each(|last| measured.last.add(last));
    }
    measured
}

/// Makes the changes at the gateway with this number (`at`); load comes to the first one.
fn run(what: &str, nodes: &[Node], at: usize) -> Measured {
    let backends = Backends::start(1 + TURNS);
    let _stays = Registrant::start(&[nodes[0].admin], TOKEN, "orders", backends.address(0), TTL);
    let load = load(&backends, &nodes[0].targets(), Options::default());
    let measured = measure(&backends, &load, nodes[at].admin);
    let (count, most) = asked();
    println!("{what}, {count} changes: first request after {}", measured.first.shown());
    let (asked_after, longest) = (measured.asked_after, measured.last.quantile(1.0));
    println!(
        "{what}, {count} changes: {asked_after} got requests after they had deregistered, the last {longest:?} after"
    );
    reconciled(what, load, NONE);
    assert!(measured.first.acknowledged.quantile(0.99) <= most, "{}", measured.first.shown());
    measured
}

#[test]
fn a_change_holds_once_it_is_acknowledged_with_the_registry_in_the_gateway() {
    let measured = run("in the gateway", &[Node::start("")], 0);
    assert_eq!(measured.asked_after, 0);
}

#[test]
fn a_change_holds_once_it_is_acknowledged_with_the_registry_in_etcd() {
    let etcd = Etcd::cluster();
    let measured = run("in etcd", &[Node::start(&cluster(&etcd, 0))], 0);
    assert_eq!(measured.asked_after, 0);
}

#[test]
fn another_gateway_hears_of_a_change_by_etcd() {
    let etcd = Etcd::cluster();
    let nodes = [0, 1].map(|first| Node::start(&cluster(&etcd, first)));
    run("in etcd, at another gateway", &nodes, 1);
}
