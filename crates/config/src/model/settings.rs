//! What a route may set, and `defaults` for many: timeouts, sizes, and the policies.
//!
//! Three layers, the innermost wins: the route's own, its api's `defaults`, the file's `defaults`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx, from_default};
use tollgate_core::node::{Entry, Node, Value};
use tollgate_core::section;
use tollgate_core::units::{Bounded, ByteSize, Period};

use crate::model::deadline::Deadline;
use crate::model::defaults::v1;
use crate::model::fallback::Fallback;
use crate::model::fields::FieldName;
use crate::model::http::HostText;
use crate::model::mirror::Mirror;
use crate::model::retry::Hedge;

section! {
    /// What a route may set about how it is carried out.
    pub(crate) struct SettingsLayer {
        /// How long until the head of the answer is there, waiting in queues and retries included.
        timeout: Option<Period>,
        /// How long there may be no byte, once the head of the answer is there.
        idle: Option<Period>,
        /// How long the whole exchange may take; without it, any time.
        total: Option<OrNone<Period>>,
        /// Largest request body; beyond it the answer is 413. Or `unlimited`.
        body: Option<BodyLimit>,
        /// What is sent on as `Host`; goes before the service's own `host`.
        host: Option<OrNone<HostText>>,
        /// How often a request is tried once more; goes before the service's own `retry`.
        retry: Option<RouteRetry>,
        /// How long each try may wait for the head of an answer; goes before the service's own `try_timeout`.
        try_timeout: Option<OrNone<Period>>,
        /// A second attempt at another instance while the first one takes long; without it, none.
        hedge: Option<OrNone<Hedge>>,
        /// A header in which callers say how much time is left, and services are told; without it, only `grpc-timeout` counts.
        deadline: Option<OrNone<Deadline>>,
        /// What takes the place of an answer that cannot be had; goes before the service's own `fallback`.
        fallback: Option<OrNone<Fallback>>,
        /// Copies of the requests for another service, whose answers nobody sees.
        mirror: Option<OrNone<Mirror>>,
        /// Other protocols that a client may change to on its connection, and for how long they may be silent.
        upgrade: Option<OrNone<Upgrade>>,
    }
}

section! {
    /// Protocols that take over a connection once the service agrees (RFC 9110 §7.8); bytes then pass both ways unseen.
    pub struct Upgrade {
        /// Their names, as they stand in the header `Upgrade`.
        protocols: Vec<FieldName>,
        /// How long there may be no byte in either direction.
        idle: Period = v1::UPGRADE_IDLE,
    }
}

impl Upgrade {
    /// What holds where nothing is written.
    fn usual() -> Option<Self> {
        Some(Self { protocols: vec![from_default("websocket")?], idle: from_default(v1::UPGRADE_IDLE)? })
    }
}

section! {
    /// How often a request is tried once more. What it may cost is the service's `retry`.
    pub(crate) struct RouteRetry {
        /// Tries after the first. 0: none.
        retries: Bounded<0, 5>,
    }
}

/// The settings of one route, every layer and default settled.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Until the head of the answer, queue and retries included.
    pub timeout: Duration,
    /// Between two bytes after that.
    pub idle: Duration,
    /// The whole exchange; `None`: any time.
    pub total: Option<Duration>,
    /// Largest request body in bytes; `None`: unlimited.
    pub body: Option<u64>,
    /// What is sent on as `Host`; `None`: the service's `host`, else what the client sent.
    pub host: Option<HostText>,
    /// Tries after the first, 0..=5; `None`: as the service's `retry` says.
    pub retries: Option<u8>,
    /// How long each try may wait for the head of an answer; `None`: as the service's `try_timeout` says.
    pub try_timeout: Option<OrNone<Period>>,
    /// When a second attempt is made beside the first; `None`: never.
    pub hedge: Option<Hedge>,
    /// Where callers say how much time is left, and services are told; `None`: nowhere.
    pub deadline: Option<Deadline>,
    /// What takes the place of an answer that cannot be had; `None`: what the service's `fallback` says.
    pub fallback: Option<OrNone<Fallback>>,
    /// Where copies of the requests go; `None`: nowhere.
    pub mirror: Option<Mirror>,
    /// Other protocols that a client may change to; `None`: none.
    pub upgrade: Option<Upgrade>,
}

impl SettingsLayer {
    /// This layer over a lower one: what is set here wins.
    pub(crate) fn over(&self, lower: &Self) -> Self {
        Self {
            timeout: self.timeout.or(lower.timeout),
            idle: self.idle.or(lower.idle),
            total: self.total.clone().or_else(|| lower.total.clone()),
            body: self.body.or(lower.body),
            host: self.host.clone().or_else(|| lower.host.clone()),
            retry: self.retry.clone().or_else(|| lower.retry.clone()),
            try_timeout: self.try_timeout.clone().or_else(|| lower.try_timeout.clone()),
            hedge: self.hedge.clone().or_else(|| lower.hedge.clone()),
            deadline: self.deadline.clone().or_else(|| lower.deadline.clone()),
            fallback: self.fallback.clone().or_else(|| lower.fallback.clone()),
            mirror: self.mirror.clone().or_else(|| lower.mirror.clone()),
            upgrade: self.upgrade.clone().or_else(|| lower.upgrade.clone()),
        }
    }

