//! Sources of identity: made of the config, and kept over reloads with what they know if they would be made alike.

use std::fs;
use std::sync::Arc;

use tollgate_config::model::{self, Algorithm as Named, AuthSource, Config, KeysAt};
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::principal::{Authenticator, Found, Principal, Sources, Standing};
use tollgate_identity::jwk::{self, Algorithm};
use tollgate_identity::jwt::Expected;
use tollgate_identity::{JwtSettings, JwtSource, keys};
use tollgate_net::tls::{Client, ClientSettings, Roots, Verify};
use tollgate_registry::dns::Dns;
use tollgate_upstream::outbound::Outbound;

use crate::wire::World;

/// All sources of identity of a config.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    made: Vec<Made>,
}

/// A source, and what it was made of.
#[derive(Debug)]
struct Made {
    name: String,
    written: AuthSource,
    dns: model::Dns,
    source: Arc<JwtSource>,
}

impl Identity {
    /// Makes the sources of a config; those that would be made as they were `before` are the same. They do nothing yet.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(crate) fn build(config: &Config, clock: &Clock, before: Option<&Self>) -> Result<Self, Vec<Diagnostic>> {
        let (mut made, mut mistakes) = (Vec::new(), Vec::new());
        for (name, written) in &config.auth {
            match usable(written) {
                Ok(()) => {}
                Err(mistake) => {
                    mistakes.push(mistake);
                    continue;
                }
            }
            let is_alike = |made: &&Made| made.name == name.value && made.written == *written && made.dns == config.dns;
            let known = before.and_then(|before| before.made.iter().find(is_alike));
            let source = known.map_or_else(
                || JwtSource::new(&name.value, settings(written), clock.clone()),
                |known| Arc::clone(&known.source),
            );
            made.push(Made { name: name.value.clone(), written: written.clone(), dns: config.dns.clone(), source });
        }
        if mistakes.is_empty() { Ok(Self { made }) } else { Err(mistakes) }
    }

    /// As policies know them.
    pub(crate) fn sources(&self) -> Sources {
        Sources(self.made.iter().map(|made| Arc::clone(&made.source) as Arc<dyn Authenticator>).collect())
    }

    /// Has keys read from now on.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(crate) fn start(&self, world: &World, dns: &Arc<Dns>) -> Result<(), Vec<Diagnostic>> {
        for made in &self.made {
            let roots = made.written.ca.as_ref().map_or(Roots::System, |ca| Roots::File(ca.value.0.clone()));
            let tls = Client::build(ClientSettings {
                roots,
                verify: Verify::Chain,
                pins: Vec::new(),
                name: None,
                certificate: None,
                alpn: vec![b"http/1.1".to_vec()],
            });
            let place = made.written.ca.as_ref().map_or(&made.written.issuer.span, |ca| &ca.span);
            let told = |error: &dyn std::fmt::Display| Diagnostic::error(error.to_string()).at(place);
            let tls = tls.map_err(|errors| errors.iter().map(|error| told(error)).collect::<Vec<_>>())?;
            let caller: Arc<dyn Caller> = Arc::new(Outbound::new(tls, Arc::clone(dns), world.slow.clone()));
            made.source.start(&caller, &world.slow);
        }
        Ok(())
    }

    /// Waits until every provider was asked once.
    pub(crate) async fn heard(&self) {
        for made in &self.made {
            made.source.keys().heard().await;
        }
    }
}

/// The sources of a config by their names, whatever is wrong with their files: for whoever looks at the rest of it.
pub(crate) fn named(config: &Config) -> Sources {
    let source = |(name, written): &(Spanned<String>, AuthSource)| {
        JwtSource::new(&name.value, settings(written), Clock::real()) as Arc<dyn Authenticator>
    };
    Sources(config.auth.iter().map(source).collect())
}

/// The same for a rehearsal: each vouches for whoever is said to call.
pub(crate) fn vouching(config: &Config) -> Sources {
    let all = named(config).0.into_iter();
    Sources(all.map(|source| Arc::new(Vouching(source)) as Arc<dyn Authenticator>).collect())
}

#[derive(Debug)]
struct Vouching(Arc<dyn Authenticator>);

impl Authenticator for Vouching {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange) -> Found<'a> {
        match &x.principal {
            Some(caller) => {
                let source = Arc::clone(self.name());
                Found::Checked(Ok(Arc::new(Principal { source, ..Principal::clone(caller) })))
            }
            None => self.0.authenticate(x),
        }
    }

    fn challenge(&self) -> String {
        self.0.challenge()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn standing(&self) -> Standing {
        self.0.standing()
    }
}

/// Whether a file of keys is there and has some: one that goes bad later only keeps the last good ones.
fn usable(written: &AuthSource) -> Result<(), Diagnostic> {
    let Some(Spanned { value: KeysAt::File(path), span }) = &written.jwks else { return Ok(()) };
    let told = |why: &dyn std::fmt::Display, span: &Span| {
        Diagnostic::error(format!("keys from `{}`: {why}", path.display())).at(span)
    };
    let text = fs::read(path).map_err(|error| told(&error, span))?;
    jwk::set(&text)
        .map(drop)
        .map_err(|why| told(&why, span).hint("a JWK set (RFC 7517): `{ \"keys\": [ … ] }` with public keys"))
}

fn settings(written: &AuthSource) -> JwtSettings {
    let from = match &written.jwks {
        None => keys::From::Issuer(written.issuer.value.0.clone()),
        Some(Spanned { value: KeysAt::Url(url), .. }) => keys::From::Url(url.0.clone()),
        Some(Spanned { value: KeysAt::File(path), .. }) => keys::From::File(path.clone()),
    };
    let algorithm = |named: &Named| Algorithm::of(named.as_str());
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    JwtSettings {
        expected: Expected {
            issuers: vec![written.issuer.value.0.clone()],
            audiences: written.audience.value.0.clone(),
            kind: written.kind.as_ref().map(|kind| kind.0.clone()),
            skew: written.skew.value.0,
        },
        algorithms: match &written.algorithms {
            None => Algorithm::ALL.to_vec(),
            Some(named) => named.iter().filter_map(algorithm).collect(),
        },
        keys: keys::Settings {
            from,
            refresh: written.refresh.value.0,
            keep: written.keep.0,
            timeout: written.timeout.0,
        },
        largest: size(written.largest.get()),
        remember: size(written.remember.get()),
    }
}
