//! What 10,000 registered instances in 1,000 services cost, and how soon traffic follows a change among them: `bench/instances --help`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for the command line"
)]

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tollgate_testkit::deadline::timed;
use tollgate_testkit::load::Histogram;
use tollgate_testkit::{Gateway, Peer, RawClient, free_port, marks, wait_until};

const HELP: &str = "\
Usage: bench/instances [--services N] [--instances N] [--changes N] [--rounds N] [--binary FILE] [--docs FILE]

Starts a gateway with its own registry and registers instances of many services, all of which one nginx answers for. Tells how long that took, what
they hold of memory, what a request costs beside a gateway with one service of ten instances, and, while they are all there, how soon a new
instance gets its first request and whether one that is gone gets any.

--services N    (1000)
--instances N   of all services together (10000)
--changes N     instances that come and go while requests run (200)
--rounds N      readings of what a request costs, of both gateways, interleaved (5)
--binary FILE   the gateway (target/release/tollgate)
--docs FILE     writes the table there, between the marks `bench:instances`";

/// Requests in one reading.
const REQUESTS: u32 = 40_000;
/// Requests after an instance is gone, none of which it may get.
const AFTER: usize = 50;
/// Services among which changes take turns.
const CHANGING: usize = 10;
/// Most instances: each has an address of its own.
const MOST: usize = 1 << 16;
/// How many register at a time.
const HANDS: usize = 8;

