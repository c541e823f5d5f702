//! Reading the config again: when its files change, and when SIGHUP or the admin API asks for it.

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinError;
use tollgate_config::diagnose::render_all;
use tollgate_config::model::Level;
use tollgate_config::{Loaded, Look};
use tollgate_core::control::{Actor, Reloaded};

use crate::cli::{Failure, all, load, set_level};
use crate::control::{Ask, Place};
use crate::node::{Applied, Node};
use crate::start::StartError;
use crate::watch::{EVERY, Watched};
use crate::{last_good, systemd};

/// Reloads for as long as the process lives. Without files there is nothing to be read again; a signal would else end the
/// process. The files are those whose config is in force, as they were before they were read.
pub(crate) async fn whenever_asked(files: Option<Watched>, hup: &mut Signal, node: &Arc<Node>) -> Infallible {
    let mut asks = node.control.asks();
    let Some(mut watched) = files else {
        // Whoever asks is told so.
        drop(asks);
        return pending().await;
    };
    let path = watched.path().to_owned();
    loop {
        let (by, answer) = tokio::select! {
            // No signal will come any more.
            asked = hup.recv() => if asked.is_some() { (Actor::Signal("SIGHUP"), None) } else { pending().await },
            ask = next(&mut asks) => (ask.by, Some(ask.answer)),
            () = changed(&mut watched) => (Actor::Files, None),
        };
        let control = Arc::clone(&node.control);
        let change = control.change().await;
        if node.gateway().drain().is_begun() || *change == Place::Taken {
            drop((answer, asks));
            return pending().await;
        }
        // What is read now needs not be read once more because it has changed; what changes from here on does.
        watched = Watched::new(&path);
        let (told, path, node) = (Arc::clone(node), path.clone(), Arc::clone(node));
        // Compiling takes its time, and the runtime has other things to do.
        let done = tokio::task::spawn_blocking(move || reload(&path, &node, by)).await;
        let done = done.unwrap_or_else(|failed| Err(broke(&told, by, &failed)));
        if let Some(answer) = answer {
            // Whoever asked may have left.
            let _ = answer.send(done);
        }
        drop(change);
    }
}

async fn next(asks: &mut Option<Receiver<Ask>>) -> Ask {
    let ask = match asks {
        Some(asks) => asks.recv().await,
        None => None,
    };
    match ask {
        Some(ask) => ask,
        None => pending().await,
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

/// A reload came to no end: the gateway's own fault, of which is told as of a config that is refused.
fn broke(node: &Node, by: Actor, failed: &JoinError) -> String {
    let why = format!("the reload failed, which is a fault of the gateway's own: {failed}");
    tracing::error!(why = %by, "{why}; the config before stays in force");
    node.refused(&why);
    node.control.refused(by, node.revision(), &why);
    systemd::ready(node.revision());
    why
}

/// Reads the config and brings it into force, or tells why not.
fn reload(path: &Path, node: &Node, by: Actor) -> Result<Reloaded, String> {
    systemd::reloading();
    let done = brought_into_force(path, node, by);
    systemd::ready(node.revision());
    done
}

fn brought_into_force(path: &Path, node: &Node, by: Actor) -> Result<Reloaded, String> {
    let (config, why) = (path.display().to_string(), by.to_string());
    match attempt(path, node) {
        Ok((Applied::Now { revision, .. }, loaded, warnings)) => {
            tracing::info!(config, revision, why, "reloaded");
            node.control.reloaded(by, revision, &loaded);
            last_good::keep(&loaded);
            if !warnings.is_empty() {
                tracing::warn!("\n{}", warnings.trim_end());
            }
            Ok(Reloaded::Applied { revision, warnings: warnings.trim_end().to_owned() })
        }
        Ok((Applied::Already, ..)) => {
            tracing::info!(config, why, "read again: nothing changes");
            node.stands();
            Ok(Reloaded::Unchanged { revision: node.revision() })
        }
        Err(refusal) => {
            tracing::error!(config, why, "refused, the config before stays in force:\n{}", refusal.trim_end());
            node.refused(refusal.trim_end());
            node.control.refused(by, node.revision(), refusal.trim_end());
            Err(refusal.trim_end().to_owned())
        }
    }
}

/// What was applied, with what is to be said of it; or everything that stands in the way.
fn attempt(path: &Path, node: &Node) -> Result<(Applied, Loaded, String), String> {
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
    Ok((applied, loaded, render_all(&found, Look::Plain)))
}

fn level(applied: &Applied, level: Level) -> Option<Level> {
    matches!(applied, Applied::Now { .. }).then_some(level)
}

fn told(failure: &Failure) -> String {
    failure.to_string()
}
