//! Reading the config again: when its files change, and when SIGHUP asks for it.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tollgate_config::Look;
use tollgate_config::diagnose::render_all;
use tollgate_config::model::Level;

use crate::cli::{Failure, all, load, set_level};
use crate::node::{Applied, Node};
use crate::start::StartError;
use crate::systemd;
use crate::watch::{EVERY, Watched};

/// Reloads for as long as the process lives. Without files there is nothing to be read again; a signal would else end the
/// process.
pub(crate) async fn whenever_asked(path: Option<&Path>, hup: &mut Signal, node: &Arc<Node>) -> Infallible {
    let Some(path) = path else { return pending().await };
    let mut watched = Watched::new(path);
    loop {
        let why = tokio::select! {
            // No signal will come any more.
            asked = hup.recv() => if asked.is_some() { "SIGHUP" } else { pending().await },
            () = changed(&mut watched) => "its files changed",
        };
        if node.gateway().drain().is_begun() {
            return pending().await;
        }
        // What is read now needs not be read once more because it has changed; what changes from here on does.
        watched = Watched::new(path);
        let (path, node) = (path.to_owned(), Arc::clone(node));
        // Compiling takes its time, and the runtime has other things to do.
        let _ = tokio::task::spawn_blocking(move || reload(&path, &node, why)).await;
    }
}

async fn changed(watched: &mut Watched) {
    loop {
        tokio::time::sleep(EVERY).await;
        if watched.look() {
            return;
        }
    }
}

/// Reads the config and brings it into force, or tells why not.
fn reload(path: &Path, node: &Node, why: &str) {
    systemd::reloading();
    let config = path.display().to_string();
    match attempt(path, node) {
        Ok((Applied::Now { revision, .. }, warnings)) => {
            tracing::info!(config, revision, why, "reloaded");
            if !warnings.is_empty() {
                tracing::warn!("\n{}", warnings.trim_end());
            }
        }
        Ok((Applied::Already, _)) => tracing::info!(config, why, "read again: nothing changes"),
        Err(refusal) => {
            node.refused(refusal.trim_end());
            tracing::error!(config, why, "refused, the config before stays in force:\n{}", refusal.trim_end());
        }
    }
    systemd::ready(node.revision());
}

/// What was applied, with what is to be said of it; or everything that stands in the way.
fn attempt(path: &Path, node: &Node) -> Result<(Applied, String), String> {
    let name = path.display().to_string();
    let loaded = load(path).map_err(|failure| told(&failure))?;
    let applied = node.apply(&loaded.config).map_err(|error| match error {
        StartError::Config(found) => all(&name, &loaded, found).to_string(),
        StartError::Other(_) => told(&Failure::to_start(&name, error)),
    })?;
    set_level(level(&applied, loaded.config.log.level));
    let found = match &applied {
        Applied::Now { warnings, .. } => all(&name, &loaded, warnings.clone()).diagnostics,
        Applied::Already => Vec::new(),
    };
    Ok((applied, render_all(&found, Look::Plain)))
}

fn level(applied: &Applied, level: Level) -> Option<Level> {
    matches!(applied, Applied::Now { .. }).then_some(level)
}

fn told(failure: &Failure) -> String {
    failure.to_string()
}
