//! Every short form, with the long form that it is sugar for. `desugar` carries it out; the schema and the reference
//! describe it from here; a test holds the two together.

use serde_json::{Value, json};

use crate::model::SMOOTH_PATTERN;

/// One short form of one definition.
pub(crate) struct ShortForm {
    /// The definition of the schema whose short form it is.
    pub(crate) definition: &'static str,
    /// An example.
    pub(crate) short: &'static str,
    /// The same, in full.
    pub(crate) long: &'static str,
    /// A file to put it into, at `@`; for the test.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the tests"))]
    pub(crate) place: &'static str,
    schema: fn() -> Value,
}

impl ShortForm {
    /// The schema of the short form, with what it is short for as its description.
    pub(crate) fn schema(&self) -> Value {
        let mut schema = (self.schema)();
        schema["description"] = json!(format!("`{}` is short for `{}`.", self.short, self.long));
        schema
    }
}

const IN_LISTEN: &str = "listen: @";
const IN_LISTENER: &str = "listen: { 8080: @ }";
const IN_SERVICE: &str = "services: { orders: @ }";
const IN_AUTH: &str = "auth: { idp: @ }";
const IN_ROUTE: &str = "routes: { /a: @ }";

/// A source of identity in the words of its provider: all else may stand beside them.
fn words_of(provider: &str, words: &[(&str, &str)]) -> Value {
    let mut schema = json!({ "type": "object", "properties": { "provider": { "const": provider } }, "required": ["provider", "audience"] });
    for (word, what) in words {
        schema["properties"][word] = json!({ "type": "string", "minLength": 1, "description": what });
    }
    schema
}

