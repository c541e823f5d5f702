//! `services`: what stands behind, by name.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Span, Spanned};
use tollgate_core::section;
use tollgate_core::units::{Bounded, Percent, Period};

use crate::model::adaptive::AdaptiveConcurrency;
use crate::model::address::Address;
use crate::model::balance::{Balance, Zone};
use crate::model::breaker::Breaker;
use crate::model::consul::FromConsul;
use crate::model::defaults::v1;
use crate::model::fallback::Fallback;
use crate::model::health::{Health, WhenAllFail};
use crate::model::http::HostText;
use crate::model::kubernetes::FromKubernetes;
use crate::model::outlier::Outlier;
use crate::model::registry::FromRegistry;
use crate::model::retry::Retry;
use crate::model::smooth::Smooth;
use crate::model::tls::ServiceTls;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

section! {
    /// A group of instances that do the same work, and how they are reached.
    pub struct Service: fit {
        /// The instances: addresses. A name is looked up again and again, and all its addresses are instances. Needed, unless one of
        /// the other sources of instances stands here in its place.
        to: Targets,
        /// The instances: those that register themselves under this name.
        registry: Option<Spanned<FromRegistry>>,
        /// The instances: those that Consul knows by this name.
        consul: Option<Spanned<FromConsul>>,
        /// The instances: those of this service of Kubernetes.
        kubernetes: Option<Spanned<FromKubernetes>>,
        /// How an instance is chosen: `round_robin`, `least_requests`, `latency`, `load`, by a `hash`, or `sticky`.
        balance: Balance = v1::BALANCE,
        /// For how long an instance that comes, or comes back, gets fewer requests: a tenth of its share, and ever more. Without it, its share at
        /// once.
        slow_start: Option<Spanned<Period>>,
        /// Most connections to all instances together, of this node; without it, any number.
        connections: Option<Bounded<1, 1_000_000>>,
        /// Most connections to each instance, of this node; without it, any number.
        each: Option<Bounded<1, 1_000_000>>,
        /// Who waits when all connections are taken.
        queue: Queue,
        /// Finds out how many requests the instances together can do at a time, and refuses, or lets wait, what is more: those that matter
        /// least first (`criticality`). Without it, they get all.
        adaptive_concurrency: Option<AdaptiveConcurrency>,
        /// How often a request may be sent, evenly spaced, over all routes and instances, of this node; without it, at any time.
        smooth: Option<Smooth>,
        /// How long a connection may take to open.
        connect_timeout: Period = v1::CONNECT_TIMEOUT,
        /// Connections that rest between two requests.
        keep_alive: KeepAlive,
        /// When a request is tried once more.
        retry: Retry,
        /// How long each try may wait for the head of an answer; without it, for as long as the route's `timeout` allows.
        try_timeout: Option<Period>,
        /// How instances are asked whether they are well; without it, they are not.
        health: Option<Health>,
        /// When all of the service is left alone for a while because too much of what is sent to it fails; without it, never.
        breaker: Option<Breaker>,
        /// When an instance is left out because of how it serves; without it, never.
        outlier: Option<Outlier>,
        /// What becomes of requests when all instances are unhealthy or ejected: `serve` uses them all the same, `refuse`
        /// answers 503; without it, `serve`.
        when_all_fail: Option<Spanned<WhenAllFail>>,
        /// When a smaller part of the instances is well, all are used, well or not: those few could not take what is meant for all. Without it,
        /// only when none is (`when_all_fail`).
        panic: Option<Spanned<Percent>>,
        /// What takes the place of an answer that cannot be had; without it, the gateway's 502, 503 or 504.
        fallback: Option<Fallback>,
        /// What is sent on as `Host`; without it, what the client sent.
        host: Option<HostText>,
        /// TLS to the instances; without it, they are spoken to in the clear.
        tls: Option<ServiceTls>,
        /// `http1`, `http2`, or `alpn`: whichever of the two the instance chooses in the TLS handshake. Without TLS, `http2`
        /// means that both sides know beforehand.
        protocol: Spanned<Protocol> = v1::SERVICE_PROTOCOL,
        /// Over HTTP/2, most requests at once on one connection; an instance may allow fewer.
        streams: Bounded<1, 10_000> = v1::SERVICE_STREAMS,
        /// How instances are told whom a connection is for (PROXY protocol), before anything else: `v1` or `v2`. Each connection
        /// then serves one client connection. Without it, they are not told.
        proxy_protocol: Option<ProxyProtocol>,
        /// The address of this machine to connect from; without it, the system's choice.
        source_address: Option<Spanned<SourceAddress>>,
    }
}

