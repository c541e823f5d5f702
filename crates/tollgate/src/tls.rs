//! The config's certificates: read before anything starts, looked at again and again while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;
use tollgate_config::model::{
    self, AuthSource, Bind, Certificate, Config, ListenerTls, Protocol, ServiceTls, TlsPolicy,
};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Span, Spanned};
use tollgate_net::tls::{
    Client, ClientCertificates, ClientSettings, FileError, Pair, Part, Pin, Policy, Refreshed, Roots, Server,
    ServerSettings, Verify,
};
use tollgate_observe::metrics::Metrics;

use crate::discovery;
use crate::wire::World;

/// To whom the TLS with etcd belongs.
const CLUSTER: &str = "cluster";

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What is spoken above TLS with clients, the preferred one first (ALPN, RFC 9113 §3.2).
const WITH_CLIENTS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// The TLS of all listeners and services of a config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    servers: Vec<(Bind, Arc<Server>)>,
    clients: Vec<(String, Arc<Client>)>,
    /// With identity providers and who decides, by whom they belong to.
    providers: Vec<(String, Arc<Client>)>,
    /// Works, but probably not as meant.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Tls {
    /// Reads all files of the config. What is made of the same files in the same way as `before` is the same: its sessions go
    /// on.
    pub(crate) fn build(
        config: &Config,
        now: SystemTime,
        before: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Self, Vec<Diagnostic>> {
        let (mut tls, mut mistakes) = (Self::default(), Vec::new());
        for listener in &config.listen {
            let Some(written) = &listener.tls else { continue };
            match server(server_settings(written), before, metrics) {
                Ok(server) => {
                    tls.warnings.extend(doubts(&server, written, now));
                    tls.servers.push((listener.address.clone(), server));
                }
                Err(errors) => mistakes.extend(told(errors, &files_of_listener(written), &listener.span)),
            }
        }
        for (name, service) in &config.services {
            let Some(written) = &service.tls else { continue };
            match client(client_settings(written, service.protocol.value), before, metrics) {
                Ok(client) => tls.clients.push((name.value.clone(), client)),
                Err(errors) => mistakes.extend(told(errors, &files_of_service(written), &name.span)),
            }
        }
        for Asked { of, span, files, roots, certificate, alpn } in asked(config) {
            match client(asked_settings(roots, certificate, alpn), before, metrics) {
                Ok(client) => tls.providers.push((of, client)),
                Err(errors) => mistakes.extend(told(errors, &files, span)),
            }
        }
        if let Some(cluster) = &config.cluster {
            let written = cluster.tls.as_ref();
            let settings = match written {
                Some(written) => client_settings(&written.value, Protocol::Http1),
                None => asked_settings(Roots::System, None, HTTP),
            };
            match client(settings, before, metrics) {
                Ok(client) => tls.providers.push((CLUSTER.to_owned(), client)),
                Err(errors) => {
                    let files = written.map(|written| files_of_service(&written.value)).unwrap_or_default();
                    mistakes.extend(told(
                        errors,
                        &files,
                        written.map_or(&cluster.prefix.span, |written| &written.span),
                    ));
                }
            }
        }
        if mistakes.is_empty() { Ok(tls) } else { Err(mistakes) }
    }

    /// The TLS with the members of etcd.
    pub(crate) fn cluster(&self) -> Option<&Arc<Client>> {
        self.with(CLUSTER)
    }

    /// The TLS of a listener.
    pub(crate) fn server(&self, address: &Bind) -> Option<Arc<Server>> {
        self.servers.iter().find(|(at, _)| at == address).map(|(_, server)| Arc::clone(server))
    }

    /// Whether a certificate of any listener is for this host.
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.servers.iter().any(|(_, server)| server.knows(host))
    }

    /// The TLS of a service. Addresses written in a route may go by the same name, and have none.
    pub(crate) fn client(&self, name: &str, service: &model::Service) -> Option<Arc<Client>> {
        service.tls.as_ref()?;
        self.clients.iter().find(|(of, _)| of == name).map(|(_, client)| Arc::clone(client))
    }

    /// The TLS with the provider of a source of identity.
    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<Client>> {
        self.with(&provider(name))
    }

    /// The TLS with somebody who decides.
    pub(crate) fn decision(&self, name: &str) -> Option<&Arc<Client>> {
        self.with(&decision(name))
    }

    /// The TLS with a source of instances.
    pub(crate) fn source(&self, name: &str) -> Option<&Arc<Client>> {
        self.with(name)
    }

    fn with(&self, owner: &str) -> Option<&Arc<Client>> {
        self.providers.iter().find(|(of, _)| of == owner).map(|(_, client)| client)
    }

    /// Has the files looked at, until what is returned is dropped.
    pub(crate) fn watch(&self, world: &World) -> Watching {
        let servers = self.servers.iter().map(|(at, server)| (listener(at), Side::Server(server.clone())));
        let clients = self.clients.iter().map(|(of, client)| (service(of), Side::Client(client.clone())));
        let providers = self.providers.iter().map(|(of, client)| (of.clone(), Side::Client(client.clone())));
        let all: Vec<(String, Side)> = servers.chain(clients).chain(providers).collect();
        let is_owner = |name: &str| all.iter().any(|(of, _)| of == name);
        let shown = |(_, server): &(_, Arc<Server>)| server.shown().iter().map(|shown| shown.file.clone()).collect();
        let files: Vec<PathBuf> = self.servers.iter().map(shown).collect::<Vec<Vec<_>>>().concat();
        world.metrics.tls().keep(is_owner, |name| files.iter().any(|file| file.as_os_str() == name));
        for (of, side) in &all {
            world.metrics.tls().watched(of);
            side.tell_expiry(&world.metrics);
        }
        let metrics = Arc::clone(&world.metrics);
        let watching = async move {
            loop {
                tokio::time::sleep(EVERY).await;
                for (of, side) in &all {
                    look(of, side, &metrics).await;
                }
            }
        };
        Watching(world.slow.spawn(watching).abort_handle())
    }
}

