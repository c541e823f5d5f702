//! Where copies of a route's requests go.

use std::sync::Arc;

use bytes::Bytes;
use tollgate_config::model::{self, Credentials};
use tollgate_core::criticality::Criticality;
use tollgate_core::policy::Hooks;
use tollgate_observe::metrics::Metrics;

use crate::compile::action::Targets;
use crate::compile::at_most;
use crate::table::{Action, Bounds, Mirror, Proxy, RoutePlan, Says};

/// Compiles what a route says of copies, which go to `to`. `None`: that is where the requests themselves may go, so that the
/// copy would be a second request.
pub(super) fn mirror(
    written: &model::Mirror,
    to: Targets,
    route: &RoutePlan,
    proxy: &Proxy,
    metrics: &Metrics,
) -> Option<Mirror> {
    let (service, _) = to.first()?;
    if proxy.targets.iter().any(|(target, _)| target.slot == service.slot) {
        return None;
    }
    let timeout = at_most(written.timeout.0);
    let name = |field: &model::FieldName| Bytes::copy_from_slice(field.as_str().as_bytes());
    Some(Mirror {
        share: written.share.hundredths(),
        body: usize::try_from(written.body.0).unwrap_or(usize::MAX),
        at_once: usize::try_from(written.at_once.get()).unwrap_or(usize::MAX),
        strips_credentials: written.credentials == Credentials::Strip,
        without: written.without.iter().flatten().map(name).collect(),
        metrics: metrics.service(&service.name),
        route: RoutePlan {
            meta: Arc::clone(&route.meta),
            chain: Box::new([]),
            criticality: Criticality::Low,
            settles_criticality: false,
            hooks: Hooks::default(),
            action: Action::Proxy(Proxy {
                targets: to,
                // A copy is made of what would be sent, so its path has changed before.
                path: None,
                host: proxy.host.clone(),
                // Twice would be more than the request itself does.
                retries: Some(0),
                try_timeout: Says::None,
                hedge: None,
                fallback: Says::None,
                mirror: None,
            }),
            dialect: route.dialect,
            bounds: Bounds { timeout, idle: timeout, total: Some(timeout), ..route.bounds },
            deadline: None,
            upgrades: Arc::default(),
            metrics: Arc::clone(&route.metrics),
        },
    })
}
