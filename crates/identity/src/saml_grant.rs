//! SAML assertions that are traded for tokens of the gateway's own (RFC 7522): whoever comes with one of the provider's gets a token
//! for the services that the config names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tollgate_core::cache::CacheStore;
use tollgate_core::clock::Clock;
use tollgate_core::problem::{Problem, Side};

use crate::faults::{SAML_METADATA, because};
use crate::saml::{self, Expected, MustBeSigned, Provider};
use crate::source::GIVEN;
use tollgate_follow::Followed;

/// Largest metadata, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;
/// By how much clocks may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Which assertions are taken, and for whom tokens are given.
pub struct SamlGrant {
    provider: Arc<Followed<Provider>>,
    /// The services.
    to: Vec<String>,
    /// Whom assertions are for: the gateway as an issuer.
    audience: String,
    /// Where they are sent.
    recipient: String,
    /// Where it is marked which were used: each is good for once (SAML 2.0 Profiles §4.1.4.5).
    store: Arc<dyn CacheStore>,
}

impl SamlGrant {
    /// Takes assertions of the provider whose metadata is in this file, once [`SamlGrant::start`] was called. `url`: who the gateway is.
    #[must_use]
    pub fn new(
        file: PathBuf,
        entity: Option<String>,
        url: &str,
        to: Vec<String>,
        store: Arc<dyn CacheStore>,
        clock: Clock,
    ) -> Arc<Self> {
        let provider = Followed::new(file, LARGEST, clock, move |text| Provider::read(text, entity.as_deref()));
        let recipient = format!("{}/token", url.trim_end_matches('/'));
        Arc::new(Self { provider, to, audience: url.to_owned(), recipient, store })
    }

    /// Whether a file has metadata that can be used.
    ///
    /// # Errors
    /// It has none; in words for a person.
    pub fn look(file: &std::path::Path, entity: Option<&str>) -> Result<(), String> {
        tollgate_follow::read(file, LARGEST).and_then(|text| Provider::read(&text, entity)).map(drop)
    }

    /// Reads the metadata now, and again whenever it changes. Blocks.
    pub fn start(&self, slow: &Handle) {
        self.provider.start(slow);
    }

    /// Whether tokens are given for all of these.
    pub(crate) fn gives_for(&self, audience: &[String]) -> bool {
        audience.iter().all(|one| self.to.contains(one))
    }

    /// What an assertion says of its subject, once.
    ///
    /// # Errors
    /// What is wrong with it, for the client; or that nobody can tell.
    pub(crate) async fn judge(&self, assertion: &str, now: SystemTime) -> Result<Map<String, Value>, Refusal> {
        let provider = self.provider.said().ok_or_else(|| because(&SAML_METADATA, "the metadata cannot be read"));
        let provider = provider.map_err(Refusal::from)?;
        let audiences = [self.audience.clone()];
        let expected = Expected {
            provider: &provider,
            audiences: &audiences,
            recipient: &self.recipient,
            contexts: &[],
            signed: MustBeSigned::Assertion,
            keys: &[],
            skew: SKEW,
        };
        let accepted = expected.judge_grant(assertion, now).map_err(Refusal::from)?;
        let lasts = accepted.ends.duration_since(now).unwrap_or_default();
        saml::take(&self.store, &provider.entity_id, &accepted.id, lasts).await.map_err(Refusal::from)?;
        let mut claims = accepted.claims;
        claims.retain(|name, value| !GIVEN.contains(&name.as_str()) && !value.is_null());
        claims.insert("saml_issuer".to_owned(), json!(provider.entity_id));
        Ok(claims)
    }
}

/// Why there is no token.
pub(crate) enum Refusal {
    /// The assertion is at fault: its slug, for our log, and what the client is told.
    Client(&'static str, &'static str),
    /// The gateway or the provider is.
    Own(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        match problem.fault.side {
            Side::Client => Self::Client(problem.fault.slug, problem.fault.title),
            Side::Gateway | Side::Upstream => Self::Own(problem),
        }
    }
}

impl fmt::Debug for SamlGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamlGrant").field("to", &self.to).finish_non_exhaustive()
    }
}