/// Looks at files for as long as it lives.
pub(crate) struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One of those whose files are looked at.
#[derive(Clone)]
enum Side {
    Server(Arc<Server>),
    Client(Arc<Client>),
}

impl Side {
    fn refresh(&self) -> Refreshed {
        match self {
            Self::Server(server) => server.refresh(),
            Self::Client(client) => client.refresh(),
        }
    }

    fn tell_expiry(&self, metrics: &Metrics) {
        let Self::Server(server) = self else { return };
        for shown in server.shown() {
            metrics.tls().expires(&shown.file.display().to_string(), shown.ends);
        }
    }
}

async fn look(of: &str, side: &Side, metrics: &Metrics) {
    let own = side.clone();
    // A disk may take its time; the runtime has other things to do.
    match tokio::task::spawn_blocking(move || own.refresh()).await {
        Ok(Refreshed::Renewed) => {
            side.tell_expiry(metrics);
            renewed(of, metrics);
        }
        Ok(Refreshed::Broken(errors)) => {
            metrics.tls().failed(of);
            for error in errors {
                let (file, error) = (error.path.display(), error.message);
                tracing::warn!(of, %file, %error, "certificate files are not right, the ones before stay in force");
            }
        }
        Ok(Refreshed::Unchanged) | Err(_) => {}
    }
}

fn renewed(of: &str, metrics: &Metrics) {
    metrics.tls().renewed(of);
    tracing::info!(of, "certificate files changed and are in force");
}

/// What those whose files these are are called.
fn listener(at: &Bind) -> String {
    format!("listener {at}")
}

fn service(name: &str) -> String {
    format!("service {name}")
}

fn provider(name: &str) -> String {
    format!("auth {name}")
}

fn decision(name: &str) -> String {
    format!("decisions {name}")
}

/// Somebody whom the gateway itself asks.
struct Asked<'c> {
    /// To whom that belongs.
    of: String,
    /// Where that is written.
    span: &'c Span,
    files: Written<'c>,
    /// Who vouches for it.
    roots: Roots,
    /// Who the gateway is there.
    certificate: Option<Pair>,
    /// What is spoken above TLS.
    alpn: &'static [&'static [u8]],
}

