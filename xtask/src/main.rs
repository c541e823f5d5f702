//! Recipes that people and CI share: `cargo xtask RECIPE`. `./test` runs them in order.

#![forbid(unsafe_code)]

mod checks;
mod docs;
mod layers;
mod recipes;
mod shell;
mod size;
mod suite;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask RECIPE

  fmt [--check]   format every crate, and the policies that rustfmt cannot find by itself
  lint            clippy over every target; a warning is an error
  deny            licences, banned crates and sources of all dependencies (deny.toml)
  layers          a crate uses lower floors only
  size            files up to 400 lines (warning) and 800 lines (error)
  checks          each check of identity is missed by a test: they are run without it
  docs [--check]  write docs/reference as this version has it; the API pages build and their links lead somewhere
  test [NAME]     unit, property, end-to-end and documentation tests; only those whose name contains NAME";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match recipe(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            shell::complain(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs one recipe; the answer is the exit code of the first command that failed, 0 when none did.
fn recipe(words: &[&str]) -> Result<u8> {
    match words {
        ["fmt"] => recipes::fmt(recipes::Formatting::Write),
        ["fmt", "--check"] => recipes::fmt(recipes::Formatting::Check),
        ["lint"] => recipes::lint(),
        ["deny"] => recipes::deny(),
        ["docs"] => docs::docs(docs::Pages::Write),
        ["docs", "--check"] => docs::docs(docs::Pages::Compare),
        ["checks"] => checks::run(),
        ["layers"] => layers::check(),
        ["size"] => size::check(),
        ["test"] => suite::run(None),
        ["test", name] => suite::run(Some(name)),
        [] | ["help" | "--help" | "-h"] => {
            shell::say(HELP);
            Ok(0)
        }
        other => bail!("no such recipe: {}\n\n{HELP}", other.join(" ")),
    }
}
