//! `tollgate check`.

use std::path::Path;

use tollgate_observe::metrics::Metrics;

use crate::cli::output::{Failure, Output};
use crate::cli::run::{all, load};
use crate::wire::policies;

/// Loads and compiles a config; tells what is wrong, or what it holds.
pub(crate) fn check(path: &Path, output: &Output) -> Result<(), Failure> {
    let loaded = load(path)?;
    let name = path.display().to_string();
    let compiled = tollgate_plan::compile(&loaded.config, policies(), &Metrics::new(1), 1);
    let compiled = compiled.map_err(|found| Failure::Config(all(&name, &loaded, found)))?;
    output.warn(&all(&name, &loaded, compiled.warnings).diagnostics);
    let (routes, services) = (loaded.config.routes().count(), compiled.services.len());
    let listeners = loaded.config.listen.len();
    output.print(&format!(
        "{name}: fine ({}, {}, {})\n",
        count(listeners, "listener"),
        count(routes, "route"),
        count(services, "service")
    ))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
