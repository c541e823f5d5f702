//! Sources of identity: made of the config, and kept over reloads with what they know if they would be made alike.

mod counting;
mod decisions;
mod issuer;
mod ldap;
mod lists;
mod named;
mod settings;
mod signers;
mod vouching;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_config::model::{self, ApiKeys, AuthSource, Config, KeysAt, Session};
use tollgate_core::cache::CacheStore;
use tollgate_core::caller::Caller;
use tollgate_core::clock::Clock;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::handler::Handler;
use tollgate_core::node::{Span, Spanned};
use tollgate_core::onward::{Minter, Signer};
use tollgate_core::principal::{Authenticator, Budget, Sources};
use tollgate_identity::api_key::{ApiKeySource, List, Pepper};
use tollgate_identity::aws::AwsSource;
use tollgate_identity::basic::{BasicSource, Users};
use tollgate_identity::certificate::{Authorities, CertificateSource};
use tollgate_identity::failures::Failures;
use tollgate_identity::ldap::LdapSource;
use tollgate_identity::login::{self, LoginSource};
use tollgate_identity::mint::KeysIn;
use tollgate_identity::opaque::OpaqueSource;
use tollgate_identity::session::Sealer;
use tollgate_identity::signed::SignedSource;
use tollgate_identity::{JwtSource, SamlGrant, jwk, private_file, verdict};
use tollgate_net::tls::Client;
use tollgate_registry::dns::Dns;
use tollgate_store::Memory;
use tollgate_upstream::outbound::Outbound;

use crate::sources::counting::Counting;
use crate::sources::decisions::Decisions;
use crate::sources::issuer::{Issues, issues, opened};
use crate::sources::lists::Lists;
use crate::sources::settings::{
    access_keys, asking, asserted, certificates, client, expected, keyed, known_keys, once, passwords, settings,
    signatures, signing_in, size,
};
use crate::tls::Tls;
use crate::wire::World;

pub(crate) use self::named::named;
pub(crate) use self::vouching::vouching;

/// The file in `data` with the key of the hashes of API keys.
const PEPPER: &str = "api-keys.secret";
/// The file in `data` with the key of sessions of browsers.
const SESSIONS: &str = "sessions.secret";
/// Most bytes of either.
const MOST_PEPPER: u64 = 1024;

/// All sources of identity of a config.
#[derive(Debug)]
pub(crate) struct Identity {
    made: Vec<Made>,
    issuer: Option<Issues>,
    signers: Vec<Arc<dyn Signer>>,
    decisions: Decisions,
    lists: Lists,
    counting: Counting,
    /// How many wrong credentials an address may come with, and how many that are.
    failures: Option<(u64, Arc<Failures>)>,
}

/// A source, and what it was made of.
#[derive(Debug)]
struct Made {
    name: String,
    written: AuthSource,
    dns: model::Dns,
    data: PathBuf,
    heads: usize,
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
    /// Names and passwords that a directory is asked about.
    Ldap(LdapSource),
    /// Requests that are signed as AWS has it.
    Aws(Arc<AwsSource>),
    /// Requests with message signatures.
    Signed(Arc<SignedSource>),
    /// People who sign in with a browser.
    Login(LoginSource),
    /// Certificates of clients.
    Certificates(CertificateSource),
}

impl Source {
    /// # Errors
    /// A key that is none.
    fn new(name: &str, written: &AuthSource, clock: &Clock, with: With) -> Result<Self, Diagnostic> {
        let own = clock.clone();
        Ok(match written {
            AuthSource::Tokens(tokens) => match &tokens.introspection {
                None => Self::Jwt(JwtSource::new(name, settings(tokens, clock)?, own)),
                Some(asked) => Self::Opaque(OpaqueSource::new(name, asking(tokens, asked, clock)?, own)),
            },
            AuthSource::Keys(keys) => Self::Keys(ApiKeySource::new(name, keyed(keys, with.pepper), own)),
            AuthSource::Basic(written) => Self::Basic(BasicSource::new(name, passwords(written), own)),
            AuthSource::Ldap(written) => Self::Ldap(LdapSource::new(name, ldap::directory(written)?, own)),
            AuthSource::Aws(written) => Self::Aws(AwsSource::new(
                name,
                signatures(written),
                access_keys(written),
                size(written.largest.get()),
                own,
            )),
            AuthSource::Signed(written) => {
                Self::Signed(SignedSource::new(name, expected(written)?, once(written), known_keys(written)?, own))
            }
            AuthSource::Login(written) => {
                Self::Login(LoginSource::new(name, signing_in(written, with.heads)?, with.sealer, with.store, own))
            }
            AuthSource::Saml(written) => {
                Self::Login(LoginSource::new(name, asserted(written, with.heads)?, with.sealer, with.store, own))
            }
            AuthSource::Certificates(written) => {
                Self::Certificates(CertificateSource::new(name, certificates(written), own))
            }
        })
    }

