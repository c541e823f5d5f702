//! `balance`: how an instance is chosen; and the zones that instances and gateways are in.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx, unknown_key};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Entry, Node, Spanned, Value};
use tollgate_core::section;
use tollgate_core::text::{FromText, decode_from_text, text_schema, unknown_word, words};
use tollgate_core::units::Period;

use crate::model::auth::{CookieName, Secret};
use crate::model::defaults::v1;
use crate::model::fields::FieldName;

/// How an instance is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Balance {
    /// In turn, smoothly by weight.
    RoundRobin,
    /// The one of two picked at random that has fewer requests in flight.
    LeastRequests,
    /// The one that answers fastest, of a few picked at random.
    Latency(Latency),
    /// By how busy they say they are.
    Load(Load),
    /// The same one for the same key, as long as it is there.
    Hash(Hashed),
    /// The same one for the same client, by a cookie, as long as it is there.
    Sticky(Sticky),
}

section! {
    /// The instance that answers fastest.
    pub struct Latency {
        /// How long it takes until what was is almost forgotten.
        decay: Period = v1::LATENCY_DECAY,
    }
}

section! {
    /// By how busy instances say they are: with their answers (ORCA), or to the registry.
    pub struct Load {
        /// Which number counts: `cpu`, `memory`, `application`, or the name of one of the application's own. Without it, `application`, and
        /// `cpu` where that is not reported.
        of: Option<LoadOf>,
        /// Whether clients are sent the report too.
        keep: bool = v1::LOAD_KEEP,
        /// For how long an instance reports before that counts.
        after: Period = v1::LOAD_AFTER,
        /// For how long a report counts if no other follows.
        expires: Period = v1::LOAD_EXPIRES,
    }
}

section! {
    /// The same instance for the same key.
    pub struct Hashed {
        /// What is hashed.
        hash: HashKey,
        /// How much of its fair share of the requests in flight an instance gets at most (`125%`); what is more goes elsewhere. Without it, any
        /// number.
        bound: Option<LoadBound>,
    }
}

section! {
    /// The same instance for the same client.
    pub struct Sticky: sticky_fits {
        /// The name of the cookie.
        cookie: CookieName,
        /// What cookies are signed with: 32 bytes or more, the same for all gateways; the first one signs, all are believed. Without it, one is
        /// made in the folder `data`.
        key: Option<Spanned<Vec<Secret>>>,
        /// For how long browsers keep it; without it, until they are closed.
        max_age: Option<Period>,
        /// How an instance is chosen for who comes without one.
        first: First = v1::STICKY_FIRST,
    }
}

words! {
    /// How an instance is chosen for a client that has none.
    pub enum First {
        /// In turn.
        RoundRobin = "round_robin",
        /// The one with fewer requests in flight.
        LeastRequests = "least_requests",
        /// The one that answers fastest.
        Latency = "latency",
    }
}

/// Fewest bytes of a key.
const SHORTEST_KEY: usize = 32;

fn sticky_fits(sticky: &Sticky, cx: &mut DecodeCx) -> bool {
    let Some(keys) = &sticky.key else { return true };
    if !keys.value.is_empty() && keys.value.iter().all(|key| key.0.len() >= SHORTEST_KEY) {
        return true;
    }
    let mistake = Diagnostic::error("a key for cookies has 32 bytes or more").at(&keys.span);
    cx.report(mistake.hint("`openssl rand -base64 32` makes one"));
    false
}

/// The ways that are words.
const WORDS: &[&str] = &["round_robin", "least_requests", "latency", "load"];
/// All ways.
const ALL: &[&str] = &["round_robin", "least_requests", "latency", "load", "hash", "sticky"];
/// The ways that say more.
const KEYS: &[&str] = &["hash", "latency", "load", "sticky"];

impl Decode for Balance {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let mistake = match &node.value {
            Value::String(text) => match text.as_str() {
                "round_robin" => return Some(Self::RoundRobin),
                "least_requests" => return Some(Self::LeastRequests),
                "latency" => return Latency::absent().map(Self::Latency),
                "load" => return Load::absent().map(Self::Load),
                "hash" => Diagnostic::error("`hash` needs to know of what").hint("for example `balance: hash ip`"),
                "sticky" => Diagnostic::error("`sticky` needs the name of a cookie")
                    .hint("for example `balance: sticky instance`"),
                word => unknown_word(word, ALL),
            },
            Value::Map(entries) => match Self::way(entries, node, cx) {
                Ok(read) => return read,
                Err(mistake) => mistake,
            },
            _ => return cx.expected(node, "a way of balancing"),
        };
        cx.report(mistake.at(&node.span));
        None
    }
}

