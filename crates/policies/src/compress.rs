//! Compresses answers for clients that take it, with brotli, zstd or gzip.
//!
//! # When to use
//! For texts (JSON, HTML, scripts) on their way over slow or costly lines, where the service does not compress them itself.
//! What the client takes is read from its `Accept-Encoding`, weights included; where it has no preference, the order of
//! `codings` decides.
//!
//! Left as it is: what is compressed already (`Content-Encoding`), answers to `HEAD`, parts (206), answers without a body,
//! bodies shorter than `min`, other types than `types`, and whatever says `Cache-Control: no-transform`. Where compression
//! was possible, the answer says `Vary: Accept-Encoding`, compressed or not, so that caches keep both apart. A compressed
//! answer has a weak `ETag`, no length, no digests and no `Accept-Ranges`: those told of other bytes.
//!
//! `text/*` does not take in `text/event-stream`: events are small and gain little. Name it to have it compressed; each
//! event still leaves at once. Think of [BREACH](https://www.breachattack.com) before compressing answers over TLS that
//! hold a secret beside something that the caller chooses.
//!
//! # Example
//! ```yaml
//! compress:
//!   codings: [zstd, gzip]
//!   types: [text/*, application/json]
//!   min: 512
//! ```
//!
//! # Faults
//! None.