#[derive(Debug)]
struct Options {
    services: usize,
    instances: usize,
    changes: usize,
    rounds: usize,
    binary: PathBuf,
    docs: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("bench/instances: {wrong}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let table = measure(&options);
    println!("\n{table}");
    match options.docs.as_deref().map(|docs| marks::write(docs, "instances", &table)) {
        Some(Err(why)) => {
            eprintln!("bench/instances: {why}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let binary = "target/release/tollgate".into();
        let mut options = Self { services: 1000, instances: 10_000, changes: 200, rounds: 5, binary, docs: None };
        while let Some(name) = words.next() {
            if name == "-h" || name == "--help" {
                return Ok(None);
            }
            let value = words.next().ok_or_else(|| format!("what is {name}?"))?;
            let number = || value.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(|| format!("{name}: a number"));
            match name.as_str() {
                "--services" => options.services = number()?,
                "--instances" => options.instances = number()?,
                "--changes" => options.changes = number()?,
                "--rounds" => options.rounds = number()?,
                "--binary" => options.binary = value.into(),
                "--docs" => options.docs = Some(value.into()),
                _ => return Err(format!("what is {name}?")),
            }
        }
        if options.instances > MOST || options.changes > MOST {
            return Err(format!("at most {MOST} instances, and changes"));
        }
        let binary = std::fs::canonicalize(&options.binary);
        options.binary = binary.map_err(|error| format!("{}: {error}", options.binary.display()))?;
        Ok(Some(options))
    }
}

fn measure(options: &Options) -> String {
    let port = free_port();
    // Whatever address of the loopback network it is asked at: it says which one that was.
    let _instances = Peer::nginx(&format!(
        "  server {{\n    listen {port};\n    keepalive_requests 1000000;\n    location / {{ return 200 $server_addr; }}\n  }}\n"
    ));
    wait_until("nginx listens", || RawClient::try_connect((Ipv4Addr::LOCALHOST, port).into()).is_ok());
    let few = Bench::start(options, 1, port);
    few.register(10);
    let many = Bench::start(options, options.services, port);
    let empty = many.gateway.resident_kib();
    println!("registering {} instances of {} services", options.instances, options.services);
    let took = many.register(options.instances);
    let full = many.gateway.resident_kib();
    let costs = costs(&few, &many, options.rounds);
    println!("{} instances come and go", options.changes);
    let changes = many.changes(options.changes);
    let mut table = String::from("| | |\n| --- | --- |\n");
    let mut row = |what: &str, found: String| {
        // Writing to memory does not fail.
        let _ = writeln!(table, "| {what} | {found} |");
    };
    let each = (full.saturating_sub(empty)) as f64 / options.instances as f64;
    let a_second = options.instances as f64 / took.as_secs_f64();
    row("registered, each on the disk before its answer", format!("{a_second:.0} a second"));
    row("memory without instances, with all", format!("{:.1} MiB, {:.1} MiB", mib(empty), mib(full)));
    row("memory of an instance", format!("{each:.2} KiB"));
    row("CPU of a request: ten instances of one service, all", format!("{:.2} µs, {:.2} µs", costs.0, costs.1));
    let ms = |share| changes.took.quantile(share).as_secs_f64() * 1000.0;
    row(
        "from the answer to who registers to its first request, p50, p99",
        format!("{:.2} ms, {:.2} ms", ms(0.5), ms(0.99)),
    );
    row("requests at instances that were gone", changes.late.to_string());
    format!(
        "{table}\n`bench/instances`: {} instances in {} services, {} changes, {} readings of {REQUESTS} requests.\n",
        options.instances, options.services, options.changes, options.rounds
    )
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// CPU time of a request in microseconds, of both: medians.
fn costs(few: &Bench, many: &Bench, rounds: usize) -> (f64, f64) {
    let mut found: [Vec<f64>; 2] = Default::default();
    for round in 0..=rounds {
        println!("round {round}: what a request costs");
        for (bench, found) in [few, many].into_iter().zip(&mut found) {
            let cost = bench.cost();
            // The first one makes connections.
            if round > 0 {
                found.push(cost);
            }
        }
    }
    let [few, many] = found.map(|mut found| {
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied().unwrap_or_default()
    });
    (few, many)
}

/// What came of the changes.
#[derive(Debug, Default)]
struct Changes {
    /// From the answer to who registers to the end of its first request.
    took: Histogram,
    /// Requests that came to an instance after the answer that it is gone.
    late: usize,
}

/// A gateway with its own registry, and the port at which all of its instances are.
#[derive(Debug)]
struct Bench {
    gateway: Gateway,
    admin: SocketAddr,
    token: String,
    services: usize,
    port: u16,
}

impl Bench {
    fn start(options: &Options, services: usize, port: u16) -> Self {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let most = options.instances + CHANGING;
        let mut config = format!(
            "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health, \"{admin}\": admin }}\nworkers: 1\nlog: {{ access: off }}\n\
             registry: {{ most: {most}, each: {most} }}\nservices:\n"
        );
        let _ = (0..services).try_for_each(|n| writeln!(config, "  s{n}: {{ registry: s{n} }}"));
        config.push_str("routes:\n");
        let _ = (0..services).try_for_each(|n| writeln!(config, "  /s{n}: s{n}"));
        let gateway = Gateway::start(&options.binary.display().to_string(), &config, &[]);
        let token = std::fs::read_to_string(gateway.folder().join("data/admin.token")).expect("a token");
        Self { gateway, admin, token: token.trim().to_owned(), services, port }
    }

    /// Asks the admin listener; the answer must be one of success.
    fn ask(&self, client: &mut RawClient, request: &str, body: &str) {
        let (admin, token) = (self.admin, &self.token);
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = client.call(&format!("{head}{body}"));
        assert!(answer.status < 300, "{request}: {} {}", answer.status, answer.text());
    }

    fn put(&self, client: &mut RawClient, service: usize, address: Ipv4Addr) {
        let said = format!("{{\"address\":\"{address}\",\"port\":{},\"ttl\":\"1h\"}}", self.port);
        self.ask(client, &format!("PUT /v1/registry/services/s{service}/instances/{address}"), &said);
    }

    /// Registers so many, evenly over the services; how long that took.
    fn register(&self, count: usize) -> Duration {
        let hand = |hand: usize| {
            let mut client = RawClient::connect(self.admin);
            for n in (hand..count).step_by(HANDS) {
                self.put(&mut client, n % self.services, address(1, n));
            }
        };
        let all = || {
            std::thread::scope(|scope| {
                for n in 0..HANDS {
                    let hand = &hand;
                    scope.spawn(move || hand(n));
                }
            });
        };
        timed(all).1
    }

    /// CPU time of a request, in microseconds: of all threads.
    fn cost(&self) -> f64 {
        let mut client = self.gateway.client();
        let before = self.gateway.cpu();
        (0..REQUESTS).for_each(|_| assert_eq!(client.get("/s0").status, 200));
        (self.gateway.cpu() - before).as_secs_f64() * 1e6 / f64::from(REQUESTS)
    }

    fn changes(&self, count: usize) -> Changes {
        let (mut changes, mut admin) = (Changes::default(), RawClient::connect(self.admin));
        let mut client = self.gateway.client();
        for n in 0..count {
            let (service, new) = (n % CHANGING.min(self.services), address(2, n));
            let (path, shown) = (format!("/s{service}"), new.to_string());
            let is_at = |client: &mut RawClient| client.get(&path).text() == shown;
            self.put(&mut admin, service, new);
            let comes = || wait_until("the new instance gets a request", || (0..1000).any(|_| is_at(&mut client)));
            changes.took.add(timed(comes).1);
            self.ask(&mut admin, &format!("DELETE /v1/registry/services/s{service}/instances/{new}"), "");
            changes.late += (0..AFTER).filter(|_| is_at(&mut client)).count();
        }
        changes
    }
}

/// The address of an instance: the loopback network has enough of them.
fn address(set: u8, n: usize) -> Ipv4Addr {
    let [.., high, low] = (n as u64).to_be_bytes();
    Ipv4Addr::new(127, set, high, low)
}
