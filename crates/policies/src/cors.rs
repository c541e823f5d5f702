//! Lets web pages of other origins call, after the CORS protocol of the Fetch standard.
//!
//! # When to use
//! When scripts of a web page call an API that lives under another scheme, host or port. Preflights are answered here, before
//! authentication (they carry no credentials) and without the service. The answers to the calls themselves say what the
//! page may see, those of the gateway's own too: a script can read a 401. What the service says about CORS is replaced.
//!
//! A preflight that is not allowed is answered 403 with a fault that says why. A call from another origin is passed on, and
//! its answer carries no CORS fields, so that the browser keeps it from the page: CORS protects users of browsers, not the
//! service. A `*` stands at the start of a host, for one or more labels.
//!
//! # Example
//! ```yaml
//! cors:
//!   origins: [https://shop.example, https://*.shop.example]
//!   credentials: true
//!   expose: [X-Correlation-ID]
//!   max_age: 1h
//! ```
//!
//! # Faults
//! - `cors/origin`, `cors/method`, `cors/header` (403): the preflight asks for something that is not allowed.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde_json::json;
use tollgate_config::model::FieldName;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::field::{Known, is_token};
use tollgate_core::head::{Fields, Method, RequestHead};
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::reply::Reply;
use tollgate_core::section;
use tollgate_core::units::Period;

use crate::kit::forms::{ShortForm, joined, list_under, with_short};
use crate::kit::vary;

mod words;

pub use self::words::{AllowedHeaders, Methods, OriginPattern, Origins};

section! {
    /// Lets web pages of other origins call, after the CORS protocol of the Fetch standard.
    pub struct CorsConfig {
        /// The origins whose pages may call: scheme and host, and a port that is not the usual one. `*`: any.
        origins: Spanned<Origins>,
        /// The methods they may use.
        methods: Methods,
        /// The request headers they may send, beside those that browsers always allow. `*`: any.
        headers: AllowedHeaders,
        /// The response headers they may read, beside those that browsers always show.
        expose: Option<Vec<FieldName>>,
        /// Whether they may call with cookies, client certificates or HTTP authentication.
        credentials: bool = false,
        /// How long a browser may remember the answer to a preflight.
        max_age: Period = "10m",
    }
}

