//! Who is asked where instances are, beside DNS: made of the config, and kept over reloads if it would be made alike.

use std::sync::Arc;

use tollgate_config::model::{self, Config, ConsulConsistency};
use tollgate_core::caller::Caller;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Span;
use tollgate_net::tls::Client;
use tollgate_registry::Source;
use tollgate_registry::consul::{self, Consistency, Consul};
use tollgate_registry::dns::Dns;
use tollgate_upstream::outbound::Outbound;

use crate::tls::Tls;
use crate::wire::World;

#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(not(feature = "kubernetes"))]
#[path = "discovery/without_kubernetes.rs"]
mod kubernetes;

pub(crate) use kubernetes::{built_in, own_authority};

/// What their TLS belongs to.
pub(crate) const CONSUL: &str = "consul";
pub(crate) const KUBERNETES: &str = "kubernetes";

/// Whom services ask.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) resolver: Arc<Dns>,
    consul: Option<Made<model::Consul, Consul>>,
    kubernetes: Option<Made<model::Kubernetes, kubernetes::Kubernetes>>,
}

/// Somebody who is asked, and what that was made of.
#[derive(Debug)]
struct Made<W, T> {
    written: W,
    tls: Arc<Client>,
    asked: Arc<T>,
}

impl<W: PartialEq, T> Made<W, T> {
    fn is_alike(&self, written: &W, tls: &Arc<Client>) -> bool {
        self.written == *written && Arc::ptr_eq(&self.tls, tls)
    }
}

impl Discovery {
    /// One that would be made as it was `before` is the same.
    ///
    /// # Errors
    /// Kubernetes is to be asked, and nobody knows where it is.
    pub(crate) fn new(
        config: &Config,
        tls: &Tls,
        resolver: &Arc<Dns>,
        world: &World,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Diagnostic> {
        let consul = uses_consul(config).and_then(|_| tls.source(CONSUL));
        let kubernetes = uses_kubernetes(config).and_then(|span| Some((span, tls.source(KUBERNETES)?)));
        let alike = before.filter(|before| {
            let same_consul = match (&before.consul, consul) {
                (Some(made), Some(tls)) => made.is_alike(&config.consul, tls),
                (made, tls) => made.is_none() && tls.is_none(),
            };
            let same_kubernetes = match (&before.kubernetes, kubernetes) {
                (Some(made), Some((_, tls))) => made.is_alike(&config.kubernetes, tls),
                (made, used) => made.is_none() && used.is_none(),
            };
            same_consul && same_kubernetes && Arc::ptr_eq(&before.resolver, resolver)
        });
        if let Some(alike) = alike {
            return Ok(Arc::clone(alike));
        }
        let consul = consul.map(|tls| Made {
            written: config.consul.clone(),
            tls: Arc::clone(tls),
            asked: Consul::new(
                consul_settings(&config.consul),
                caller(tls, resolver, world),
                Arc::clone(resolver),
                world.slow.clone(),
                world.clock.clone(),
                Arc::clone(&world.metrics),
            ),
        });
        let kubernetes = kubernetes.map(|(span, tls)| {
            let asked = kubernetes::make(&config.kubernetes, span, caller(tls, resolver, world), resolver, world)?;
            Ok(Made { written: config.kubernetes.clone(), tls: Arc::clone(tls), asked })
        });
        Ok(Arc::new(Self { resolver: Arc::clone(resolver), consul, kubernetes: kubernetes.transpose()? }))
    }

    /// The instances of a service, if they are asked for here.
    pub(crate) fn other(&self, service: &model::Service) -> Option<Arc<dyn Source>> {
        if let (Some(from), Some(made)) = (&service.consul, &self.consul) {
            return Some(made.asked.source(wanted(&from.value)));
        }
        let (from, made) = (service.kubernetes.as_ref()?, self.kubernetes.as_ref()?);
        Some(kubernetes::source(&made.asked, &from.value))
    }
}

/// The first place where a service wants instances from Consul.
pub(crate) fn uses_consul(config: &Config) -> Option<&Span> {
    config.services.iter().find_map(|(_, service)| service.consul.as_ref().map(|from| &from.span))
}

/// The first place where a service wants instances from Kubernetes.
pub(crate) fn uses_kubernetes(config: &Config) -> Option<&Span> {
    config.services.iter().find_map(|(_, service)| service.kubernetes.as_ref().map(|from| &from.span))
}

fn caller(tls: &Arc<Client>, resolver: &Arc<Dns>, world: &World) -> Arc<dyn Caller> {
    Arc::new(Outbound::new(Arc::clone(tls), Arc::clone(resolver), world.slow.clone(), world.clock.clone()))
}

fn consul_settings(written: &model::Consul) -> consul::Settings {
    consul::Settings {
        url: written.url.value.0.clone(),
        token: written.token.as_ref().map(|token| token.value.0.clone()),
        datacenter: written.datacenter.as_ref().map(|name| name.0.clone()),
        consistency: match written.consistency {
            ConsulConsistency::Default => Consistency::Default,
            ConsulConsistency::Consistent => Consistency::Consistent,
            ConsulConsistency::Stale => Consistency::Stale,
        },
        wait: written.wait.value.0,
        hold: written.hold.0,
    }
}

fn wanted(from: &model::FromConsul) -> consul::Wanted {
    consul::Wanted {
        service: from.service.value.0.clone(),
        tags: from.tags.iter().flatten().map(|tag| tag.0.clone()).collect(),
        datacenter: from.datacenter.as_ref().map(|name| name.0.clone()),
        warning: from.warning,
    }
}
