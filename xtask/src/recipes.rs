//! The recipes that are one or two calls of a tool.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Whether formatting is put right or only looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Formatting {
    /// Files are rewritten.
    Write,
    /// Nothing is written; a difference is an error.
    Check,
}

/// rustfmt over every crate.
///
/// # Errors
/// When cargo or rustfmt cannot be started.
pub(crate) fn fmt(formatting: Formatting) -> Result<u8> {
    let check: &[&str] = if formatting == Formatting::Check { &["--check"] } else { &[] };
    let mut crates = shell::cargo(&["fmt", "--all", "--"]);
    crates.args(check);
    // The list of policies is a macro that writes the `mod` lines, and rustfmt does not look into macros.
    let mut policies = Command::new("rustfmt");
    policies.args(check).args(shell::files(&shell::root().join("crates/policies/src"), &is_rust)?);
    in_order([crates, policies])
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rs")
}

/// clippy over all crates and targets.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn lint() -> Result<u8> {
    shell::run(shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// cargo-deny, as `./test` installed it or as found on the path. Advisories are not asked for: they are looked at
/// by hand before a release.
///
/// # Errors
/// When cargo-deny cannot be started.
pub(crate) fn deny() -> Result<u8> {
    let ours = shell::tools().join("bin/cargo-deny");
    let mut command = Command::new(if ours.exists() { ours.as_path() } else { Path::new("cargo-deny") });
    command.args(["--workspace", "check", "licenses", "bans", "sources"]).current_dir(shell::root());
    shell::run(command)
}

/// Runs the commands one after the other and stops at the first that fails.
fn in_order<const N: usize>(commands: [Command; N]) -> Result<u8> {
    for command in commands {
        let code = shell::run(command)?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}
