//! Decodes compressed request bodies (gzip, deflate, br, zstd) before they go to the service.
//!
//! # When to use
//! When clients send compressed bodies (phones, log shippers) and the service does not read them, or when a policy is to
//! look into them. Several codings are undone in turn. The service gets the plain content, in chunks, without
//! `Content-Encoding`, and without the digests that told of other bytes.
//!
//! A small body may grow without end, on purpose above all: it is cut off with 413 once it is larger than `most`, or once it
//! is over 1 MiB and more than `ratio` times what came. What a route may receive is said by `body`, and counts what is sent.
//! A body that is not what its `Content-Encoding` says, ends too early, or goes on behind its end is answered 400. The
//! request may have been begun at the service by then; it is cut off there, and never looks whole.
//!
//! # Example
//! ```yaml
//! decompress:
//!   codings: [gzip, zstd]
//!   most: 5MB
//!   ratio: 50
//! ```
//!
//! # Faults
//! - `decompress/coding` (415): a coding that is not taken; `Accept-Encoding` of the answer names those that are.
//! - `decompress/malformed` (400): the body is not what its `Content-Encoding` says.
//! - `decompress/too-large` (413): the body becomes larger than allowed.
//! - `decompress/unavailable` (503): there is no memory for it.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use tollgate_core::body::{Finish, Length, RecodeError, Recoder};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::exchange::Exchange;
use tollgate_core::head::Fields;
use tollgate_core::node::{Entry, Node, Value};
use tollgate_core::policy::{BuildCx, Built, Hooks, Policy, PolicyConfig, PolicyKind, Stage, Step};
use tollgate_core::problem::{Fault, Problem};
use tollgate_core::section;
use tollgate_core::units::{Bounded, ByteSize};
use tollgate_transform::coding::{Bounds, Coding, Decompressor};

use crate::kit::codings;
use crate::kit::digests;
use crate::kit::forms::{ShortForm, joined, with_short};

section! {
    /// Decodes compressed request bodies (gzip, deflate, br, zstd) before they go to the service.
    pub struct DecompressConfig {
        /// Which codings are taken: `br`, `zstd`, `gzip`, `deflate`.
        codings: Taken,
        /// Most bytes that a body may become.
        most: ByteSize = "10MB",
        /// Most bytes that one byte may become, once there is more than 1 MiB.
        ratio: Bounded<1, 100_000> = 100,
    }
}

impl PolicyConfig for DecompressConfig {
    const NAME: &'static str = "decompress";
    const SUMMARY: &'static str =
        "Decodes compressed request bodies (gzip, deflate, br, zstd) before they go to the service.";
    const EXAMPLE: &'static str = "\
codings: [gzip, zstd]
most: 5MB
ratio: 50";
    const FAULTS: &'static [&'static Fault] = &[&CODING, &MALFORMED, &TOO_LARGE, &MEMORY];

    fn desugar(node: Node) -> Node {
        let span = node.span.clone();
        match &node.value {
            Value::String(text) if text == "on" => Node::new(Value::Map(Vec::new()), span),
            Value::List(_) => Node::new(Value::Map(vec![Entry::at("codings", node)]), span),
            _ => node,
        }
    }

    fn build(self, _: &BuildCx<'_>) -> Result<Built, Diagnostic> {
        let bounds = Bounds { most: self.most.0, ratio: self.ratio.get() };
        Ok(vec![(Stage::Validate, Arc::new(Decompress { taken: self.codings.0, bounds }))])
    }
}

/// This policy in the list.
pub static KIND: PolicyKind = PolicyKind {
    schema: |generator| with_short(DecompressConfig::json_schema(generator), SHORT_FORMS),
    ..PolicyKind::of::<DecompressConfig>()
};

pub(crate) const SHORT_FORMS: &[ShortForm] = &[
    ShortForm { short: "on", long: "{}", schema: || json!({ "const": "on" }) },
    ShortForm {
        short: "[gzip, zstd]",
        long: "{ codings: [gzip, zstd] }",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": "string", "enum": names() } }),
    },
];

fn names() -> [&'static str; 4] {
    Coding::ALL.map(Coding::name)
}

/// The codings that are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken(Vec<Coding>);

