//! `registry`: instances that register themselves; of the whole file, and of a service.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema};
use tollgate_core::units::{Bounded, Period};

use crate::model::auth::secret::Secret;
use crate::model::defaults::v1;
use crate::model::http::is_host_name;

/// Longest name of a service in the registry.
const LONGEST_NAME: usize = 63;

section! {
    /// The instances that register themselves. They are kept in `data`, or, with `cluster`, in etcd.
    pub struct Registry: fits {
        /// Who may register instances, by the service. A name that ends in `*` stands for all that begin like it. Without it, only who
        /// may use the admin API may.
        register: Registrars,
        /// Who else may look instances up, likewise by the service. Who may register instances of a service may look them up, too.
        read: Registrars,
        /// For how long an instance counts as being there after it last said so, if it does not say itself; from 2 s to a day.
        ttl: Spanned<Period> = v1::REGISTRY_TTL,
        /// Time for which the gateway may be down without counting against instances: what it is down longer than that does.
        grace: Period = v1::REGISTRY_GRACE,
        /// For how long instances are used beyond their time when what keeps them (etcd, or the disk) does not answer. Without it, not at all.
        hold: Option<Spanned<Period>>,
        /// Most instances, of all services together. Another one is refused.
        most: Bounded<1, 1_000_000> = v1::REGISTRY_MOST,
        /// Most instances of one service.
        each: Bounded<1, 1_000_000> = v1::REGISTRY_MOST_OF_ONE,
        /// How many changes are remembered for those who ask what changed. Who asks for older ones is told to list all again.
        history: Bounded<1, 1_000_000> = v1::REGISTRY_HISTORY,
        /// How many may wait for changes at a time.
        watchers: Bounded<1, 100_000> = v1::REGISTRY_WATCHERS,
    }
}

section! {
    /// The instances of a service that register themselves.
    pub struct FromRegistry {
        /// The name under which they register.
        service: Spanned<ServiceName>,
        /// Only those that have all of these tags.
        tags: Option<Vec<Tag>>,
        /// Only those of this version.
        version: Option<Tag>,
    }
}

section! {
    /// Who may register instances of a service, change them, and take them away: whoever shows one of these.
    pub struct Registrar {
        /// Tokens, as `Authorization: Bearer` of the request.
        token: Option<Vec<Secret>>,
        /// Names in the client's certificate, of which the admin listener's `tls` has found that it is vouched for: `spiffe://shop/orders` is
        /// one of its URIs, `orders.internal` one of its host names, and `CN=orders,O=Shop` its whole subject as RFC 4514 writes it.
        certificate: Option<Vec<Spanned<ShownName>>>,
    }
}

impl Registrar {
    fn is_somebody(&self) -> bool {
        let is_some = |list: Option<usize>| list.is_some_and(|length| length > 0);
        is_some(self.token.as_ref().map(Vec::len)) || is_some(self.certificate.as_ref().map(Vec::len))
    }
}

/// Who may register instances of which services, in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registrars(pub Vec<(Spanned<ServicePattern>, Registrar)>);

impl Registrars {
    /// All who may register instances of this service.
    pub fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Registrar> {
        self.0.iter().filter(|(pattern, _)| pattern.value.covers(service)).map(|(_, registrar)| registrar)
    }
}

impl Decode for Registrars {
    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return cx.expected(node, "a mapping of services"),
        };
        // All are read before the verdict, so that every mistake is told.
        let read = entries.iter().map(|entry| {
            let pattern = ServicePattern::from_text(&entry.key)
                .map_err(|wrong| cx.report(wrong.at(&entry.key_span)))
                .map(|pattern| Spanned::new(pattern, &entry.key_span));
            let registrar = Registrar::decode(&entry.value, cx)?;
            if !registrar.is_somebody() {
                let mistake = Diagnostic::error("this says nobody").at(&entry.key_span);
                cx.report(mistake.hint("`token: ${env:ORDERS_TOKEN}`, or `certificate: spiffe://shop/orders`"));
                return None;
            }
            Some((pattern.ok()?, registrar))
        });
        read.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for Registrars {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Registrars".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": r"^([A-Za-z0-9_.-]{1,63}\*?|\*)$" },
            "additionalProperties": generator.subschema_for::<Registrar>(),
        })
    }
}

/// The name of a service in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(pub String);

impl FromText for ServiceName {
    const WHAT: &'static str = "the name of a service";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if is_service_name(text) { Ok(Self(text.to_owned())) } else { Err(no_service_name(text)) }
    }
}

