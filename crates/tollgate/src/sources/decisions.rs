//! Who decides about requests: made of the config, and kept over reloads with what they said if they would be made alike.

use std::sync::Arc;

use tollgate_config::model::{self, Config};
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::decision::{Deciding, DecisionPoint};
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::Standing;
use tollgate_identity::decision::{Opa, Settings, Told};
use tollgate_registry::dns::Dns;
use tollgate_upstream::outbound::Outbound;

use crate::sources::settings::size;
use crate::tls::Tls;
use crate::wire::World;

/// All of a config.
#[derive(Debug, Default)]
pub(super) struct Decisions(Vec<Made>);

/// One, and what it was made of.
#[derive(Debug)]
struct Made {
    name: String,
    written: model::Decision,
    dns: model::Dns,
    decides: Opa,
}

impl Decisions {
    /// Those that would be made as they were `before` are the same.
    pub(super) fn build(config: &Config, clock: &Clock, before: Option<&Self>) -> Self {
        let made = config.decisions.iter().map(|(name, written)| {
            let is_alike = |made: &&Made| made.name == name.value && made.written == *written && made.dns == config.dns;
            let known = before.and_then(|before| before.0.iter().find(is_alike)).map(|known| known.decides.clone());
            let decides = known.unwrap_or_else(|| Opa::new(&name.value, settings(written), clock.clone()));
            Made { name: name.value.clone(), written: written.clone(), dns: config.dns.clone(), decides }
        });
        Self(made.collect())
    }

    /// As policies know them.
    pub(super) fn all(&self) -> Vec<Arc<dyn DecisionPoint>> {
        self.0.iter().map(|made| Arc::new(made.decides.clone()) as Arc<dyn DecisionPoint>).collect()
    }

    /// Has them asked from now on.
    pub(super) fn start(&self, tls: &Tls, world: &World, dns: &Arc<Dns>) {
        for made in &self.0 {
            let Some(client) = tls.decision(&made.name) else { continue };
            let (asking, clock) = (world.asking().clone(), world.clock.clone());
            let caller: Arc<dyn Caller> = Arc::new(Outbound::new(Arc::clone(client), Arc::clone(dns), asking, clock));
            made.decides.keep_in(&(Arc::clone(&world.store) as Arc<dyn CacheStore>));
            made.decides.start(&caller, world.asking());
        }
    }
}

fn settings(written: &model::Decision) -> Settings {
    let path = |claim: &String| claim.split('.').map(str::to_owned).collect();
    Settings {
        url: written.url.value.0.clone(),
        token: written.token.as_ref().map(|token| token.value.0.clone()),
        told: Told {
            headers: written.headers.iter().flatten().map(|name| name.value.as_str().to_ascii_lowercase()).collect(),
            query: written.query,
            claims: written.claims.as_ref().map(|claims| claims.value.iter().map(path).collect()),
        },
        timeout: written.timeout.0,
        cache: written.cache.0,
        remember: size(written.remember.get()),
        at_once: size(written.at_once.get()),
    }
}

/// Stands for one while nobody is asked: it agrees.
#[derive(Debug)]
pub(super) struct Agrees(Opa);

impl Agrees {
    /// All of a config.
    pub(super) fn all(config: &Config) -> Vec<Arc<dyn DecisionPoint>> {
        let decisions = Decisions::build(config, &Clock::real(), None);
        decisions.0.into_iter().map(|made| Arc::new(Self(made.decides)) as Arc<dyn DecisionPoint>).collect()
    }
}

impl DecisionPoint for Agrees {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn decide(&self, _: &Exchange) -> Deciding {
        Deciding::Known(Ok(()))
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn standing(&self) -> Standing {
        Standing::Good
    }
}
