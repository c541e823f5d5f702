//! What a listener of kind `admin` serves.

use std::sync::Arc;

use tollgate_admin::registry::{Ending, Registry};
use tollgate_admin::{Guard, Token};
use tollgate_config::model::{self, Config, Listener};
use tollgate_core::control::Control;
use tollgate_core::policy::BoxFuture;
use tollgate_engine::{Deployment, Drain, Rules};
use tollgate_observe::audit::AuditLog;
use tollgate_plan::Plan;

use crate::control::{Controls, Port};
use crate::instances::Instances;
use crate::start::{StartError, Trouble};
use crate::wire::World;

/// The admin API, with its token and a folder that the audit log can be written to. `instances`: those that register
/// themselves, if the config has a registry.
pub(crate) fn deployment(
    listener: &Listener,
    config: &Config,
    control: &Arc<Controls>,
    world: &World,
    rules: &Arc<Rules>,
    (instances, drain): (Option<&Instances>, &Arc<Drain>),
) -> Result<Deployment, StartError> {
    let data = &config.data.0;
    let token = Token::load_or_make(data).map_err(|error| trouble(error.message, error.hint))?;
    AuditLog::open(data, world.clock.clone()).map_err(|error| {
        let message = format!("cannot write the audit log in {}: {error}", data.display());
        trouble(message, "the gateway's user must be able to write to the folder `data:`".to_owned())
    })?;
    let control: Arc<dyn Control> = Arc::new(Port(Arc::clone(control)));
    let registry = instances.zip(config.registry.as_ref());
    let registry = registry.map(|(instances, written)| {
        instances.access.admin_will_be(&token);
        registry_of(instances, written, world, drain)
    });
    let routes = tollgate_admin::routes(&control, Guard::new(token, listener.hosts.clone()), registry);
    let plan = Arc::new(Plan::of_handlers(routes, &world.metrics).map_err(StartError::Config)?);
    Ok(Deployment::new(plan, Arc::new([]), Arc::clone(rules)))
}

fn registry_of(instances: &Instances, written: &model::Registry, world: &World, drain: &Arc<Drain>) -> Registry {
    Registry {
        directory: Arc::clone(&instances.registry) as _,
        access: Arc::clone(&instances.access),
        ttl: written.ttl.value.0,
        clock: world.clock.clone(),
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
