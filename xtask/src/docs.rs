//! The pages that are made from the code: the reference under `docs/`, and the API pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Where the reference is committed.
const REFERENCE: &str = "docs/reference";
/// The JSON Schema of the config, for editors.
const SCHEMA: &str = "tollgate.schema.json";

/// Whether the reference is brought up to date or only looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Files are written.
    Write,
    /// Nothing is written; a difference is an error.
    Compare,
}

/// Makes the reference pages with the binary of this checkout, and builds the API pages; in these, a link that leads
/// nowhere is an error.
///
/// # Errors
/// When cargo cannot be started, the binary does not work, or files cannot be read or written.
pub(crate) fn docs(pages: Pages) -> Result<u8> {
    let made = made()?;
    let committed = shell::root().join(REFERENCE);
    match pages {
        Pages::Write => write(&committed, &made)?,
        Pages::Compare => {
            let faults = faults(&read(&committed)?, &made);
            faults.iter().for_each(|fault| shell::complain(&format!("error: {REFERENCE}/{fault}")));
            if !faults.is_empty() {
                shell::complain("hint: `cargo xtask docs` writes them");
                return Ok(1);
            }
        }
    }
    let mut command = shell::cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    shell::run(command)
}

/// Texts by file name.
type Files = BTreeMap<String, String>;

/// The reference as this version has it.
fn made() -> Result<Files> {
    let folder = shell::target().join("reference");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    tollgate(&["reference", &folder.display().to_string()])?;
    let mut files = read(&folder)?;
    files.insert(SCHEMA.to_owned(), tollgate(&["schema"])?);
    Ok(files)
}

/// What the binary of this checkout prints.
fn tollgate(words: &[&str]) -> Result<String> {
    let mut command = shell::cargo(&["run", "--locked", "--quiet", "--package", "tollgate", "--"]);
    // Help texts show the value of a variable that is set.
    command.args(words).env_remove("TOLLGATE_CONFIG").stderr(std::process::Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`tollgate {}` failed", words.join(" "));
    }
    String::from_utf8(output.stdout).context("the output is no UTF-8")
}

/// The files of a folder; none if there is no such folder.
fn read(folder: &Path) -> Result<Files> {
    if !folder.exists() {
        return Ok(Files::new());
    }
    let paths: Vec<PathBuf> = shell::files(folder, &|_| true)?;
    let read = paths.iter().map(|path| {
        let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        Ok((name, fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?))
    });
    read.collect()
}

fn write(folder: &Path, files: &Files) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in read(folder)?.keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(name)).with_context(|| format!("cannot remove {name}"))?;
    }
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// What is not as it should be, by file.
fn faults(committed: &Files, made: &Files) -> Vec<String> {
    let missing = made.iter().filter_map(|(name, text)| match committed.get(name) {
        None => Some(format!("{name} is missing")),
        Some(have) if have != text => Some(format!("{name} is not what this version makes")),
        Some(_) => None,
    });
    let strange = committed.keys().filter(|name| !made.contains_key(*name));
    missing.chain(strange.map(|name| format!("{name} is not made by this version"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[(&str, &str)]) -> Files {
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn pages_that_differ_are_missing_or_too_many_are_told_by_name() {
        let made = files(&[("a.md", "1"), ("b.md", "2"), ("c.md", "3")]);
        assert_eq!(faults(&made, &made), Vec::<String>::new());
        let committed = files(&[("a.md", "1"), ("b.md", "old"), ("z.md", "")]);
        let expected = ["b.md is not what this version makes", "c.md is missing", "z.md is not made by this version"];
        assert_eq!(faults(&committed, &made), expected);
    }
}
