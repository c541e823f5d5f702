//! What may be written, as types: one file per section of `tollgate.yaml`.
//!
//! A value of these types is right by itself (ranges, addresses, names); what must hold between sections is in
//! `check`. Long forms only: short ones were rewritten by `desugar` before.

pub mod adaptive;
pub mod address;
pub mod apis;
pub mod auth;
pub mod balance;
pub mod breaker;
pub mod cluster;
pub mod consul;
pub mod correlation;
pub mod data;
pub mod deadline;
pub mod decisions;
mod defaults;
pub mod destination;
pub mod dns;
pub mod drain;
pub mod fallback;
pub mod fields;
pub mod files;
pub mod health;
pub mod http;
pub mod issuer;
pub mod kubernetes;
pub mod limits;
pub mod listen;
pub mod lists;
pub mod log;
pub mod mirror;
pub(crate) mod named;
pub mod outlier;
pub mod overload;
pub mod paths;
pub mod registry;
pub mod rehearsal;
pub mod reply;
pub mod retry;
pub mod route;
pub mod services;
pub mod settings;
pub mod signers;
pub mod smooth;
pub mod start;
pub mod state;
pub mod template;
pub mod tls;
pub mod trust;

use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::node::{Entry, Node, Spanned, Value};
use tollgate_core::section;
use tollgate_core::units::Bounded;

pub use self::adaptive::AdaptiveConcurrency;
pub use self::address::{Address, Bind};
pub use self::apis::Api;
pub use self::auth::{
    Algorithm, ApiKeys, AuthSource, Aws, AwsKey, Basic, Bound, CertificateAuth, CertificateName, ClientAuth,
    ClientProof, CookieName, Dpop, ForwardedCertificate, Introspection, KeyPlace, KeysAt, Ldap, LdapGroups, LdapUrl,
    LdapUsers, LocalPath, Login, Origin, Provider, ProxysWord, Saml, SamlSigned, Secret, Session, SessionIn, Signed,
    SignedBy, SignedKey, SignedOnce, Tenants, TokenExchange, Tokens, UnsignedBody,
};
pub use self::balance::{Balance, First, HashKey, Hashed, Latency, Load, LoadBound, LoadOf, Sticky, Zone};
pub use self::breaker::Breaker;
pub use self::cluster::{Cluster, KeyPrefix, MemberUrl};
pub use self::consul::{Consul, ConsulConsistency, ConsulName, FromConsul};
pub use self::correlation::{Accept, Correlation, IdHeader};
pub use self::data::Folder;
pub use self::deadline::{Deadline, TimeUnit};
pub use self::decisions::Decision;
pub use self::destination::Destination;
pub use self::dns::{Dns, NameServer};
pub use self::drain::Drain;
pub use self::fallback::{Fallback, FallbackOn};
pub use self::fields::{FieldName, FieldValue, ReplyFields};
pub use self::files::{FileTypes, Files, Index, Listing, PathBelow, Precompressed};
pub use self::health::{Check, CheckMethod, CheckPath, FailureStatus, Health, StatusRange, WhenAllFail};
pub use self::http::{HostPattern, HostText, Method};
pub use self::issuer::{Issuer, SamlGrant, SigningAlgorithm};
pub use self::kubernetes::{FromKubernetes, Kubernetes, KubernetesPort, KubernetesService};
pub use self::limits::{Limits, Pace};
pub use self::listen::{FEW_CONNECTIONS, FileMode, Listener, ListenerKind, Switch};
pub use self::lists::AddressList;
pub use self::log::{Access, AccessFormat, Level, Log, LogTarget, LoggedQueries};
pub use self::mirror::{Credentials, Mirror};
pub use self::outlier::{ErrorShare, Factor, Outlier, SlowOnes, SuccessRate};
pub use self::overload::Overload;
pub use self::paths::{Paths, Unusual};
pub use self::registry::{FromRegistry, Registrar, Registrars, Registry, ServiceName, ServicePattern, ShownName, Tag};
pub use self::rehearsal::{Expected, Sent, Test, TestFields, TestRequest, Tests};
pub use self::reply::{Redirect, RedirectStatus, Reply, ReplyStatus};
pub use self::retry::{Hedge, HedgeAfter, Retry, RetryOn};
pub use self::route::{Action, Endpoint, PathChange, Route};
pub use self::services::{KeepAlive, Protocol, ProxyProtocol, Queue, Service, SourceAddress, Target, Targets};
pub use self::settings::{OrNone, Settings};
pub use self::signers::{AwsSigner, DigestBy, MessageSigner, SignedBody, Signer};
pub use self::smooth::{SMOOTH_PATTERN, Smooth, smooth_in_full};
pub use self::start::Start;
pub use self::state::{HostPort, Redis, RedisUrl, State};
pub use self::template::{PathTemplate, Piece, Template};
pub use self::tls::{Certificate, ClientCertificates, FilePath, ListenerTls, ServiceTls, TlsPolicy, Verify};
pub use self::trust::{Network, Proxies, ProxyHeaders, Trust};

