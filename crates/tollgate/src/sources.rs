//! Sources of identity: made of the config, and kept over reloads with what they know if they would be made alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_config::model::{
    self, Algorithm as Named, ApiKeys, AuthSource, ClientAuth, Config, Introspection, KeyPlace, KeysAt, Tokens,
};
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::principal::{Authenticator, Bearers, Found, Principal, Sources, Standing};
use tollgate_identity::api_key::{self, ApiKeySource, List, Pepper};
use tollgate_identity::jwk::{self, Algorithm};
use tollgate_identity::jwt::Expected;
use tollgate_identity::opaque::{self, OpaqueSource};
use tollgate_identity::{JwtSettings, JwtSource, keys, private_file};
use tollgate_net::tls::Client;
use tollgate_registry::dns::Dns;
use tollgate_upstream::outbound::Outbound;

use crate::tls::Tls;
use crate::wire::World;

/// The file in `data` with the key of the hashes of API keys.
const PEPPER: &str = "api-keys.secret";
/// Most bytes of it.
const MOST_PEPPER: u64 = 1024;

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
    data: PathBuf,
    source: Source,
}

/// A source of any kind.
#[derive(Clone, Debug)]
enum Source {
    /// Tokens that are read here.
    Jwt(Arc<JwtSource>),
    /// Tokens that their provider is asked about.
    Opaque(OpaqueSource),
    /// API keys.
    Keys(Arc<ApiKeySource>),
}

impl Source {
    /// `pepper`: the key of the hashes of API keys, for a source that takes them.
    fn new(name: &str, written: &AuthSource, clock: &Clock, pepper: Option<Pepper>) -> Self {
        let clock = clock.clone();
        match written {
            AuthSource::Tokens(tokens) => match &tokens.introspection {
                None => Self::Jwt(JwtSource::new(name, settings(tokens), clock)),
                Some(asked) => Self::Opaque(OpaqueSource::new(name, asking(tokens, asked), clock)),
            },
            AuthSource::Keys(keys) => Self::Keys(ApiKeySource::new(name, keyed(keys, pepper), clock)),
        }
    }

    /// With all that it needs to work.
    fn make(name: &str, written: &AuthSource, clock: &Clock, data: &Path) -> Result<Self, Diagnostic> {
        let pepper = match written {
            AuthSource::Keys(keys) => Some(pepper(keys, data)?),
            AuthSource::Tokens(_) => None,
        };
        Ok(Self::new(name, written, clock, pepper))
    }

    /// `tls`: with its provider, if it has one.
    fn start(&self, tls: Option<&Arc<Client>>, world: &World, dns: &Arc<Dns>) {
        let caller = |tls: &Arc<Client>| -> Arc<dyn Caller> {
            let (asking, clock) = (world.asking().clone(), world.clock.clone());
            Arc::new(Outbound::new(Arc::clone(tls), Arc::clone(dns), asking, clock))
        };
        match (self, tls.map(caller)) {
            (Self::Jwt(source), Some(caller)) => source.start(&caller, world.asking()),
            (Self::Opaque(source), Some(caller)) => source.start(&caller, world.asking()),
            (Self::Keys(source), _) => source.start(&world.slow),
            (Self::Jwt(_) | Self::Opaque(_), None) => {}
        }
    }

