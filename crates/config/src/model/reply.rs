//! `redirect` and `reply`: what the gateway answers by itself.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;

use crate::model::defaults::v1;
use crate::model::fields::{FieldValue, ReplyFields};
use crate::model::template::Template;
use tollgate_core::text::{FromText, decode_from_text};

section! {
    /// Sends the client elsewhere.
    pub struct Redirect {
        /// Where to: a path or URL with `{param}`, `{**}`, `{host}` and `{query}` (with its `?`) filled in.
        to: Spanned<Template>,
        /// 301, 302, 303, 307 or 308. 307 and 308 keep the method and the body.
        status: RedirectStatus = v1::REDIRECT_STATUS,
    }
}

/// A status that redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(u16);

impl RedirectStatus {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromText for RedirectStatus {
    const WHAT: &'static str = "a status";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        match text {
            "301" | "302" | "303" | "307" | "308" => text.parse().map(Self).map_err(|_| Diagnostic::error("no status")),
            _ => Err(Diagnostic::error(format!("`{text}` is no status that redirects"))
                .hint("301, 302, 303, 307 or 308; short: `redirect: 301 /new`")),
        }
    }
}

decode_from_text!(RedirectStatus);

impl JsonSchema for RedirectStatus {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RedirectStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "enum": [301, 302, 303, 307, 308] })
    }
}

section! {
    /// Answers at once.
    pub struct Reply: fit {
        /// The status.
        status: ReplyStatus = v1::REPLY_STATUS,
        /// The body; without it, none.
        body: Option<Spanned<String>>,
        /// The body's `Content-Type`.
        media_type as "type": FieldValue = v1::REPLY_TYPE,
        /// More header fields.
        headers: Option<ReplyFields>,
    }
}

/// Whether the parts fit each other.
fn fit(reply: &Reply, cx: &mut DecodeCx) -> bool {
    let status = reply.status.get();
    let Some(body) = reply.body.as_ref().filter(|_| matches!(status, 204 | 205 | 304)) else { return true };
    cx.report(Diagnostic::error(format!("an answer with status {status} has no body")).at(&body.span));
    false
}

/// The status of a whole answer: 200..=599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyStatus(u16);

impl ReplyStatus {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromText for ReplyStatus {
    const WHAT: &'static str = "a status";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        text.parse().ok().filter(|status| (200..=599).contains(status)).map(Self).ok_or_else(|| {
            Diagnostic::error(format!("`{text}` is no status"))
                .hint("200 to 599; short: `reply: 204`, or with a text: `reply: 200 some text`")
        })
    }
}

decode_from_text!(ReplyStatus);

impl JsonSchema for ReplyStatus {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ReplyStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 200, "maximum": 599 })
    }
}
