//! Looks at what this process uses, as long as a config says that it may not use all.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tollgate_config::model;
use tollgate_engine::overload::{Overload, share};
use tollgate_observe::metrics::{self, Metrics, open_files, resident};

use crate::wire::World;

/// How often.
const EVERY: Duration = Duration::from_millis(250);

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Watched {
    written: model::Overload,
    /// What workers go by.
    pub(crate) overload: Arc<Overload>,
}

/// Looks, until it is dropped.
#[derive(Debug)]
pub(crate) struct Looking(JoinHandle<()>);

impl Watched {
    /// What the config says, if it says something; the same as before if it says the same.
    pub(crate) fn new(written: Option<&model::Overload>, before: Option<&Self>) -> Option<Self> {
        let written = written?;
        let known = before.filter(|before| before.written == *written).map(|before| Arc::clone(&before.overload));
        let overload = known.unwrap_or_else(|| Arc::new(Overload::new(written.lag.map(|lag| lag.0))));
        Some(Self { written: written.clone(), overload })
    }

    /// Looks from now on.
    pub(crate) fn look(&self, world: &World) -> Looking {
        let (written, overload, metrics) =
            (self.written.clone(), Arc::clone(&self.overload), Arc::clone(&world.metrics));
        look(&written, &overload, &metrics);
        Looking(world.slow.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                look(&written, &overload, &metrics);
            }
        }))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn look(written: &model::Overload, overload: &Overload, metrics: &Metrics) {
    let memory = written.memory.as_ref().and_then(|most| Some(share(resident()? as f64, most.get() as f64)));
    let files = written.files.as_ref().and_then(|part| {
        let (open, most) = open_files()?;
        Some(share(open as f64, most as f64 * part.value.fraction()))
    });
    overload.used(memory.unwrap_or_default(), files.unwrap_or_default());
    metrics.uses(metrics::Overload { memory, files, lag: written.lag.map(|_| 0) });
}
