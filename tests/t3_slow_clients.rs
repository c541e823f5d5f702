//! T3: a thousand slow clients of each kind take nothing from the others, and are gone in time.
//!
//! What is promised is told by [`Run::broken`], which a gateway without limits must break: else it would say nothing.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test's helpers fail it by panicking")]

use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate_testkit::load::{Judged, Options, Outcome, Target, Way};
use tollgate_testkit::slow::{MANNERS, allow_open_files};
use tollgate_testkit::{Backends, Deadline, Gateway, Load, Manner, SlowClients, wait_until};

const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// How many there are of each kind.
const EACH: u32 = 1000;
/// Within this time they come.
const COMING: Duration = Duration::from_secs(4);
/// What each of them may take, and how much more until it is gone.
const LIMIT: Duration = Duration::from_secs(3);
const MORE: Duration = Duration::from_secs(2);
/// What nobody else may take.
const SLOWEST: Duration = Duration::from_millis(250);
/// What the memory for one of them may be on average: a connection, and a buffer for those that have something on its way.
const KIB_EACH: u64 = 100;

const LIMITS: &str = "head_timeout: 3s, keep_alive: 3s, pace: { grace: 3s }";
const NO_LIMITS: &str = "head_timeout: 1h, keep_alive: 1h, pace: none";

