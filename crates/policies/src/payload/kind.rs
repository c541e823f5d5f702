//! What a body is, as its head tells (RFC 9110 §8.3).

use tollgate_core::head::Fields;
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

/// What the head tells.
pub(super) fn told(fields: &Fields) -> Told {
    // A list of types is none that may be sent, but there are readers who take the first or the last of one.
    let lines = || fields.all("content-type").flat_map(|line| split(line, b','));
    let mut kinds = lines().filter_map(|one| Some((one, kind(essence(one))?)));
    let Some((one, kind)) = kinds.next() else { return Told::Other };
    if lines().filter(|one| !one.trim_ascii().is_empty()).nth(1).is_some() {
        return Told::Several(kind);
    }
    if charsets(one).all(is_utf8) { Told::One(kind) } else { Told::Foreign(kind) }
}

/// Whether it has a coding that would have to be undone first (RFC 9110 §8.4).
pub(super) fn is_coded(fields: &Fields) -> bool {
    let mut names = fields.all("content-encoding").flat_map(|line| line.split(|byte| *byte == b','));
    names.any(|name| !matches!(name.trim_ascii(), b"") && !name.trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// A type without its parameters.
fn essence(one: &[u8]) -> &[u8] {
    one.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

fn kind(essence: &[u8]) -> Option<Kind> {
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

/// The values of all parameters `charset`.
fn charsets(one: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(one, b';').skip(1).filter_map(|parameter| {
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

/// The parts between separators that do not stand in quotes (RFC 9110 §5.6.4).
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        match (is_quoted, *byte) {
            (true, _) if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted && *byte == separator
    })
}
