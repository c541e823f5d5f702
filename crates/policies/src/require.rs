//! Refuses requests that are not as they have to be: by TLS, with certain headers, of a content type, not too large.
//!
//! # When to use
//! For what a service cannot do without and clients forget: an id to follow a request by, a tenant, a body in the right format. And for what a
//! house asks of all its APIs at once: written in the `defaults` of the file it holds for every route, with the exceptions that `except`
//! names. The caller is told what is missing, and the service is not bothered. It is a guard: what `defaults` require and what a route
//! requires both hold. A preflight that [`cors`](crate::cors) answers is not asked.
//!
//! A header or parameter that is there but empty counts as missing. Content types are compared without regard to case
//! and parameters (`application/json` takes `application/json; charset=utf-8`), and only for requests that have a body.
//!
//! `tls: required` asks for `https` as the client sees it: TLS with the gateway, or with a proxy of `trust` that says so. `tls: "1.3"` asks for
//! that version at least, of which nobody tells behind a proxy that ends TLS: requests from there are refused. A certificate is what
//! [`auth`](crate::auth) asks for.
//!
//! `at_most` is for less than `limits` at the top of the file allow all; the largest body is the route's `body`. `length: required` refuses
//! bodies that come in chunks, of which nobody knows beforehand how large they are.
//!
//! `except` names requests of which nothing is required: by path, with a method before it or without (`/health/**`, `GET /public/**`; as
//! routes are written), or by a condition (CEL).
//!
//! # Example
//! ```yaml
//! require:
//!   tls: required
//!   headers: [X-Correlation-ID, X-Tenant]
//!   query: [version]
//!   content_type: [application/json, image/*]
//!   at_most: { target: 2KiB, head: 8KiB, fields: 50 }
//!   except: [/health/**, GET /public/**]
//! ```
//!
//! # Faults
//! - `require/tls` (403): the request did not come by TLS, or by an older version.
//! - `require/target` (414), `require/head` (431): the request target, the head, a field, or their number is larger than is taken here.
//! - `require/length` (411): the body's length is not told beforehand (RFC 9110 §15.5.12).
//! - `require/header` (400), `require/query` (400): the member `missing` lists the names.
//! - `require/content-type` (415): the field `Accept` lists what is taken (RFC 9110 §15.5.16).

mod except;
mod run;
mod words;

use std::sync::Arc;

use schemars::JsonSchema;
use serde_json::json;
use tollgate_config::model::FieldName;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned};
use tollgate_core::policy::{BuildCx, Built, Merge, PolicyConfig, PolicyKind, Stage};
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_core::text::words;
use tollgate_core::units::{Bounded, BoundedSize};

use crate::kit::forms::{ShortForm, list_under, with_short};
use crate::require::except::Exceptions;
use crate::require::run::Require;
use crate::require::words::{MediaRange, ParameterName, RequiredTls};

section! {
    /// Refuses requests that are not as they have to be.
    pub struct RequireConfig {
        /// `required`: the client speaks TLS, with the gateway or with a proxy of `trust`. `1.2`, `1.3`: this version at least, with the gateway.
        tls: Option<RequiredTls>,
        /// Header fields that must be there and not be empty.
        headers: Option<Vec<FieldName>>,
        /// Query parameters that must be there and not be empty.
        query: Option<Vec<ParameterName>>,
        /// The content types that a body may have, without parameters; `image/*` takes every one that starts so.
        content_type: Option<Vec<MediaRange>>,
        /// `required`: a body tells its length before it comes.
        length: Option<RequiredLength>,
        /// How large a request may be, but for its body.
        at_most: Option<Sizes>,
        /// Requests of which nothing of this is required: paths, with a method before them or without, or conditions (CEL). 100 at most.
        except: Option<Vec<Spanned<String>>>,
        /// Tells of those who would be refused, and refuses nobody.
        shadow: bool = false,
    }
}

