//! One route: what it matches, what is done, and how.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::node::{Entry, Node, Span, Spanned, Value};
use tollgate_core::section;

use crate::model::breaker::Breaker;
use crate::model::defaults::v1;
use crate::model::destination::Destination;
use crate::model::files::Files;
use crate::model::health::Health;
use crate::model::http::{Method, USUAL_METHODS};
use crate::model::outlier::Outlier;
use crate::model::reply::{Redirect, Reply};
use crate::model::services;
use crate::model::settings::{Settings, SettingsLayer, split_keys};
use crate::model::template::{PathTemplate, check_characters};
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

/// One route, every layer of settings settled. Its policies are not: see [`Route::policies`].
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The key as written: `GET,POST /orders/{id}`.
    pub key: Spanned<String>,
    /// The methods named; empty: all.
    pub methods: Vec<Method>,
    /// The path pattern as written: `/literal/{param}`, `/below/**` or `~regex`; parsed by `plan`.
    pub path: Spanned<String>,
    /// What it is called in logs, metrics and `explain`: unique. `shop: GET /orders`.
    pub label: String,
    /// The name it was given, if it was.
    pub name: Option<Spanned<String>>,
    /// Conditions in CEL, all of which must hold.
    pub when: Vec<Spanned<String>>,
    /// Decides between routes that match equally well: higher wins.
    pub priority: i32,
    /// What is done.
    pub action: Action,
    /// How.
    pub settings: Settings,
    /// The route's own policies, undecoded. The api's and the file's `defaults` come below: `Api::policies`,
    /// `Config::policies`.
    pub policies: Vec<Entry>,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Sent on to a service.
    Forward {
        /// Where to.
        to: Destination,
        /// How the path changes on the way; `None`: not.
        path: Option<PathChange>,
    },
    /// Answered with a redirect.
    Redirect(Redirect),
    /// Answered at once.
    Reply(Reply),
    /// Answered with a file.
    Files(Box<Files>),
    /// Answered by a part of the gateway.
    Serve(Spanned<Endpoint>),
}

/// How a path changes on the way to a service.
#[derive(Clone, Debug, PartialEq)]
pub enum PathChange {
    /// This prefix (whole segments, no placeholder) is dropped.
    Strip(Spanned<String>),
    /// The whole path is replaced.
    Rewrite(Spanned<PathTemplate>),
}

section! {
    /// What a route itself may say, beside its settings and policies.
    pub(crate) struct RouteKeys {
        /// What it is called in logs, metrics and `explain`; without it, its key.
        name: Option<Spanned<String>>,
        /// Conditions in CEL, all of which must hold.
        when: Option<Vec<Spanned<String>>>,
        /// Decides between routes that match equally well: higher wins.
        priority: i32 = v1::PRIORITY,
        /// Where requests go: a service's name, addresses, or a split by share.
        to: Option<Destination>,
        /// Sends the client elsewhere.
        redirect: Option<Redirect>,
        /// Answers at once.
        reply: Option<Reply>,
        /// Answers with the files of a directory.
        files: Option<Files>,
        /// Answers with a part of the gateway: `jwks`, the keys of the tokens that it gives out; `metadata`, what it says of itself
        /// (RFC 8414); `token`, where services trade tokens (RFC 8693); `check`, whether the caller may pass, for other proxies to ask
        /// (forward-auth); `introspect`, what is known of a token (RFC 7662); `login`, where people sign in and out with a browser.
        serve: Option<Spanned<Endpoint>>,
        /// How the instances written in this route are asked whether they are well.
        health: Option<Spanned<Health>>,
        /// When an instance written in this route is left out because of how it serves.
        outlier: Option<Spanned<Outlier>>,
        /// When the instances written in this route are left alone because too much of what is sent to them fails.
        breaker: Option<Spanned<Breaker>>,
        /// A prefix of the path that is dropped on the way to the service.
        strip: Option<Spanned<PathPrefix>>,
        /// What the path is replaced by on the way to the service, with `{param}` and `{**}` filled in.
        rewrite: Option<Spanned<PathTemplate>>,
    }
}

