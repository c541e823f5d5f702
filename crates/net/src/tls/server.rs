//! Our side of clients' handshakes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::TrustAnchor;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::material::{FileError, Material, Pair, Part, roots};
use super::provider;
use super::resolver::{Resolver, Table};
use super::watch::{Refreshed, Watch};

/// Sessions kept for clients of TLS 1.2 that take no tickets.
const SESSIONS: usize = 4096;

/// Which versions and ciphers, after Mozilla's recommendations (<https://wiki.mozilla.org/Security/Server_Side_TLS>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// TLS 1.3 only.
    Modern,
    /// TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only.
    Intermediate,
}

static MODERN: &[&SupportedProtocolVersion] = &[&TLS13];
static INTERMEDIATE: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

impl Policy {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Modern => MODERN,
            Self::Intermediate => INTERMEDIATE,
        }
    }
}

/// Whose certificates clients may show, and whether they must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None are asked for.
    Ignored,
    /// Asked for; whoever shows one must be vouched for by this file's certificates.
    Optional(PathBuf),
    /// Nobody comes in without.
    Required(PathBuf),
}

impl ClientCertificates {
    fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Ignored => None,
            Self::Optional(file) | Self::Required(file) => Some(file),
        }
    }
}

/// What a listener's TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The certificates, at least one; the first is shown to clients that ask for no name, or for an unknown one.
    pub certificates: Vec<Pair>,
    /// Versions and ciphers.
    pub policy: Policy,
    /// Certificates of clients.
    pub clients: ClientCertificates,
    /// The protocols spoken above TLS, the preferred one first (ALPN names).
    pub alpn: Vec<Vec<u8>>,
}

/// One listener's TLS: shared by all workers, so that a session begun on one can be resumed on another.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    resolver: Arc<Resolver>,
    now: ArcSwap<InForce>,
    certificates: Watch,
    roots: Watch,
}

#[derive(Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    shown: Vec<Shown>,
    roots: Vec<TrustAnchor<'static>>,
}

/// A certificate in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its file.
    pub file: PathBuf,
    /// The names it is good for, in lower case.
    pub names: Vec<String>,
    /// Until when it is good.
    pub ends: SystemTime,
    begins: SystemTime,
}

impl Shown {
    /// Why clients will not believe it at this time, if so.
    #[must_use]
    pub fn doubt(&self, now: SystemTime) -> Option<&'static str> {
        match now {
            now if now >= self.ends => Some("the certificate has expired"),
            now if now < self.begins => Some("the certificate is not valid yet"),
            _ => None,
        }
    }
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn build(settings: ServerSettings) -> Result<Arc<Self>, Vec<FileError>> {
        let files = settings.certificates.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]).collect();
        let certificates = Watch::new(files);
        let roots = Watch::new(settings.clients.file().cloned().into_iter().collect());
        let (materials, store) = load(&settings)?;
        let resolver = Arc::new(Resolver::new(Table::new(&materials)));
        let config = config(&settings, Arc::clone(&resolver), store.clone())?;
        let now = InForce { config, shown: shown(&settings, &materials), roots: store.roots };
        Ok(Arc::new(Self { settings, resolver, now: ArcSwap::from_pointee(now), certificates, roots }))
    }

    /// What rustls needs for a handshake now.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.now.load().config)
    }

    /// The certificates in force.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        self.now.load().shown.clone()
    }

    /// Whether any of them, or a redirect to it, is for this host: exactly, or by a wildcard.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let suffix = host.split_once('.').map(|(_, suffix)| suffix);
        let is_for = |name: &String| match name.strip_prefix("*.") {
            Some(wildcard) => suffix == Some(wildcard),
            None => *name == host,
        };
        self.now.load().shown.iter().flat_map(|shown| &shown.names).any(is_for)
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Looks whether files changed, and takes over what is new. To be called every few seconds, on a thread that may wait
    /// for a disk.
    pub fn refresh(&self) -> Refreshed {
        let outcomes = [self.certificates.refresh(|| self.reload()), self.roots.refresh(|| self.reload())];
        let mut errors = Vec::new();
        let mut is_renewed = false;
        for outcome in outcomes {
            match outcome {
                Refreshed::Unchanged => {}
                Refreshed::Renewed => is_renewed = true,
                Refreshed::Broken(found) => errors.extend(found),
            }
        }
        errors.dedup();
        match (errors.is_empty(), is_renewed) {
            (false, _) => Refreshed::Broken(errors),
            (true, true) => Refreshed::Renewed,
            (true, false) => Refreshed::Unchanged,
        }
    }

    /// Reads all files again and takes them over, all or nothing. Connections that are open are not disturbed.
    ///
    /// # Errors
    /// Everything that is wrong with them; what was there before still holds.
    pub fn reload(&self) -> Result<(), Vec<FileError>> {
        let (materials, store) = load(&self.settings)?;
        let before = self.now.load_full();
        // Other roots ask for everything anew: nobody may come in on a ticket that the old ones were good for. New
        // certificates alone do not, and sessions go on.
        let config = match store.roots == before.roots {
            true => Arc::clone(&before.config),
            false => config(&self.settings, Arc::clone(&self.resolver), store.clone())?,
        };
        self.resolver.replace(Table::new(&materials));
        self.now.store(Arc::new(InForce { config, shown: shown(&self.settings, &materials), roots: store.roots }));
        Ok(())
    }
}

