//! Offers a service three times what it can do, with adaptive concurrency before it and without, and draws what became of it: `bench/overload --help`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use tollgate_testkit::Gateway;
use tollgate_testkit::load::{Fares, Kind, Legacy, Work};

const HELP: &str = "\
Usage: bench/overload [--svg FILE] [--binary FILE]

Starts a service that does 200 requests a second and slows down the more queue in it, and offers it 600 for ten seconds through a
gateway (100 high, 200 normal, 300 low), between times in which 50 are asked for; once with `adaptive_concurrency: on`,
once without. Prints what became of them in each second, and draws it.

--svg FILE     where to draw it (docs/images/overload.svg)
--binary FILE  the gateway (target/release/tollgate)";

/// 200 requests a second; with 100 in its queue it does half.
const WORK: Work = Work { hands: 10, each: Duration::from_millis(50), slows: 100 };
const BURST: (u64, u64) = (3, 13);
const END: u64 = 24;

fn main() -> ExitCode {
    let (mut svg, mut binary) = ("docs/images/overload.svg".to_owned(), "target/release/tollgate".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("-h" | "--help", _) => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            ("--svg", Some(file)) => svg = file,
            ("--binary", Some(file)) => binary = file,
            (name, _) => {
                eprintln!("bench/overload: what is {name}?\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let Ok(binary) = std::fs::canonicalize(&binary) else {
        eprintln!("bench/overload: there is no {binary}; build it with `cargo build --release`");
        return ExitCode::from(2);
    };
    let binary = binary.display().to_string();
    let runs = [("adaptive_concurrency: on", ", adaptive_concurrency: on"), ("without", "")];
    let runs = runs.map(|(name, config)| (name, run(&binary, config)));
    for (name, fares) in &runs {
        print(name, fares);
    }
    match std::fs::write(&svg, draw(&runs)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench/overload: {svg}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(binary: &str, service: &str) -> Fares {
    let legacy = Legacy::start(WORK);
    let config = format!(
        "listen: {{ \"{{{{http}}}}\": http, \"{{{{health}}}}\": health }}\nlog: {{ access: off }}\n\
         services: {{ legacy: {{ to: \"{{{{backend}}}}\"{service} }} }}\ndefaults: {{ timeout: 1s }}\nroutes:\n  \
         /high: {{ to: legacy, criticality: high }}\n  /normal: legacy\n  /low: {{ to: legacy, criticality: low }}\n"
    );
    let gateway = Gateway::start(binary, &config, &[("backend", legacy.address().to_string())]);
    let during = |from, to| (Duration::from_secs(from), Duration::from_secs(to));
    let kind = |name, rate, during| Kind { name, path: format!("/{name}"), rate, during };
    let burst = during(BURST.0, BURST.1);
    let kinds = [
        kind("high", 100, burst),
        kind("normal", 200, burst),
        kind("low", 300, burst),
        kind("normal", 50, during(0, BURST.0)),
        kind("normal", 50, during(BURST.1, END)),
    ];
    Fares::of(gateway.address(), &kinds, Duration::from_secs(2))
}

const NAMES: [&str; 3] = ["high", "normal", "low"];

/// Answers with 200 in a second, of each kind.
fn answered(fares: &Fares, second: u64) -> [f64; 3] {
    NAMES.map(|name| fares.goodput(name, Duration::from_secs(second), Duration::from_secs(second + 1)))
}

fn print(name: &str, fares: &Fares) {
    let during = (Duration::from_secs(BURST.0), Duration::from_secs(BURST.1));
    println!("{name}: answered with 200 in each second\n second   high normal    low    all");
    for second in 0..END {
        let [high, normal, low] = answered(fares, second);
        println!("{second:>7} {high:>6.0} {normal:>6.0} {low:>6.0} {:>6.0}", high + normal + low);
    }
    let success = NAMES.map(|name| format!("{name} {:.1} %", fares.success(name, during.0, during.1) * 100.0));
    println!("answered in the burst: {}\n", success.join(", "));
}

const WIDTH: f64 = 960.0;
const PANEL: f64 = 250.0;
const LEFT: f64 = 70.0;
const MOST: f64 = 260.0;
const COLOURS: [&str; 3] = ["#1f6f54", "#5b8fc7", "#d9a441"];

fn draw(runs: &[(&str, Fares)]) -> String {
    let height = PANEL * runs.len() as f64 + 60.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-labelledby=\"title desc\" font-family=\"-apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif\" font-size=\"13\">\n  \
         <title id=\"title\">A service that does 200 requests a second, offered 600</title>\n  \
         <desc id=\"desc\">Answers with 200 in each second, by how much the requests matter. With adaptive concurrency all that are high are answered and the \
         service stays at work; without, answers come too late, also after the burst.</desc>\n  \
         <rect x=\"1\" y=\"1\" width=\"{}\" height=\"{}\" rx=\"10\" fill=\"#f8fafc\" stroke=\"#c8d2de\"/>\n",
        WIDTH - 2.0,
        height - 2.0
    );
    for (number, (name, fares)) in runs.iter().enumerate() {
        panel(&mut out, name, fares, PANEL * number as f64 + 40.0);
    }
    for (place, name) in NAMES.iter().enumerate() {
        let x = LEFT + 130.0 * place as f64;
        // Writing to memory does not fail.
        let _ = writeln!(
            out,
            "  <rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"{}\" fill=\"#22303f\">{name}</text>",
            height - 30.0,
            COLOURS[place],
            x + 18.0,
            height - 19.0
        );
    }
    out.push_str("</svg>\n");
    out
}

/// One run: a bar for each second, in three parts.
fn panel(out: &mut String, name: &str, fares: &Fares, top: f64) {
    let (bottom, tall) = (top + PANEL - 60.0, PANEL - 80.0);
    let step = (WIDTH - LEFT - 30.0) / END as f64;
    let (from, to) = (LEFT + step * BURST.0 as f64, LEFT + step * BURST.1 as f64);
    let _ = writeln!(
        out,
        "  <text x=\"{LEFT}\" y=\"{}\" fill=\"#22303f\" font-weight=\"600\">{name}</text>\n  \
         <rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall}\" fill=\"#eef1f5\"/>\n  \
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#5b6b7f\">600 a second are offered</text>",
        top - 8.0,
        bottom - tall,
        to - from,
        from + 6.0,
        bottom - tall + 16.0
    );
    for count in [0, 100, 200] {
        let y = bottom - tall * f64::from(count) / MOST;
        let _ = writeln!(
            out,
            "  <path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#c8d2de\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#5b6b7f\">{count}/s</text>",
            WIDTH - 30.0,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for second in 0..END {
        let mut y = bottom;
        for (count, colour) in answered(fares, second).into_iter().zip(COLOURS) {
            let high = tall * count.min(MOST) / MOST;
            y -= high;
            if count > 0.0 {
                let x = LEFT + step * second as f64 + 2.0;
                let _ = writeln!(
                    out,
                    "  <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{high:.1}\" fill=\"{colour}\"/>",
                    step - 4.0
                );
            }
        }
        if second % 5 == 0 {
            let x = LEFT + step * second as f64;
            let _ = writeln!(out, "  <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#5b6b7f\">{second} s</text>", bottom + 18.0);
        }
    }
}
