//! Each check of identity is missed by a test: the tests of the crate are run once for each of them, without it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// The test that prints the names of all checks.
const NAMES: &str = "checks::tests::every_check_has_a_name_of_its_own";
/// The variable that names the check which is not made.
const WITHOUT: &str = "TOLLGATE_WITHOUT";
/// How many run at a time.
const AT_ONCE: usize = 2;

/// Runs the tests without each of the checks.
///
/// # Errors
/// They cannot be built or run, or fail with all checks.
pub(crate) fn run() -> Result<u8> {
    let tests = build()?;
    if !passes(&tests, None)? {
        bail!("the tests of identity fail with all checks in place");
    }
    let names = names(&tests)?;
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let missed = passes(&tests, Some(name)).map(|passes| (name.as_str(), !passes));
                    found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(missed);
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = found.into_iter().collect::<Result<Vec<_>>>()?;
    let idle: Vec<&str> = found.iter().filter(|(_, is_missed)| !is_missed).map(|(name, _)| *name).collect();
    for name in &idle {
        shell::complain(&format!("error: no test misses the check `{name}`"));
    }
    shell::say(&format!("checks: {} of {} are missed by a test", found.len() - idle.len(), found.len()));
    Ok(u8::from(!idle.is_empty()))
}

/// The test program of the crate, with checks that can be switched off.
fn build() -> Result<PathBuf> {
    let words = ["test", "-p", "tollgate-identity", "--lib", "--features", "switchable", "--no-run"];
    let output = shell::cargo(&[&words[..], &["--message-format=json"]].concat())
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the tests of identity cannot be built");
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|message| {
        let is_own = message["target"]["name"] == "tollgate_identity" && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| is_own).map(PathBuf::from)
    });
    program.context("cargo names no test program")
}

fn names(tests: &Path) -> Result<Vec<String>> {
    let output = Command::new(tests).args(["--exact", NAMES, "--nocapture"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<String> =
        text.lines().filter_map(|line| line.split_once("check ")).map(|(_, name)| name.trim().to_owned()).collect();
    if names.is_empty() { bail!("no names of checks") } else { Ok(names) }
}

/// Whether the tests pass without this check.
fn passes(tests: &Path, without: Option<&str>) -> Result<bool> {
    let mut command = Command::new(tests);
    command.args(["--quiet", "--test-threads=1"]).current_dir(shell::root().join("crates/identity"));
    // A case that a property test finds is none of this checkout's.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true").env_remove(WITHOUT);
    if let Some(name) = without {
        command.env(WITHOUT, name);
    }
    Ok(command.output().context("the tests of identity cannot be run")?.status.success())
}