impl Decode for Taken {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        codings::decode(node, cx, &Coding::ALL).map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(Coding::ALL.to_vec()))
    }
}

impl JsonSchema for Taken {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Codings".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "uniqueItems": true,
            "items": { "type": "string", "enum": names() },
            "default": names(),
        })
    }
}

#[derive(Debug)]
struct Decompress {
    taken: Vec<Coding>,
    bounds: Bounds,
}

/// Nobody needs more of them on one body, and each costs memory for as long as the body passes.
const MOST_CODINGS: usize = 3;

impl Policy for Decompress {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, x: &'a mut Exchange) -> Step<'a> {
        if matches!(x.length, Length::None | Length::Known(0)) {
            return Step::next();
        }
        match self.undo(&x.head.fields) {
            Ok(recoders) if recoders.is_empty() => {}
            Ok(recoders) => {
                x.recoders.extend(recoders);
                x.head.fields.remove("Content-Encoding");
                digests::remove(&mut x.head.fields);
            }
            Err(problem) => return Step::refuse(problem),
        }
        Step::next()
    }

    fn describe(&self) -> String {
        let Bounds { most, ratio } = self.bounds;
        format!("{}; at most {most} bytes, {ratio} for each that came", self.names())
    }
}

impl Decompress {
    fn names(&self) -> String {
        joined(self.taken.iter().map(|coding| coding.name()))
    }

    /// What undoes the codings of a body, the last one that was applied first (RFC 9110 §8.4).
    fn undo(&self, fields: &Fields) -> Result<Vec<Box<dyn Recoder>>, Problem> {
        let lines = fields.all("content-encoding").flat_map(|line| line.split(|byte| *byte == b','));
        let names = lines.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        // RFC 9110 §12.5.3: no coding at all; some clients write it nevertheless.
        let applied: Vec<&[u8]> = names.filter(|name| !name.eq_ignore_ascii_case(b"identity")).collect();
        if applied.len() > MOST_CODINGS {
            return Err(self.refuse(format!("more than {MOST_CODINGS} codings on one body are not taken")));
        }
        let mut recoders: Vec<Box<dyn Recoder>> = Vec::with_capacity(applied.len());
        for name in applied.into_iter().rev() {
            let Some(coding) = Coding::of(name).filter(|coding| self.taken.contains(coding)) else {
                return Err(self.refuse(format!("`{}` is not taken here", String::from_utf8_lossy(name))));
            };
            let Some(decompressor) = Decompressor::new(coding, self.bounds) else {
                return Err(MEMORY.problem().cause("there is no memory to decompress it").header("Retry-After", "1"));
            };
            recoders.push(Box::new(Unpack(decompressor)));
        }
        Ok(recoders)
    }

    /// RFC 9110 §12.5.3: the answer says which codings are taken.
    fn refuse(&self, detail: String) -> Problem {
        CODING.problem().detail(detail).header("Accept-Encoding", self.names())
    }
}

/// A decompressor whose errors are the client's.
#[derive(Debug)]
struct Unpack(Decompressor);

impl Recoder for Unpack {
    fn recode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, RecodeError> {
        self.0.recode(input, output)
    }

    fn flush(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        self.0.flush(output)
    }

    fn finish(&mut self, output: &mut Vec<u8>) -> Result<Finish, RecodeError> {
        self.0.finish(output)
    }

    fn problem(&self, error: RecodeError) -> Option<Problem> {
        let fault = match error {
            RecodeError::Malformed(_) => &MALFORMED,
            RecodeError::TooLarge => &TOO_LARGE,
        };
        Some(fault.problem().detail(error.to_string()))
    }
}

static CODING: Fault = Fault::client(
    "decompress/coding",
    415,
    "This content coding is not taken",
    "The body's `Content-Encoding` names a coding that the route does not take, or too many. Send it in one of those that \
     `Accept-Encoding` of the answer names, or plain; or add the coding to `decompress.codings`.",
);

static MEMORY: Fault = Fault::gateway(
    "decompress/unavailable",
    503,
    "The body cannot be decompressed now",
    "Try again. For the operator: there is no memory for it; fewer requests at a time, or more memory.",
);

