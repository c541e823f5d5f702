//! The identity provider of the demo: gives everybody a token who asks, so that a protected route can be tried. Its keys are made
//! when it starts, and forgotten with it.

use std::sync::Arc;

use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::onward::{Minter, Recipe};
use tollgate_core::policy::BoxFuture;
use tollgate_core::principal::Principal;
use tollgate_core::problem::Problem;
use tollgate_core::reply::Reply;
use tollgate_core::serde_json::Map;
use tollgate_engine::{Deployment, Rules};
use tollgate_identity::jwk::Algorithm;
use tollgate_identity::mint::{Issuer, KeysIn, LONGEST, Settings};
use tollgate_identity::trade;
use tollgate_observe::metrics::Metrics;
use tollgate_plan::Plan;

use crate::cli::{Failure, failure};
use crate::demo::NAME;
use crate::start::StartError;

/// Its port.
pub(crate) const PORT: u16 = 9005;
/// Its issuer, as the demo's config names it.
const URL: &str = "http://127.0.0.1:9005";

/// Gives out tokens.
#[derive(Clone, Debug)]
pub(crate) struct People(Arc<Issuer>);

impl People {
    /// With new keys.
    pub(crate) fn new() -> Result<Self, Failure> {
        let settings = Settings { url: URL.to_owned(), algorithm: Algorithm::Es256, keys: KeysIn::Memory };
        let issuer = Issuer::open(settings, Clock::real()).map_err(|error| failure(error.to_string()))?;
        Ok(Self(issuer))
    }

    /// A token for the demo, good for an hour.
    pub(crate) fn token(&self) -> Result<String, Failure> {
        self.made().map_err(|problem| failure(problem.fault.title.to_owned()))
    }

    fn made(&self) -> Result<String, Problem> {
        let caller = Principal {
            source: "demo".into(),
            subject: "alice".into(),
            consumer: Some("demo-shop".into()),
            scopes: vec!["orders.read".into()],
            claims: Map::new(),
            expires: None,
            session: None,
        };
        let recipe = Recipe::new(vec!["demo".to_owned()], LONGEST, Vec::new());
        let minted = self.0.mint(&Arc::new(caller), &recipe, "demo")?;
        Ok(String::from_utf8_lossy(&minted.token).into_owned())
    }

    /// What is served on its port.
    pub(crate) fn deployment(&self, metrics: &Arc<Metrics>, rules: &Arc<Rules>) -> Result<Deployment, Failure> {
        let endpoints = trade::endpoints(&self.0, Vec::new(), None, &Clock::real());
        let paths = [("jwks", "/.well-known/jwks.json"), ("metadata", "/.well-known/openid-configuration")];
        let mut routes: Vec<(&str, &str, Arc<dyn Handler>)> = Vec::new();
        for (word, path) in paths {
            let found = endpoints.iter().find(|(name, _)| *name == word);
            routes.extend(found.map(|(_, handler)| ("", path, Arc::clone(handler))));
        }
        routes.push(("", "/token", Arc::new(self.clone())));
        let plan = Plan::of_handlers(routes, metrics).map_err(|e| Failure::to_start(NAME, StartError::Config(e)))?;
        Ok(Deployment::new(Arc::new(plan), Arc::new([]), Arc::clone(rules)))
    }
}

/// `/token`: another one, as text.
impl Handler for People {
    fn call<'a>(&'a self, _: &'a mut Exchange) -> BoxFuture<'a, Result<Reply, Problem>> {
        let made = self.made().map(|token| Reply::full(200, "text/plain; charset=utf-8", format!("{token}\n")));
        Box::pin(std::future::ready(made.map(|reply| reply.header("Cache-Control", "no-store"))))
    }
}