/// All of them.
pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        definition: "Tokens",
        short: "{ provider: entra, tenant: 9122040d-6c67-4c5b-b112-36a304b66dad, audience: [api://a] }",
        long: "{ provider: entra, issuer: https://login.microsoftonline.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0, audience: [api://a] }",
        place: IN_AUTH,
        schema: || words_of("entra", &[("tenant", "The id of the tenant.")]),
    },
    ShortForm {
        definition: "Tokens",
        short: "{ provider: entra, tenants: [any], audience: [api://a] }",
        long: "{ provider: entra, issuer: https://login.microsoftonline.com/organizations/v2.0, tenants: [any], audience: [api://a] }",
        place: IN_AUTH,
        schema: || words_of("entra", &[]),
    },
    ShortForm {
        definition: "Tokens",
        short: "{ provider: cognito, pool: eu-west-1_AbCdEf, audience: [1example] }",
        long: "{ provider: cognito, issuer: https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf, audience: [1example] }",
        place: IN_AUTH,
        schema: || words_of("cognito", &[("pool", "The id of the user pool.")]),
    },
    ShortForm {
        definition: "Tokens",
        short: "{ provider: keycloak, url: https://sso.example.com, realm: shop, audience: [a] }",
        long: "{ provider: keycloak, issuer: https://sso.example.com/realms/shop, audience: [a] }",
        place: IN_AUTH,
        schema: || words_of("keycloak", &[("url", "Where it is."), ("realm", "The name of the realm.")]),
    },
    ShortForm {
        definition: "Tokens",
        short: "{ provider: auth0, domain: shop.eu.auth0.com, audience: [a] }",
        long: "{ provider: auth0, issuer: https://shop.eu.auth0.com/, audience: [a] }",
        place: IN_AUTH,
        schema: || words_of("auth0", &[("domain", "The domain of the tenant.")]),
    },
    ShortForm {
        definition: "Tokens",
        short: "{ provider: okta, domain: dev-1.okta.com, audience: [a] }",
        long: "{ provider: okta, issuer: https://dev-1.okta.com/oauth2/default, audience: [a] }",
        place: IN_AUTH,
        schema: || {
            words_of(
                "okta",
                &[
                    ("domain", "The domain of the organization."),
                    ("server", "The authorization server; `default` unless it is written."),
                ],
            )
        },
    },
    ShortForm {
        definition: "Tokens",
        short: "{ provider: google, audience: [1.apps.googleusercontent.com] }",
        long: "{ provider: google, issuer: https://accounts.google.com, audience: [1.apps.googleusercontent.com] }",
        place: IN_AUTH,
        schema: || words_of("google", &[]),
    },
    ShortForm {
        definition: "FromRegistry",
        short: "orders",
        long: "{ service: orders }",
        place: "services: { orders: { registry: @ } }",
        schema: || json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,63}$" }),
    },
    ShortForm {
        definition: "FromConsul",
        short: "orders",
        long: "{ service: orders }",
        place: "services: { orders: { consul: @ } }",
        schema: || json!({ "$ref": "#/$defs/ConsulName" }),
    },
    ShortForm {
        definition: "FromKubernetes",
        short: "shop/orders",
        long: "{ service: shop/orders }",
        place: "services: { orders: { kubernetes: @ } }",
        schema: || json!({ "$ref": "#/$defs/KubernetesService" }),
    },
    ShortForm {
        definition: "Consul",
        short: "http://127.0.0.1:8500",
        long: "{ url: http://127.0.0.1:8500 }",
        place: "consul: @",
        schema: || json!({ "$ref": "#/$defs/Url" }),
    },
    ShortForm {
        definition: "Registrar",
        short: "\"${env:ORDERS_TOKEN}\"",
        long: "{ token: [\"${env:ORDERS_TOKEN}\"] }",
        place: "registry: { register: { orders: @ } }",
        schema: || json!({ "type": "string", "minLength": 1 }),
    },
    ShortForm {
        definition: "Listen",
        short: "8080",
        long: "{ 8080: { kind: http } }",
        place: IN_LISTEN,
        schema: || json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
    },
    ShortForm {
        definition: "Listen",
        short: "127.0.0.1:8080",
        long: "{ 127.0.0.1:8080: { kind: http } }",
        place: IN_LISTEN,
        schema: || json!({ "type": "string" }),
    },
    ShortForm {
        definition: "Listen",
        short: "[8080, 127.0.0.1:8081]",
        long: "{ 8080: { kind: http }, 127.0.0.1:8081: { kind: http } }",
        place: IN_LISTEN,
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": ["integer", "string"] } }),
    },
    ShortForm {
        definition: "ListenerOptions",
        short: "health",
        long: "{ kind: health }",
        place: IN_LISTENER,
        schema: || json!({ "$ref": "#/$defs/ListenerKind" }),
    },
    ShortForm {
        definition: "ListenerOptions",
        short: "redirect to https",
        long: "{ kind: redirect }",
        place: IN_LISTENER,
        schema: || json!({ "const": "redirect to https" }),
    },
    ShortForm {
        definition: "ListenerOptions",
        short: "null",
        long: "{ kind: http }",
        place: IN_LISTENER,
        schema: || json!({ "type": "null" }),
    },
    ShortForm {
        definition: "ListenerTls",
        short: "{ cert: a.pem, key: a.key }",
        long: "{ certificates: [{ cert: a.pem, key: a.key }] }",
        place: "listen: { 443: { tls: @ } }",
        schema: || {
            json!({
                "type": "object",
                "properties": {
                    "cert": { "$ref": "#/$defs/FilePath" },
                    "key": { "$ref": "#/$defs/FilePath" },
                    "policy": { "$ref": "#/$defs/TlsPolicy" },
                    "client": { "$ref": "#/$defs/ClientCertificates" },
                },
                "required": ["cert", "key"],
                "additionalProperties": false,
            })
        },
    },
    ShortForm {
        definition: "ClientCertificates",
        short: "ca.pem",
        long: "{ ca: ca.pem }",
        place: "listen: { 443: { tls: { certificates: [{ cert: a.pem, key: a.key }], client: @ } } }",
        schema: || json!({ "$ref": "#/$defs/FilePath" }),
    },
    ShortForm {
        definition: "ServiceTls",
        short: "on",
        long: "{}",
        place: "services: { orders: { to: a:443, tls: @ } }",
        schema: || json!({ "const": "on" }),
    },
    ShortForm {
        definition: "Drain",
        short: "30s",
        long: "{ time: 30s }",
        place: "drain: @",
        schema: || json!({ "$ref": "#/$defs/Duration" }),
    },
    ShortForm {
        definition: "State",
        short: "redis://redis:6379",
        long: "{ redis: { url: redis://redis:6379 } }",
        place: "state: @",
        schema: || json!({ "$ref": "#/$defs/RedisUrl" }),
    },
    ShortForm {
        definition: "Redis",
        short: "redis://redis:6379",
        long: "{ url: redis://redis:6379 }",
        place: "state: { redis: @ }",
        schema: || json!({ "$ref": "#/$defs/RedisUrl" }),
    },
    ShortForm {
        definition: "Test",
        short: "GET /orders/1 -> 200 from orders",
        long: "{ request: { method: GET, url: /orders/1 }, expect: { status: 200, from: orders } }",
        place: "tests: { expect: [@] }",
        schema: || json!({ "type": "string", "pattern": "^\\S+ \\S+( (from|with) \\S+)* -> [1-5]([0-9]{2}|xx)( \\S+)*$" }),
    },
    ShortForm {
        definition: "Log",
        short: "debug",
        long: "{ level: debug }",
        place: "log: @",
        schema: || json!({ "$ref": "#/$defs/Level" }),
    },
    ShortForm {
        definition: "Access",
        short: "off",
        long: "{ to: off }",
        place: "log: { access: @ }",
        schema: || json!({ "$ref": "#/$defs/LogTarget" }),
    },
    ShortForm {
        definition: "Service",
        short: "10.0.0.1:8080",
        long: "{ to: [{ address: 10.0.0.1:8080 }] }",
        place: IN_SERVICE,
        schema: || json!({ "$ref": "#/$defs/Target" }),
    },
    ShortForm {
        definition: "Service",
        short: "[a:80, b:80]",
        long: "{ to: [{ address: a:80 }, { address: b:80 }] }",
        place: IN_SERVICE,
        schema: || json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/Target" } }),
    },
    ShortForm {
        definition: "Target",
        short: "10.0.0.1:8080",
        long: "{ address: 10.0.0.1:8080 }",
        place: "services: { orders: { to: [@] } }",
        schema: || json!({ "$ref": "#/$defs/Address" }),
    },
    ShortForm {
        definition: "Target",
        short: "10.0.0.1:8080 weight 3",
        long: "{ address: 10.0.0.1:8080, weight: 3 }",
        place: "services: { orders: { to: [@] } }",
        schema: || json!({ "type": "string", "pattern": "^\\S+ weight [0-9]{1,4}$" }),
    },
    ShortForm {
        definition: "Balance",
        short: "hash header X-User",
        long: "{ hash: header X-User }",
        place: "services: { orders: { to: a:80, balance: @ } }",
        schema: || json!({ "type": "string", "pattern": "^hash (ip|path|host|(header|query|cookie) .+)$" }),
    },
    ShortForm {
        definition: "Balance",
        short: "sticky instance",
        long: "{ sticky: { cookie: instance } }",
        place: "services: { orders: { to: a:80, balance: @ } }",
        schema: || json!({ "type": "string", "pattern": "^sticky [A-Za-z0-9_-]{1,64}$" }),
    },
    ShortForm {
        definition: "Balance",
        short: "load cpu",
        long: "{ load: { of: cpu } }",
        place: "services: { orders: { to: a:80, balance: @ } }",
        schema: || json!({ "type": "string", "pattern": "^load [A-Za-z0-9._/-]{1,64}$" }),
    },
    ShortForm {
        definition: "Load",
        short: "cpu",
        long: "{ of: cpu }",
        place: "services: { orders: { to: a:80, balance: { load: @ } } }",
        schema: || json!({ "type": "string", "pattern": "^[A-Za-z0-9._/-]{1,64}$" }),
    },
    ShortForm {
        definition: "Sticky",
        short: "instance",
        long: "{ cookie: instance }",
        place: "services: { orders: { to: a:80, balance: { sticky: @ } } }",
        schema: || json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }),
    },
    ShortForm {
        definition: "Queue",
        short: "50",
        long: "{ size: 50 }",
        place: "services: { orders: { to: a:80, queue: @ } }",
        schema: || json!({ "type": "integer", "minimum": 0 }),
    },
    ShortForm {
        definition: "AdaptiveConcurrency",
        short: "on",
        long: "{}",
        place: "services: { orders: { to: a:80, adaptive_concurrency: @ } }",
        schema: || json!({ "const": "on" }),
    },
    ShortForm {
        definition: "Smooth",
        short: "50/s queue 100",
        long: "{ rate: 50/s, queue: 100 }",
        place: "services: { orders: { to: a:80, smooth: @ } }",
        schema: || json!({ "type": "string", "pattern": SMOOTH_PATTERN }),
    },
    ShortForm {
        definition: "Retry",
        short: "2",
        long: "{ retries: 2 }",
        place: "services: { orders: { to: a:80, retry: @ } }",
        schema: || json!({ "type": "integer", "minimum": 0, "maximum": 5 }),
    },
    ShortForm {
        definition: "Retry",
        short: "none",
        long: "{ retries: 0 }",
        place: "services: { orders: { to: a:80, retry: @ } }",
        schema: || json!({ "const": "none" }),
    },
    ShortForm {
        definition: "Health",
        short: "GET /healthz every 5s",
        long: "{ method: GET, path: /healthz, interval: 5s }",
        place: "services: { orders: { to: a:80, health: @ } }",
        schema: || json!({ "type": "string", "pattern": "^((GET|HEAD|OPTIONS|POST) )?/\\S*( every .+)?$" }),
    },
    ShortForm {
        definition: "Health",
        short: "tcp every 5s",
        long: "{ check: tcp, interval: 5s }",
        place: "services: { orders: { to: a:80, health: @ } }",
        schema: || json!({ "type": "string", "pattern": "^(http|tcp|grpc)( every .+)?$" }),
    },
    ShortForm {
        definition: "Outlier",
        short: "on",
        long: "{}",
        place: "services: { orders: { to: a:80, outlier: @ } }",
        schema: || json!({ "const": "on" }),
    },
    ShortForm {
        definition: "ErrorShare",
        short: "50% of 20 within 10s",
        long: "{ share: 50%, of: 20, within: 10s }",
        place: "services: { orders: { to: a:80, outlier: { errors: @ } } }",
        schema: || json!({ "type": "string", "pattern": "^[0-9.]+ ?% of [0-9]+ within .+$" }),
    },
    ShortForm {
        definition: "ErrorShare",
        short: "50% of 20 in 10s",
        long: "{ share: 50%, of: 20, within: 10s }",
        place: "services: { orders: { to: a:80, breaker: { failures: @ } } }",
        schema: || json!({ "type": "string", "pattern": "^[0-9.]+ ?% of [0-9]+ in .+$" }),
    },
    ShortForm {
        definition: "SuccessRate",
        short: "on",
        long: "{}",
        place: "services: { orders: { to: a:80, outlier: { success_rate: @ } } }",
        schema: || json!({ "const": "on" }),
    },
    ShortForm {
        definition: "SlowOnes",
        short: "on",
        long: "{}",
        place: "services: { orders: { to: a:80, outlier: { latency: @ } } }",
        schema: || json!({ "const": "on" }),
    },
    ShortForm {
        definition: "SlowOnes",
        short: "3x",
        long: "{ factor: 3 }",
        place: "services: { orders: { to: a:80, outlier: { latency: @ } } }",
        schema: || json!({ "type": "string", "pattern": "^[0-9.]+ ?x$" }),
    },
    ShortForm {
        definition: "Breaker",
        short: "\"50% of 20 in 10s, open 5s\"",
        long: "{ failures: { share: 50%, of: 20, within: 10s }, open: 5s }",
        place: "services: { orders: { to: a:80, breaker: @ } }",
        schema: || json!({ "type": "string", "pattern": "^[0-9.]+ ?% of [0-9]+ (in|within) [^,]+(, *open .+)?$" }),
    },
    ShortForm {
        definition: "Breaker",
        short: "\"5 in a row, open 5s\"",
        long: "{ consecutive: 5, open: 5s }",
        place: "services: { orders: { to: a:80, breaker: @ } }",
        schema: || json!({ "type": "string", "pattern": "^[0-9]+ in a row(, *open .+)?$" }),
    },
    ShortForm {
        definition: "Hedge",
        short: "50ms",
        long: "{ after: 50ms }",
        place: "defaults: { hedge: @ }",
        schema: || json!({ "$ref": "#/$defs/HedgeAfter" }),
    },
    ShortForm {
        definition: "Deadline",
        short: "X-Request-Timeout",
        long: "{ header: X-Request-Timeout }",
        place: "defaults: { deadline: @ }",
        schema: || json!({ "$ref": "#/$defs/HeaderName" }),
    },
    ShortForm {
        definition: "Fallback",
        short: "stock",
        long: "{ to: stock }",
        place: "services: { orders: { to: a:80, fallback: @ } }",
        schema: || json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" }),
    },
    ShortForm {
        definition: "Fallback",
        short: "200 some text",
        long: "{ reply: { status: 200, body: some text } }",
        place: "services: { orders: { to: a:80, fallback: @ } }",
        schema: || json!({ "type": "string", "pattern": "^[2-5][0-9]{2}( .*)?$" }),
    },
    ShortForm {
        definition: "Fallback",
        short: "204",
        long: "{ reply: { status: 204 } }",
        place: "defaults: { fallback: @ }",
        schema: || json!({ "type": "integer", "minimum": 200, "maximum": 599 }),
    },
    ShortForm {
        definition: "Fallback",
        short: "{ status: 200, body: some text }",
        long: "{ reply: { status: 200, body: some text } }",
        place: "services: { orders: { to: a:80, fallback: @ } }",
        schema: || json!({ "$ref": "#/$defs/Reply" }),
    },
    ShortForm {
        definition: "Mirror",
        short: "shadow",
        long: "{ to: shadow }",
        place: "defaults: { mirror: @ }",
        schema: || json!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" }),
    },
    ShortForm {
        definition: "RouteRetry",
        short: "2",
        long: "{ retries: 2 }",
        place: "defaults: { retry: @ }",
        schema: || json!({ "type": "integer", "minimum": 0, "maximum": 5 }),
    },
    ShortForm {
        definition: "RouteRetry",
        short: "none",
        long: "{ retries: 0 }",
        place: "defaults: { retry: @ }",
        schema: || json!({ "const": "none" }),
    },
    ShortForm {
        definition: "Upgrade",
        short: "websocket",
        long: "{ protocols: [websocket] }",
        place: "defaults: { upgrade: @ }",
        schema: || json!({ "type": "string" }),
    },
    ShortForm {
        definition: "Upgrade",
        short: "[websocket, tls]",
        long: "{ protocols: [websocket, tls] }",
        place: "defaults: { upgrade: @ }",
        schema: || json!({ "type": "array", "items": { "type": "string" } }),
    },
    ShortForm {
        definition: "Route",
        short: "orders",
        long: "{ to: orders }",
        place: IN_ROUTE,
        schema: || json!({ "type": "string" }),
    },
    ShortForm {
        definition: "Route",
        short: "[a:80, b:80]",
        long: "{ to: [{ address: a:80 }, { address: b:80 }] }",
        place: IN_ROUTE,
        schema: || json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/Target" } }),
    },
    ShortForm {
        definition: "Destination",
        short: "10.0.0.1:8080",
        long: "[{ address: 10.0.0.1:8080 }]",
        place: "routes: { /a: { to: @ } }",
        schema: || json!({ "$ref": "#/$defs/Target" }),
    },
    ShortForm {
        definition: "Redirect",
        short: "/new",
        long: "{ to: /new }",
        place: "routes: { /a: { redirect: @ } }",
        schema: || json!({ "$ref": "#/$defs/RedirectTarget" }),
    },
    ShortForm {
        definition: "Redirect",
        short: "301 /new",
        long: "{ to: /new, status: 301 }",
        place: "routes: { /a: { redirect: @ } }",
        schema: || json!({ "type": "string", "pattern": "^30[12378] +(/|https?://)" }),
    },
    ShortForm {
        definition: "Reply",
        short: "204",
        long: "{ status: 204 }",
        place: "routes: { /a: { reply: @ } }",
        schema: || json!({ "type": "integer", "minimum": 200, "maximum": 599 }),
    },
    ShortForm {
        definition: "Reply",
        short: "200 some text",
        long: "{ status: 200, body: some text }",
        place: "routes: { /a: { reply: @ } }",
        schema: || json!({ "type": "string", "pattern": "^[2-5][0-9]{2}( .*)?$" }),
    },
    ShortForm {
        definition: "Files",
        short: "./public",
        long: "{ dir: ./public }",
        place: "routes: { /a/**: { files: @ } }",
        schema: || json!({ "type": "string" }),
    },
];
