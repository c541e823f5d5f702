//! `to` of a route: where its requests go.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Spanned, Value};
use tollgate_core::units::Percent;

use crate::model::breaker::Breaker;
use crate::model::health::Health;
use crate::model::named::is_name;
use crate::model::outlier::Outlier;
use crate::model::services::{Service, Target};

/// Where the requests of a route go.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// To a named service.
    Service(Spanned<String>),
    /// To several named services by weight; the weights are above 0 and count only relative to each other
    /// (hundredths of a percent, if percentages were written).
    Split(Vec<(Spanned<String>, u32)>),
    /// To addresses written in place: a service without a name, with the defaults of all services.
    Inline(Box<Service>),
}

impl Destination {
    /// The services that are named.
    pub fn names(&self) -> impl Iterator<Item = &Spanned<String>> {
        let (one, several) = match self {
            Self::Service(name) => (Some(name), [].as_slice()),
            Self::Split(parts) => (None, parts.as_slice()),
            Self::Inline(_) => (None, [].as_slice()),
        };
        one.into_iter().chain(several.iter().map(|(name, _)| name))
    }

    /// The same; addresses written in place are watched like this.
    pub(crate) fn watched(self, health: Option<Health>, outlier: Option<Outlier>, breaker: Option<Breaker>) -> Self {
        match self {
            Self::Inline(service) => Self::Inline(Box::new(Service { health, outlier, breaker, ..*service })),
            named => named,
        }
    }
}

impl Decode for Destination {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match &node.value {
            Value::String(name) if is_name(name) => Some(Self::Service(Spanned::new(name.clone(), &node.span))),
            Value::String(text) => {
                let mistake = Diagnostic::error(format!("`{text}` is neither a service nor an address"));
                cx.report(mistake.at(&node.span).hint("a service's name, or `host:port`"));
                None
            }
            Value::List(_) => {
                let to = Entry::at("to", node.clone());
                let service = Node::new(Value::Map(vec![to]), node.span.clone());
                Service::decode(&service, cx).map(|service| Self::Inline(Box::new(service)))
            }
            Value::Map(parts) => decode_split(node, parts, cx).map(Self::Split),
            _ => cx.expected(node, "a service, addresses or a split"),
        }
    }
}

fn decode_split(node: &Node, parts: &[Entry], cx: &mut DecodeCx) -> Option<Vec<(Spanned<String>, u32)>> {
    if parts.is_empty() {
        cx.report(Diagnostic::error("a split needs services").at(&node.span).hint("`{ orders: 95%, stock: 5% }`"));
        return None;
    }
    let in_percent = parts.iter().any(|part| part.value.text().is_some());
    let read: Vec<_> = parts
        .iter()
        .map(|part| {
            let name = decode_name(part, cx);
            let weight = decode_weight(&part.value, in_percent, cx);
            Some((Spanned::new(name?, &part.key_span), weight?))
        })
        .collect();
    let split: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    let sum: u32 = split.iter().map(|(_, weight)| weight).sum();
    if in_percent && sum != 10_000 {
        let mistake = Diagnostic::error(format!("the shares add up to {}%, not 100%", f64::from(sum) / 100.0));
        cx.report(mistake.at(&node.span));
        return None;
    }
    Some(split)
}

fn decode_name(part: &Entry, cx: &mut DecodeCx) -> Option<String> {
    if is_name(&part.key) {
        return Some(part.key.clone());
    }
    let mistake = Diagnostic::error(format!("`{}` is no service", part.key)).at(&part.key_span);
    cx.report(mistake.hint("a split goes to services by name: give the address a name under `services`"));
    None
}

fn decode_weight(node: &Node, in_percent: bool, cx: &mut DecodeCx) -> Option<u32> {
    let weight = match in_percent {
        true => u32::from(Percent::decode(node, cx)?.hundredths()),
        false => u32::from(u16::decode(node, cx)?),
    };
    if weight == 0 {
        cx.report(Diagnostic::error("a share must be above 0").at(&node.span).hint("leave the service out"));
        return None;
    }
    Some(weight)
}

impl JsonSchema for Destination {
    fn schema_name() -> Cow<'static, str> {
        "Destination".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where requests go.",
            "anyOf": [
                { "type": "string", "pattern": r"^[A-Za-z0-9_.-]{1,64}$", "description": "A service by name." },
                {
                    "type": "array",
                    "minItems": 1,
                    "items": generator.subschema_for::<Target>(),
                    "description": "Addresses: a service without a name.",
                },
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {
                        "anyOf": [generator.subschema_for::<Percent>(), { "type": "integer", "minimum": 1, "maximum": 65535 }]
                    },
                    "description": "A split over services: percentages that add up to 100%, or whole numbers.",
                },
            ]
        })
    }
}