section! {
    /// How large a request may be, but for its body.
    pub struct Sizes {
        /// Longest request target: path and query.
        target: Option<BoundedSize<16, 49_152>>,
        /// Largest head: start line and header fields together.
        head: Option<BoundedSize<256, 49_152>>,
        /// Longest value of a header field.
        field: Option<BoundedSize<16, 49_152>>,
        /// Most header fields.
        fields: Option<Bounded<1, 1000>>,
    }
}

words! {
    /// Whether a length is asked for.
    pub enum RequiredLength {
        /// It is.
        Required = "required",
    }
}

impl PolicyConfig for RequireConfig {
    const NAME: &'static str = "require";
    const SUMMARY: &'static str = "Refuses requests that are not as they have to be: by TLS, with certain headers, of a content type, not too large.";
    const EXAMPLE: &'static str = "\
tls: required
headers: [X-Correlation-ID, X-Tenant]
query: [version]
content_type: [application/json, image/*]
at_most: { target: 2KiB, head: 8KiB, fields: 50 }
except: [/health/**, GET /public/**]";
    const FAULTS: &'static [&'static Fault] = &[&TLS, &TARGET, &HEAD, &LENGTH, &HEADER, &QUERY, &CONTENT_TYPE];
    const MERGE: Merge = Merge::Add;

    fn desugar(node: Node) -> Node {
        list_under(node, "headers")
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let headers = self.headers.unwrap_or_default().iter().map(|name| name.as_str().to_owned()).collect();
        let query = self.query.unwrap_or_default().into_iter().map(|name| name.0).collect();
        let require = Require {
            tls: self.tls,
            sizes: self.at_most.filter(|sizes| *sizes != Sizes { target: None, head: None, field: None, fields: None }),
            length: self.length,
            headers,
            query,
            content_type: self.content_type.unwrap_or_default(),
            except: Exceptions::compile(self.except.as_deref().unwrap_or_default())?,
            is_shadow: self.shadow,
        };
        if require.is_nothing() {
            return Err(Diagnostic::error("nothing is required here").hint("for example `require: X-Correlation-ID`"));
        }
        Ok(vec![(Stage::Edge, Arc::new(require))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(RequireConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<RequireConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm {
        short: "X-Correlation-ID",
        long: "{ headers: [X-Correlation-ID] }",
        schema: || json!({ "type": "string" }),
    },
    ShortForm {
        short: "[X-Correlation-ID, X-Tenant]",
        long: "{ headers: [X-Correlation-ID, X-Tenant] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
    },
];

// 426 (RFC 9110 §15.5.22) would promise that the connection could be upgraded where it is.
static TLS: Fault = Fault::client(
    "require/tls",
    403,
    "Only by TLS",
    "Ask under `https`. For the operator: behind a proxy that ends TLS, `trust` says whom to believe that it did; which version its client spoke \
     nobody tells, so there `tls: required` is what can be asked for.",
);

static TARGET: Fault = Fault::client(
    "require/target",
    414,
    "The request target is longer than is taken here",
    "Make the path and the query shorter; what is much to say belongs into a body.",
);

static HEAD: Fault = Fault::client(
    "require/head",
    431,
    "The head of the request is larger than is taken here",
    "Send fewer or shorter header fields: `detail` says which; often it is cookies that nobody needs.",
);

static LENGTH: Fault = Fault::client(
    "require/length",
    411,
    "The body's length must be told",
    "Send the body with `Content-Length` and not in chunks.",
);

static HEADER: Fault = Fault::client(
    "require/header",
    400,
    "A required header is missing",
    "Send the header fields that `missing` lists, each with a value.",
);

static QUERY: Fault = Fault::client(
    "require/query",
    400,
    "A required query parameter is missing",
    "Send the query parameters that `missing` lists, each with a value.",
);

static CONTENT_TYPE: Fault = Fault::client(
    "require/content-type",
    415,
    "The body's content type is not taken here",
    "Send the body as one of the content types that the answer's `Accept` lists, and say so in `Content-Type`.",
);

#[cfg(test)]
mod tests;