use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde_json::json;
use tollgate_core::body::{Body, Length};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::head::{Fields, Method, RequestHead};
use tollgate_core::node::{Entry, Node, Value};
use tollgate_core::policy::{BuildCx, Built, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::Fault;
use tollgate_core::section;
use tollgate_core::units::{Bounded, ByteSize};
use tollgate_transform::accept::{Accepted, Choice};
use tollgate_transform::coding::{Coding, Compressor, Level};

use crate::kit::forms::{ShortForm, joined, with_short};
use crate::kit::{digests, vary};

mod words;

pub use self::words::{Codings, TypePattern, Types};

section! {
    /// Compresses answers for clients that take it, with brotli, zstd or gzip.
    pub struct CompressConfig {
        /// Which codings may be used, the one that is liked best first: `br`, `zstd`, `gzip`.
        codings: Codings,
        /// Which content types are compressed; `*` stands for any type, any subtype, or the start of one: `application/*+json`.
        types: Types,
        /// Shorter bodies stay as they are. A body of unknown length counts as long enough.
        min: ByteSize = "1KiB",
        /// How hard is compressed.
        level: Levels,
    }
}

section! {
    /// How hard is compressed, in each coding's own measure: more is smaller and slower.
    pub struct Levels {
        /// Of brotli; above 6 it is too slow for what is compressed each time it is asked for.
        br: Bounded<0, 11> = 4,
        /// Of zstd; its window is 512 KiB at every level.
        zstd: Bounded<1, 19> = 3,
        /// Of gzip; 9 gains little over 6.
        gzip: Bounded<1, 9> = 6,
    }
}

impl PolicyConfig for CompressConfig {
    const NAME: &'static str = "compress";
    const SUMMARY: &'static str = "Compresses answers for clients that take it, with brotli, zstd or gzip.";
    const EXAMPLE: &'static str = "\
codings: [zstd, gzip]
types: [text/*, application/json]
min: 512";
    const FAULTS: &'static [&'static Fault] = &[];

    fn desugar(node: Node) -> Node {
        let span = node.span.clone();
        match &node.value {
            Value::String(text) if text == "on" => Node::new(Value::Map(Vec::new()), span),
            Value::List(_) | Value::String(_) => Node::new(Value::Map(vec![Entry::at("codings", node)]), span),
            _ => node,
        }
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let level = |level: u64| u32::try_from(level).unwrap_or(u32::MAX);
        let compress = Compress {
            codings: self.codings.0,
            types: self.types.0,
            min: self.min.0,
            level: Level {
                br: level(self.level.br.get()),
                zstd: level(self.level.zstd.get()),
                gzip: level(self.level.gzip.get()),
            },
        };
        Ok(vec![(Stage::Edge, Arc::new(compress))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(CompressConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<CompressConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "on", long: "{}", schema: || json!({ "const": "on" }) },
    ShortForm {
        short: "[gzip]",
        long: "{ codings: [gzip] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string", "enum": words::KNOWN } }),
    },
];

#[derive(Debug)]
struct Compress {
    codings: Vec<Coding>,
    types: Vec<TypePattern>,
    min: u64,
    level: Level,
}

impl Policy for Compress {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE
    }

    fn on_response<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        if !self.is_worth_it(x) {
            return Step::next();
        }
        vary::add(&mut x.reply.head.fields, "Accept-Encoding");
        // RFC 9111 §5.2.1.6: the client, too, may want it as it is.
        if is_untouchable(&x.head.fields) || x.head.method == Method::Head {
            return Step::next();
        }
        let Choice::Coding(coding) = accepted(&x.head).choose(self.codings.iter().copied()) else {
            return Step::next();
        };
        if x.reply.head.status == 304 {
            // RFC 9110 §15.4.5: it names what the client has, and that was compressed.
            weaken(&mut x.reply.head.fields);
            return Step::next();
        }
        // Without memory for it, it goes as it is.
        if let Some(compressor) = Compressor::new(coding, self.level) {
            x.reply.recoders.push(Box::new(compressor));
            mark(&mut x.reply.head.fields, coding);
        }
        Step::next()
    }

    fn describe(&self) -> String {
        let codings = joined(self.codings.iter().map(|coding| coding.name()));
        let types: Vec<String> = self.types.iter().map(ToString::to_string).collect();
        format!("{codings}; bodies from {} bytes on of the types {}", self.min, types.join(", "))
    }
}

impl Compress {
    /// Whether the answer would be compressed for a client that takes it. A 304 stands for such an answer.
    fn is_worth_it(&self, x: &Exchange) -> bool {
        let (head, fields) = (&x.reply.head, &x.reply.head.fields);
        if head.status == 304 {
            return !is_untouchable(fields) && fields.get("content-type").is_none_or(|kind| self.takes(kind));
        }
        let has_body = match &x.reply.body {
            Body::Empty => false,
            Body::Full(bytes) => bytes.len() as u64 >= self.min,
            Body::Wire(length) | Body::Stream(length, _) => self.is_long_enough(*length, x.head.method),
        };
        has_body
            && head.status >= 200
            && !matches!(head.status, 204..=206)
            && !(x.head.method == Method::Connect && head.status < 300)
            && !fields.has("content-range")
            && fields.all("content-encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity"))
            && !is_untouchable(fields)
            && fields.get("content-type").is_some_and(|kind| self.takes(kind))
    }

    fn is_long_enough(&self, length: Length, method: Method) -> bool {
        match length {
            // The answer to `HEAD` has none, and is to say what that to `GET` would (RFC 9110 §9.3.2).
            Length::None => method == Method::Head,
            Length::Known(bytes) => bytes >= self.min,
            Length::Chunked | Length::UntilClose => true,
        }
    }

    fn takes(&self, content_type: &[u8]) -> bool {
        let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        std::str::from_utf8(kind).is_ok_and(|kind| self.types.iter().any(|pattern| pattern.matches(kind)))
    }
}

/// RFC 9111 §5.2.2.6: nobody on the way may change the content.
fn is_untouchable(fields: &Fields) -> bool {
    let mut directives = fields.all("cache-control").flat_map(|line| line.split(|byte| *byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// What the client takes, even if a later policy took the field away from what the service sees.
fn accepted(head: &RequestHead) -> Accepted {
    let bytes = head.fields.buffer.filled();
    let lines = head.fields.received().iter();
    let lines = lines.filter(|field| field.name.of(bytes).eq_ignore_ascii_case(b"accept-encoding"));
    Accepted::read(lines.map(|field| field.value.of(bytes)))
}

/// The head of the same answer, compressed.
fn mark(fields: &mut Fields, coding: Coding) {
    fields.set("Content-Encoding", coding.name());
    digests::remove(fields);
    // Parts of what is compressed anew each time cannot be asked for.
    fields.remove("Accept-Ranges");
    weaken(fields);
}

/// RFC 9110 §8.8.3.3: content in another coding is another representation, equal in meaning only.
fn weaken(fields: &mut Fields) {
    if let Some(strong) = fields.get("etag").filter(|tag| tag.starts_with(b"\"")) {
        let weak = [b"W/", strong].concat();
        fields.set("ETag", Bytes::from(weak));
    }
}

#[cfg(test)]
mod tests;
