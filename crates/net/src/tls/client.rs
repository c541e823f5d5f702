//! Our side of handshakes with services.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio_rustls::{TlsConnector, TlsStream};

use super::material::{FileError, Pair, Part, roots};
use super::pin::{Pin, Verifier};
use super::provider;
use super::watch::{Refreshed, Watch};
use crate::{Socket, Stream};

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system trusts.
    System,
    /// Those that this file vouches for, and no others.
    File(PathBuf),
}

/// Whether the other side must prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By a certificate for its name that the roots vouch for.
    Chain,
    /// Not at all, but for the pins: without any, whoever answers is believed.
    Nothing,
}

/// What the TLS to a service is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// Whose certificates are believed.
    pub roots: Roots,
    /// Whether they are looked at.
    pub verify: Verify,
    /// The keys of which the other side must have one; empty: any.
    pub pins: Vec<Pin>,
    /// The name that is asked for and that the certificate must have, whatever the host's name is.
    pub name: Option<String>,
    /// What is shown if the other side asks who we are.
    pub certificate: Option<Pair>,
    /// The protocols spoken above TLS, the preferred one first (ALPN names).
    pub alpn: Vec<Vec<u8>>,
}

/// One service's TLS: shared by all workers, so that sessions are resumed on any.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    config: ArcSwap<ClientConfig>,
    watch: Watch,
}

/// Why there is no TLS with the other side: for logs, since it may tell of the inside of the house.
#[derive(Debug)]
pub struct NoHandshake(io::Error);

impl std::fmt::Display for NoHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            // rustls shows what it did not find itself as a debugger would.
            Some(Error::InvalidCertificate(CertificateError::Other(why))) => write!(f, "its certificate: {why}"),
            Some(error) => error.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl std::error::Error for NoHandshake {}

impl Client {
    /// Reads the files.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn build(settings: ClientSettings) -> Result<Arc<Self>, Vec<FileError>> {
        let mut files: Vec<PathBuf> =
            settings.certificate.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]).collect();
        if let Roots::File(file) = &settings.roots {
            files.push(file.clone());
        }
        let watch = Watch::new(files);
        let config = ArcSwap::from_pointee(config(&settings)?);
        Ok(Arc::new(Self { settings, config, watch }))
    }

    /// Carries out a handshake. `host`: the name by which the other side was found, if it was by one. `address`: `None` on a
    /// Unix socket, where whoever answers is `localhost` unless the settings name it.
    ///
    /// # Errors
    /// Why the other side is not believed, or what else went wrong.
    pub async fn connect(
        &self,
        socket: Socket,
        host: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Stream, NoHandshake> {
        self.connect_as(socket, host, address, None).await
    }

    /// The same. `alpn`: the one protocol that is offered, if not the usual ones.
    ///
    /// # Errors
    /// Like [`Client::connect`].
    pub async fn connect_as(
        &self,
        socket: Socket,
        host: Option<&str>,
        address: Option<IpAddr>,
        alpn: Option<&[u8]>,
    ) -> Result<Stream, NoHandshake> {
        let name = self.name(host, address).map_err(NoHandshake)?;
        let mut config = self.config.load_full();
        if let Some(alpn) = alpn {
            Arc::make_mut(&mut config).alpn_protocols = vec![alpn.to_vec()];
        }
        let connector = TlsConnector::from(config);
        let stream = connector.connect(name, socket).await.map_err(NoHandshake)?;
        Ok(Stream::from(TlsStream::from(stream)))
    }

    fn name(&self, host: Option<&str>, address: Option<IpAddr>) -> io::Result<ServerName<'static>> {
        let name = match (self.settings.name.as_deref().or(host), address) {
            (Some(name), _) => name,
            (None, Some(address)) => return Ok(ServerName::from(address)),
            (None, None) => "localhost",
        };
        ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no name for TLS")))
    }

    /// What rustls needs for a handshake now, for protocols whose library has its own.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Looks whether files changed, and takes over what is new. To be called every few seconds, on a thread that may wait
    /// for a disk.
    pub fn refresh(&self) -> Refreshed {
        self.watch.refresh(|| self.reload())
    }

    /// Reads all files again and takes them over, all or nothing, for connections made from now on.
    ///
    /// # Errors
    /// Everything that is wrong with them; what was there before still holds.
    pub fn reload(&self) -> Result<(), Vec<FileError>> {
        // With its own memory of sessions: what the old roots were good for is not resumed.
        self.config.store(Arc::new(config(&self.settings)?));
        Ok(())
    }
}

fn config(settings: &ClientSettings) -> Result<ClientConfig, Vec<FileError>> {
    let mut errors = Vec::new();
    let certified = settings.certificate.as_ref().map(Pair::load).transpose();
    let certified = certified.map_err(|error| errors.push(error)).ok().flatten();
    let store = match (&settings.roots, settings.verify) {
        (Roots::File(file), _) => roots(file),
        (Roots::System, Verify::Chain) => system_roots(),
        (Roots::System, Verify::Nothing) => Ok(RootCertStore::empty()),
    };
    let store = store.map_err(|error| errors.push(error)).ok();
    let Some(store) = store.filter(|_| errors.is_empty()) else { return Err(errors) };
    build(settings, store, certified.map(|material| material.certified))
}

fn build(
    settings: &ClientSettings,
    store: RootCertStore,
    certified: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, Vec<FileError>> {
    let wrong = |error: &dyn std::fmt::Display| {
        let path = match &settings.roots {
            Roots::File(file) => file.clone(),
            Roots::System => SYSTEM.into(),
        };
        let message = format!("TLS cannot be set up with it: {error}").into();
        vec![FileError { path, part: Part::Roots, message, hint: None }]
    };
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let roots = match settings.verify {
        Verify::Nothing => None,
        Verify::Chain => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
            Some(verifier.build().map_err(|error| wrong(&error))?)
        }
    };
    let verifier = Arc::new(Verifier { roots, pins: settings.pins.clone(), algorithms });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&error))?.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match certified {
        None => builder.with_no_client_auth(),
        Some(certified) => {
            let resolver = SingleCertAndKey::from(CertifiedKey::clone(&certified));
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
    config.alpn_protocols.clone_from(&settings.alpn);
    Ok(config)
}

/// Where a system keeps its roots; for messages.
const SYSTEM: &str = "/etc/ssl/certs";

fn system_roots() -> Result<RootCertStore, FileError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Some systems carry roots that nobody can read any more.
    store.add_parsable_certificates(loaded.certs);
    if store.is_empty() {
        let message = match loaded.errors.first() {
            Some(error) => format!("the system's root certificates cannot be read: {error}").into(),
            None => "the system has no root certificates".into(),
        };
        let hint = Some("install the package `ca-certificates`, or name the file of those you trust as `ca`");
        return Err(FileError { path: SYSTEM.into(), part: Part::Roots, message, hint });
    }
    Ok(store)
}
