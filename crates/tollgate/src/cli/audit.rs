//! `tollgate audit`: whether the audit log is as it was written.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tollgate_config::Part;
use tollgate_observe::audit::{self, Verified};

use crate::cli::output::{Failure, Output};
use crate::cli::run::load_part;
use crate::cli::{ConfigArgs, failure};

/// What can be asked of it.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk the chain of its lines, and name the first one that was changed or removed.
    #[command(
        after_help = "Example:\n  tollgate audit verify /var/lib/tollgate/audit.log\n\nExit code: 0 as it was written, 1 not so."
    )]
    Verify(VerifyArgs),
}

/// Which log.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The log, instead of the one in the folder `data:` of the config. Older files of it are walked first: FILE.9 to FILE.1.
    file: Option<PathBuf>,
}

/// Does what was asked.
pub(crate) fn audit(command: &AuditCommand, output: &Output) -> Result<(), Failure> {
    let AuditCommand::Verify(args) = command;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => load_part(&args.config.config, Part::Places)?.data.0.join(audit::NAME),
    };
    let verified = audit::verify(&file).map_err(|e| failure(format!("cannot read {}: {e}", file.display())))?;
    let Verified { lines, first, last } = verified.map_err(|broken| failure(broken.to_string()))?;
    let since = if first > 1 {
        format!(", from number {first} on: those before are gone with their files")
    } else {
        String::new()
    };
    output.print(&format!("{}: {lines} lines as they were written{since}\nlast: {last}\n", file.display()))
}