words! {
    /// Which version of HTTP is spoken.
    pub enum Protocol {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
        /// Whichever the other side chooses.
        Alpn = "alpn",
    }
}

words! {
    /// How instances are told whom a connection is for.
    pub enum ProxyProtocol {
        /// As a line of text.
        V1 = "v1",
        /// In binary, with what TLS with the client settled.
        V2 = "v2",
    }
}

/// An address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAddress(pub IpAddr);

impl FromText for SourceAddress {
    const WHAT: &'static str = "an IP address of this machine";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(Self(address)),
            _ => Err(Diagnostic::error(format!("`{text}` is no address to connect from"))
                .hint("an IP address of this machine, without a port: `10.0.0.5`, `2001:db8::5`")),
        }
    }
}

decode_from_text!(SourceAddress);
text_schema!(SourceAddress, "SourceAddress", "description": "An IP address of this machine.", "pattern": "^[0-9A-Fa-f:.]+$", "examples": ["10.0.0.5", "2001:db8::5"]);

/// Whether a service's parts go together.
fn fit(service: &Service, cx: &mut DecodeCx) -> bool {
    let fits = [
        comes_from_one(service, cx),
        protocol_fits(service, cx),
        source_fits(service, cx),
        watch_fits(service, cx),
        start_fits(service, cx),
    ];
    fits.iter().all(|fits| *fits)
}

/// Where instances may come from beside the addresses of `to`; each is a key of a service.
const OTHER_SOURCES: &[&str] = &["registry", "consul", "kubernetes"];

impl Service {
    /// The places of [`OTHER_SOURCES`] that are written, in their order.
    fn other_sources(&self) -> impl Iterator<Item = &Span> {
        let registry = self.registry.as_ref().map(|from| &from.span);
        let consul = self.consul.as_ref().map(|from| &from.span);
        let kubernetes = self.kubernetes.as_ref().map(|from| &from.span);
        [registry, consul, kubernetes].into_iter().flatten()
    }
}

/// Instances come from one source: with several, nobody could say what a stale one among them means.
fn comes_from_one(service: &Service, cx: &mut DecodeCx) -> bool {
    let addresses = service.to.0.first().map(|target| &target.address.span);
    let mut written = addresses.into_iter().chain(service.other_sources());
    let (Some(first), Some(second)) = (written.next(), written.next()) else { return true };
    let mistake = Diagnostic::error("it is said twice where the instances come from").at(second);
    let hint = format!("one of `to`, `{}`", OTHER_SOURCES.join("`, `"));
    cx.report(mistake.related(first, "and here").hint(hint));
    false
}

/// What becomes of requests when all instances fail is a question only where somebody finds out; and a Unix socket has no
/// other port to be asked.
pub(crate) fn watch_fits(service: &Service, cx: &mut DecodeCx) -> bool {
    let is_watched = service.health.is_some() || service.outlier.is_some();
    if let Some(when) = service.when_all_fail.as_ref().filter(|_| !is_watched) {
        let mistake = Diagnostic::error("nobody finds out which instances fail").at(&when.span);
        cx.report(mistake.hint("`when_all_fail` goes with `health` or `outlier`"));
        return false;
    }
    if !panic_fits(service, is_watched, cx) {
        return false;
    }
    let unix = service.to.0.iter().find(|target| matches!(target.address.value, Address::Unix(_)));
    let port = service.health.as_ref().and_then(|health| health.port.as_ref());
    if let (Some(unix), Some(port)) = (unix, port) {
        let mistake = Diagnostic::error("a Unix socket has no port to be asked").at(&port.span);
        cx.report(mistake.related(&unix.address.span, "the Unix socket"));
        return false;
    }
    true
}

/// A key has its instance, however new that is.
fn start_fits(service: &Service, cx: &mut DecodeCx) -> bool {
    let (Some(slow_start), Balance::Hash(_)) = (&service.slow_start, &service.balance) else { return true };
    let mistake = Diagnostic::error("with `balance: hash` a key goes to its instance, however new that is");
    cx.report(mistake.at(&slow_start.span).hint("leave out `slow_start`, or balance in another way"));
    false
}

fn panic_fits(service: &Service, is_watched: bool, cx: &mut DecodeCx) -> bool {
    let Some(panic) = &service.panic else { return true };
    let mistake = match &service.when_all_fail {
        _ if !is_watched => {
            Diagnostic::error("nobody finds out which instances fail").hint("`panic` goes with `health` or `outlier`")
        }
        Some(when) if when.value == WhenAllFail::Refuse => Diagnostic::error(
            "with `panic` all are used when few are well, with `when_all_fail: refuse` none when none is",
        )
        .related(&when.span, "one of them")
        .hint("leave one of them out"),
        _ => return true,
    };
    cx.report(mistake.at(&panic.span));
    false
}