/// All that the files hold, or all that is wrong with them.
fn load(settings: &ServerSettings) -> Result<(Vec<Material>, RootCertStore), Vec<FileError>> {
    let mut errors = Vec::new();
    let pairs = settings.certificates.iter().map(Pair::load);
    let materials = pairs.filter_map(|loaded| loaded.map_err(|error| errors.push(error)).ok()).collect();
    let store = match settings.clients.file() {
        None => RootCertStore::empty(),
        Some(file) => roots(file).unwrap_or_else(|error| {
            errors.push(error);
            RootCertStore::empty()
        }),
    };
    if errors.is_empty() { Ok((materials, store)) } else { Err(errors) }
}

fn shown(settings: &ServerSettings, materials: &[Material]) -> Vec<Shown> {
    let pairs = settings.certificates.iter().zip(materials);
    let shown = pairs.map(|(pair, material)| Shown {
        file: pair.cert.clone(),
        names: material.names.clone(),
        ends: material.ends,
        begins: material.begins,
    });
    shown.collect()
}

fn config(
    settings: &ServerSettings,
    resolver: Arc<Resolver>,
    store: RootCertStore,
) -> Result<Arc<ServerConfig>, Vec<FileError>> {
    let path = settings.clients.file().or(settings.certificates.first().map(|pair| &pair.cert));
    let wrong = |error: &dyn std::fmt::Display| {
        let message = format!("TLS cannot be set up with it: {error}").into();
        vec![FileError { path: path.cloned().unwrap_or_default(), part: Part::Roots, message, hint: None }]
    };
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(settings.policy.versions()).map_err(|error| wrong(&error))?;
    let verifier = verifier(&settings.clients, store).map_err(|error| wrong(&error))?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.alpn_protocols.clone_from(&settings.alpn);
    // All that are offered are sound; which of them is taken is not left to whoever connects.
    config.ignore_client_order = true;
    config.ticketer = Ticketer::new().map_err(|error| wrong(&error))?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    Ok(Arc::new(config))
}

fn verifier(
    clients: &ClientCertificates,
    store: RootCertStore,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::server::VerifierBuilderError> {
    let builder = || WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
    match clients {
        ClientCertificates::Ignored => Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificates::Optional(_) => builder().allow_unauthenticated().build(),
        ClientCertificates::Required(_) => builder().build(),
    }
}
