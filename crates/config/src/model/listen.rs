//! `listen`: the sockets that are opened.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Span, Spanned, Value};
use tollgate_core::section;
use tollgate_core::units::Bounded;

use crate::model::address::Bind;
use crate::model::defaults::v1;
use crate::model::http::HostPattern;
use crate::model::tls::ListenerTls;
use tollgate_core::text::{FromText, words};

words! {
    /// What a listener is for.
    pub enum ListenerKind {
        /// Clients: requests are routed.
        Http = "http",
        /// Balancers and scrapers: `/health/live`, `/health/ready`, `/metrics`, `/status`.
        Health = "health",
        /// Clients that come without TLS: they are sent to the same URL under `https`.
        Redirect = "redirect",
        /// Whoever runs the gateway: the admin API, for those who have its token.
        Admin = "admin",
    }
}

words! {
    /// Whether something is done.
    pub enum Switch {
        /// It is.
        On = "on",
        /// It is not.
        Off = "off",
    }
}

section! {
    /// What one listener does.
    pub(crate) struct ListenerOptions: fit {
        /// `http` routes requests; `health` answers `/health/live`, `/health/ready`, `/metrics` and `/status`; `redirect` sends
        /// clients to the same URL under `https`, for the hosts of the file's apis and certificates; `admin` is the admin API.
        kind: ListenerKind = v1::LISTENER_KIND,
        /// TLS; without it, clients are spoken to in the clear.
        tls: Option<ListenerTls>,
        /// `on`: proxies of `trust` begin each connection by saying for whom they speak (PROXY protocol, version 1 or 2).
        proxy_protocol: Switch = v1::PROXY_PROTOCOL,
        /// Who may connect to a Unix socket: the permissions of its file. Without it, `0660`.
        mode: Option<Spanned<FileMode>>,
        /// The names by which the admin API may be asked for, beside addresses and `localhost`.
        hosts: Option<Vec<Spanned<HostPattern>>>,
        /// Most connections of this listener; further ones are closed at once. Without it, as many as `limits` allow all listeners together.
        connections: Option<Spanned<Bounded<1, 16_777_216>>>,
        /// Most connections of this listener from one client address (from one /64 of IPv6), beside those of `limits`; further ones are closed at
        /// once. Proxies of `trust` may have any number.
        connections_per_address: Option<Bounded<1, 16_777_216>>,
        /// Networks, names of `lists`, countries (`country DE`, by `geo`), or `unix`: connections from elsewhere are closed at once, before TLS.
        allow: Option<Vec<Spanned<String>>>,
        /// Networks, names of `lists`, countries, or `unix`: connections from there are closed at once, unless a smaller network of `allow` has them.
        deny: Option<Vec<Spanned<String>>>,
    }
}

/// Most connections of all listeners together that are for whoever runs the gateway: health and admin.
pub const FEW_CONNECTIONS: u64 = 256;

/// Whether the options go together.
fn fit(options: &ListenerOptions, cx: &mut DecodeCx) -> bool {
    let is_small = matches!(options.kind, ListenerKind::Health | ListenerKind::Admin);
    if let Some(most) = options.connections.as_ref().filter(|most| is_small && most.value.get() > FEW_CONNECTIONS) {
        let kind = options.kind.as_str();
        let mistake = Diagnostic::error(format!("a `{kind}` listener never has so many connections")).at(&most.span);
        cx.report(mistake.hint(format!("all of `health` and `admin` together take {FEW_CONNECTIONS}")));
        return false;
    }
    let names = options.hosts.as_ref().filter(|_| options.kind != ListenerKind::Admin);
    if let Some(first) = names.map(|names| names.first().map_or_else(Span::none, |name| name.span.clone())) {
        let mistake = Diagnostic::error("`hosts` of a listener is for the admin API").at(&first);
        cx.report(mistake.hint("hosts that clients ask for stand in `apis`"));
        return false;
    }
    let in_the_clear = matches!(options.kind, ListenerKind::Health | ListenerKind::Redirect);
    let Some(tls) = options.tls.as_ref().filter(|_| in_the_clear) else { return true };
    let mistake = Diagnostic::error(format!("a `{}` listener is always in the clear", options.kind.as_str()));
    let first = tls.certificates.0.first().map_or_else(Span::none, |certificate| certificate.cert.span.clone());
    cx.report(mistake.at(&first).hint("leave out `kind`, or leave out `tls`"));
    false
}

/// The permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Default for FileMode {
    fn default() -> Self {
        v1::SOCKET_MODE
    }
}

impl Decode for FileMode {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        // As it is written: what the digits would be as a number does not matter.
        let text = node.written();
        let digits = text.strip_prefix("0o").unwrap_or(&text);
        let is_octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if is_octal && mode <= 0o777 => Some(Self(mode)),
            _ => {
                let mistake = Diagnostic::error("these are no permissions").at(&node.span);
                cx.report(mistake.hint("octal digits, for owner, group and others: `\"0660\"`"));
                None
            }
        }
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "Permissions of a file, as octal digits for owner, group and others.",
            "pattern": "^(0o?)?[0-7]{3}$",
            "examples": ["0660", "0600", "0666"],
        })
    }
}

