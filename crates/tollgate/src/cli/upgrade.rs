//! `tollgate upgrade`.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tollgate_core::clock::Clock;

use crate::cli::output::{Failure, Output};
use crate::cli::status::Gateway;

/// How long to wait for the new process. The gateway gives it 60 s.
const PATIENCE: Duration = Duration::from_secs(75);
/// How often to look.
const LOOK: Duration = Duration::from_millis(100);

/// Which gateway.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    gateway: Gateway,
}

/// Asks the running process to start the binary anew, and waits until that one serves.
#[expect(clippy::disallowed_methods, reason = "a command line may wait")]
pub(crate) fn upgrade(args: &UpgradeArgs, output: &Output) -> Result<(), Failure> {
    let found = args.gateway.find()?;
    let before = found.ask()?;
    let failed = failures(&before);
    let Some(pid) = number(&before, "/pid").and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else {
        return Err(Failure::Other { message: "the gateway does not say which process it is".to_owned(), hint: None });
    };
    if !is_gateway(pid) {
        return Err(Failure::Other {
            message: format!("process {pid} of this machine is no gateway"),
            hint: Some("ask on the gateway's own machine, and not from another container".to_owned()),
        });
    }
    kill_process(pid, Signal::USR2).map_err(|error| Failure::Other {
        message: format!("process {pid} cannot be asked: {error}"),
        hint: Some("ask on the gateway's own machine, as its user or root".to_owned()),
    })?;
    let (clock, pid) = (Clock::real(), u64::from(pid.as_raw_nonzero().unsigned_abs().get()));
    let until: Instant = clock.now() + PATIENCE;
    while clock.now() < until {
        thread::sleep(LOOK);
        // Both processes listen for a moment, and while one begins, or ends, there may be no answer.
        let Ok(now) = found.ask() else { continue };
        let (new, why) = (number(&now, "/pid").unwrap_or(pid), now.pointer("/upgrades/why").and_then(Value::as_str));
        if new != pid {
            let version = |of: &Value| of["version"].as_str().unwrap_or("?").to_owned();
            let (old, new_version) = (version(&before), version(&now));
            return output.print(&format!("upgraded: process {pid} ({old}) -> process {new} ({new_version})\n"));
        }
        if failures(&now) > failed {
            let message = format!("not upgraded, process {pid} goes on: {}", why.unwrap_or("it does not say why"));
            return Err(Failure::Other { message, hint: None });
        }
    }
    Err(Failure::Other {
        message: format!("no new process serves after {} s", PATIENCE.as_secs()),
        hint: Some("the gateway's log says what became of it".to_owned()),
    })
}

fn failures(status: &Value) -> u64 {
    number(status, "/upgrades/failed").unwrap_or(0)
}

fn number(status: &Value, path: &str) -> Option<u64> {
    status.pointer(path).and_then(Value::as_u64)
}

/// Whether a process runs a program of this one's name: whoever told its number may have been another machine, or somebody else at that
/// port. A program that was replaced is `… (deleted)`.
fn is_gateway(pid: Pid) -> bool {
    let name = |path: PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(name.trim_end_matches(" (deleted)").to_owned())
    };
    let theirs = fs::read_link(format!("/proc/{}/exe", pid.as_raw_nonzero())).ok().and_then(name);
    theirs.is_some() && theirs == env::current_exe().ok().and_then(name)
}