words! {
    /// A part of the gateway that answers.
    pub enum Endpoint {
        /// The keys of the tokens that it gives out (RFC 7517 §5).
        Jwks = "jwks",
        /// What it says of itself (RFC 8414).
        Metadata = "metadata",
        /// Where tokens are traded (RFC 8693).
        Token = "token",
        /// Whether the caller may pass: for other proxies to ask.
        Check = "check",
        /// What is known of a token (RFC 7662).
        Introspect = "introspect",
        /// Where people sign in and out with a browser.
        Login = "login",
    }
}

/// The keys a route knows that are no policies, for hints.
#[must_use]
pub fn known_route_keys() -> Vec<&'static str> {
    [RouteKeys::KEYS, SettingsLayer::KEYS].concat()
}

/// The keys that `defaults` know that are no policies, for hints.
#[must_use]
pub fn known_setting_keys() -> Vec<&'static str> {
    SettingsLayer::KEYS.to_vec()
}

/// A prefix of a path: whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(pub String);

impl FromText for PathPrefix {
    const WHAT: &'static str = "the start of a path";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if !text.starts_with('/') || text == "/" || text.contains(['{', '}', '*', '?', '#']) {
            return Err(Diagnostic::error(format!("`{text}` is no prefix of a path"))
                .hint("the literal start of the route's path, such as `/api`; for more there is `rewrite`"));
        }
        check_characters(text)?;
        Ok(Self(text.strip_suffix('/').unwrap_or(text).to_owned()))
    }
}

decode_from_text!(PathPrefix);
text_schema!(PathPrefix, "PathPrefix", "description": "The literal start of the route's path, whole segments.",  "pattern": "^/[^{}*?#]+$", "examples": ["/api"]);

/// One route as read: layers not yet settled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawRoute {
    pub(crate) key: Spanned<String>,
    pub(crate) methods: Vec<Method>,
    pub(crate) path: Spanned<String>,
    pub(crate) own: RouteKeys,
    pub(crate) action: Action,
    pub(crate) settings: SettingsLayer,
    pub(crate) policies: Vec<Entry>,
}

/// All routes of an api, variants of the same key one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Routes(pub(crate) Vec<RawRoute>);

impl Decode for Routes {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => return cx.expected(node, "a mapping of routes"),
        };
        let mut routes = Vec::with_capacity(entries.len());
        let mut well = true;
        for entry in entries {
            let key = decode_key(entry, cx);
            let variants = match &entry.value.value {
                Value::List(variants) if variants.is_empty() => {
                    cx.expected::<()>(&entry.value, "at least one variant");
                    well = false;
                    continue;
                }
                Value::List(variants) => variants.as_slice(),
                _ => std::slice::from_ref(&entry.value),
            };
            for variant in variants {
                match decode_variant(entry, key.as_ref(), variant, cx) {
                    Some(route) => routes.push(route),
                    None => well = false,
                }
            }
        }
        well.then_some(Self(routes))
    }
}

/// Methods and path of a route's key.
type Key = (Vec<Method>, Spanned<String>);

fn decode_key(entry: &Entry, cx: &mut DecodeCx) -> Option<Key> {
    let text = entry.key.as_str();
    let (methods, path) = match text.split_once(' ') {
        Some((methods, path)) if !text.starts_with(['/', '~']) => (Some(methods), path.trim_start()),
        _ => (None, text),
    };
    let span = entry.key_span.narrow(path);
    let methods = match methods {
        Some(list) => decode_methods(list, &entry.key_span, cx),
        None => Some(Vec::new()),
    };
    if !path.starts_with(['/', '~']) || path == "~" {
        let mistake = Diagnostic::error(format!("`{text}` is no route")).at(&entry.key_span);
        cx.report(mistake.hint("methods or none, and a path: `/orders/{id}`, `GET,POST /orders/**`, `~/v[12]/.*`"));
        return None;
    }
    Some((methods?, Spanned::new(path.to_owned(), &span)))
}