    /// With all that it needs to work.
    fn make(
        name: &str,
        written: &AuthSource,
        clock: &Clock,
        data: &Path,
        store: Arc<dyn CacheStore>,
        heads: usize,
    ) -> Result<Self, Diagnostic> {
        let none = With { store, heads, ..With::nothing() };
        let with = match written {
            AuthSource::Keys(keys) => With { pepper: Some(pepper(keys, data)?), ..none },
            AuthSource::Login(login) => With { sealer: sealer(&login.session, &login.login.span, data)?, ..none },
            AuthSource::Saml(saml) => With { sealer: sealer(&saml.session, &saml.saml.span, data)?, ..none },
            AuthSource::Tokens(_)
            | AuthSource::Basic(_)
            | AuthSource::Ldap(_)
            | AuthSource::Aws(_)
            | AuthSource::Signed(_)
            | AuthSource::Certificates(_) => none,
        };
        Self::new(name, written, clock, with)
    }

    /// `tls`: with its provider, if it has one.
    fn start(&self, tls: Option<&Arc<Client>>, world: &World, dns: &Arc<Dns>) {
        let caller = |tls: &Arc<Client>| -> Arc<dyn Caller> {
            let (asking, clock) = (world.asking().clone(), world.clock.clone());
            Arc::new(Outbound::new(Arc::clone(tls), Arc::clone(dns), asking, clock))
        };
        let store = Arc::clone(&world.store) as Arc<dyn CacheStore>;
        if let (Self::Ldap(source), Some(tls)) = (self, tls) {
            source.start(Arc::new(ldap::Path { tls: Arc::clone(tls), dns: Arc::clone(dns) }), world.asking());
        }
        match (self, tls.map(caller)) {
            (Self::Jwt(source), Some(caller)) => {
                source.keep_in(&store);
                source.start(&caller, world.asking());
            }
            (Self::Opaque(source), Some(caller)) => {
                source.keep_in(&store);
                source.start(&caller, world.asking());
            }
            (Self::Login(source), caller) => source.start(caller.as_ref(), world.asking(), &world.slow),
            (Self::Keys(source), _) => source.start(&world.slow),
            (Self::Basic(source), _) => source.start(&world.slow, world.asking()),
            (Self::Certificates(source), _) => source.start(&world.slow),
            (Self::Signed(source), _) => source.mark_in(&store),
            (Self::Jwt(_) | Self::Opaque(_), None) | (Self::Aws(_) | Self::Ldap(_), _) => {}
        }
    }