const HTTP: &[&[u8]] = &[b"http/1.1"];

impl<'c> Asked<'c> {
    fn new(of: String, span: &'c Span, ca: Option<&'c Spanned<model::FilePath>>) -> Self {
        let roots = ca.map_or(Roots::System, |ca| Roots::File(ca.value.0.clone()));
        let files = ca.into_iter().map(|ca| (Part::Roots, ca)).collect();
        Self { of, span, files, roots, certificate: None, alpn: HTTP }
    }
}

fn asked(config: &Config) -> Vec<Asked<'_>> {
    let mut all: Vec<Asked<'_>> = Vec::new();
    for (name, source) in &config.auth {
        let (ca, alpn) = match source {
            AuthSource::Tokens(written) => (written.ca.as_ref(), HTTP),
            AuthSource::Login(written) => (written.ca.as_ref(), HTTP),
            AuthSource::Ldap(written) => (written.ca.as_ref(), [].as_slice()),
            _ => continue,
        };
        all.push(Asked { alpn, ..Asked::new(provider(&name.value), &name.span, ca) });
    }
    let decisions = config.decisions.iter();
    all.extend(decisions.map(|(name, own)| Asked::new(decision(&name.value), &name.span, own.ca.as_ref())));
    all.extend(discovery::uses_consul(config).map(|_| consul(&config.consul)));
    all.extend(discovery::uses_kubernetes(config).map(|span| kubernetes(&config.kubernetes, span)));
    all
}

fn consul(written: &model::Consul) -> Asked<'_> {
    let mut asked = Asked::new(discovery::CONSUL.to_owned(), &written.url.span, written.ca.as_ref());
    if let (Some(cert), Some(key)) = (&written.cert, &written.key) {
        asked.certificate = Some(Pair { cert: cert.value.0.clone(), key: key.value.0.clone() });
        asked.files.extend([(Part::Certificate, cert), (Part::Key, key)]);
    }
    asked
}

fn kubernetes<'c>(written: &'c model::Kubernetes, span: &'c Span) -> Asked<'c> {
    let asked = Asked::new(discovery::KUBERNETES.to_owned(), span, written.ca.as_ref());
    match discovery::own_authority(written) {
        Some(file) => Asked { roots: Roots::File(file), ..asked },
        None => asked,
    }
}

fn server(settings: ServerSettings, before: Option<&Tls>, metrics: &Metrics) -> Result<Arc<Server>, Vec<FileError>> {
    let known = before.and_then(|tls| tls.servers.iter().find(|(_, server)| *server.settings() == settings));
    let Some((at, known)) = known else { return Server::build(settings) };
    match known.refresh() {
        Refreshed::Broken(errors) => return Err(errors),
        // Of this, whoever looks at files would find nothing new.
        Refreshed::Renewed => renewed(&listener(at), metrics),
        Refreshed::Unchanged => {}
    }
    Ok(Arc::clone(known))
}

fn client(settings: ClientSettings, before: Option<&Tls>, metrics: &Metrics) -> Result<Arc<Client>, Vec<FileError>> {
    let all = |tls: &Tls| {
        let services = tls.clients.iter().map(|(of, client)| (service(of), Arc::clone(client)));
        services.chain(tls.providers.iter().map(|(of, client)| (of.clone(), Arc::clone(client)))).collect::<Vec<_>>()
    };
    let known = before.map(all).unwrap_or_default().into_iter().find(|(_, client)| *client.settings() == settings);
    let Some((of, known)) = known else { return Client::build(settings) };
    match known.refresh() {
        Refreshed::Broken(errors) => return Err(errors),
        Refreshed::Renewed => renewed(&of, metrics),
        Refreshed::Unchanged => {}
    }
    Ok(known)
}

fn pair(certificate: &Certificate) -> Pair {
    Pair { cert: certificate.cert.value.0.clone(), key: certificate.key.value.0.clone() }
}

fn protocols(names: &[&[u8]]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.to_vec()).collect()
}

