//! What a reload of 10,000 routes costs, and what traffic notices of it: `bench/reloads --help`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::fmt::Write;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use tollgate_testkit::load::{Options, Target, Way};
use tollgate_testkit::{Backends, Gateway, Load};

const HELP: &str = "\
Usage: bench/reloads [--binary FILE]

Starts a gateway with 10,000 routes. Tells the CPU time of a reload, of all threads and of the workers alone, and the latency of
1,000 requests a second with ten reloads and without any. FILE is the gateway (target/release/tollgate).";

const ROUTES: usize = 10_000;
const RELOADS: u64 = 10;
const RATE: u32 = 1000;
/// Requests in each phase under load: ten seconds.
const REQUESTS: u64 = 10_000;
/// What one tick of the system's accounts is (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let binary = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => "target/release/tollgate",
        ["--binary", file] => file,
        _ => {
            println!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match fs::canonicalize(binary) {
        Ok(binary) => measure(&binary.display().to_string()),
        Err(error) => {
            eprintln!("bench/reloads: {binary}: {error}; build it with `cargo build --release`");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn config(backends: &Backends, turn: u64) -> String {
    let mut text = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlog: {{ access: off }}\nworkers: 2\nservices: {{ s: \"{}\" \
         }}\nroutes:\n  /one/**: {{ to: s, headers: {{ response: {{ set: {{ X-Turn: n{turn} }} }} }} }}\n",
        backends.address(0)
    );
    for number in 0..ROUTES {
        // Writing to memory does not fail.
        let _ = writeln!(text, "  /r{number}/a/{{id}}: s");
    }
    text
}

fn measure(binary: &str) {
    let backends = Backends::start(1);
    let gateway = Gateway::start(binary, &config(&backends, 0), &[]);
    let mut turn = 0;
    let mut reload = || {
        turn += 1;
        gateway.reload(&config(&backends, turn), &[]);
    };
    reload();
    let before = ticks(gateway.pid());
    (0..RELOADS).for_each(|_| reload());
    let after = ticks(gateway.pid());
    let each = |after: u64, before: u64| {
        TICK * u32::try_from(after - before).unwrap_or(u32::MAX) / u32::try_from(RELOADS).unwrap_or(1)
    };
    println!("CPU of one reload of {ROUTES} routes: {:?}", each(after.0, before.0));
    println!("  of that on workers: {:?}", each(after.1, before.1));
    for reloads in [0, RELOADS] {
        let options = Options { rate: RATE, posts: 0, paths: vec!["/one".to_owned()], ..Options::default() };
        let load = Load::start(&backends, &[Target::new(gateway.address(), Way::Kept)], options);
        for _ in 0..RELOADS {
            if reloads > 0 {
                reload();
            }
            load.await_answers(REQUESTS / RELOADS);
        }
        let outcome = load.stop();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| outcome.latency.quantile(share));
        println!("{reloads} reloads: p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}, lost {}", outcome.lost);
    }
}

/// CPU time that a process has used, in ticks: of all threads, and of the workers.
fn ticks(pid: u32) -> (u64, u64) {
    let (mut all, mut workers) = (0, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The name stands in parentheses and may hold anything.
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let used: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
        all += used;
        if name.contains("(worker-") {
            workers += used;
        }
    }
    (all, workers)
}
