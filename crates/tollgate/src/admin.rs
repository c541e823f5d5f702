//! What a listener of kind `admin` serves.

use std::sync::Arc;

use tollgate_admin::{Guard, Token};
use tollgate_config::model::{Config, Listener};
use tollgate_core::control::Control;
use tollgate_engine::{Deployment, Rules};
use tollgate_observe::audit::AuditLog;
use tollgate_plan::Plan;

use crate::control::{Controls, Port};
use crate::start::{StartError, Trouble};
use crate::wire::World;

/// The admin API, with its token and a folder that the audit log can be written to.
pub(crate) fn deployment(
    listener: &Listener,
    config: &Config,
    control: &Arc<Controls>,
    world: &World,
    rules: &Arc<Rules>,
) -> Result<Deployment, StartError> {
    let data = &config.data.0;
    let token = Token::load_or_make(data).map_err(|error| trouble(error.message, error.hint))?;
    AuditLog::open(data, world.clock.clone()).map_err(|error| {
        let message = format!("cannot write the audit log in {}: {error}", data.display());
        trouble(message, "the gateway's user must be able to write to the folder `data:`".to_owned())
    })?;
    let control: Arc<dyn Control> = Arc::new(Port(Arc::clone(control)));
    let routes = tollgate_admin::routes(&control, Guard::new(token, listener.hosts.clone()), None);
    let plan = Arc::new(Plan::of_handlers(routes, &world.metrics).map_err(StartError::Config)?);
    Ok(Deployment::new(plan, Arc::new([]), Arc::clone(rules)))
}

fn trouble(message: String, hint: String) -> StartError {
    StartError::Other(vec![Trouble { message, hint: Some(hint) }])
}
