//! Reloads a gateway under load, again and again, and watches its memory, descriptors and threads: `bench/soak --help`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::fmt;
use std::process::ExitCode;

use tollgate_testkit::load::{Changing, Judged, Options};
use tollgate_testkit::{Companions, Gateway, Load, RawClient, Signal, wait_until};

const HELP: &str = "\
Usage: bench/soak [--reloads N] [--rate R] [--binary FILE]

Reloads a gateway N times (10000) by SIGHUP, each time with a config that differs in one thing: a route, a policy, a service,
a listener, a certificate, the number of workers. Meanwhile R requests a second (400) go through it, and 20 WebSockets, 5
streams and a download live on. Ends with 0 if none was lost or doubled, all live, and memory, descriptors and threads
are flat; with 1 if not; with 2 if it was called wrongly.

FILE is the gateway (target/release/tollgate).";

/// Rows of the report.
const ROWS: usize = 20;

#[derive(Debug)]
struct Wanted {
    reloads: usize,
    rate: u32,
    binary: String,
}

fn main() -> ExitCode {
    let wanted = match wanted(std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("bench/soak: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match soak(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("\nnot good: {why}");
            ExitCode::FAILURE
        }
    }
}

fn wanted(mut arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>, String> {
    let mut wanted = Wanted { reloads: 10_000, rate: 400, binary: "target/release/tollgate".to_owned() };
    while let Some(name) = arguments.next() {
        if matches!(name.as_str(), "-h" | "--help") {
            return Ok(None);
        }
        let value = arguments.next().ok_or(format!("{name} needs a value"))?;
        let number = || value.parse::<u32>().ok().filter(|number| *number > 0).ok_or(format!("{value} is no number"));
        match name.as_str() {
            "--reloads" => wanted.reloads = number()? as usize,
            "--rate" => wanted.rate = number()?,
            "--binary" => wanted.binary = value,
            _ => return Err(format!("there is no {name}")),
        }
    }
    match std::fs::canonicalize(&wanted.binary) {
        Ok(binary) => wanted.binary = binary.display().to_string(),
        Err(error) => return Err(format!("{}: {error}; build it with `cargo build --release`", wanted.binary)),
    }
    Ok(Some(wanted))
}

fn soak(wanted: &Wanted) -> Result<(), String> {
    let mut config = Changing::new();
    let gateway = Gateway::start(&wanted.binary, &config.config(), &[]);
    let companions = Companions::usual(gateway.address());
    let options = Options { rate: wanted.rate, retries: Judged::Allowed, ..config.options() };
    let load = Load::start(&config.backends, &config.targets(&gateway), options);
    load.await_answers(u64::from(wanted.rate));
    println!("| reloads | resident KiB | descriptors | threads | answered |\n| --- | --- | --- | --- | --- |");
    let (mut samples, mut unanswered) = (Vec::new(), Vec::new());
    for number in 1..=wanted.reloads {
        let changed = config.step();
        gateway.write_config(&config.config(), &[]);
        gateway.signal(Signal::HUP);
        wait_until("the new config is in force", || match revision(&gateway) {
            Some(revision) => revision > number as u64,
            None => {
                unanswered.push(format!("reload {number}, of {changed}"));
                false
            }
        });
        load.await_answers(10);
        if let Some(ended) = companions.iter().flat_map(Companions::ended).next() {
            return Err(format!("at reload {number}, of {changed}: {ended}"));
        }
        if number % wanted.reloads.div_ceil(ROWS) == 0 {
            let sample = Sample::of(&gateway);
            println!("| {number} | {sample} | {} |", load.answered());
            samples.push(sample);
        }
    }
    companions.iter().for_each(|one| one.await_rounds(3));
    let outcome = load.stop();
    println!("\n{outcome}");
    if !outcome.is_good() {
        return Err("requests were lost or doubled".to_owned());
    }
    if !unanswered.is_empty() {
        return Err(format!("{} questions about the status had no answer: {unanswered:?}", unanswered.len()));
    }
    flat(&samples)
}

/// The number of the config in force, as its health listener tells; nothing if it does not answer, which is no reason to
/// stop here.
fn revision(gateway: &Gateway) -> Option<u64> {
    let mut client = RawClient::try_connect(gateway.health_address()).ok()?;
    client.send("GET /status HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n");
    client.response("GET").ok()?.json().pointer("/config/revision")?.as_u64()
}

/// What the gateway holds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident: u64,
    descriptors: u64,
    threads: u64,
}

impl Sample {
    fn of(gateway: &Gateway) -> Self {
        let count = |folder: &str| {
            let entries = std::fs::read_dir(format!("/proc/{}/{folder}", gateway.pid()));
            entries.map_or(0, |entries| entries.count() as u64)
        };
        Self { resident: gateway.resident_kib(), descriptors: count("fd"), threads: count("task") }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {} | {}", self.resident, self.descriptors, self.threads)
    }
}

/// One of the numbers of a sample.
type Number = fn(&Sample) -> u64;

/// Compares the last third with the middle one: what is filled once was filled in the first.
fn flat(samples: &[Sample]) -> Result<(), String> {
    let third = samples.len() / 3;
    if third == 0 {
        return Ok(());
    }
    let (middle, last) = (&samples[third..2 * third], &samples[samples.len() - third..]);
    let mean = |of: &[Sample], what: Number| of.iter().map(what).sum::<u64>() / of.len() as u64;
    let kinds: [(&str, Number, u64); 3] = [
        ("resident KiB", |sample| sample.resident, 4096),
        ("descriptors", |sample| sample.descriptors, 30),
        ("threads", |sample| sample.threads, 3),
    ];
    for (name, what, room) in kinds {
        let (before, after) = (mean(middle, what), mean(last, what));
        println!("{name}: {before} in the middle third, {after} in the last");
        if after > before + before / 20 + room {
            return Err(format!("{name} grow"));
        }
    }
    Ok(())
}
