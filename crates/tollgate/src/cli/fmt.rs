//! `tollgate fmt`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use tollgate_config::{Report, format, format_tree};

use crate::cli::failure;
use crate::cli::output::{Failure, Output};
use crate::cli::run::load;

/// What to format, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct FmtArgs {
    /// The file; with --long also a directory.
    #[arg(default_value = "./tollgate.yaml")]
    file: PathBuf,
    /// Only say whether the file is formatted: exit code 1 if it is not.
    #[arg(long, conflicts_with = "long")]
    check: bool,
    /// Print the config with every short form written in full; the file stays as it is.
    #[arg(long)]
    long: bool,
    /// Print the result; the file stays as it is.
    #[arg(long, conflicts_with_all = ["check", "long"])]
    stdout: bool,
}

/// Formats a file.
pub(crate) fn fmt(args: &FmtArgs, output: &Output) -> Result<(), Failure> {
    if args.long {
        return output.print(&format_tree(&load(&args.file)?.tree));
    }
    let name = args.file.display().to_string();
    let text = fs::read_to_string(&args.file).map_err(|e| failure(format!("cannot read {name}: {e}")))?;
    let mistakes = |diagnostics| Failure::Config(Report::new(&name, diagnostics));
    let formatted = format(&name, &text).map_err(mistakes)?;
    match (args.stdout, args.check, formatted == text) {
        (true, _, _) => output.print(&formatted),
        (_, _, true) => Ok(()),
        (_, true, false) => Err(Failure::Other {
            message: format!("{name} is not formatted"),
            hint: Some(format!("tollgate fmt {name}")),
        }),
        (_, false, false) => replace(&args.file, &formatted),
    }
}

/// Writes beside the file and renames: whoever reads it meanwhile sees the old or the new, never half of it.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("yaml.tollgate-fmt");
    let permissions = fs::metadata(path).map(|m| m.permissions());
    let written = fs::write(&beside, text)
        .and_then(|()| permissions.and_then(|p| fs::set_permissions(&beside, p)))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        // What cannot be removed either is named in the message.
        let _ = fs::remove_file(&beside);
        failure(format!("cannot write {}: {e}", path.display()))
    })
}
