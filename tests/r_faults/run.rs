//! What the runs share in which something fails under load: gateways, instances that register themselves, and the load.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tollgate_core::clock::Clock;
use tollgate_testkit::load::{Allowed, Options, Outcome, Target, Way};
use tollgate_testkit::{Backends, Etcd, Gateway, Load, Registrant, free_port, wait_until};

/// The gateway.
pub(crate) const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");
/// Who shows this may register.
pub(crate) const TOKEN: &str = "orders-token-of-the-test";
/// What requests may get beside their answer: nothing.
pub(crate) const NONE: &[Allowed] = &[];
/// For how long an instance is there after it last said so.
pub(crate) const TTL: Duration = Duration::from_secs(3);
/// The same where etcd may be without a leader meanwhile: it finds one within a second, but of three that must agree, two may vote for
/// themselves, and do so again.
pub(crate) const LONG_TTL: Duration = Duration::from_secs(10);
/// How many there are.
pub(crate) const INSTANCES: usize = 3;
/// How many of them a gateway knows.
const UP: &str = "tollgate_registry_instances{service=\"orders\",state=\"up\"}";
/// All ways to come in.
pub(crate) const WAYS: [Way; 3] = [Way::Kept, Way::New, Way::Http2];

/// Requests a second: `FAULT_RPS`.
pub(crate) fn rate() -> u32 {
    u32::try_from(set("FAULT_RPS", 1000)).unwrap()
}

/// For how long what fails is gone: `FAULT_SECONDS`, and so long in any case.
pub(crate) fn outage(at_least: Duration) -> Duration {
    Duration::from_secs(set("FAULT_SECONDS", 0)).max(at_least)
}

fn set(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

pub(crate) fn now() -> Instant {
    Clock::real().now()
}

/// A gateway, and where its admin API is.
pub(crate) struct Node {
    pub(crate) gateway: Gateway,
    pub(crate) admin: SocketAddr,
}

impl Node {
    /// With these sections beside. The gateway tries nothing again but what it may on a connection that it had used before.
    pub(crate) fn start(sections: &str) -> Self {
        Self::with(sections, "")
    }

    /// The same, with these settings of the registry.
    pub(crate) fn with(sections: &str, registry: &str) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health, \"{admin}\": admin }}\nworkers: 2\nlog: {{ access: off }}\n\
             {sections}\nregistry: {{ register: {{ orders: \"${{env:ORDERS_TOKEN}}\" }}{registry} }}\n\
             services: {{ orders: {{ registry: orders, retry: none }} }}\nroutes: {{ /**: orders }}\n"
        );
        let gateway = Gateway::start_with(TOLLGATE, &config, &[], &[("ORDERS_TOKEN", TOKEN)]);
        Self { gateway, admin }
    }

    /// Waits until it knows so many instances.
    pub(crate) fn await_known(&self, count: usize) {
        self.gateway.await_metric(UP, |up| up == count as f64);
    }

    /// All ways to this one.
    pub(crate) fn targets(&self) -> Vec<Target> {
        WAYS.map(|way| Target::new(self.gateway.address(), way)).to_vec()
    }
}

/// The section that names these members, beginning with this one, which is therefore asked first.
pub(crate) fn cluster(etcd: &Etcd, first: usize) -> String {
    let mut members = etcd.endpoints();
    members.rotate_left(first);
    format!("cluster: {{ etcd: {members:?} }}")
}

/// Backends, each registered with whichever of the gateways answers.
pub(crate) fn registered(backends: &Backends, gateways: &[SocketAddr], ttl: Duration) -> Vec<Registrant> {
    let start = |number| Registrant::start(gateways, TOKEN, "orders", backends.address(number), ttl);
    (0..INSTANCES).map(start).collect()
}

/// Waits until each was renewed so often from now on.
pub(crate) fn await_renewals(registrants: &[Registrant], times: u64) {
    let enough: Vec<u64> = registrants.iter().map(|one| one.renewals() + times).collect();
    let are_renewed = || registrants.iter().zip(&enough).all(|(one, enough)| one.renewals() >= *enough);
    wait_until("instances are renewed", are_renewed);
}

/// Three GETs for each POST; begun, and flowing.
pub(crate) fn load(backends: &Backends, targets: &[Target], options: Options) -> Load {
    let load = Load::start(backends, targets, Options { rate: rate(), ..options });
    load.await_answers(u64::from(rate()) / 2);
    load
}

/// Ends the load, shows what came of it, and holds that against the table.
#[track_caller]
pub(crate) fn reconciled(what: &str, load: Load, table: &[Allowed]) -> Outcome {
    let outcome = load.stop();
    println!("{what}: {}", outcome.to_string().lines().next().unwrap_or_default());
    outcome.reconciles(table);
    outcome
}
