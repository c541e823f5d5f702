//! Sources of identity: made of the config, and kept over reloads with what they know if they would be made alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tollgate_config::model::{
    self, Algorithm as Named, ApiKeys, AuthSource, Aws, Basic, ClientProof, Config, Introspection, KeyPlace, KeysAt,
    Signed, SigningAlgorithm, Tokens, UnsignedBody,
};
use tollgate_core::body::Recoder;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::handler::Handler;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::onward::{Exchanger, Minted, Minter, Trade};
use tollgate_core::policy::BoxFuture;
use tollgate_core::principal::{
    Authenticator, Bearers, Budget, Credential, Effort, Found, Principal, Sources, Standing,
};
use tollgate_core::problem::Problem;
use tollgate_identity::api_key::{self, ApiKeySource, List, Pepper};
use tollgate_identity::aws::{AccessKey, AwsSource};
use tollgate_identity::basic::{self, BasicSource, Users};
use tollgate_identity::exchange::{self, Trader};
use tollgate_identity::failures::Failures;
use tollgate_identity::jwk::{self, Algorithm};
use tollgate_identity::jwt::Expected;
use tollgate_identity::mint::{self, Issuer, KeysIn};
use tollgate_identity::opaque::{self, OpaqueSource};
use tollgate_identity::signed::{KnownKey, SignedSource};
use tollgate_identity::signing::SigningKey;
use tollgate_identity::{
    JwtSettings, JwtSource, SamlGrant, client, keys, private_file, signature, sigv4, trade, verdict,
};
use tollgate_net::tls::Client;
use tollgate_registry::dns::Dns;
use tollgate_upstream::outbound::Outbound;

use crate::tls::Tls;
use crate::wire::World;

/// The file in `data` with the key of the hashes of API keys.
const PEPPER: &str = "api-keys.secret";
/// The file in `data` with the keys that sign tokens of the gateway's own.
const SIGNING_KEYS: &str = "signing-keys.json";
/// Most bytes of it.
const MOST_PEPPER: u64 = 1024;

/// All sources of identity of a config.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    made: Vec<Made>,
    issuer: Option<Issues>,
    /// How many wrong credentials an address may come with, and how many that are.
    failures: Option<(u64, Arc<Failures>)>,
}

/// Who the gateway is as one that gives out tokens, and what that was made of.
#[derive(Debug)]
struct Issues {
    written: model::Issuer,
    data: PathBuf,
    issuer: Arc<Issuer>,
    saml: Option<Arc<SamlGrant>>,
    endpoints: Vec<(&'static str, Arc<dyn Handler>)>,
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
    /// Names and passwords.
    Basic(BasicSource),
    /// Requests that are signed as AWS has it.
    Aws(Arc<AwsSource>),
    /// Requests with message signatures.
    Signed(Arc<SignedSource>),
}

impl Source {
    /// `pepper`: the key of the hashes of API keys, for a source that takes them.
    ///
    /// # Errors
    /// A key that is none.
    fn new(name: &str, written: &AuthSource, clock: &Clock, pepper: Option<Pepper>) -> Result<Self, Diagnostic> {
        let own = clock.clone();
        Ok(match written {
            AuthSource::Tokens(tokens) => match &tokens.introspection {
                None => Self::Jwt(JwtSource::new(name, settings(tokens, clock)?, own)),
                Some(asked) => Self::Opaque(OpaqueSource::new(name, asking(tokens, asked, clock)?, own)),
            },
            AuthSource::Keys(keys) => Self::Keys(ApiKeySource::new(name, keyed(keys, pepper), own)),
            AuthSource::Basic(written) => Self::Basic(BasicSource::new(name, passwords(written), own)),
            AuthSource::Aws(written) => Self::Aws(AwsSource::new(name, signatures(written), access_keys(written), own)),
            AuthSource::Signed(written) => {
                Self::Signed(SignedSource::new(name, expected(written)?, known_keys(written)?, own))
            }
        })
    }

    /// With all that it needs to work.
    fn make(name: &str, written: &AuthSource, clock: &Clock, data: &Path) -> Result<Self, Diagnostic> {
        let pepper = match written {
            AuthSource::Keys(keys) => Some(pepper(keys, data)?),
            AuthSource::Tokens(_) | AuthSource::Basic(_) | AuthSource::Aws(_) | AuthSource::Signed(_) => None,
        };
        Self::new(name, written, clock, pepper)
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
            (Self::Basic(source), _) => source.start(&world.slow, world.asking()),
            (Self::Jwt(_) | Self::Opaque(_), None) | (Self::Aws(_) | Self::Signed(_), _) => {}
        }
    }