/// The name of a service, or what several begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServicePattern {
    /// One.
    Name(String),
    /// All that begin like this; with nothing, all.
    Prefix(String),
}

impl ServicePattern {
    /// Whether this service is one of them.
    #[must_use]
    pub fn covers(&self, service: &str) -> bool {
        match self {
            Self::Name(name) => name == service,
            Self::Prefix(prefix) => service.starts_with(prefix.as_str()),
        }
    }
}

impl FromText for ServicePattern {
    const WHAT: &'static str = "the name of a service, or what several begin with and `*`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.is_empty() || is_service_name(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None if is_service_name(text) => Ok(Self::Name(text.to_owned())),
            _ => Err(no_service_name(text).hint(format!(
                "letters, digits, `-`, `_` and `.`, at most {LONGEST_NAME}; a `*` at the end stands for all that begin like it"
            ))),
        }
    }
}

fn is_service_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_fit)
}

fn no_service_name(text: &str) -> Diagnostic {
    Diagnostic::error(format!("`{text}` is no name of a service in the registry"))
        .hint(format!("letters, digits, `-`, `_` and `.`, at most {LONGEST_NAME}"))
}

/// A word that an instance says of itself: a tag, or its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub String);

impl FromText for Tag {
    const WHAT: &'static str = "a word";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(Diagnostic::error(format!("no instance can say `{text}` of itself"))
            .hint(format!("letters, digits and signs of ASCII without spaces, at most {LONGEST_NAME}")))
    }
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownName {
    /// An alternative name that is a URI, such as a SPIFFE ID.
    Uri(String),
    /// An alternative name that is a host's, in small letters.
    Dns(String),
    /// The whole subject, as RFC 4514 writes it.
    Subject(String),
}

impl FromText for ShownName {
    const WHAT: &'static str = "a name in a certificate";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let lower = text.to_ascii_lowercase();
        match text {
            _ if text.contains("://") => Ok(Self::Uri(text.to_owned())),
            _ if text.contains('=') => Ok(Self::Subject(text.to_owned())),
            _ if is_host_name(&lower) => Ok(Self::Dns(lower)),
            _ => Err(Diagnostic::error(format!("`{text}` is no name in a certificate"))
                .hint("`spiffe://shop/orders` (a URI), `orders.internal` (a host), `CN=orders,O=Shop` (the subject)")),
        }
    }
}

decode_from_text!(ServiceName, ShownName, Tag);
text_schema!(ServiceName, "ServiceName", "description": "The name of a service in the registry.", "pattern": "^[A-Za-z0-9_.-]{1,63}$", "examples": ["orders"]);
text_schema!(Tag, "Tag", "description": "A word that an instance says of itself.", "pattern": "^[!-~]{1,63}$", "examples": ["v2", "canary"]);
text_schema!(ShownName, "ShownName", "description": "A name in a certificate: a URI, a host name, or the whole subject.", "minLength": 1, "examples": ["spiffe://shop/orders", "orders.internal", "CN=orders,O=Shop"]);

/// Whether lives are as long as a registry can tell.
fn fits(registry: &Registry, cx: &mut DecodeCx) -> bool {
    let ttl = registry.ttl.value.0.as_secs_f64();
    let fits = (2.0..=86_400.0).contains(&ttl) && ttl.fract() == 0.0;
    if !fits {
        let mistake = Diagnostic::error("instances cannot live that long").at(&registry.ttl.span);
        cx.report(mistake.hint("whole seconds, from `2s` to `24h`"));
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_covered_by_their_name_and_by_what_it_begins_with() {
        let covers = |pattern: &str, service: &str| ServicePattern::from_text(pattern).unwrap().covers(service);
        assert!(
            covers("orders", "orders") && covers("ord*", "orders") && covers("orders*", "orders") && covers("*", "x")
        );
        assert!(!covers("orders", "orders-2") && !covers("bil*", "orders"));
        for wrong in ["", "a b", "a*b", "**", "a/b", &"x".repeat(64)] {
            assert!(ServicePattern::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_certificates_say_themselves_which_they_are() {
        let read = |text: &str| ShownName::from_text(text).unwrap();
        assert_eq!(read("spiffe://shop/orders"), ShownName::Uri("spiffe://shop/orders".into()));
        assert_eq!(read("Orders.Internal"), ShownName::Dns("orders.internal".into()));
        assert_eq!(read("CN=orders,O=Shop"), ShownName::Subject("CN=orders,O=Shop".into()));
        assert!(ShownName::from_text("a b").is_err());
    }
}
