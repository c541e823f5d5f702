//! Kubernetes, as a build with the feature `kubernetes` asks it.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use tollgate_config::model::{self, Config, KubernetesPort};
use tollgate_core::caller::Caller;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Span;
use tollgate_registry::Source;
use tollgate_registry::dns::Dns;
pub(super) use tollgate_registry::kubernetes::Kubernetes;
use tollgate_registry::kubernetes::{Port, Settings, Token, Wanted};

use crate::wire::World;

/// Where a pod finds what lets it ask: its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether this build has all sources that the config names.
///
/// # Errors
/// None: it has.
#[expect(clippy::unnecessary_wraps, reason = "a build without the feature refuses")]
pub(crate) fn built_in(_: &Config) -> Result<(), Vec<Diagnostic>> {
    Ok(())
}

/// Who vouches for the cluster in which the gateway runs, if nobody else is named: a file of its service account.
pub(crate) fn own_authority(written: &model::Kubernetes) -> Option<PathBuf> {
    let is_own = written.url.is_none() && written.ca.is_none() && in_cluster().is_some();
    is_own.then(|| of_pod("ca.crt"))
}

/// Where the API server of the cluster is in which the gateway runs.
fn in_cluster() -> Option<String> {
    let said = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let (host, port) = (said("KUBERNETES_SERVICE_HOST")?, said("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

fn of_pod(file: &str) -> PathBuf {
    PathBuf::from(SERVICE_ACCOUNT).join(file)
}

pub(super) fn make(
    written: &model::Kubernetes,
    span: &Span,
    caller: Arc<dyn Caller>,
    resolver: &Arc<Dns>,
    world: &World,
) -> Result<Arc<Kubernetes>, Diagnostic> {
    let url = written.url.as_ref().map(|url| url.value.0.clone());
    let is_own = url.is_none();
    let url = url.or_else(in_cluster).ok_or_else(|| {
        Diagnostic::error("nobody knows where Kubernetes is: the gateway does not run in a cluster")
            .at(span)
            .hint("`kubernetes: { url: https://10.0.0.1:6443, token_file: ./token, ca: ./ca.crt }`, at the top")
    })?;
    let token = match (&written.token, &written.token_file) {
        (Some(token), _) => Some(Token::Text(token.value.0.clone())),
        (None, Some(file)) => Some(Token::File(file.value.0.clone())),
        (None, None) => is_own.then(|| Token::File(of_pod("token"))),
    };
    let settings = Settings { url, token, hold: written.hold.0 };
    let (slow, clock, metrics) = (world.slow.clone(), world.clock.clone(), Arc::clone(&world.metrics));
    Ok(Kubernetes::new(settings, caller, Arc::clone(resolver), slow, clock, metrics))
}

pub(super) fn source(asked: &Arc<Kubernetes>, from: &model::FromKubernetes) -> Arc<dyn Source> {
    let of = &from.service.value;
    let port = from.port.as_ref().map(|port| match port {
        KubernetesPort::Name(name) => Port::Name(name.clone()),
        KubernetesPort::Number(number) => Port::Number(*number),
    });
    asked.source(Wanted { namespace: of.namespace.clone(), service: of.name.clone(), port })
}