    fn as_authenticator(&self) -> Arc<dyn Authenticator> {
        match self {
            Self::Jwt(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Opaque(source) => Arc::new(source.clone()),
            Self::Keys(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Basic(source) => Arc::new(source.clone()),
            Self::Aws(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Signed(source) => Arc::clone(source) as Arc<dyn Authenticator>,
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
        let issuer = match issues(config, clock, before.and_then(|before| before.issuer.as_ref())) {
            Ok(issuer) => issuer,
            Err(mistake) => {
                mistakes.push(mistake);
                None
            }
        };
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
        let most = config.limits.failures.get();
        let known = before.and_then(|before| before.failures.clone()).filter(|(of, _)| *of == most);
        let failures = Some(known.unwrap_or_else(|| (most, Arc::new(Failures::new(most, clock.clone())))));
        if mistakes.is_empty() { Ok(Self { made, issuer, failures }) } else { Err(mistakes) }
    }

    /// As policies know them.
    pub(crate) fn sources(&self, clock: &Clock) -> Sources {
        let issuer = self.issuer.as_ref();
        let all: Vec<Arc<dyn Authenticator>> = self.made.iter().map(|made| made.source.as_authenticator()).collect();
        let mut endpoints = verdict::endpoints(&all, clock);
        endpoints.extend(issuer.map(|issues| issues.endpoints.clone()).unwrap_or_default());
        let minter = issuer.map(|issues| Arc::clone(&issues.issuer) as Arc<dyn Minter>);
        let budget = self.failures.as_ref().map(|(_, failures)| Arc::clone(failures) as Arc<dyn Budget>);
        Sources { all, budget, minter, endpoints }
    }

    /// Has keys read from now on.
    pub(crate) fn start(&self, tls: &Tls, world: &World, dns: &Arc<Dns>) {
        self.made.iter().for_each(|made| made.source.start(tls.provider(&made.name), world, dns));
        if let Some(issues) = &self.issuer {
            issues.issuer.start(&world.slow);
            issues.saml.iter().for_each(|saml| saml.start(&world.slow));
        }
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

/// What a token is traded for while nobody is asked.
impl Exchanger for Vouching {
    fn exchange(&self, trade: &Trade<'_>) -> BoxFuture<'static, Result<Minted, Problem>> {
        let token = format!("traded-for-{}", trade.audience.join("-")).into();
        let until = Clock::real().unix() + Duration::from_secs(60);
        Box::pin(std::future::ready(Ok(Minted { token, until })))
    }
}

/// Looks at the files that the sources of a config need; nothing is made.
///
/// # Errors
/// Files that cannot be used.
pub(crate) fn check(config: &Config) -> Result<(), Vec<Diagnostic>> {
    let mut mistakes: Vec<Diagnostic> = config.auth.iter().filter_map(|(_, written)| usable(written).err()).collect();
    if let Some(written) = &config.issuer
        && let Err(mistake) = opened(written, KeysIn::Memory, &Clock::real())
    {
        mistakes.push(mistake);
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// The sources of a config by their names, whatever is wrong with their files: for whoever looks at the rest of it.
pub(crate) fn named(config: &Config) -> Sources {
    let source = |(name, written): &(Spanned<String>, AuthSource)| {
        Source::new(&name.value, written, &Clock::real(), None).ok().map(|source| source.as_authenticator())
    };
    // With keys that are forgotten: what is in the folder is for the gateway alone.
    let issuer = config.issuer.as_ref().and_then(|written| opened(written, KeysIn::Memory, &Clock::real()).ok());
    let all: Vec<Arc<dyn Authenticator>> = config.auth.iter().filter_map(source).collect();
    let mut endpoints = verdict::endpoints(&all, &Clock::real());
    let minter = issuer.as_ref().map(|(issuer, ..)| Arc::clone(issuer) as Arc<dyn Minter>);
    endpoints.extend(issuer.map(|(.., endpoints)| endpoints).unwrap_or_default());
    Sources { all, budget: None, minter, endpoints }
}

/// The same for a rehearsal: each vouches for whoever is said to call.
pub(crate) fn vouching(config: &Config) -> Sources {
    let named = named(config);
    let all = named.all.into_iter().map(|source| Arc::new(Vouching(source)) as Arc<dyn Authenticator>).collect();
    Sources { all, ..named }
}

#[derive(Debug)]
struct Vouching(Arc<dyn Authenticator>);

impl Authenticator for Vouching {
    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn authenticate<'a>(&'a self, x: &'a Exchange, effort: Effort) -> Found<'a> {
        match &x.principal {
            Some(caller) => {
                let source = Arc::clone(self.name());
                Found::Checked(Ok(Arc::new(Principal { source, ..Principal::clone(caller) })))
            }
            None => self.0.authenticate(x, effort),
        }
    }

    fn guard(&self, x: &Exchange) -> Option<Box<dyn Recoder>> {
        self.0.guard(x)
    }

    fn challenge(&self) -> String {
        self.0.challenge()
    }

    fn credential(&self) -> Credential<'_> {
        self.0.credential()
    }

    fn exchanger(&self) -> Option<&dyn Exchanger> {
        self.0.exchanger().map(|_| self as &dyn Exchanger)
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
        AuthSource::Tokens(tokens) => {
            if let Some(asked) = &tokens.introspection {
                client(&asked.client.value, asked.proof())?;
            }
            if let Some(trades) = &tokens.exchange {
                client(&trades.client.value, trades.proof())?;
            }
            match &tokens.jwks {
                Some(Spanned { value: KeysAt::File(path), span }) => usable_jwks(path, span),
                _ => Ok(()),
            }
        }
        AuthSource::Aws(_) => Ok(()),
        AuthSource::Signed(written) => expected(written).and_then(|_| known_keys(written)).map(drop),
        AuthSource::Basic(written) => {
            let (path, span) = (&written.basic.value.0, &written.basic.span);
            Users::load(path).map(drop).map_err(|why| {
                let mistake =
                    Diagnostic::error(format!("names and passwords from `{}`: {why}", path.display())).at(span);
                mistake.hint("`htpasswd -B -c FILE NAME` makes it with its first name")
            })
        }
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

type Issued = (Arc<Issuer>, Option<Arc<SamlGrant>>, Vec<(&'static str, Arc<dyn Handler>)>);

/// Who gives out tokens, with these keys unless others are written.
fn opened(written: &model::Issuer, keys: KeysIn, clock: &Clock) -> Result<Issued, Diagnostic> {
    let place = written.key.as_ref().map_or(&written.url.span, |key| &key.span);
    let keys = match &written.key {
        Some(key) => KeysIn::Text(key.value.0.clone()),
        None => keys,
    };
    let algorithm = match written.algorithm {
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
        Ok(SamlGrant::new(file.clone(), entity, &written.url.value.0, to, clock.clone()))
    });
    let saml = saml.transpose()?;
    let endpoints = trade::endpoints(&issuer, may, saml.clone(), clock);
    Ok((issuer, saml, endpoints))
}

/// The same for a gateway: one that would be made alike is the same as before.
fn issues(config: &Config, clock: &Clock, before: Option<&Issues>) -> Result<Option<Issues>, Diagnostic> {
    let Some(written) = &config.issuer else { return Ok(None) };
    let data = config.data.0.clone();
    if let Some(before) = before.filter(|before| before.written == *written && before.data == data) {
        let (issuer, saml) = (Arc::clone(&before.issuer), before.saml.clone());
        let endpoints = before.endpoints.clone();
        return Ok(Some(Issues { written: written.clone(), data, issuer, saml, endpoints }));
    }
    let keys = KeysIn::File(data.join(SIGNING_KEYS), written.rotate.value.0);
    let (issuer, saml, endpoints) = opened(written, keys, clock)?;
    Ok(Some(Issues { written: written.clone(), data, issuer, saml, endpoints }))
}

/// Who the gateway is at a provider.
fn client(id: &str, proof: Option<ClientProof<'_>>) -> Result<client::Client, Diagnostic> {
    let proof = match proof {
        Some(ClientProof::Basic(secret)) => client::Proof::Basic(secret.to_owned()),
        Some(ClientProof::Post(secret)) => client::Proof::Post(secret.to_owned()),
        Some(ClientProof::Key(key)) => {
            let mut keys = SigningKey::from_pem(&key.value.0, "JWT")
                .map_err(|why| Diagnostic::error(format!("the key of the client `{id}`: {why}")).at(&key.span))?;
            client::Proof::Key(Arc::new(keys.swap_remove(0)))
        }
        None => client::Proof::None,
    };
    Ok(client::Client { id: id.to_owned(), proof })
}

fn trader(written: &Tokens, clock: &Clock) -> Result<Option<Trader>, Diagnostic> {
    let Some(trades) = &written.exchange else { return Ok(None) };
    let settings = exchange::Settings {
        issuer: written.issuer.value.0.clone(),
        url: trades.url.as_ref().map(|url| url.value.0.clone()),
        client: client(&trades.client.value, trades.proof())?,
        cache: trades.cache.0,
        timeout: written.timeout.0,
        remember: size(written.remember.get()),
        at_once: size(trades.at_once.get()),
    };
    Ok(Some(Trader::new(settings, clock.clone())))
}

fn signatures(written: &Aws) -> sigv4::Settings {
    sigv4::Settings {
        regions: written.regions.clone().unwrap_or_default(),
        services: written.services.clone().unwrap_or_default(),
        skew: written.skew.0,
        unsigned: match written.unsigned {
            UnsignedBody::Refused => sigv4::UnsignedBodies::Refused,
            UnsignedBody::Taken => sigv4::UnsignedBodies::Taken,
        },
    }
}

fn access_keys(written: &Aws) -> Vec<AccessKey> {
    let key = |(id, key): &(Spanned<String>, model::AwsKey)| AccessKey {
        id: id.value.clone(),
        secret: sigv4::Secret::new(key.secret.0.as_bytes()),
        name: key.name.clone().unwrap_or_else(|| id.value.clone()),
        scopes: key.scopes.clone().unwrap_or_default(),
    };
    written.sigv4.value.iter().map(key).collect()
}

/// What a signature has to cover unless it is written.
const COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

fn expected(written: &Signed) -> Result<signature::Expected, Diagnostic> {
    let usual = || COVERED.iter().filter_map(|name| signature::Component::read(name).ok()).collect();
    let read = |one: &Spanned<String>| {
        signature::Component::read(&one.value).map_err(|why| Diagnostic::error(why).at(&one.span))
    };
    let components =
        written.components.as_ref().map(|all| all.iter().map(read).collect::<Result<_, _>>()).transpose()?;
    let (tag, age, skew) = (written.tag.clone(), written.age.0, written.skew.0);
    Ok(signature::Expected { components: components.unwrap_or_else(usual), tag, age, skew })
}

fn known_keys(written: &Signed) -> Result<Vec<KnownKey>, Diagnostic> {
    let known = |(id, one): &(Spanned<String>, model::SignedKey)| {
        let wrong = |why: String| Diagnostic::error(format!("the key `{}`: {why}", id.value)).at(&id.span);
        let algorithm = signature::Algorithm::of(one.algorithm.as_str());
        let key = match (algorithm, &one.key, &one.secret) {
            (Some(algorithm), Some(key), _) => {
                signature::VerifyingKey::from_pem(algorithm, &key.value).map_err(wrong)?
            }
            (_, _, Some(secret)) => signature::VerifyingKey::shared(secret.value.0.as_bytes())
                .ok_or_else(|| wrong("too short a secret".to_owned()))?,
            _ => return Err(wrong("there is none".to_owned())),
        };
        let name = one.name.clone().unwrap_or_else(|| id.value.clone());
        Ok(KnownKey { id: id.value.clone(), key: Arc::new(key), name, scopes: one.scopes.clone().unwrap_or_default() })
    };
    written.signature.value.iter().map(known).collect()
}

fn passwords(written: &Basic) -> basic::Settings {
    basic::Settings {
        file: written.basic.value.0.clone(),
        cache: written.cache.0,
        negative: written.negative.0,
        at_once: size(written.at_once.get()),
        remember: size(written.remember.get()),
    }
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn settings(written: &Tokens, clock: &Clock) -> Result<JwtSettings, Diagnostic> {
    let from = match &written.jwks {
        None => keys::From::Issuer(written.issuer.value.0.clone()),
        Some(Spanned { value: KeysAt::Url(url), .. }) => keys::From::Url(url.0.clone()),
        Some(Spanned { value: KeysAt::File(path), .. }) => keys::From::File(path.clone()),
    };
    let algorithm = |named: &Named| Algorithm::of(named.as_str());
    Ok(JwtSettings {
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
        trader: trader(written, clock)?,
    })
}

fn asking(written: &Tokens, asked: &Introspection, clock: &Clock) -> Result<opaque::Settings, Diagnostic> {
    Ok(opaque::Settings {
        issuer: written.issuer.value.0.clone(),
        url: asked.url.as_ref().map(|url| url.value.0.clone()),
        client: client(&asked.client.value, asked.proof())?,
        audiences: written.audience.value.0.clone(),
        cache: asked.cache.0,
        negative: asked.negative.0,
        timeout: written.timeout.0,
        skew: written.skew.value.0,
        largest: size(written.largest.get()),
        remember: size(written.remember.get()),
        at_once: size(asked.at_once.get()),
        trader: trader(written, clock)?,
    })
}