    /// What holds, with the defaults of version 1 where no layer says anything.
    pub(crate) fn settle(self) -> Settings {
        let period =
            |written: Option<Period>, default| written.or_else(|| from_default(default)).map_or(Duration::MAX, |p| p.0);
        let body = self.body.or_else(|| from_default(v1::BODY)).unwrap_or(BodyLimit::Unlimited);
        Settings {
            timeout: period(self.timeout, v1::TIMEOUT),
            idle: period(self.idle, v1::IDLE),
            total: self.total.and_then(OrNone::into_option).map(|p| p.0),
            body: match body {
                BodyLimit::Unlimited => None,
                BodyLimit::Bytes(size) => Some(size.0),
            },
            host: self.host.and_then(OrNone::into_option),
            retries: self.retry.and_then(|r| u8::try_from(r.retries.get()).ok()),
            try_timeout: self.try_timeout,
            hedge: self.hedge.and_then(OrNone::into_option),
            deadline: self.deadline.and_then(OrNone::into_option),
            fallback: self.fallback,
            mirror: self.mirror.and_then(OrNone::into_option),
            upgrade: match self.upgrade {
                Some(written) => written.into_option(),
                None => Upgrade::usual(),
            },
        }
    }
}

/// The key that has a default of this version, and the default: for the schema.
pub(crate) const SETTING_DEFAULTS: &[(&str, &str)] =
    &[("timeout", v1::TIMEOUT), ("idle", v1::IDLE), ("body", v1::BODY)];

/// `defaults`: settings and policies for every route below.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Defaults {
    /// What is set.
    pub(crate) settings: SettingsLayer,
    /// All other keys: policies, undecoded.
    pub(crate) policies: Vec<Entry>,
}

#[expect(clippy::derivable_impls, reason = "`section!` writes the struct, so nothing can be derived for it")]
impl Default for SettingsLayer {
    fn default() -> Self {
        Self {
            timeout: None,
            idle: None,
            total: None,
            body: None,
            host: None,
            retry: None,
            try_timeout: None,
            hedge: None,
            deadline: None,
            fallback: None,
            mirror: None,
            upgrade: None,
        }
    }
}

impl Decode for Defaults {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Some((settings, policies)) = split_keys(node, SettingsLayer::KEYS) else {
            return cx.expected(node, "a mapping");
        };
        Some(Self { settings: SettingsLayer::decode(&settings, cx)?, policies })
    }
}

impl JsonSchema for Defaults {
    fn schema_name() -> Cow<'static, str> {
        "Defaults".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SettingsLayer::json_schema(generator);
        schema.insert("description".into(), "What holds for every route that does not say otherwise.".into());
        schema
    }
}

/// Splits a mapping into one of the entries with these keys, and the rest; `None` if it is no mapping.
pub(crate) fn split_keys(node: &Node, keys: &[&str]) -> Option<(Node, Vec<Entry>)> {
    let entries = match &node.value {
        Value::Map(entries) => entries.clone(),
        Value::Null => Vec::new(),
        _ => return None,
    };
    let (own, rest) = entries.into_iter().partition(|entry| keys.contains(&entry.key.as_str()));
    Some((Node { value: Value::Map(own), ..node.clone() }, rest))
}

/// A value, or the word `none`, which takes away what a lower layer set.
#[derive(Clone, Debug, PartialEq)]
pub enum OrNone<T> {
    /// Taken away.
    None,
    /// The value.
    Some(T),
}

impl<T> OrNone<T> {
    /// The value, if it is one.
    #[must_use]
    pub fn into_option(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::Some(value) => Some(value),
        }
    }
}

impl<T: Decode> Decode for OrNone<T> {
    fn absent() -> Option<Self> {
        T::absent().map(Self::Some)
    }

    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match node.text() {
            Some("none") => Some(Self::None),
            _ => T::decode(node, cx).map(Self::Some),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OrNone<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrNone", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "const": "none" }] })
    }
}

/// How large a request body may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BodyLimit {
    /// Any size.
    Unlimited,
    /// At most this.
    Bytes(ByteSize),
}

impl Decode for BodyLimit {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        match node.text() {
            Some("unlimited") => Some(Self::Unlimited),
            _ => ByteSize::decode(node, cx).map(Self::Bytes),
        }
    }
}

impl JsonSchema for BodyLimit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "BodyLimit".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [generator.subschema_for::<ByteSize>(), { "const": "unlimited" }] })
    }
}