/// One socket to open.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where.
    pub address: Bind,
    /// What for.
    pub kind: ListenerKind,
    /// TLS, if it is spoken there.
    pub tls: Option<ListenerTls>,
    /// Whether proxies say first for whom they speak.
    pub proxy_protocol: Switch,
    /// The permissions of a Unix socket's file.
    pub mode: FileMode,
    /// The names by which the admin API may be asked for.
    pub hosts: Vec<HostPattern>,
    /// Most connections; `None`: any number.
    pub connections: Option<u64>,
    /// Most connections from one address; `None`: any number.
    pub connections_per_address: Option<u64>,
    /// From where it is connected to; `None`: from anywhere.
    pub allow: Option<Vec<Spanned<String>>>,
    /// From where it is not.
    pub deny: Option<Vec<Spanned<String>>>,
    /// Where it is written.
    pub span: Span,
}

/// All of them; at least one, none twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listen(pub(crate) Vec<Listener>);

impl Decode for Listen {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::Map(entries) = &node.value else { return cx.expected(node, Bind::WHAT) };
        if entries.is_empty() {
            cx.report(Diagnostic::error("nothing to listen on").at(&node.span).hint("for example `listen: 8080`"));
            return None;
        }
        let read: Vec<Option<Listener>> = entries.iter().map(|entry| decode_listener(entry, cx)).collect();
        let listeners: Vec<Listener> = read.into_iter().flatten().collect();
        let mut clashes = clashes(&listeners);
        clashes.extend(leads_nowhere(&listeners));
        let well = clashes.is_empty() && listeners.len() == entries.len();
        clashes.into_iter().for_each(|clash| cx.report(clash));
        well.then_some(Self(listeners))
    }

    fn example() -> Option<&'static str> {
        Some("8080")
    }
}

fn decode_listener(entry: &Entry, cx: &mut DecodeCx) -> Option<Listener> {
    let address = Bind::from_text(&entry.key).map_err(|d| cx.report(d.at(&entry.key_span))).ok();
    let options = ListenerOptions::decode(&entry.value, cx);
    let (address, options) = (address?, options?);
    let ListenerOptions { kind, tls, proxy_protocol, mode, hosts, .. } = options;
    let (connections, per_address) = (options.connections, options.connections_per_address);
    if let (Some(mode), Some(_)) = (&mode, address.port()) {
        let mistake = Diagnostic::error("`mode` is the permissions of a Unix socket, and this is none").at(&mode.span);
        cx.report(mistake.hint("leave it out, or listen on `unix:/run/tollgate.sock`"));
        return None;
    }
    if kind == ListenerKind::Admin && tls.is_none() && !address.is_local() {
        let warning =
            Diagnostic::warning("the admin API is reached in the clear from other machines, its token with it");
        cx.report(warning.at(&entry.key_span).hint("listen on `127.0.0.1`, or add `tls`"));
    }
    let mode = mode.map(|mode| mode.value).unwrap_or_default();
    let hosts = hosts.into_iter().flatten().map(|host| host.value).collect();
    Some(Listener {
        address,
        kind,
        tls,
        proxy_protocol,
        mode,
        hosts,
        connections: connections.map(|most| most.value.get()),
        connections_per_address: per_address.map(|most| most.get()),
        allow: options.allow,
        deny: options.deny,
        span: entry.key_span.clone(),
    })
}

/// Every listener that cannot be opened beside an earlier one.
fn clashes(listeners: &[Listener]) -> Vec<Diagnostic> {
    let clash = |(at, listener): (usize, &Listener)| {
        let other = listeners[..at].iter().find(|earlier| earlier.address.overlaps(&listener.address))?;
        let message = match other.address == listener.address {
            true => format!("`{}` is listened on twice", listener.address),
            false => format!("`{}` and `{}` take the same port", other.address, listener.address),
        };
        Some(Diagnostic::error(message).at(&listener.span).related(&other.span, "the other one"))
    };
    listeners.iter().enumerate().filter_map(clash).collect()
}

/// A redirect to a listener that is not there.
fn leads_nowhere(listeners: &[Listener]) -> Option<Diagnostic> {
    let redirect = listeners.iter().find(|listener| listener.kind == ListenerKind::Redirect)?;
    if listeners.iter().any(|listener| listener.tls.is_some() && listener.kind == ListenerKind::Http) {
        return None;
    }
    let mistake = Diagnostic::error("no listener has `tls`: there is nothing to redirect to").at(&redirect.span);
    Some(mistake.hint("for example `\"443\": { tls: { cert: ./shop.pem, key: ./shop.key } }`"))
}

impl JsonSchema for Listen {
    fn schema_name() -> Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "The sockets that are opened, by address.",
            "minProperties": 1,
            "propertyNames": { "description": "A port (all addresses, IPv4 and IPv6), an address and port, or a Unix socket: `unix:/run/tollgate.sock`." },
            "additionalProperties": generator.subschema_for::<ListenerOptions>(),
        })
    }
}