impl Balance {
    /// A way that says more; `Ok(None)`: the mistake is reported.
    fn way(entries: &[Entry], node: &Node, cx: &mut DecodeCx) -> Result<Option<Self>, Diagnostic> {
        let Some(entry) = entries.iter().find(|entry| KEYS.contains(&entry.key.as_str())) else {
            let none = || Diagnostic::error("which way of balancing?").hint("for example `{ hash: ip }`");
            return Err(entries.first().map_or_else(none, |entry| unknown_key(entry, KEYS)));
        };
        match entry.key.as_str() {
            // Its bound stands beside it.
            "hash" => Ok(Hashed::decode(node, cx).map(Self::Hash)),
            way if entries.len() > 1 => {
                Err(Diagnostic::error(format!("`{way}` stands alone")).hint(format!("`{{ {way}: {{ … }} }}`")))
            }
            "latency" => Ok(Latency::decode(&entry.value, cx).map(Self::Latency)),
            "load" => Ok(Load::decode(&entry.value, cx).map(Self::Load)),
            _ => Ok(Sticky::decode(&entry.value, cx).map(Self::Sticky)),
        }
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let way = |key: &str, description: &str, inner: Schema| {
            json_schema!({
                "type": "object",
                "description": description,
                "properties": { key: inner },
                "required": [key],
                "additionalProperties": false,
            })
        };
        let latency = way("latency", "The one that answers fastest.", generator.subschema_for::<Latency>());
        let load = way("load", "By how busy they say they are.", generator.subschema_for::<Load>());
        let sticky =
            way("sticky", "The same instance for the same client, by a cookie.", generator.subschema_for::<Sticky>());
        json_schema!({
            "description": "How an instance is chosen: in turn, the one with fewer requests or that answers faster of some picked at random, by how \
        busy they say they are, by a hash, or by a cookie.",
            "anyOf": [
                { "type": "string", "enum": WORDS },
                latency,
                load,
                generator.subschema_for::<Hashed>(),
                sticky,
            ]
        })
    }
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq)]
pub enum HashKey {
    /// The client's address.
    Ip,
    /// The path.
    Path,
    /// The host.
    Host,
    /// The value of a header.
    Header(FieldName),
    /// The value of a query parameter.
    Query(String),
    /// The value of a cookie.
    Cookie(FieldName),
}

impl std::fmt::Display for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip => f.write_str("the client's address"),
            Self::Path => f.write_str("the path"),
            Self::Host => f.write_str("the host"),
            Self::Header(name) => write!(f, "the header {}", name.as_str()),
            Self::Query(name) => write!(f, "the query parameter {name}"),
            Self::Cookie(name) => write!(f, "the cookie {}", name.as_str()),
        }
    }
}

impl FromText for HashKey {
    const WHAT: &'static str = "what to hash";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let (word, name) = match text.split_once(' ') {
            Some((word, name)) => (word, Some(name.trim())),
            None => (text, None),
        };
        let needs_name =
            || Diagnostic::error(format!("`{word}` needs a name")).hint(format!("for example `{word} user`"));
        match (word, name) {
            ("ip", None) => Ok(Self::Ip),
            ("path", None) => Ok(Self::Path),
            ("host", None) => Ok(Self::Host),
            ("header" | "query" | "cookie", None) => Err(needs_name()),
            ("header", Some(name)) => FieldName::from_text(name).map(Self::Header),
            ("query", Some(name)) => Ok(Self::Query(name.to_owned())),
            ("cookie", Some(name)) => FieldName::from_text(name).map(Self::Cookie),
            _ => Err(unknown_word(text, &["ip", "path", "host", "header NAME", "query NAME", "cookie NAME"])),
        }
    }
}

decode_from_text!(HashKey);
text_schema!(HashKey, "HashKey", "description": "What is hashed: `ip`, `path`, `host`, `header NAME`, `query NAME`, `cookie NAME`.",  "pattern": "^(ip|path|host|(header|query|cookie) .+)$", "examples": ["ip", "header X-User"]);

/// A part of a fair share, above all of it: `125%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadBound {
    /// In percent: 105 to 1000.
    pub percent: u32,
}

impl FromText for LoadBound {
    const WHAT: &'static str = "a part of the fair share";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let digits = text.strip_suffix('%').map(str::trim_end).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let percent = digits.and_then(|digits| digits.parse().ok()).filter(|percent| (105..=1000).contains(percent));
        let mistake = || Diagnostic::error(format!("`{text}` is no bound")).hint("`105%` to `1000%`: `125%`");
        percent.map(|percent| Self { percent }).ok_or_else(mistake)
    }
}

decode_from_text!(LoadBound);
text_schema!(LoadBound, "LoadBound", "description": "A part of the fair share, more than all of it.", "pattern": "^[0-9]{3,4} ?%$", "examples": ["125%"]);

/// Which number of a report of load counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadOf {
    /// `cpu_utilization`.
    Cpu,
    /// `mem_utilization`.
    Memory,
    /// `application_utilization`.
    Application,
    /// One of the application's own (`named_metrics`).
    Named(Arc<str>),
}

impl FromText for LoadOf {
    const WHAT: &'static str = "which load";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "memory" => Ok(Self::Memory),
            "application" => Ok(Self::Application),
            name if is_name(name) => Ok(Self::Named(name.into())),
            other => Err(Diagnostic::error(format!("`{other}` is no name of a load"))
                .hint("`cpu`, `memory`, `application`, or the name of one of your own: `queue_depth`")),
        }
    }
}

decode_from_text!(LoadOf);
text_schema!(LoadOf, "LoadOf", "description": "`cpu`, `memory`, `application`, or the name of one of the application's own.", "pattern": "^[A-Za-z0-9._/-]{1,64}$", "examples": ["cpu", "queue_depth"]);

/// A zone: a rack, a data centre, a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub Arc<str>);

impl FromText for Zone {
    const WHAT: &'static str = "the name of a zone";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match is_name(text) {
            true => Ok(Self(text.into())),
            false => Err(Diagnostic::error(format!("`{text}` is no name of a zone"))
                .hint("1 to 64 letters, digits, `.`, `_`, `/` and `-`: `eu-1a`")),
        }
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

decode_from_text!(Zone);
text_schema!(Zone, "Zone", "description": "The name of a zone.", "pattern": "^[A-Za-z0-9._/-]{1,64}$", "examples": ["eu-1a"]);