fn decode_methods(list: &str, span: &Span, cx: &mut DecodeCx) -> Option<Vec<Method>> {
    let mut methods: Vec<Method> = Vec::new();
    let mut well = true;
    for text in list.split(',') {
        let at = span.narrow(text);
        match Method::from_text(text) {
            Ok(method) if methods.contains(&method) => {
                cx.report(Diagnostic::error(format!("`{method}` stands here twice")).at(&at));
                well = false;
            }
            Ok(method) => {
                let usual = USUAL_METHODS.contains(&text);
                if let Some(meant) = nearest(text, USUAL_METHODS.iter().copied()).filter(|_| !usual) {
                    let unusual = Diagnostic::warning(format!("`{text}` is an unusual method")).at(&at);
                    cx.report(unusual.hint(format!("did you mean `{meant}`?")));
                }
                methods.push(method);
            }
            Err(mistake) => {
                cx.report(mistake.at(&at));
                well = false;
            }
        }
    }
    well.then_some(methods)
}

fn decode_variant(entry: &Entry, key: Option<&Key>, node: &Node, cx: &mut DecodeCx) -> Option<RawRoute> {
    let Some((own, rest)) = split_keys(node, RouteKeys::KEYS) else {
        return cx.expected(node, "a mapping");
    };
    let rest = Node::new(Value::Map(rest), node.span.clone());
    let (settings, policies) = split_keys(&rest, SettingsLayer::KEYS)?;
    let own = RouteKeys::decode(&own, cx);
    let settings = SettingsLayer::decode(&settings, cx);
    let own = own?;
    // Of several variants under one key, each is told by its own place.
    let place = if matches!(entry.value.value, Value::List(_)) { &node.span } else { &entry.key_span };
    let action = action(place, &own, cx);
    if action.as_ref().is_some_and(|action| !matches!(action, Action::Forward { .. })) && !is_for_here(&rest, cx) {
        return None;
    }
    let (methods, path) = key?.clone();
    if let (Some(strip), Some(action)) = (&own.strip, &action) {
        check_strip(strip, &path, action, cx);
    }
    Some(RawRoute {
        key: Spanned::new(entry.key.clone(), place),
        methods,
        path,
        action: action?,
        own,
        settings: settings?,
        policies,
    })
}

/// Settings that are about how a request is sent on.
const ONWARD: [&str; 7] = ["mirror", "retry", "hedge", "try_timeout", "fallback", "host", "upgrade"];

/// Whether a route that sends nothing on says nothing about that. What `defaults` say is for those that it fits.
fn is_for_here(written: &Node, cx: &mut DecodeCx) -> bool {
    let Value::Map(entries) = &written.value else { return true };
    let mut well = true;
    for entry in entries.iter().filter(|entry| ONWARD.contains(&entry.key.as_str())) {
        if entry.value.text() != Some("none") {
            let mistake = Diagnostic::error(format!("nothing is sent on here, so `{}` is of no use", entry.key));
            cx.report(mistake.at(&entry.key_span).hint("it is for routes with `to`"));
            well = false;
        }
    }
    well
}

/// The keys that say what a route does.
pub(crate) const ACTIONS: [&str; 5] = ["to", "redirect", "reply", "files", "serve"];