fn protocol_fits(service: &Service, cx: &mut DecodeCx) -> bool {
    let protocol = &service.protocol;
    let mistake = match protocol.value {
        Protocol::Alpn if service.tls.is_none() => {
            Diagnostic::error("`protocol: alpn` needs TLS: the protocol is chosen in its handshake")
                .hint("add `tls`, or say `http1` or `http2`")
        }
        Protocol::Alpn | Protocol::Http2 if service.proxy_protocol.is_some() => {
            Diagnostic::error("over HTTP/2 clients share connections; `proxy_protocol` tells of one client")
                .hint("leave out `proxy_protocol` (`Forwarded` tells of clients too), or say `protocol: http1`")
        }
        _ => return true,
    };
    cx.report(mistake.at(&protocol.span));
    false
}

/// Whether every instance can be reached from the source address.
fn source_fits(service: &Service, cx: &mut DecodeCx) -> bool {
    let Some(source) = &service.source_address else { return true };
    let mut fits = true;
    for target in &service.to.0 {
        let what = match &target.address.value {
            Address::Socket(address) if address.is_ipv4() != source.value.0.is_ipv4() => {
                "is of the other family than `source_address`"
            }
            Address::Unix(_) => "is a Unix socket: nobody connects to it from an address",
            Address::Socket(_) | Address::Name { .. } | Address::Srv(_) => continue,
        };
        let mistake = Diagnostic::error(format!("`{}` {what}", target.address.value)).at(&target.address.span);
        cx.report(mistake.related(&source.span, "the address to connect from"));
        fits = false;
    }
    fits
}

section! {
    /// Requests that wait for a connection.
    pub struct Queue {
        /// How many may wait; beyond it the answer is 503 at once. 0: none waits.
        size: Bounded<0, 1_000_000> = v1::QUEUE_SIZE,
        /// How long one may wait before the answer is 503.
        timeout: Period = v1::QUEUE_TIMEOUT,
    }
}

section! {
    /// Connections that rest between two requests.
    pub struct KeepAlive {
        /// How many may rest, per worker. 0: none.
        idle: Bounded<0, 65_536> = v1::KEEP_ALIVE_IDLE,
        /// How long one may rest before it is closed. Shorter than the instances' own limit, or they close it first.
        rest as "for": Period = v1::KEEP_ALIVE_FOR,
        /// How old one may become: it then ends with the request that it carries. Without it, any age.
        age: Option<Period>,
    }
}

section! {
    /// One instance, or a name behind which there are several.
    pub struct Target: has_one_weight {
        /// `host:port`, `unix:/path`, or `srv:NAME`: hosts, ports, weights and which are asked first as the SRV records of a name say.
        address: Spanned<Address>,
        /// Its share of the requests, compared to the others. 0: gets none.
        weight: Bounded<0, 1000> = v1::TARGET_WEIGHT,
        /// The zone it runs in: a gateway prefers instances of its own.
        zone: Option<Zone>,
        /// Its priority group: 0 is asked first, each further one for what those before it cannot take.
        group: Bounded<0, 255> = v1::TARGET_GROUP,
    }
}

/// SRV records say the weights.
fn has_one_weight(target: &Target, cx: &mut DecodeCx) -> bool {
    let fits = !matches!(target.address.value, Address::Srv(_)) || target.weight.get() == 1;
    if !fits {
        let mistake = Diagnostic::error("the SRV records themselves say the weights").at(&target.address.span);
        cx.report(mistake.hint("leave out `weight`"));
    }
    fits
}

/// The instances of a service; at least one, and one with a weight. None, if they come from another source.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets(pub Vec<Target>);

impl Decode for Targets {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let targets = Vec::<Target>::decode(node, cx)?;
        let mistake = match targets.as_slice() {
            [] => "a service needs at least one target",
            all if all.iter().all(|t| t.weight.get() == 0) => "no target has a weight above 0: none would be chosen",
            _ => return Some(Self(targets)),
        };
        cx.report(Diagnostic::error(mistake).at(&node.span));
        None
    }

    const INSTEAD: &'static [&'static str] = OTHER_SOURCES;

    fn said_otherwise() -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn example() -> Option<&'static str> {
        Some("10.0.0.1:8080")
    }
}

impl JsonSchema for Targets {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Targets".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<Target>() })
    }
}
