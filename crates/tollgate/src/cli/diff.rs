//! `tollgate diff`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tollgate_config::Loaded;
use tollgate_observe::metrics::Metrics;
use tollgate_plan::diff::{Diff, diff};

use crate::cli::admin::{self, AdminArgs};
use crate::cli::output::{Failure, Output};
use crate::cli::run::{all, load};
use crate::shown::with_marked_secrets;
use crate::sources::named;
use crate::wire::policies;

/// What to compare.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiffArgs {
    /// Compare with this config, instead of the one in force: a file, or a directory.
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["url", "token_file"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    gateway: AdminArgs,
}

/// Says what a reload would change. Exit code 0: nothing; 1: something; 2: that cannot be told.
pub(crate) fn diff_configs(args: &DiffArgs, output: &Output) -> ExitCode {
    let told = compare(args).and_then(|diff| {
        let text = if args.gateway.is_json() { format!("{:#}\n", diff.to_json()) } else { diff.to_string() };
        output.print(&text)?;
        Ok(diff.is_empty())
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            output.failed(&failure);
            ExitCode::from(2)
        }
    }
}

fn compare(args: &DiffArgs) -> Result<Diff, Failure> {
    let new = right(args.gateway.config())?;
    let after = with_marked_secrets(&new.tree);
    let Some(from) = &args.from else {
        let running = admin::get(&args.gateway, "/v1/config/running")?;
        return Ok(diff(&running["config"], &after));
    };
    let mut old = load(from)?;
    if [&old, &new].iter().all(|one| one.tree.get("data").is_none()) {
        // Each beside its file, which may lie elsewhere.
        old.config.data = new.config.data.clone();
    }
    // A default that is written is no change.
    if old.config == new.config {
        return Ok(Diff { changes: Vec::new() });
    }
    Ok(diff(&with_marked_secrets(&old.tree), &after))
}

/// A config without mistakes.
fn right(path: &std::path::Path) -> Result<Loaded, Failure> {
    let loaded = load(path)?;
    let compiled = tollgate_plan::compile(&loaded.config, policies(), &named(&loaded.config), &Metrics::new(1), 1);
    match compiled {
        Ok(_) => Ok(loaded),
        Err(found) => Err(Failure::Config(all(&path.display().to_string(), &loaded, found))),
    }
}
