//! `tollgate test`.

use std::fmt::Write;

use clap::Args;
use serde_json::{Value, json};
use tollgate_config::redact_text;

use crate::cli::ConfigArgs;
use crate::cli::output::{Failure, Output};
use crate::cli::run::{all, load};
use crate::rehearsal::{Outcome, run};
use crate::start::StartError;

/// Whose tests.
#[derive(Clone, Debug, Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the tests of a config. Exit code 0: all pass, 1: one fails, 2: the config is wrong.
pub(crate) fn test(args: &TestArgs, output: &Output) -> Result<(), Failure> {
    let path = &args.config.config;
    let (loaded, name) = (load(path)?, path.display().to_string());
    let outcomes = run(&loaded.config).map_err(|error| match error {
        StartError::Config(found) => Failure::Config(all(&name, &loaded, found)),
        error => Failure::to_start(&name, error),
    })?;
    let text = if args.json { format!("{:#}\n", as_json(&outcomes)) } else { as_text(&outcomes) };
    output.print(&redact_text(&loaded.tree, &text))?;
    if outcomes.iter().all(Outcome::is_passed) { Ok(()) } else { Err(Failure::Silent) }
}

fn as_text(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return "no tests: write some under `tests`\n".to_owned();
    }
    let mut out = String::new();
    for outcome in outcomes {
        // Writing to memory does not fail.
        let _ = match outcome.is_passed() {
            true => writeln!(out, "ok    {}", outcome.request),
            false => writeln!(out, "FAIL  {}  ({})", outcome.request, outcome.place()),
        };
        for difference in &outcome.differences {
            let _ = writeln!(out, "        {difference}");
        }
        if !outcome.is_passed() {
            let _ = writeln!(out, "        it takes the route {}", outcome.route);
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.is_passed()).count();
    let _ = writeln!(out, "{} passed, {failed} failed", outcomes.len() - failed);
    out
}

fn as_json(outcomes: &[Outcome]) -> Value {
    let one = |outcome: &Outcome| {
        json!({
            "request": outcome.request,
            "at": outcome.place(),
            "passed": outcome.is_passed(),
            "route": outcome.route,
            "differences": outcome.differences,
        })
    };
    json!({ "tests": outcomes.iter().map(one).collect::<Vec<_>>() })
}
