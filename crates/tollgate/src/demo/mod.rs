//! `tollgate demo`: three sample services, an identity provider and a gateway in front of them, in one process.

mod people;
mod samples;
mod tries;

use std::sync::Arc;
use std::thread;

use clap::Args;
use tollgate_config::load_text;
use tollgate_config::model::{Bind, FileMode, Level};
use tollgate_engine::{Port, bind};
use tollgate_observe::metrics::Metrics;

use crate::cli::{Failure, Output, log_to_stderr};
use crate::demo::people::People;
use crate::inherited::Inherited;
use crate::node;
use crate::start::{self, Running, StartError, cannot_listen};
use crate::wire::{self, policies};

/// The config that the demo runs, as it stands in the repository.
const CONFIG: &str = include_str!("../../../../examples/demo/tollgate.yaml");
/// Its name in messages.
const NAME: &str = "examples/demo/tollgate.yaml";

/// How the demo runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Send the eight requests, show the answers, and end.
    #[arg(long = "try")]
    attempt: bool,
    /// Print the config that the demo runs, and end.
    #[arg(long, conflicts_with = "attempt")]
    config: bool,
}

/// Runs the demo.
pub(crate) fn demo(args: &DemoArgs, output: &Output) -> Result<(), Failure> {
    if args.config {
        return output.print(CONFIG);
    }
    let short_forms: Vec<_> = policies().iter().map(|kind| (kind.name, kind.desugar)).collect();
    let mut config = load_text(NAME, CONFIG, &|_| None, &short_forms).map_err(Failure::Config)?.config;
    config.log.level = Level::Error;
    if args.attempt {
        config.log.access.to = tollgate_config::model::LogTarget::Off;
    }
    let _log = log_to_stderr(config.log.level);
    let workers = node::workers(&config);
    let rules = Arc::new(wire::rules(&config));
    let metrics = Metrics::new(workers);
    let mut opened = Vec::new();
    let mut troubles = Vec::new();
    let people = People::new()?;
    let mut served = vec![(people::PORT, people.deployment(&metrics, &rules)?)];
    for sample in samples::all() {
        let deployment = sample.deployment(&metrics, &rules);
        served.push((sample.port, deployment.map_err(|e| Failure::to_start(NAME, StartError::Config(e)))?));
    }
    for (port, deployment) in served {
        let address = Bind::Socket(([127, 0, 0, 1], port).into());
        match bind(&address, FileMode::default(), workers, Port::Free) {
            Ok(bound) => opened.push(node::fixed(address, deployment, bound.listeners)),
            Err(error) => troubles.push(cannot_listen(&error)),
        }
    }
    if !troubles.is_empty() {
        return Err(Failure::to_start(NAME, taken(StartError::Other(troubles))));
    }
    let running =
        start::start(NAME, &config, opened, Inherited::default()).map_err(|e| Failure::to_start(NAME, taken(e)))?;
    let token = people.token()?;
    if args.attempt {
        return try_all(running, output, &token);
    }
    output.print(&introduction(&token))?;
    if running.until_stopped(None) { output.print("\nstopped\n") } else { Err(Failure::Silent) }
}

/// Sends the eight requests from beside the gateway, which runs meanwhile, and then stops it.
fn try_all(running: Running, output: &Output, token: &str) -> Result<(), Failure> {
    let drain = running.drain();
    thread::scope(|threads| {
        let tries = threads.spawn(|| {
            let shown = tries::run(output, token);
            drain.begin();
            shown
        });
        running.until_stopped(None);
        tries.join().unwrap_or(Err(Failure::Silent))
    })
}

/// Ports that are taken, told in terms of the demo.
fn taken(error: StartError) -> StartError {
    let StartError::Other(mut troubles) = error else { return error };
    for hint in troubles.iter_mut().filter_map(|trouble| trouble.hint.as_mut()) {
        *hint = hint.replace(", or change `listen`", "");
    }
    if let Some(last) = troubles.last_mut().and_then(|trouble| trouble.hint.as_mut()) {
        last.push_str(".\n      The demo uses the ports 8080, 9900 and 9001 to 9005 of 127.0.0.1");
    }
    StartError::Other(troubles)
}

/// What runs where, and what to try.
fn introduction(token: &str) -> String {
    let mut text = String::from(
        "Tollgate demo\n\n  gateway  http://127.0.0.1:8080   health, metrics, status  http://127.0.0.1:9900\n",
    );
    for sample in samples::all() {
        text.push_str(&format!("  {:<8} http://127.0.0.1:{}   {}\n", sample.name, sample.port, sample.about));
    }
    text.push_str(&format!("  {:<8} http://127.0.0.1:{}   gives tokens (`/token`)\n", "people", people::PORT));
    text.push_str("\nThe config is examples/demo/tollgate.yaml (`tollgate demo --config` prints it). Try, in another terminal:\n\n");
    text.push_str(&format!("  TOKEN={token}\n\n"));
    for attempt in &tries::ALL {
        text.push_str(&format!("  # {}\n  {}\n", attempt.about, attempt.command));
    }
    text.push_str("\nThe access log follows: a line per request, and one more from the sample that answers. Ctrl-C ends the demo.\n\n");
    text
}
