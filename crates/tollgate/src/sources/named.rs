//! All that a config names of identity, for whoever looks at the rest of it. What is wrong is there by its name all the same, since whoever
//! names it has made no mistake of their own. None of it ever serves a request.

use std::sync::Arc;

use tollgate_config::model::{self, AuthSource, Config};
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::head::RequestHead;
use tollgate_core::node::Spanned;
use tollgate_core::onward::{Minted, Minter, Outgoing, Recipe, Signer};
use tollgate_core::principal::{Authenticator, Bearers, Credential, Effort, Found, Principal, Sources, Standing};
use tollgate_core::problem::{Fault, Problem};
use tollgate_identity::mint::KeysIn;
use tollgate_identity::verdict;

use crate::sources::decisions::Agrees;
use crate::sources::issuer::opened;
use crate::sources::lists;
use crate::sources::{Source, With, pages, signers};

/// The sources of a config by their names, whatever is wrong with their files: for whoever looks at the rest of it.
pub(crate) fn named(config: &Config) -> Sources {
    let source = |(name, written): &(Spanned<String>, AuthSource)| {
        Source::new(&name.value, written, &Clock::real(), With::nothing()).ok()
    };
    let broken = |name: &Spanned<String>| Arc::new(Broken(name.value.as_str().into()));
    // With keys that are forgotten: what is in the folder is for the gateway alone.
    let issuer = config
        .issuer
        .as_ref()
        .and_then(|written| opened(written, KeysIn::Memory, &Clock::real(), With::nothing().store).ok());
    let made: Vec<(&Spanned<String>, Option<Source>)> = config.auth.iter().map(|own| (&own.0, source(own))).collect();
    let sound = made.iter().filter_map(|(_, source)| source.as_ref());
    let all = made.iter().map(|(name, source)| match source {
        Some(source) => source.as_authenticator(),
        None => broken(name),
    });
    let all: Vec<Arc<dyn Authenticator>> = all.collect();
    let mut endpoints = verdict::endpoints(&all, &Clock::real());
    endpoints.extend(pages(sound));
    let minter = config.issuer.as_ref().map(|_| match &issuer {
        Some((issuer, ..)) => Arc::clone(issuer) as Arc<dyn Minter>,
        None => Arc::new(Broken("issuer".into())),
    });
    endpoints.extend(issuer.map(|(.., endpoints)| endpoints).unwrap_or_default());
    let signer = |written: &(Spanned<String>, model::Signer)| {
        signers::signer(written, &Clock::real()).unwrap_or_else(|_| broken(&written.0))
    };
    let signers = config.signers.iter().map(signer).collect();
    let decisions = Agrees::all(config);
    let (lists, countries) = (lists::named(config), lists::atlas(config));
    Sources { lists, countries, all, minter, signers, decisions, endpoints, ..Sources::default() }
}

/// Something that is wrong, by its name.
#[derive(Debug)]
struct Broken(Arc<str>);

static BROKEN: Fault = Fault::gateway("auth/broken", 500, "The config is wrong", "");

impl Authenticator for Broken {
    fn name(&self) -> &Arc<str> {
        &self.0
    }

    fn authenticate<'a>(&'a self, _: &'a Exchange, _: Effort) -> Found<'a> {
        Found::Checked(Err(BROKEN.problem()))
    }

    fn challenge(&self) -> String {
        String::new()
    }

    fn bearers(&self) -> Bearers {
        Bearers::Own
    }

    fn credential(&self) -> Credential<'_> {
        Credential::Session
    }

    fn describe(&self) -> String {
        String::new()
    }

    fn standing(&self) -> Standing {
        Standing::Down { since: None, error: String::new() }
    }
}

impl Minter for Broken {
    fn mint(&self, _: &Arc<Principal>, _: &Recipe, _: &str) -> Result<Minted, Problem> {
        Err(BROKEN.problem())
    }
}

impl Signer for Broken {
    fn name(&self) -> &str {
        &self.0
    }

    fn most_content(&self) -> usize {
        0
    }

    fn prepare(&self, _: &mut RequestHead) {}

    fn writes(&self, _: &[u8]) -> bool {
        false
    }

    fn sign(&self, _: &Outgoing<'_>) -> Result<Vec<(&'static str, String)>, Problem> {
        Err(BROKEN.problem())
    }

    fn describe(&self) -> String {
        String::new()
    }
}