    fn as_authenticator(&self) -> Arc<dyn Authenticator> {
        match self {
            Self::Jwt(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Opaque(source) => Arc::new(source.clone()),
            Self::Keys(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Basic(source) => Arc::new(source.clone()),
            Self::Ldap(source) => Arc::new(source.clone()),
            Self::Aws(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Signed(source) => Arc::clone(source) as Arc<dyn Authenticator>,
            Self::Login(source) => Arc::new(source.clone()),
            Self::Certificates(source) => Arc::new(source.clone()),
        }
    }
}

/// What a source needs that does not stand in the config.
struct With {
    /// The key of the hashes of API keys.
    pepper: Option<Pepper>,
    /// What seals sessions.
    sealer: Arc<Sealer>,
    store: Arc<dyn CacheStore>,
    /// The largest head of a request, in bytes.
    heads: usize,
}

impl With {
    /// For a source that is only looked at: what it seals, nobody opens, and nothing is kept.
    fn nothing() -> Self {
        let store = Arc::new(Memory::new(0, Clock::real()));
        Self { pepper: None, sealer: Arc::new(Sealer::of_nobody()), store, heads: usize::MAX }
    }
}

impl Identity {
    /// Makes the sources of a config; those that would be made as they were `before` are the same. They do nothing yet.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub(crate) fn build(config: &Config, world: &World, before: Option<&Self>) -> Result<Self, Vec<Diagnostic>> {
        let clock = &world.clock;
        let (mut made, mut mistakes) = (Vec::new(), Vec::new());
        let heads = size(config.limits.head.get());
        let store = || Arc::clone(&world.store) as Arc<dyn CacheStore>;
        let issuer = match issues(config, clock, store(), before.and_then(|before| before.issuer.as_ref())) {
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
                    && (made.heads == heads || written.session().is_none())
                    && (made.data == config.data.0
                        || !matches!(written, AuthSource::Keys(_) | AuthSource::Login(_) | AuthSource::Saml(_)))
            };
            let known = before.and_then(|before| before.made.iter().find(is_alike)).map(|known| known.source.clone());
            // A file that has gone bad since harms no reload that has nothing to do with it.
            let source = match known {
                Some(source) => Ok(source),
                None => usable(written)
                    .and_then(|()| Source::make(&name.value, written, clock, &config.data.0, store(), heads)),
            };
            match source {
                Ok(source) => made.push(Made {
                    name: name.value.clone(),
                    written: written.clone(),
                    dns: config.dns.clone(),
                    data: config.data.0.clone(),
                    heads,
                    source,
                }),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        let signers = signers::signers(config, clock).unwrap_or_else(|mut found| {
            mistakes.append(&mut found);
            Vec::new()
        });
        let decisions = Decisions::build(config, clock, before.map(|before| &before.decisions));
        let lists = Lists::build(config, clock, before.map(|before| &before.lists)).unwrap_or_else(|mut found| {
            mistakes.append(&mut found);
            Lists::default()
        });
        let most = config.limits.failures.get();
        let known = before.and_then(|before| before.failures.clone()).filter(|(of, _)| *of == most);
        let failures = Some(known.unwrap_or_else(|| (most, Arc::new(Failures::new(most, clock.clone())))));
        match Counting::build(&config.state, world, before.map(|before| &before.counting)) {
            Ok(counting) if mistakes.is_empty() => {
                Ok(Self { made, issuer, signers, decisions, lists, counting, failures })
            }
            counting => {
                mistakes.extend(counting.err());
                Err(mistakes)
            }
        }
    }

    /// As policies know them.
    pub(crate) fn sources(&self, world: &World) -> Sources {
        let issuer = self.issuer.as_ref();
        let all: Vec<Arc<dyn Authenticator>> = self.made.iter().map(|made| made.source.as_authenticator()).collect();
        let mut endpoints = verdict::endpoints(&all, &world.clock);
        endpoints.extend(issuer.map(|issues| issues.endpoints.clone()).unwrap_or_default());
        endpoints.extend(pages(self.made.iter().map(|made| &made.source)));
        let minter = issuer.map(|issues| Arc::clone(&issues.issuer) as Arc<dyn Minter>);
        let budget = self.failures.as_ref().map(|(_, failures)| Arc::clone(failures) as Arc<dyn Budget>);
        let counters = Some(self.counting.counters());
        let (signers, decisions) = (self.signers.clone(), self.decisions.all());
        let (lists, countries, in_flight) = (self.lists.all(), self.lists.countries(), world.in_flight.clone());
        let pacers = Some(Arc::clone(&world.pacers));
        Sources { lists, countries, counters, pacers, in_flight, all, budget, minter, signers, decisions, endpoints }
    }

    /// Has keys read from now on.
    pub(crate) fn start(&self, tls: &Tls, world: &World, dns: &Arc<Dns>) {
        self.made.iter().for_each(|made| made.source.start(tls.provider(&made.name), world, dns));
        self.decisions.start(tls, world, dns);
        self.lists.start(world);
        self.counting.start();
        if let Some(issues) = &self.issuer {
            issues.issuer.start(&world.slow);
            issues.saml.iter().for_each(|saml| saml.start(&world.slow));
        }
    }

    /// It is in force.
    pub(crate) fn take_effect(&self, config: &Config, world: &World) {
        self.counting.take_effect(&config.state, world);
    }

    /// The gateway stops.
    pub(crate) fn leave(&self) {
        self.counting.leave();
    }

    /// Waits until every provider, and the store of counters, was asked once.
    pub(crate) async fn heard(&self) {
        self.counting.heard().await;
        for made in &self.made {
            match &made.source {
                Source::Jwt(source) => source.keys().heard().await,
                Source::Login(source) => source.heard().await,
                _ => {}
            }
        }
    }
}

/// Looks at the files that the sources of a config need; nothing is made.
///
/// # Errors
/// Files that cannot be used.
pub(crate) fn check(config: &Config) -> Result<(), Vec<Diagnostic>> {
    let mut mistakes: Vec<Diagnostic> = config.auth.iter().filter_map(|(_, written)| usable(written).err()).collect();
    if let Some(written) = &config.issuer
        && let Err(mistake) = opened(written, KeysIn::Memory, &Clock::real(), With::nothing().store)
    {
        mistakes.push(mistake);
    }
    for (_, source) in &config.auth {
        if let AuthSource::Keys(keys) = source
            && keys.secret.is_none()
        {
            mistakes.extend(lost(keys, &config.data.0.join(PEPPER)).err());
        }
    }
    mistakes.extend(counting::check(&config.state).err());
    for found in [signers::signers(config, &Clock::real()).map(drop), lists::check(config)] {
        mistakes.extend(found.err().unwrap_or_default());
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// Where people sign in and out, if anybody does.
fn pages<'s>(sources: impl Iterator<Item = &'s Source>) -> Option<(&'static str, Arc<dyn Handler>)> {
    let sources = sources.filter_map(|source| match source {
        Source::Login(source) => Some(source.clone()),
        _ => None,
    });
    login::pages(sources.collect()).map(|pages| ("login", pages))
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
        AuthSource::Ldap(written) => ldap::directory(written).map(drop),
        AuthSource::Login(written) => signing_in(written, usize::MAX).map(drop),
        AuthSource::Saml(written) => {
            let (file, span) = (&written.saml.value.0, &written.saml.span);
            SamlGrant::look(file, written.idp.as_deref())
                .map_err(|why| Diagnostic::error(format!("metadata from `{}`: {why}", file.display())).at(span))?;
            asserted(written, usize::MAX).map(drop)
        }
        AuthSource::Certificates(written) => written.ca.as_ref().map_or(Ok(()), |ca| {
            Authorities::load(&ca.value.0).map(drop).map_err(|why| {
                let mistake = Diagnostic::error(format!("authorities from `{}`: {why}", ca.value.0.display()));
                mistake.at(&ca.span).hint("the certificates of those who vouch for clients (PEM)")
            })
        }),
        AuthSource::Signed(written) => expected(written).and_then(|_| known_keys(written)).map(drop),
        AuthSource::Basic(written) => {
            let (path, span) = (&written.basic.value.0, &written.basic.span);
            Users::load(path).map(drop).map_err(|why| {
                let mistake =
                    Diagnostic::error(format!("names and passwords from `{}`: {why}", path.display())).at(span);
                // With `-c` it would begin a file anew that is there.
                mistake.hint(match path.exists() {
                    true => "`htpasswd -B FILE NAME` writes one line of it anew; bcrypt and argon2 are taken",
                    false => "`htpasswd -B -c FILE NAME` makes it with its first name",
                })
            })
        }
        AuthSource::Keys(keys) => {
            let (path, span) = (&keys.file.value.0, &keys.file.span);
            let listed = List::load(path, size(keys.most.get())).map(drop);
            listed.map_err(|why| {
                let mistake = Diagnostic::error(format!("API keys from `{}`: {why}", path.display())).at(span);
                mistake.hint(match path.exists() {
                    true => "bring it back as it was; `tollgate key` writes it whole or not at all",
                    false => {
                        "`tollgate key create NAME` makes the list with its first key; `{\"keys\":[]}` is an empty one"
                    }
                })
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

/// What seals sessions: the keys that are written, or the one of the folder, made if it is not there.
///
/// # Errors
/// It can be neither read nor made.
fn sealer(session: &Session, span: &Span, data: &Path) -> Result<Arc<Sealer>, Diagnostic> {
    let made = match &session.key {
        Some(keys) => Sealer::new(keys.value.iter().map(|key| key.0.as_bytes())),
        None => {
            let made = private_file::read_or_make(&data.join(SESSIONS), MOST_PEPPER);
            let made = made.map_err(|error| Diagnostic::error(error.message).at(span).hint(error.hint))?;
            Sealer::new([made.trim_ascii()])
        }
    };
    made.map(Arc::new).ok_or_else(|| Diagnostic::error("the key of sessions is too short").at(span))
}

/// Whether the key of the hashes of a list is gone. A new one would do for new keys, and for none of those that are out there.
fn lost(keys: &ApiKeys, file: &Path) -> Result<(), Diagnostic> {
    let listed = List::load(&keys.file.value.0, size(keys.most.get())).map_or(0, |list| list.keys.len());
    if listed == 0 || file.exists() {
        return Ok(());
    }
    let gone = format!("`{}` is gone, without which none of the {listed} keys is known", file.display());
    let mistake = Diagnostic::error(gone).at(&keys.api_key.span);
    Err(mistake.hint("bring it back from a backup; or begin a new list: `{\"keys\":[]}`"))
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
            let file = data.join(PEPPER);
            lost(keys, &file)?;
            let made = private_file::read_or_make(&file, MOST_PEPPER);
            Pepper::new(made.map_err(|e| mistake(e.message).hint(e.hint))?.trim_ascii())
        }
    };
    made.ok_or_else(|| mistake("the key of the hashes is too short".to_owned()))
}