use self::apis::{ApiSection, resolve_apis};
use self::listen::Listen;
use self::named::Named;
use self::route::Routes;
use self::settings::Defaults;

section! {
    /// A Tollgate configuration: the whole file.
    pub(crate) struct File {
        /// Which version's defaults hold. An upgrade of Tollgate never changes what a file means.
        version: Version = defaults::VERSION,
        /// Where clients are listened to.
        listen: Listen,
        /// How many worker threads serve requests; without it, one per core.
        workers: Option<Bounded<1, 1024>>,
        /// The zone that the gateway runs in: it prefers instances of its own. Without it, the one in the environment as `TOLLGATE_ZONE`, or none.
        zone: Option<Zone>,
        /// Who is believed.
        trust: Trust,
        /// What a client may send.
        limits: Limits,
        /// What the gateway itself may use before it refuses requests; without it, as much as it gets.
        overload: Option<Overload>,
        /// Paths that services may read in more than one way.
        paths: Paths,
        /// The id that follows a request through all services.
        correlation: Correlation,
        /// What is written about what happens.
        log: Log,
        /// The folder that the gateway itself writes to, once it has to: the token of the admin API, the audit log. Without it,
        /// `data` beside the config file.
        data: Option<Folder>,
        /// What the gateway starts with when its config is wrong: `strict`, it does not; `last-good`, with the one that was last in
        /// force, which is kept in `data`.
        start: Start = defaults::v1::START,
        /// How the gateway stops.
        drain: Drain,
        /// Where marks of what may be used once and sessions are kept.
        state: State,
        /// Where gateways keep together what none of them must forget. Without it, each keeps its own, in `data`.
        cluster: Option<Cluster>,
        /// The instances that register themselves.
        registry: Option<Registry>,
        /// How Consul is asked for the instances of services that say `consul`.
        consul: Consul,
        /// How Kubernetes is asked for the instances of services that say `kubernetes`.
        kubernetes: Kubernetes,
        /// How names of services are looked up.
        dns: Dns,
        /// Who can tell who calls: named sources of identity.
        auth: Option<Named<AuthSource>>,
        /// Who the gateway is as one that gives out tokens to services.
        issuer: Option<Issuer>,
        /// Who signs requests for services that ask for that.
        signers: Option<Named<Signer>>,
        /// Who is asked whether a request may be made.
        decisions: Option<Named<Decision>>,
        /// Networks by a name, for the policy `ip`.
        lists: Option<Named<AddressList>>,
        /// From which country an address is: a database of countries or cities in MaxMind's format (`.mmdb`), for `country DE` in lists of addresses and
        /// `per country` in limits. It is read again when it changes.
        geo: Option<Spanned<FilePath>>,
        /// What stands behind: named groups of instances.
        services: Option<Named<Service>>,
        /// What holds for every route that does not say otherwise.
        defaults: Option<Defaults>,
        /// Routes for any host.
        routes: Option<Routes>,
        /// What clients see: named groups of routes, each with its hosts.
        apis: Option<Named<ApiSection>>,
        /// Requests, and what is to become of them: checked by `tollgate test`, and before the config comes into force.
        tests: Tests,
    }
}

/// The version of the file's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The first.
    V1,
}

impl Decode for Version {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        if node.value == Value::Int(1) {
            return Some(Self::V1);
        }
        let mistake = tollgate_core::diagnostic::Diagnostic::error("this version of the file is not known");
        cx.report(mistake.at(&node.span).hint("write `version: 1`"));
        None
    }
}

impl schemars::JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "enum": [1] })
    }
}