impl PolicyConfig for CorsConfig {
    const NAME: &'static str = "cors";
    const SUMMARY: &'static str =
        "Lets web pages of other origins call, after the CORS protocol of the Fetch standard.";
    const EXAMPLE: &'static str = "\
origins: [https://shop.example, https://*.shop.example]
credentials: true
expose: [X-Correlation-ID]
max_age: 1h";
    const FAULTS: &'static [&'static Fault] = &[&ORIGIN, &METHOD, &HEADER];

    fn desugar(node: Node) -> Node {
        list_under(node, "origins")
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        // Fetch §3.2.5: with credentials a browser takes neither `*` for the origin nor for the names of headers.
        if self.credentials && self.origins.value == Origins::Any {
            let mistake = Diagnostic::error("`*` and `credentials` cannot stand together").at(&self.origins.span);
            return Err(mistake.hint("name the origins: any page could act in the name of its visitors"));
        }
        let expose = self.expose.unwrap_or_default();
        if self.credentials && expose.iter().any(|name| name.as_str() == "*") {
            return Err(Diagnostic::error("with `credentials`, `expose` cannot be `*`").hint("name the headers"));
        }
        let cors = Cors {
            allow_methods: Bytes::from(self.methods.0.join(", ")),
            expose: (!expose.is_empty()).then(|| Bytes::from(joined(expose.iter().map(FieldName::as_str)))),
            max_age: Bytes::from(self.max_age.0.as_secs().to_string()),
            origins: self.origins.value,
            methods: self.methods,
            headers: self.headers,
            credentials: self.credentials,
        };
        Ok(vec![(Stage::Edge, Arc::new(cors))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(CorsConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<CorsConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        short: "https://shop.example",
        long: "{ origins: [https://shop.example] }",
        schema: || json!({ "type": "string" }),
    },
    ShortForm {
        short: "[https://shop.example, https://*.shop.example]",
        long: "{ origins: [https://shop.example, https://*.shop.example] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
];

#[derive(Debug)]
struct Cors {
    origins: Origins,
    methods: Methods,
    headers: AllowedHeaders,
    credentials: bool,
    allow_methods: Bytes,
    expose: Option<Bytes>,
    max_age: Bytes,
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_HEADERS: &str = "Access-Control-Allow-Headers";
const MAX_AGE: &str = "Access-Control-Max-Age";
const EXPOSE_HEADERS: &str = "Access-Control-Expose-Headers";

/// What an answer may say (Fetch §3.2.3); only the gateway does.
const OURS: [&str; 6] = [ALLOW_ORIGIN, ALLOW_CREDENTIALS, ALLOW_METHODS, ALLOW_HEADERS, MAX_AGE, EXPOSE_HEADERS];

/// What the answer to a preflight depends on.
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

impl Policy for Cors {
    fn hooks(&self) -> Hooks {
        Hooks::BOTH
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        match Preflight::of(&x.head) {
            None => Step::next(),
            Some(preflight) => match self.answer(&preflight) {
                Ok(reply) => Step::reply(reply),
                Err(problem) => Step::refuse(problem.header("Vary", PREFLIGHT_VARY)),
            },
        }
    }

    fn on_response<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        // A preflight was answered by `on_request`: nobody else had a say in it.
        if Preflight::of(&x.head).is_none() {
            self.mark(sent_origin(&x.head), &mut x.reply.head.fields);
        }
        Step::next()
    }

    fn describe(&self) -> String {
        let credentials = if self.credentials { ", with credentials" } else { "" };
        format!("pages of {} may call with {}{credentials}", self.origins, self.methods.0.join(", "))
    }
}

impl Cors {
    /// Fetch §3.2.2: may a call with this origin, method and these headers be made?
    fn answer(&self, preflight: &Preflight<'_>) -> Result<Reply, Problem> {
        let Some(origin) = self.allow_origin(Some(preflight.origin)) else {
            return Err(ORIGIN.problem().detail(format!("pages of {} may not call", quoted(preflight.origin))));
        };
        if !self.methods.0.iter().any(|method| method.as_bytes() == preflight.method) {
            let detail = format!("{} may not be used from another origin", quoted(preflight.method));
            return Err(METHOD.problem().detail(detail));
        }
        let mut asked = Vec::new();
        for name in &preflight.headers {
            match std::str::from_utf8(name) {
                Ok(text) if is_token(name) && self.headers.allow(text) => asked.push(text),
                _ => {
                    let detail = format!("{} may not be sent from another origin", quoted(name));
                    return Err(HEADER.problem().detail(detail));
                }
            }
        }
        let mut reply = Reply::empty(204)
            .header(ALLOW_ORIGIN, origin)
            .header(ALLOW_METHODS, self.allow_methods.clone())
            .header(MAX_AGE, self.max_age.clone())
            .header("Vary", PREFLIGHT_VARY);
        // Echoed rather than `*`, which leaves out `Authorization` and does not hold with credentials.
        if !asked.is_empty() {
            reply = reply.header(ALLOW_HEADERS, joined(asked));
        }
        if self.credentials {
            reply = reply.header(ALLOW_CREDENTIALS, "true");
        }
        Ok(reply)
    }

    /// Tells the browser whether the page may see this answer.
    fn mark(&self, origin: Option<&[u8]>, fields: &mut Fields) {
        for name in OURS {
            fields.remove(name);
        }
        // Fetch §3.2.6: where it depends on the origin, caches must know, even of answers to calls without one.
        if self.origins != Origins::Any {
            vary::add(fields, "Origin");
        }
        let Some(origin) = self.allow_origin(origin) else { return };
        fields.add(ALLOW_ORIGIN, origin);
        if self.credentials {
            fields.add(ALLOW_CREDENTIALS, "true");
        }
        if let Some(expose) = &self.expose {
            fields.add(EXPOSE_HEADERS, expose.clone());
        }
    }

    /// What `Access-Control-Allow-Origin` says to a call from `origin`; `None`: nothing.
    fn allow_origin(&self, origin: Option<&[u8]>) -> Option<Bytes> {
        match (&self.origins, origin) {
            (Origins::Any, _) => Some(Bytes::from_static(b"*")),
            (Origins::Listed(patterns), Some(origin)) => {
                let text = std::str::from_utf8(origin).ok()?;
                patterns.iter().any(|pattern| pattern.matches(text)).then(|| Bytes::copy_from_slice(origin))
            }
            (Origins::Listed(_), None) => None,
        }
    }
}

/// A question before the call (Fetch §3.2.2): `OPTIONS` with these fields.
struct Preflight<'x> {
    origin: &'x [u8],
    method: &'x [u8],
    headers: Vec<&'x [u8]>,
}

impl<'x> Preflight<'x> {
    fn of(head: &'x RequestHead) -> Option<Self> {
        if head.method != Method::Options {
            return None;
        }
        let fields = &head.fields;
        let (origin, method) = (fields.known(Known::Origin)?, fields.get("access-control-request-method")?);
        let asked = fields.all("access-control-request-headers").flat_map(|line| line.split(|byte| *byte == b','));
        let headers = asked.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()).collect();
        Some(Self { origin, method, headers })
    }
}

/// The origin as the client sent it, even if a later policy took it away from what the service sees.
fn sent_origin(head: &RequestHead) -> Option<&[u8]> {
    let bytes = head.fields.buffer.filled();
    head.fields.received().iter().find(|field| field.known == Known::Origin).map(|field| field.value.of(bytes))
}

/// What a client sent, for a message.
fn quoted(bytes: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(bytes))
}

static ORIGIN: Fault = Fault::client(
    "cors/origin",
    403,
    "Pages of this origin may not call",
    "The page's origin (scheme, host and port) is not among those that the route allows. Add it to `cors.origins`.",
);

static METHOD: Fault = Fault::client(
    "cors/method",
    403,
    "This method may not be used from another origin",
    "The call's method is not among those that the route allows to other origins. Add it to `cors.methods`.",
);

static HEADER: Fault = Fault::client(
    "cors/header",
    403,
    "This header may not be sent from another origin",
    "The call would send a header that the route does not allow to other origins. Add it to `cors.headers`.",
);

#[cfg(test)]
mod tests;
