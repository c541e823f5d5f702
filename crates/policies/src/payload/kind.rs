//! What a body is, as its head tells (RFC 9110 §8.3).

use tollgate_core::dialect::grpc;
use tollgate_core::head::{Fields, RequestHead, Version};
use tollgate_transform::bounds::Values;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json(Values),
    Xml,
}

/// What a head tells of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing that is looked at.
    Other,
    /// This.
    One(Kind),
    /// More than one type, one of which is looked at: two readers may pick different ones.
    Several(Kind),
    /// This, in another encoding than UTF-8.
    Foreign(Kind),
}

/// Sequences of JSON: one in a line, or each behind a separator (RFC 7464).
const SEQUENCES: [&[u8]; 7] = [b"x-ndjson", b"ndjson", b"jsonl", b"x-jsonl", b"jsonlines", b"x-jsonlines", b"json-seq"];

/// What the head tells. Messages of gRPC, which is spoken over HTTP/2 only, are no documents, whatever is in them.
pub(super) fn told(head: &RequestHead) -> Told {
    let fields = &head.fields;
    // There are readers who take the first or the last of several types, and readers who do not mind quotes.
    let mut kinds = fields.all("content-type").flat_map(|line| line.split(|byte| *byte == b',')).filter_map(kind);
    let Some(first) = kinds.next() else { return Told::Other };
    let mut written = fields.all("content-type").flat_map(parts).filter(|one| !one.trim_ascii().is_empty());
    match (written.next(), written.next(), kinds.next()) {
        (Some(one), None, None) if head.version == Version::Http2 && grpc::is_call(one.trim_ascii()) => Told::Other,
        (Some(one), None, None) if kind(one) == Some(first) => {
            if charsets(one).all(is_utf8) {
                Told::One(first)
            } else {
                Told::Foreign(first)
            }
        }
        _ => Told::Several(first),
    }
}

/// Whether it has a coding that would have to be undone first (RFC 9110 §8.4).
pub(super) fn is_coded(fields: &Fields) -> bool {
    let mut names = fields.all("content-encoding").flat_map(|line| line.split(|byte| *byte == b','));
    names.any(|name| !matches!(name.trim_ascii(), b"") && !name.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// What a type is, whatever its parameters.
fn kind(one: &[u8]) -> Option<Kind> {
    let essence = one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let slash = essence.iter().position(|byte| *byte == b'/')?;
    let (main, sub) = (essence[..slash].to_ascii_lowercase(), essence[slash + 1..].to_ascii_lowercase());
    let is_text = matches!(&main[..], b"application" | b"text");
    // RFC 6839 §3.1, RFC 8091 §2, RFC 7303 §4.2.
    match &sub[..] {
        b"stream+json" => Some(Kind::Json(Values::Many)),
        sub if sub.ends_with(b"+json-seq") || (is_text && SEQUENCES.contains(&sub)) => Some(Kind::Json(Values::Many)),
        sub if sub.ends_with(b"+json") || (is_text && matches!(sub, b"json" | b"x-json")) => {
            Some(Kind::Json(Values::One))
        }
        sub if sub.ends_with(b"+xml") || (is_text && sub == b"xml") => Some(Kind::Xml),
        _ => None,
    }
}

/// The values of all parameters `charset`, also of those that stand in quotes: not all readers mind them.
fn charsets(one: &[u8]) -> impl Iterator<Item = &[u8]> {
    one.split(|byte| *byte == b';').skip(1).filter_map(|parameter| {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=');
        let name = parts.next()?.trim_ascii();
        name.eq_ignore_ascii_case(b"charset").then(|| parts.next().unwrap_or_default().trim_ascii())
    })
}

/// What is ASCII is UTF-8, too.
fn is_utf8(charset: &[u8]) -> bool {
    let quoted = charset.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\""));
    [&b"utf-8"[..], b"utf8", b"us-ascii"].iter().any(|known| quoted.unwrap_or(charset).eq_ignore_ascii_case(known))
}

/// The parts between commas that do not stand in quotes (RFC 9110 §5.6.4).
fn parts(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    line.split(move |byte| {
        match (is_quoted, *byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted && *byte == b','
    })
}
