//! All tests, streamed as they run, with one sum at the end.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::shell;

/// Runs `cargo test` over the workspace, or only the tests whose name contains `name`. The last line is the sum.
///
/// # Errors
/// When cargo cannot be started or its output cannot be read.
pub(crate) fn run(name: Option<&str>) -> Result<u8> {
    // The sum is only worth something when the first failure does not end the run.
    let mut command = shell::cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(name).env("PATH", search_path()?).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo test")?;

    let mut sum = Sum::default();
    let mut output = BufReader::new(child.stdout.take().context("cargo test has no output")?);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        shell::say(text);
        sum.add(text);
        line.clear();
    }

    let code = shell::exit_code(child.wait()?);
    if code != 0 {
        shell::say(&format!("cargo test ended with exit code {code}"));
    }
    if sum.ignored > 0 {
        shell::say(&format!("{} tests are marked ignored", sum.ignored));
    }
    shell::say(&format!("tests: {} passed, {} failed", sum.passed, sum.failed));
    // A test program that counts a failure and yet ends well would be a lie; so would a run without any test.
    let believed = sum.failed == 0 && (sum.passed > 0 || name.is_some());
    Ok(if code == 0 && !believed { 1 } else { code })
}

/// Our Python with its packages first; the system's servers last, which a user's path often lacks.
fn search_path() -> Result<OsString> {
    let before = [shell::tools().join("python/bin")];
    let given = env::var_os("PATH").unwrap_or_default();
    let after = ["/usr/sbin".into(), "/sbin".into()];
    let folders = before.into_iter().chain(env::split_paths(&given)).chain(after);
    env::join_paths(folders).context("PATH cannot be extended")
}

/// What the test programs counted, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Sum {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines change nothing.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        for part in counts.split(';') {
            let mut words = part.split_whitespace().rev();
            let (Some(what), Some(Ok(count))) = (words.next(), words.next().map(str::parse::<u64>)) else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_are_added_up() {
        let mut sum = Sum::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "all doctests ran in 0.45s; merged doctests compilation took 0.30s",
        ] {
            sum.add(line);
        }
        assert_eq!(sum, Sum { passed: 13, failed: 2, ignored: 1 });
    }
}
