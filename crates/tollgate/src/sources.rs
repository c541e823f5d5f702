//! Sources of identity: made of the config, and kept over reloads with what they know if they would be made alike.

use std::fs;
use std::sync::Arc;

use tokio::runtime::Handle;
use tollgate_config::model::{self, Algorithm as Named, AuthSource, ClientAuth, Config, Introspection, KeysAt};
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::principal::{Authenticator, Found, Principal, Sources, Standing};
use tollgate_identity::jwk::{self, Algorithm};
use tollgate_identity::jwt::Expected;
use tollgate_identity::opaque::{self, OpaqueSource};
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
    source: Source,
}

/// A source of either kind.
#[derive(Clone, Debug)]
enum Source {
    /// Tokens that are read here.
    Jwt(Arc<JwtSource>),
    /// Tokens that their provider is asked about.
    Opaque(OpaqueSource),
}

impl Source {
    fn new(name: &str, written: &AuthSource, clock: &Clock) -> Self {
        match &written.introspection {
            None => Self::Jwt(JwtSource::new(name, settings(written), clock.clone())),
            Some(asked) => Self::Opaque(OpaqueSource::new(name, asking(written, asked), clock.clone())),
        }
    }

    fn start(&self, caller: &Arc<dyn Caller>, slow: &Handle) {
        match self {
            Self::Jwt(source) => source.start(caller, slow),
            Self::Opaque(source) => source.start(caller, slow),
        }
    }

    fn as_authenticator(&self) -> Arc<dyn Authenticator> {
        match self {
            Self::Jwt(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Opaque(source) => Arc::new(source.clone()),
        }
    }
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
            let source = known.map_or_else(|| Source::new(&name.value, written, clock), |known| known.source.clone());
            made.push(Made { name: name.value.clone(), written: written.clone(), dns: config.dns.clone(), source });
        }
        if mistakes.is_empty() { Ok(Self { made }) } else { Err(mistakes) }
    }

    /// As policies know them.
    pub(crate) fn sources(&self) -> Sources {
        Sources(self.made.iter().map(|made| made.source.as_authenticator()).collect())
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
            if let Source::Jwt(source) = &made.source {
                source.keys().heard().await;
            }
        }
    }
}

/// The sources of a config by their names, whatever is wrong with their files: for whoever looks at the rest of it.
pub(crate) fn named(config: &Config) -> Sources {
    let source = |(name, written): &(Spanned<String>, AuthSource)| {
        Source::new(&name.value, written, &Clock::real()).as_authenticator()
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
            kind: written.kind.as_ref().map(|kind| kind.value.0.clone()),
            skew: written.skew.value.0,
        },
        algorithms: match &written.algorithms {
            None => Algorithm::ALL.to_vec(),
            Some(named) => named.value.iter().filter_map(algorithm).collect(),
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

fn asking(written: &AuthSource, asked: &Introspection) -> opaque::Settings {
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    opaque::Settings {
        issuer: written.issuer.value.0.clone(),
        url: asked.url.as_ref().map(|url| url.value.0.clone()),
        client: asked.client.clone(),
        secret: asked.secret.0.clone(),
        auth: match asked.auth {
            ClientAuth::Basic => opaque::ClientAuth::Basic,
            ClientAuth::Post => opaque::ClientAuth::Post,
        },
        audiences: written.audience.value.0.clone(),
        cache: asked.cache.0,
        negative: asked.negative.0,
        timeout: written.timeout.0,
        skew: written.skew.value.0,
        largest: size(written.largest.get()),
        remember: size(written.remember.get()),
        at_once: size(asked.at_once.get()),
    }
}