/// A whole configuration, read, with every default settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The version of the file's defaults.
    pub version: Version,
    /// The sockets to open; at least one, no two the same.
    pub listen: Vec<Listener>,
    /// Worker threads; `None`: one per core.
    pub workers: Option<usize>,
    /// The zone that the gateway runs in.
    pub zone: Option<Zone>,
    /// Who is believed about the client's address.
    pub trust: Trust,
    /// What a client may send.
    pub limits: Limits,
    /// What the gateway itself may use.
    pub overload: Option<Overload>,
    /// Paths that services may read in more than one way.
    pub paths: Paths,
    /// The correlation id.
    pub correlation: Correlation,
    /// Log and access log.
    pub log: Log,
    /// The folder that the gateway itself writes to.
    pub data: Folder,
    /// What the gateway starts with when its config is wrong.
    pub start: Start,
    /// How the gateway stops.
    pub drain: Drain,
    /// Where marks and sessions are kept.
    pub state: State,
    /// Where gateways keep together what none of them must forget.
    pub cluster: Option<Cluster>,
    /// Instances that register themselves; `None`: nobody says that there may be any.
    pub registry: Option<Registry>,
    /// How Consul is asked.
    pub consul: Consul,
    /// How Kubernetes is asked.
    pub kubernetes: Kubernetes,
    /// Name look-ups.
    pub dns: Dns,
    /// Who can tell who calls, in the order written.
    pub auth: Vec<(Spanned<String>, AuthSource)>,
    /// Who the gateway is as one that gives out tokens.
    pub issuer: Option<Issuer>,
    /// Who signs requests for services, in the order written.
    pub signers: Vec<(Spanned<String>, Signer)>,
    /// Who is asked whether a request may be made, in the order written.
    pub decisions: Vec<(Spanned<String>, Decision)>,
    /// Lists of networks.
    pub lists: Vec<(Spanned<String>, AddressList)>,
    /// Who knows the countries of addresses: a file.
    pub geo: Option<Spanned<FilePath>>,
    /// The named services, in the order written.
    pub services: Vec<(Spanned<String>, Service)>,
    /// Policies of the top-level `defaults`, undecoded: for every route, below those of its api.
    pub policies: Vec<Entry>,
    /// All routes: first the unnamed api of the top-level `routes` (if there are any), then `apis` as written.
    pub apis: Vec<Api>,
    /// Requests, and what is to become of them.
    pub tests: Tests,
}

impl Config {
    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|(n, _)| n.value == name).map(|(_, service)| service)
    }

    /// Every route with its api.
    pub fn routes(&self) -> impl Iterator<Item = (&Api, &Route)> {
        self.apis.iter().flat_map(|api| api.routes.iter().map(move |route| (api, route)))
    }
}

/// Whether there is a registry although nothing is said of it.
fn is_meant(cluster: Option<&Cluster>, services: Option<&Named<Service>>) -> bool {
    cluster.is_some() || services.is_some_and(|services| services.iter().any(|(_, own)| own.registry.is_some()))
}

/// Reads the desugared tree of a whole file; `None` if a mistake was reported.
pub(crate) fn decode(tree: &Node, cx: &mut DecodeCx) -> Option<Config> {
    let file = File::decode(tree, cx)?;
    overload::check(file.overload.as_ref(), tree, cx)?;
    let defaults = file.defaults.unwrap_or_default();
    auth::certificates::warn(file.auth.as_ref().map_or(&[], |auth| &auth.0), &file.listen.0, &file.trust, cx);
    let apis = resolve_apis(file.routes, file.apis, &defaults.settings);
    Some(Config {
        version: file.version,
        listen: file.listen.0,
        workers: file.workers.and_then(|n| usize::try_from(n.get()).ok()),
        zone: file.zone,
        trust: file.trust,
        limits: file.limits,
        overload: file.overload,
        paths: file.paths,
        correlation: file.correlation,
        log: file.log,
        start: file.start,
        data: file.data.unwrap_or_else(|| Folder::beside(&tree.span)),
        drain: file.drain,
        state: file.state,
        registry: match file.registry {
            None if is_meant(file.cluster.as_ref(), file.services.as_ref()) => Registry::absent(),
            written => written,
        },
        cluster: file.cluster,
        consul: file.consul,
        kubernetes: file.kubernetes,
        dns: file.dns,
        auth: file.auth.map(|a| a.0).unwrap_or_default(),
        issuer: file.issuer,
        signers: file.signers.map(|s| s.0).unwrap_or_default(),
        decisions: file.decisions.map(|d| d.0).unwrap_or_default(),
        lists: file.lists.map(|l| l.0).unwrap_or_default(),
        geo: file.geo,
        services: file.services.map(|s| s.0).unwrap_or_default(),
        policies: defaults.policies,
        apis,
        tests: file.tests,
    })
}