static MALFORMED: Fault = Fault::client(
    "decompress/malformed",
    400,
    "The body is not what its Content-Encoding says",
    "The body could not be decoded: it is damaged, ends too early, goes on behind its end, or was compressed with another \
     coding than `Content-Encoding` says. `deflate` means the zlib format (RFC 9110 §8.4.1.2).",
);

static TOO_LARGE: Fault = Fault::client(
    "decompress/too-large",
    413,
    "The body becomes too large",
    "Decoded, the body is larger than `decompress.most` allows, or so much larger than what was sent that it is taken for \
     an attack (`decompress.ratio`). Send it in parts, or raise the limit.",
);

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_testkit::bench::{Bench, Outcome};

    fn sent(yaml: &str, coding: &str) -> Outcome {
        let fields = [("Content-Encoding", coding), ("Content-Length", "100"), ("Repr-Digest", "x")];
        Bench::of::<DecompressConfig>(yaml).request("POST", "/", &fields)
    }

    #[test]
    fn a_compressed_body_is_decoded_and_its_head_says_no_more_of_it() {
        for coding in ["gzip", "x-gzip", "Deflate", "br", "zstd", "identity, gzip"] {
            let passed = sent("on", coding).passes();
            assert_eq!(passed.exchange().recoders.len(), 1, "{coding}");
            for gone in ["content-encoding", "content-length", "repr-digest"] {
                assert_eq!(passed.request_headers(gone), [""; 0], "{coding}: {gone}");
            }
        }
    }

    #[test]
    fn several_codings_are_undone_from_the_last_one_on() {
        let passed = sent("on", "gzip, br").passes();
        let told: Vec<String> = passed.exchange().recoders.iter().map(|recoder| format!("{recoder:?}")).collect();
        assert!(told[0].contains("Br") && told[1].contains("Gzip"), "{told:?}");
    }

    #[test]
    fn what_is_not_taken_is_told_with_what_is() {
        for coding in ["compress", "gzip, lzma", "zstd", "gzip,gzip,gzip,gzip"] {
            let refused = sent("[gzip, br]", coding).refused_with("decompress/coding").replies(415);
            assert_eq!(refused.headers("accept-encoding"), ["gzip, br"], "{coding}");
        }
        let refused = sent("on", "lzma").refused_with("decompress/coding");
        assert_eq!(refused.problem()["detail"], "`lzma` is not taken here");
    }

    #[test]
    fn what_is_not_compressed_passes_untouched() {
        let bench = Bench::of::<DecompressConfig>("on");
        let plain = bench.request("POST", "/", &[("Content-Length", "5"), ("Digest", "x")]).passes();
        assert_eq!((plain.exchange().recoders.len(), plain.request_headers("digest").len()), (0, 1));
        let named = sent("on", "identity").passes();
        assert_eq!(named.exchange().recoders.len(), 0);
        for nothing in [vec![("Content-Encoding", "lzma")], vec![("Content-Encoding", "gzip"), ("Content-Length", "0")]]
        {
            assert_eq!(bench.request("POST", "/", &nothing).passes().exchange().recoders.len(), 0);
        }
    }

    #[test]
    fn errors_are_told_as_the_clients() {
        let recoders = Decompress { taken: vec![Coding::Gzip], bounds: Bounds { most: 10, ratio: 100 } };
        let mut fields = Fields::default();
        fields.add("Content-Encoding", "gzip");
        let mut recoders = recoders.undo(&fields).unwrap();
        let error = recoders[0].recode(b"no gzip at all", &mut Vec::new()).unwrap_err();
        assert_eq!(recoders[0].problem(error).map(|problem| problem.fault.slug), Some("decompress/malformed"));
        let problem = recoders[0].problem(RecodeError::TooLarge);
        assert_eq!(
            problem.map(|problem| (problem.fault.slug, problem.fault.status)),
            Some(("decompress/too-large", 413))
        );
    }

    #[test]
    fn codings_and_bounds_are_checked() {
        let told = |yaml: &str| Bench::mistakes::<DecompressConfig>(yaml).join("; ");
        assert!(told("[lzma]").contains("one of: br, zstd, gzip, deflate"));
        assert!(told("ratio: 0").contains("out of range"));
        assert!(told("most: large").contains("is no size"));
    }
}