fn server_settings(written: &ListenerTls) -> ServerSettings {
    ServerSettings {
        certificates: written.certificates.0.iter().map(pair).collect(),
        policy: match written.policy {
            TlsPolicy::Modern => Policy::Modern,
            TlsPolicy::Intermediate => Policy::Intermediate,
        },
        clients: match &written.client {
            None => ClientCertificates::Ignored,
            Some(client) if client.required => ClientCertificates::Required(client.ca.value.0.clone()),
            Some(client) => ClientCertificates::Optional(client.ca.value.0.clone()),
        },
        alpn: protocols(WITH_CLIENTS),
    }
}

fn client_settings(written: &ServiceTls, protocol: Protocol) -> ClientSettings {
    let certificate = written.cert.as_ref().zip(written.key.as_ref());
    ClientSettings {
        roots: written.ca.as_ref().map_or(Roots::System, |ca| Roots::File(ca.value.0.clone())),
        verify: match written.verify.value {
            model::Verify::On => Verify::Chain,
            model::Verify::Off => Verify::Nothing,
        },
        pins: written.pin.iter().flatten().map(|pin| Pin(pin.0)).collect(),
        name: written.name.as_ref().map(|name| name.0.clone()),
        certificate: certificate.map(|(cert, key)| Pair { cert: cert.value.0.clone(), key: key.value.0.clone() }),
        alpn: match protocol {
            Protocol::Http1 => protocols(&[b"http/1.1"]),
            Protocol::Http2 => protocols(&[b"h2"]),
            Protocol::Alpn => protocols(&[b"h2", b"http/1.1"]),
        },
    }
}

fn asked_settings(roots: Roots, certificate: Option<Pair>, alpn: &[&[u8]]) -> ClientSettings {
    ClientSettings { roots, verify: Verify::Chain, pins: Vec::new(), name: None, certificate, alpn: protocols(alpn) }
}

/// Where files are written in the config.
type Written<'c> = Vec<(Part, &'c Spanned<model::FilePath>)>;

fn files_of_listener(written: &ListenerTls) -> Written<'_> {
    let pairs = written.certificates.0.iter();
    let pairs = pairs.flat_map(|pair| [(Part::Certificate, &pair.cert), (Part::Key, &pair.key)]);
    pairs.chain(written.client.as_ref().map(|client| (Part::Roots, &client.ca))).collect()
}

fn files_of_service(written: &ServiceTls) -> Written<'_> {
    let parts = [(Part::Certificate, &written.cert), (Part::Key, &written.key), (Part::Roots, &written.ca)];
    parts.into_iter().filter_map(|(part, file)| Some((part, file.as_ref()?))).collect()
}

fn place<'c>(path: &Path, part: Part, files: &Written<'c>, otherwise: &'c Span) -> &'c Span {
    let found = files.iter().find(|(of, file)| *of == part && file.value.0 == path);
    found.map_or(otherwise, |(_, file)| &file.span)
}

fn told<'c>(
    errors: Vec<FileError>,
    files: &'c Written<'c>,
    otherwise: &'c Span,
) -> impl Iterator<Item = Diagnostic> + use<'c> {
    errors.into_iter().map(|error| {
        let mistake = Diagnostic::error(error.to_string()).at(place(&error.path, error.part, files, otherwise));
        match error.hint {
            Some(hint) => mistake.hint(hint),
            None => mistake,
        }
    })
}

/// Certificates that clients will not believe.
fn doubts(server: &Server, written: &ListenerTls, now: SystemTime) -> Vec<Diagnostic> {
    let warning =
        |file: &PathBuf, what: &str, span: &Span| Diagnostic::warning(format!("`{}`: {what}", file.display())).at(span);
    let mut warnings = Vec::new();
    for (shown, certificate) in server.shown().iter().zip(&written.certificates.0) {
        warnings.extend(shown.doubt(now).map(|doubt| warning(&shown.file, doubt, &certificate.cert.span)));
        if shown.names.is_empty() {
            let mistake = warning(&shown.file, "the certificate is for no name", &certificate.cert.span);
            warnings.push(mistake.hint("clients look at its alternative names (SAN) only"));
        }
    }
    warnings
}
