//! What a listener of kind `admin` serves.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tollgate_admin::registry::{Ending, Registry, Rights};
use tollgate_admin::{Guard, Token};
use tollgate_config::model::{Config, Listener};
use tollgate_core::control::Control;
use tollgate_core::policy::BoxFuture;
use tollgate_engine::{Deployment, Drain, Rules};
use tollgate_observe::audit::AuditLog;
use tollgate_plan::Plan;
use tollgate_registry::directory::Directory;

use crate::control::{Controls, Port};
use crate::start::{StartError, Trouble};
use crate::wire::World;

/// The admin API, with its token and a folder that the audit log can be written to. `directory`: what keeps the instances that register
/// themselves.
pub(crate) fn deployment(
    listener: &Listener,
    config: &Config,
    control: &Arc<Controls>,
    world: &World,
    rules: &Arc<Rules>,
    (directory, drain): (Option<Arc<dyn Directory>>, &Arc<Drain>),
) -> Result<Deployment, StartError> {
    let data = &config.data.0;
    let token = Token::load_or_make(data).map_err(|error| trouble(error.message, error.hint))?;
    AuditLog::open(data, world.clock.clone()).map_err(|error| {
        let message = format!("cannot write the audit log in {}: {error}", data.display());
        trouble(message, "the gateway's user must be able to write to the folder `data:`".to_owned())
    })?;
    let control: Arc<dyn Control> = Arc::new(Port(Arc::clone(control)));
    let registry = directory.map(|directory| registry(directory, config, world, drain));
    let routes = tollgate_admin::routes(&control, Guard::new(token, listener.hosts.clone()), registry);
    let plan = Arc::new(Plan::of_handlers(routes, &world.metrics).map_err(StartError::Config)?);
    Ok(Deployment::new(plan, Arc::new([]), Arc::clone(rules)))
}

fn registry(directory: Arc<dyn Directory>, config: &Config, world: &World, drain: &Arc<Drain>) -> Registry {
    Registry {
        directory,
        rights: Rights::new(&config.registry),
        ttl: config.registry.ttl.value.0,
        clock: world.clock.clone(),
        watchers: Arc::new(Semaphore::new(usize::try_from(config.registry.watchers.get()).unwrap_or(usize::MAX))),
        ending: Arc::new(Draining(Arc::clone(drain))),
    }
}

/// Whoever waits for changes goes elsewhere once connections are to end, whether it stops or another process takes its place.
#[derive(Debug)]
struct Draining(Arc<Drain>);

impl Ending for Draining {
    fn begun(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.begun())
    }
}

fn trouble(message: String, hint: String) -> StartError {
    StartError::Other(vec![Trouble { message, hint: Some(hint) }])
}