/// They need the machine, and its open files, for themselves.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    allow_open_files(20_000);
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In front of a service for the good, and one for the slow, so that they meet in the gateway alone.
fn gateway(backends: &Backends, others: &Backends, limits: &str) -> Gateway {
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 2\nlimits: {{ {limits} }}\n\
         log: {{ access: off }}\nroutes: {{ /load/**: \"{}\", /**: \"{}\", /idle: {{ reply: 200 }} }}\n",
        backends.address(0),
        others.address(0)
    );
    Gateway::start(TOLLGATE, &config, &[])
}

fn good_clients(backends: &Backends, gateway: &Gateway) -> Load {
    let targets = [Way::Kept, Way::New, Way::Http2].map(|way| Target::new(gateway.address(), way));
    // One that rested too long is closed, and then another is opened.
    let options = Options { rate: 100, posts: 4, body: 2000, retries: Judged::Allowed, ..Options::default() };
    Load::start(backends, &targets, options)
}

/// What came of it.
struct Run {
    good: Outcome,
    slow: Vec<(Manner, SlowClients)>,
    /// How much more memory there was for them at most, and afterwards, in KiB.
    grown: u64,
    kept: u64,
    /// Whoever is there yet is there because of it.
    gateway: Gateway,
}

impl Run {
    /// With these limits.
    fn new(limits: &str) -> Self {
        let (backends, others) = (Backends::start(1), Backends::start(1));
        let gateway = gateway(&backends, &others, limits);
        let good = good_clients(&backends, &gateway);
        good.await_answers(100);
        let before = gateway.resident_kib();
        let start = |manner| (manner, SlowClients::start(manner, EACH, COMING, gateway.address(), "/much"));
        let slow: Vec<_> = MANNERS.into_iter().map(start).collect();
        wait_until("all of them are there", || slow.iter().all(|(_, clients)| clients.unborn() == 0));
        let patience = Deadline::after(LIMIT + MORE);
        while patience.left().is_some() && slow.iter().any(|(_, clients)| clients.alive() > 0) {
            good.await_answers(10);
        }
        // Some more, now that they are gone.
        good.await_answers(200);
        let grown = gateway.peak_kib().saturating_sub(before);
        let kept = gateway.resident_kib().saturating_sub(before);
        Self { good: good.stop(), slow, grown, kept, gateway }
    }

    /// What of all that is promised does not hold.
    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let slowest = self.good.latency.quantile(1.0);
        if !self.good.is_good() || slowest > SLOWEST {
            broken.push(format!("good clients: {}", self.good));
        }
        for (manner, clients) in &self.slow {
            let (alive, longest) = (clients.alive(), clients.lives().into_iter().max().unwrap_or_default());
            if alive > 0 || longest > LIMIT + MORE {
                broken.push(format!("{manner:?}: {alive} are there yet, one was there for {longest:?}"));
            }
        }
        let (all, most) = (MANNERS.len() as u64 * u64::from(EACH), KIB_EACH * u64::from(EACH) * MANNERS.len() as u64);
        if self.grown > most || self.kept > most / 4 {
            broken.push(format!("memory: {} KiB more for {all} of them, {} KiB afterwards", self.grown, self.kept));
        }
        broken
    }
}

#[test]
fn a_thousand_slow_clients_of_each_kind_harm_nobody_and_are_gone_in_time() {
    let _alone = alone();
    let mut run = Run::new(LIMITS);
    if !run.broken().is_empty() {
        // Seven thousand clients and their gateway share a few processors with whoever else is there: once more, and then it counts.
        println!("{}", run.broken().join("\n"));
        run = Run::new(LIMITS);
    }
    assert!(run.broken().is_empty(), "{}", run.broken().join("\n"));
    // Of HTTP/2, a stream that was reset is no connection that was closed, or the other way round.
    for (reason, kinds) in [("timeout", 2.0), ("idle", 1.0), ("slow", 3.0)] {
        let counted = run.gateway.metric(&format!("tollgate_connections_closed_total{{reason=\"{reason}\"}}"));
        assert!(counted >= kinds * f64::from(EACH), "{reason}: {counted}");
    }
    let cut = run.gateway.metric("tollgate_problems_total{api=\"\",slug=\"http/slow-reader\"}");
    assert!(cut >= 2.0 * f64::from(EACH), "{cut}");
}

/// The control: without limits, what is promised does not hold.
#[test]
fn without_limits_the_slow_ones_stay() {
    let _alone = alone();
    let run = Run::new(NO_LIMITS);
    let broken = run.broken().join("\n");
    for (manner, clients) in &run.slow {
        assert!(broken.contains(&format!("{manner:?}: ")), "{broken}");
        // Heads in many frames have a bound of their own.
        assert!(*manner == Manner::Fields || clients.alive() == EACH as usize, "{broken}");
    }
}

/// A second opinion: slowhttptest, as Debian has it.
#[test]
fn slowhttptest_finds_the_service_available_and_its_connections_closed() {
    let _alone = alone();
    let (backends, others) = (Backends::start(1), Backends::start(1));
    let gateway = gateway(&backends, &others, LIMITS);
    let good = good_clients(&backends, &gateway);
    let start = |path: &str, mode: &str| {
        let url = format!("http://{}{path}", gateway.address());
        let mut command = Command::new("slowhttptest");
        command.args(["-r", "250", "-i", "1", "-l", "10", "-p", "2", "-u", &url]).args(mode.split(' '));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("`./test` installs slowhttptest")
    };
    // The last one does not notice a reset before it has read what came before it: what became of that the gateway knows.
    let runs = [
        (start("/idle", "-H -c 500"), "No open connections left"),
        (start("/body", "-B -c 500 -s 8192 -x 2"), "No open connections left"),
        (start("/much", "-X -c 100 -w 1 -y 64 -n 1 -z 5 -k 10"), "Hit test time limit"),
    ];
    for (child, ended) in runs {
        let output = child.wait_with_output().expect("its end");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(ended), "{told}");
        let is_available: Vec<_> = told.lines().filter(|line| line.contains("service available")).collect();
        assert!(!is_available.is_empty() && is_available.iter().all(|line| line.contains("YES")), "{told}");
    }
    good.stop().is_complete();
    let closed = |reason: &str| format!("tollgate_connections_closed_total{{reason=\"{reason}\"}}");
    gateway.await_metric(&closed("timeout"), |count| count >= 500.0);
    gateway.await_metric(&closed("slow"), |count| count >= 600.0);
}
