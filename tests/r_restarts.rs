//! R1, R2, L5: gateways are upgraded and restarted, and instances exchanged, while instances register themselves and all are under load. For
//! each a table says what requests may get beside their answer, and for how long; and then every request is held against what the
//! backends received. Longer and more: `FAULT_SECONDS=20 FAULT_RPS=2000`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's helpers fail it by panicking"
)]

#[path = "r_faults/run.rs"]
mod run;

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tollgate_testkit::load::{Allowed, Got, Judged, Options, Target, Way};
use tollgate_testkit::{Backends, Etcd, Peer, RawClient, free_port, wait_until};

use self::run::{
    INSTANCES, LONG_TTL, NONE, Node, TOKEN, TOLLGATE, TTL, await_renewals, cluster, load, now, outage, rate,
    reconciled, registered,
};

/// How long each request is with its backend.
const WORK: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// A gateway that keeps the registry itself.
fn alone() -> Node {
    Node::start("drain: 10s")
}

#[test]
fn a_gateway_is_upgraded_in_place_and_no_request_fails() {
    let etcd = Etcd::cluster();
    let kept = [("alone", alone(), TTL), ("with etcd", Node::start(&cluster(&etcd, 0)), LONG_TTL)];
    for (what, mut node, ttl) in kept {
        let backends = Backends::slow(INSTANCES, WORK);
        let registrants = registered(&backends, &[node.admin], ttl);
        let load = load(&backends, &node.targets(), Options::default());
        node.gateway.upgrade();
        // They are by the new process now.
        await_renewals(&registrants, 2);
        node.await_known(INSTANCES);
        assert_eq!(node.gateway.ended().code(), Some(0));
        load.await_answers(u64::from(rate()));
        reconciled(&format!("upgraded in place, {what}"), load, NONE);
    }
}

/// It is away for longer than an instance's time to live; those that were there are there as soon as it is.
#[test]
fn a_gateway_that_is_restarted_has_lost_no_instance() {
    let (mut node, backends) = (alone(), Backends::slow(INSTANCES, WORK));
    let registrants = registered(&backends, &[node.admin], TTL);
    let options = Options { retries: Judged::Allowed, ..Options::default() };
    let load = load(&backends, &node.targets(), options);
    let went = now();
    node.gateway.terminate();
    assert_eq!(node.gateway.ended().code(), Some(0));
    load.go_on(outage(TTL + SECOND));
    node.gateway.start_again(TOLLGATE);
    let came = now();
    (0..INSTANCES).for_each(|number| drop(backends.arrivals(number)));
    load.await_answers(u64::from(rate()));
    for number in 0..INSTANCES {
        assert!(!backends.arrivals(number).is_empty(), "each instance is asked");
    }
    await_renewals(&registrants, 2);
    assert_eq!(node.gateway.log().matches("an instance registered").count(), INSTANCES, "none had to register again");
    println!("restarted: from the signal until it was ready, {:?}", came - went);
    let outcome = reconciled("restarted", load, &[Allowed { got: Got::NoConnection, from: went, until: came }]);
    assert!(outcome.refused > 0, "it was away: {outcome}");
}

/// HAProxy before these gateways, which it asks whether they are ready.
fn haproxy(nodes: &[Node]) -> (Peer, SocketAddr) {
    let front = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = |(number, node): (usize, &Node)| {
        let (to, health) = (node.gateway.address(), node.gateway.health_address().port());
        format!("  server g{number} {to} check port {health} inter 200ms fall 2 rise 1\n")
    };
    let servers: String = nodes.iter().enumerate().map(server).collect();
    let haproxy = Peer::haproxy(&format!(
        "listen front\n  mode http\n  bind {front}\n  option httpchk GET /health/ready\n{servers}"
    ));
    wait_until("HAProxy listens", || RawClient::is_accepted(front));
    (haproxy, front)
}

#[test]
fn gateways_behind_haproxy_are_restarted_one_by_one_and_no_request_fails() {
    let (etcd, backends) = (Etcd::cluster(), Backends::slow(INSTANCES, WORK));
    let sections = format!("{}\ndrain: {{ lead: 2s, time: 10s }}", cluster(&etcd, 0));
    let mut nodes = [(); 2].map(|()| Node::start(&sections));
    let (_haproxy, front) = haproxy(&nodes);
    let registrants = registered(&backends, &nodes.each_ref().map(|node| node.admin), LONG_TTL);
    let load = load(&backends, &[Way::Kept, Way::New].map(|way| Target::new(front, way)), Options::default());
    for node in &mut nodes {
        node.gateway.restart(TOLLGATE);
        node.await_known(INSTANCES);
        load.go_on(SECOND);
        let answered = "tollgate_requests_total{api=\"\",route=\"/**\",status=\"2xx\"}";
        node.gateway.await_metric(answered, |count| count > 0.0);
    }
    await_renewals(&registrants, 1);
    reconciled("two gateways restarted behind HAProxy", load, NONE);
}

/// A process under `tollgate register` that stands for a backend: it passes on what comes, and hangs up at once when it is told to stop.
struct Wrapped {
    child: Child,
    _folder: TempDir,
}

impl Wrapped {
    fn start(node: &Node, backend: SocketAddr) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = folder.path().join("haproxy.conf");
        let text = format!(
            "defaults\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen instance\n  mode tcp\n  bind 127.0.0.1:{port}\n  server backend {backend}\n"
        );
        fs::write(&config, text).unwrap();
        let child = Command::new(TOLLGATE)
            .args(["register", "--service", "orders", "--ttl", "10s", "--drain", "1s", "--port", &port.to_string()])
            .args(["--gateway", &format!("http://{}", node.admin), "--", "haproxy", "-db", "-f"])
            .arg(&config)
            .env("TOLLGATE_TOKEN", TOKEN)
            .env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _folder: folder }
    }

    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        wait_until("the wrapper ends", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // The second one is passed on at once.
            for _ in 0..2 {
                let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            }
            let _ = self.child.wait();
        }
    }
}

/// One after the other, each by a new one. They register with the first of the gateways; load comes to all.
fn exchange(what: &str, nodes: &[Node]) {
    let backends = Backends::slow(INSTANCES, WORK);
    let known = |count: usize| nodes.iter().for_each(|node| node.await_known(count));
    let start = |number: usize| Wrapped::start(&nodes[0], backends.address(number));
    let mut instances: Vec<Wrapped> = (0..INSTANCES).map(start).collect();
    known(INSTANCES);
    let targets: Vec<Target> = nodes.iter().flat_map(Node::targets).collect();
    let load = load(&backends, &targets, Options::default());
    for number in 0..INSTANCES {
        instances.push(start(number));
        known(INSTANCES + 1);
        instances.remove(0).stop();
        known(INSTANCES);
    }
    load.await_answers(u64::from(rate()));
    reconciled(what, load, NONE);
}

#[test]
fn instances_are_exchanged_one_by_one_and_no_request_fails() {
    exchange("instances exchanged", &[alone()]);
}

#[test]
fn instances_are_exchanged_one_by_one_of_which_one_gateway_hears_from_etcd() {
    let etcd = Etcd::cluster();
    let nodes = [0, 1].map(|first| Node::start(&cluster(&etcd, first)));
    exchange("instances exchanged, two gateways", &nodes);
}