    fn as_authenticator(&self) -> Arc<dyn Authenticator> {
        match self {
            Self::Jwt(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Opaque(source) => Arc::new(source.clone()),
            Self::Keys(source) => Arc::clone(source) as Arc<dyn Authenticator>,
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
            let is_alike = |made: &&Made| {
                made.name == name.value
                    && made.written == *written
                    && made.dns == config.dns
                    && (made.data == config.data.0 || !matches!(written, AuthSource::Keys(_)))
            };
            let known = before.and_then(|before| before.made.iter().find(is_alike)).map(|known| known.source.clone());
            // A file that has gone bad since harms no reload that has nothing to do with it.
            let source = match known {
                Some(source) => Ok(source),
                None => usable(written).and_then(|()| Source::make(&name.value, written, clock, &config.data.0)),
            };
            match source {
                Ok(source) => made.push(Made {
                    name: name.value.clone(),
                    written: written.clone(),
                    dns: config.dns.clone(),
                    data: config.data.0.clone(),
                    source,
                }),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() { Ok(Self { made }) } else { Err(mistakes) }
    }

    /// As policies know them.
    pub(crate) fn sources(&self) -> Sources {
        Sources(self.made.iter().map(|made| made.source.as_authenticator()).collect())
    }

    /// Has keys read from now on.
    pub(crate) fn start(&self, tls: &Tls, world: &World, dns: &Arc<Dns>) {
        self.made.iter().for_each(|made| made.source.start(tls.provider(&made.name), world, dns));
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

/// Looks at the files that the sources of a config need; nothing is made.
///
/// # Errors
/// Files that cannot be used.
pub(crate) fn check(config: &Config) -> Result<(), Vec<Diagnostic>> {
    let mistakes: Vec<Diagnostic> = config.auth.iter().filter_map(|(_, written)| usable(written).err()).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// The sources of a config by their names, whatever is wrong with their files: for whoever looks at the rest of it.
pub(crate) fn named(config: &Config) -> Sources {
    let source = |(name, written): &(Spanned<String>, AuthSource)| {
        Source::new(&name.value, written, &Clock::real(), None).as_authenticator()
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

    fn bearers(&self) -> Bearers {
        self.0.bearers()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn standing(&self) -> Standing {
        self.0.standing()
    }
}

/// Whether a file of keys is there and can be read: one that goes bad later only keeps the last good ones.
fn usable(written: &AuthSource) -> Result<(), Diagnostic> {
    match written {
        AuthSource::Tokens(tokens) => match &tokens.jwks {
            Some(Spanned { value: KeysAt::File(path), span }) => usable_jwks(path, span),
            _ => Ok(()),
        },
        AuthSource::Keys(keys) => {
            let (path, span) = (&keys.file.value.0, &keys.file.span);
            let listed = List::load(path, size(keys.most.get())).map(drop);
            listed.map_err(|why| {
                let mistake = Diagnostic::error(format!("API keys from `{}`: {why}", path.display())).at(span);
                mistake.hint(
                    "`tollgate key create NAME` makes the list with its first key; `{\"keys\":[]}` is an empty one",
                )
            })
        }
    }
}

fn usable_jwks(path: &Path, span: &Span) -> Result<(), Diagnostic> {
    let told =
        |why: &dyn std::fmt::Display| Diagnostic::error(format!("keys from `{}`: {why}", path.display())).at(span);
    let text = fs::read(path).map_err(|error| told(&error))?;
    jwk::set(&text)
        .map(drop)
        .map_err(|why| told(&why).hint("a JWK set (RFC 7517): `{ \"keys\": [ … ] }` with public keys"))
}

/// The key of the hashes of API keys: the one that is written, or the one of the folder, made if it is not there.
///
/// # Errors
/// It can be neither read nor made.
pub(crate) fn pepper(keys: &ApiKeys, data: &Path) -> Result<Pepper, Diagnostic> {
    let mistake = |message: String| Diagnostic::error(message).at(&keys.api_key.span);
    let made = match &keys.secret {
        Some(secret) => Pepper::new(secret.value.0.as_bytes()),
        None => {
            let made = private_file::read_or_make(&data.join(PEPPER), MOST_PEPPER);
            Pepper::new(made.map_err(|e| mistake(e.message).hint(e.hint))?.trim_ascii())
        }
    };
    made.ok_or_else(|| mistake("the key of the hashes is too short".to_owned()))
}

fn keyed(written: &ApiKeys, pepper: Option<Pepper>) -> api_key::Settings {
    let place = match &written.api_key.value {
        KeyPlace::Header(name) => api_key::Place::Header(name.clone()),
        KeyPlace::Query(name) => api_key::Place::Query(name.clone()),
        KeyPlace::Cookie(name) => api_key::Place::Cookie(name.clone()),
    };
    api_key::Settings { place, file: written.file.value.0.clone(), pepper, most: size(written.most.get()) }
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn settings(written: &Tokens) -> JwtSettings {
    let from = match &written.jwks {
        None => keys::From::Issuer(written.issuer.value.0.clone()),
        Some(Spanned { value: KeysAt::Url(url), .. }) => keys::From::Url(url.0.clone()),
        Some(Spanned { value: KeysAt::File(path), .. }) => keys::From::File(path.clone()),
    };
    let algorithm = |named: &Named| Algorithm::of(named.as_str());
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

fn asking(written: &Tokens, asked: &Introspection) -> opaque::Settings {
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
