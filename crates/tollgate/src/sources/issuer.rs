//! Who the gateway is as one that gives out tokens: made of the config, and kept over reloads.

use std::path::PathBuf;
use std::sync::Arc;

use tollgate_config::model::{self, Config, SigningAlgorithm};
use tollgate_core::cache::CacheStore;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::handler::Handler;
use tollgate_identity::jwk::Algorithm;
use tollgate_identity::mint::{self, Issuer, KeysIn};
use tollgate_identity::{SamlGrant, trade};

/// The file in `data` with the keys that sign tokens of the gateway's own.
const SIGNING_KEYS: &str = "signing-keys.json";

/// Who the gateway is as one that gives out tokens, and what that was made of.
#[derive(Debug)]
pub(super) struct Issues {
    written: model::Issuer,
    data: PathBuf,
    pub(super) issuer: Arc<Issuer>,
    pub(super) saml: Option<Arc<SamlGrant>>,
    pub(super) endpoints: Vec<(&'static str, Arc<dyn Handler>)>,
}

type Issued = (Arc<Issuer>, Option<Arc<SamlGrant>>, Vec<(&'static str, Arc<dyn Handler>)>);

/// Who gives out tokens, with these keys unless others are written.
pub(super) fn opened(
    written: &model::Issuer,
    keys: KeysIn,
    clock: &Clock,
    store: Arc<dyn CacheStore>,
) -> Result<Issued, Diagnostic> {
    let place = written.key.as_ref().map_or(&written.url.span, |key| &key.span);
    let keys = match &written.key {
        Some(key) => KeysIn::Text(key.value.0.clone()),
        None => keys,
    };
    let algorithm = match written.algorithm.value {
        SigningAlgorithm::Es256 => Algorithm::Es256,
        SigningAlgorithm::EdDsa => Algorithm::EdDsa,
    };
    let settings = mint::Settings { url: written.url.value.0.clone(), algorithm, keys };
    let issuer = Issuer::open(settings, clock.clone());
    let issuer = issuer.map_err(|error| Diagnostic::error(error.message).at(place).hint(error.hint))?;
    let may = written.exchange.iter().flat_map(|all| all.iter());
    let may = may.map(|(from, to)| (from.value.clone(), to.clone())).collect();
    let saml = written.saml.as_ref().map(|saml| {
        let (file, entity) = (&saml.metadata.value.0, saml.entity.as_deref());
        SamlGrant::look(file, entity).map_err(|why| {
            Diagnostic::error(format!("metadata from `{}`: {why}", file.display())).at(&saml.metadata.span)
        })?;
        let (entity, to) = (saml.entity.clone(), saml.to.clone());
        Ok(SamlGrant::new(file.clone(), entity, &written.url.value.0, to, Arc::clone(&store), clock.clone()))
    });
    let saml = saml.transpose()?;
    let endpoints = trade::endpoints(&issuer, may, saml.clone(), clock);
    Ok((issuer, saml, endpoints))
}

/// The same for a gateway: one that would be made alike is the same as before.
pub(super) fn issues(
    config: &Config,
    clock: &Clock,
    store: Arc<dyn CacheStore>,
    before: Option<&Issues>,
) -> Result<Option<Issues>, Diagnostic> {
    let Some(written) = &config.issuer else { return Ok(None) };
    let data = config.data.0.clone();
    if let Some(before) = before.filter(|before| before.written == *written && before.data == data) {
        let (issuer, saml) = (Arc::clone(&before.issuer), before.saml.clone());
        let endpoints = before.endpoints.clone();
        return Ok(Some(Issues { written: written.clone(), data, issuer, saml, endpoints }));
    }
    let keys = KeysIn::File(data.join(SIGNING_KEYS), written.rotate.value.0);
    let (issuer, saml, endpoints) = opened(written, keys, clock, store)?;
    Ok(Some(Issues { written: written.clone(), data, issuer, saml, endpoints }))
}
