//! `listen`: the sockets that are opened.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Span, Value};
use tollgate_core::section;

use crate::model::address::Bind;
use crate::model::defaults::v1;
use crate::model::text::{FromText, words};

words! {
    /// What a listener is for.
    pub enum ListenerKind {
        /// Clients: requests are routed.
        Http = "http",
        /// Balancers and scrapers: `/health/live`, `/health/ready`, `/metrics`, `/status`.
        Health = "health",
    }
}

section! {
    /// What one listener does.
    pub(crate) struct ListenerOptions {
        /// `http` routes requests; `health` answers `/health/live`, `/health/ready`, `/metrics` and `/status`.
        kind: ListenerKind = v1::LISTENER_KIND,
    }
}

/// One socket to open.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where.
    pub address: Bind,
    /// What for.
    pub kind: ListenerKind,
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
        let clashes = clashes(&listeners);
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
    Some(Listener { address: address?, kind: options?.kind, span: entry.key_span.clone() })
}

/// Every listener that cannot be opened beside an earlier one.
fn clashes(listeners: &[Listener]) -> Vec<Diagnostic> {
    let clash = |(at, listener): (usize, &Listener)| {
        let other = listeners[..at].iter().find(|earlier| earlier.address.overlaps(listener.address))?;
        let message = match other.address == listener.address {
            true => format!("`{}` is listened on twice", listener.address),
            false => format!("`{}` and `{}` take the same port", other.address, listener.address),
        };
        Some(Diagnostic::error(message).at(&listener.span).related(&other.span, "the other one"))
    };
    listeners.iter().enumerate().filter_map(clash).collect()
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
            "propertyNames": { "description": "A port (all addresses, IPv4 and IPv6), or an address and port." },
            "additionalProperties": generator.subschema_for::<ListenerOptions>(),
        })
    }
}
