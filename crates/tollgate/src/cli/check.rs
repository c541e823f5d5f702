//! `tollgate check`.

use std::path::Path;

use tollgate_core::clock::Clock;
use tollgate_observe::metrics::Metrics;

use crate::cli::output::{Failure, Output};
use crate::cli::run::{all, load};
use crate::discovery;
use crate::rehearsal;
use crate::sources::{self, named};
use crate::start::StartError;
use crate::tls::Tls;
use crate::wire::{access, policies};

/// Loads and compiles a config, and runs its tests; tells what is wrong, or what it holds.
pub(crate) fn check(path: &Path, output: &Output) -> Result<(), Failure> {
    let loaded = load(path)?;
    let name = path.display().to_string();
    let metrics = Metrics::new(1);
    let identity = sources::check(&loaded.config);
    let compiled = tollgate_plan::compile(&loaded.config, policies(), &named(&loaded.config), &metrics, 1);
    let tls = Tls::build(&loaded.config, Clock::real().unix(), None, &metrics);
    let access = access(&loaded.config, &named(&loaded.config));
    let sources = discovery::built_in(&loaded.config);
    let (compiled, tls) = match (compiled, tls, access, identity, sources) {
        (Ok(compiled), Ok(tls), Ok(_), Ok(_), Ok(())) => (compiled, tls),
        (compiled, tls, access, identity, sources) => {
            let found = compiled.err().into_iter().chain(tls.err()).chain(access.err()).chain(identity.err());
            let found = found.chain(sources.err());
            return Err(Failure::Config(all(&name, &loaded, found.flatten().collect())));
        }
    };
    match rehearsal::pass(&loaded.config) {
        Ok(()) => {}
        Err(StartError::Config(failed)) => return Err(Failure::Config(all(&name, &loaded, failed))),
        Err(error @ StartError::Other(_)) => return Err(Failure::to_start(&name, error)),
    }
    let warnings = compiled.warnings.into_iter().chain(tls.warnings).collect();
    output.warn(&all(&name, &loaded, warnings).diagnostics);
    let (routes, services) = (loaded.config.routes().count(), compiled.services.len());
    let listeners = loaded.config.listen.len();
    let tests = loaded.config.tests.expect.as_ref().map_or(0, Vec::len);
    output.print(&format!(
        "{name}: fine ({}, {}, {}{})\n",
        count(listeners, "listener"),
        count(routes, "route"),
        count(services, "service"),
        if tests == 0 { String::new() } else { format!(", {} passed", count(tests, "test")) }
    ))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
