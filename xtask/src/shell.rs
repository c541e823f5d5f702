//! What every recipe needs of the outside: the checkout's root, running commands, saying things.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// The checkout's top folder.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(target)
}

/// Where `./test` puts tools that belong to this checkout only.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// A cargo call at the root, with the cargo that runs us.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(words).current_dir(root());
    command
}

/// Runs a command with our own output; the answer is its exit code.
///
/// # Errors
/// When the program cannot be started.
pub(crate) fn run(mut command: Command) -> Result<u8> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(exit_code(status))
}

/// The exit code as a shell reports it; a signal or anything strange counts as 1.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// All files below `folder` for which `wanted` holds, sorted; build output and hidden folders are left out.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn files(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_file() {
                found.extend(wanted(&path).then_some(path));
            } else if entry.file_type()?.is_dir() && !is_apart(&path) {
                folders.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_apart(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || ["target", "node_modules", "__pycache__"].contains(&&*name)
}

/// One line to standard output. A reader that went away is no reason to fail.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// One line to standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
