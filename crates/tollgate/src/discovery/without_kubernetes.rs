//! A build without the feature `kubernetes`: what names Kubernetes is refused.

use std::path::PathBuf;
use std::sync::Arc;

use tollgate_config::model::{self, Config};
use tollgate_core::caller::Caller;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Span;
use tollgate_registry::Source;
use tollgate_registry::dns::Dns;

use super::uses_kubernetes;
use crate::wire::World;

/// What there is none of.
#[derive(Debug)]
pub(super) enum Kubernetes {}

/// Whether this build has all sources that the config names.
///
/// # Errors
/// Kubernetes is named.
pub(crate) fn built_in(config: &Config) -> Result<(), Vec<Diagnostic>> {
    match uses_kubernetes(config) {
        None => Ok(()),
        Some(span) => Err(vec![refusal(span)]),
    }
}

fn refusal(span: &Span) -> Diagnostic {
    Diagnostic::error("this build of Tollgate cannot ask Kubernetes")
        .at(span)
        .hint("it was built without the feature `kubernetes`: `cargo build --features kubernetes`")
}

pub(crate) fn own_authority(_: &model::Kubernetes) -> Option<PathBuf> {
    None
}

pub(super) fn make(
    _: &model::Kubernetes,
    span: &Span,
    _: Arc<dyn Caller>,
    _: &Arc<Dns>,
    _: &World,
) -> Result<Arc<Kubernetes>, Diagnostic> {
    Err(refusal(span))
}

pub(super) fn source(asked: &Arc<Kubernetes>, _: &model::FromKubernetes) -> Arc<dyn Source> {
    match **asked {}
}