/// The one action of a route; `None`: reported.
fn action(place: &Span, own: &RouteKeys, cx: &mut DecodeCx) -> Option<Action> {
    let there =
        [own.to.is_some(), own.redirect.is_some(), own.reply.is_some(), own.files.is_some(), own.serve.is_some()];
    let written: Vec<&str> = ACTIONS.into_iter().zip(there).filter(|(_, there)| *there).map(|(name, _)| name).collect();
    match written.as_slice() {
        [_] => {}
        [] => {
            let mistake = Diagnostic::error("this route does nothing").at(place);
            cx.report(mistake.hint("say where requests go: `to: SERVICE`, or `redirect`, `reply`, `files` or `serve`"));
        }
        several => {
            let mistake =
                Diagnostic::error(format!("a route does one thing, this one has `{}`", several.join("` and `")));
            cx.report(mistake.at(place));
            return None;
        }
    }
    let change = match (&own.strip, &own.rewrite) {
        (Some(strip), Some(rewrite)) => {
            let mistake = Diagnostic::error("`strip` and `rewrite` cannot stand together").at(&rewrite.span);
            cx.report(mistake.related(&strip.span, "`strip`"));
            return None;
        }
        (Some(strip), None) => Some(PathChange::Strip(Spanned::new(strip.0.clone(), &strip.span))),
        (None, Some(rewrite)) => Some(PathChange::Rewrite(rewrite.clone())),
        (None, None) => None,
    };
    if !watch_fits(own, cx) {
        return None;
    }
    if let Some(to) = &own.to {
        let (health, outlier) = (own.health.as_ref(), own.outlier.as_ref());
        let (health, outlier) = (health.map(|h| h.value.clone()), outlier.map(|o| o.value.clone()));
        let to = to.clone().watched(health, outlier, own.breaker.as_ref().map(|b| b.value.clone()));
        if let Destination::Inline(service) = &to
            && !services::watch_fits(service, cx)
        {
            return None;
        }
        return Some(Action::Forward { to, path: change });
    }
    if let (Some(_), [_]) = (&change, written.as_slice()) {
        let span = own.strip.as_ref().map(|s| &s.span).or(own.rewrite.as_ref().map(|r| &r.span));
        let mistake = Diagnostic::error("a path is changed only on the way to a service");
        cx.report(mistake.at(span.unwrap_or(place)).hint("use it with `to`"));
        return None;
    }
    if let Some(files) = &own.files {
        return Some(Action::Files(Box::new(files.clone())));
    }
    if let Some(endpoint) = &own.serve {
        return Some(Action::Serve(endpoint.clone()));
    }
    own.redirect.clone().map(Action::Redirect).or_else(|| own.reply.clone().map(Action::Reply))
}

/// Of instances that are not written here, nothing is said here; whether that holds.
fn watch_fits(own: &RouteKeys, cx: &mut DecodeCx) -> bool {
    if matches!(own.to, Some(Destination::Inline(_))) {
        return true;
    }
    let written = [
        ("health", own.health.as_ref().map(|h| &h.span)),
        ("outlier", own.outlier.as_ref().map(|o| &o.span)),
        ("breaker", own.breaker.as_ref().map(|b| &b.span)),
    ];
    let mut fits = true;
    for (key, span) in written {
        let Some(span) = span else { continue };
        let mistake = Diagnostic::error(format!("`{key}` belongs where the addresses stand")).at(span);
        cx.report(mistake.hint("write it in the service, under `services`"));
        fits = false;
    }
    fits
}

/// A prefix that the route's path does not have would never be dropped.
fn check_strip(strip: &Spanned<PathPrefix>, path: &Spanned<String>, action: &Action, cx: &mut DecodeCx) {
    if path.starts_with('~') || !matches!(action, Action::Forward { .. }) {
        return;
    }
    let fits = path.strip_prefix(strip.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !fits {
        let mistake = Diagnostic::error(format!("`{}` is not how the route's path starts", strip.0));
        cx.report(mistake.at(&strip.span).related(&path.span, "the path"));
    }
}

impl JsonSchema for Routes {
    fn schema_name() -> Cow<'static, str> {
        "Routes".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let route = generator.subschema_for::<RawRoute>();
        json_schema!({
            "type": "object",
            "description": "Routes by what they match: methods or none, and a path. `/orders` is just that path, `/orders/**` \
                it and everything below, `{id}` one segment, `~regex` a whole path. Several variants of one route stand in a list.",
            "propertyNames": { "pattern": r"^([A-Z0-9._,-]+ +)?[/~].*$" },
            "additionalProperties": { "anyOf": [route, { "type": "array", "minItems": 1, "items": route }] },
        })
    }
}

/// Adds the keys of another mapping.
fn add_properties(schema: &mut Schema, other: &Schema) {
    let Some(added) = other.get("properties").and_then(|properties| properties.as_object()) else { return };
    if let Some(properties) = schema.get_mut("properties").and_then(|properties| properties.as_object_mut()) {
        properties.extend(added.clone());
    }
}

impl JsonSchema for RawRoute {
    fn schema_name() -> Cow<'static, str> {
        "Route".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RouteKeys::json_schema(generator);
        add_properties(&mut schema, &SettingsLayer::json_schema(generator));
        schema.insert("description".into(), "What is done with the requests that match.".into());
        schema
    }
}
