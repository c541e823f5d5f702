//! The one form of a request that is signed: the "canonical request" of the AWS documentation, and the string that is
//! made of it.
//!
//! Nothing is in it twice: where two requests that mean different things would have the same form, the request is
//! refused.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::key::Scope;
use super::{ALGORITHM, SIGNATURE};
use crate::message::Message;

/// How a service writes the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathStyle {
    pub(super) dots: Dots,
    pub(super) encoding: Encoding,
}

/// What becomes of `.`, `..` and empty segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dots {
    Kept,
    Removed,
}

/// How often a path is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is sent.
    Once,
    /// What is sent, once more.
    Twice,
}

impl PathStyle {
    /// S3 and what is like it: the names of objects are whatever their owners like.
    const OBJECTS: Self = Self { dots: Dots::Kept, encoding: Encoding::Once };
    /// All other services.
    const OTHERS: Self = Self { dots: Dots::Removed, encoding: Encoding::Twice };

    /// The one of this service.
    pub(super) fn of(service: &str) -> Self {
        if is_for_objects(service) { Self::OBJECTS } else { Self::OTHERS }
    }
}

/// Whether a service of this name has its requests signed as S3 has them.
pub(super) fn is_for_objects(service: &str) -> bool {
    matches!(service, "s3" | "s3express" | "s3-object-lambda" | "s3-outposts")
}

/// The canonical request. `signed`: the names of the fields, in lower case and in order; `payload`: what stands for the
/// body.
///
/// # Errors
/// The request has no such form, in words for whoever sent it.
pub(super) fn request(
    message: &Message<'_>,
    style: PathStyle,
    signed: &[&str],
    payload: &str,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(1024);
    out.extend(message.method.as_bytes());
    out.push(b'\n');
    out.extend(path(message.path, style)?.as_bytes());
    out.push(b'\n');
    out.extend(query(message.query.unwrap_or_default())?.as_bytes());
    out.push(b'\n');
    for name in signed {
        field(message, name, &mut out)?;
    }
    out.push(b'\n');
    out.extend(signed.join(";").as_bytes());
    out.push(b'\n');
    out.extend(payload.as_bytes());
    Ok(out)
}

/// What is signed: of the canonical request its hash, which is given back beside it.
pub(super) fn string_to_sign(stamp: &str, scope: Scope<'_>, canonical: &[u8]) -> (String, String) {
    let hash = HEXLOWER.encode(digest::digest(&digest::SHA256, canonical).as_ref());
    (format!("{ALGORITHM}\n{stamp}\n{}\n{hash}", scope.text()), hash)
}

/// One field: its values trimmed, with single blanks, and joined.
fn field(message: &Message<'_>, name: &str, out: &mut Vec<u8>) -> Result<(), String> {
    out.extend(name.as_bytes());
    out.push(b':');
    if name == "host" {
        trimmed(message.host.as_bytes(), out);
    } else {
        let before = out.len();
        for (at, value) in message.all(name).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            trimmed(value, out);
        }
        if out.len() == before && message.all(name).next().is_none() {
            return Err(format!("the signed field `{name}` is not in the request"));
        }
    }
    out.push(b'\n');
    Ok(())
}

fn trimmed(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend(word);
    }
}

/// The path in its one form.
fn path(raw: &str, style: PathStyle) -> Result<String, String> {
    // Some send no path at all.
    let raw = if raw.is_empty() { "/" } else { raw };
    if !raw.starts_with('/') {
        return Err("the path does not begin with `/`".to_owned());
    }
    let path = match style.dots {
        Dots::Kept => raw.to_owned(),
        Dots::Removed => without_dots(raw)?,
    };
    let mut out = String::with_capacity(path.len() * 2);
    match style.encoding {
        Encoding::Once => encode(&path, b"/", &mut out).map_err(|()| "the path has a `%` without two hex digits")?,
        Encoding::Twice => encode_all(path.as_bytes(), b"/", &mut out),
    }
    Ok(out)
}

/// RFC 3986 §5.2.4 as AWS has it: empty segments go, too, and what is above the root is the root.
fn without_dots(raw: &str) -> Result<String, String> {
    let mut segments = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    // For RFC 3986 `/a/.` is `/a/`, for AWS it is `/a`: one would be signed, and the other one asked for.
    if !segments.is_empty() && matches!(raw.rsplit('/').next(), Some("." | "..")) {
        return Err("the path ends in a `.` or `..` segment".to_owned());
    }
    let end = if !segments.is_empty() && raw.ends_with('/') { "/" } else { "" };
    Ok(format!("/{}{end}", segments.join("/")))
}

/// The query in its one form: without the signature, in order of its names and their values.
fn query(raw: &str) -> Result<String, String> {
    let mut pairs = pairs(raw)?;
    pairs.retain(|(name, _)| name != SIGNATURE);
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(pairs.join("&"))
}

/// The names and values of a query, each encoded in its one form. A `+` is a blank, as in forms: AWS has it so, and whoever
/// signs `%20` may send `+`.
///
/// # Errors
/// An encoding is none.
pub(super) fn pairs(raw: &str) -> Result<Vec<(String, String)>, String> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let encoded = |text: &str| -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let blanks = text.replace('+', " ");
        encode(&blanks, b"", &mut out).map_err(|()| "the query has a `%` without two hex digits".to_owned())?;
        Ok(out)
    };
    let pairs = raw.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| Ok((encoded(name)?, encoded(value)?))).collect()
}

/// Writes every octet in its one form, whether it came encoded or not: as itself if it may stand for itself anywhere
/// (RFC 3986 §2.3) or is one of `kept` and came so, else encoded. So `%2F` is never taken for a slash.
fn encode(text: &str, kept: &[u8], out: &mut String) -> Result<(), ()> {
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte == b'%' {
            let (high, low) = (tail.first().copied().and_then(hex), tail.get(1).copied().and_then(hex));
            let octet = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(())?;
            encode_all(&[octet], b"", out);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            encode_all(&[*byte], kept, out);
        }
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Encodes all but the octets that may stand for themselves anywhere, and those of `kept`; a `%`, too.
fn encode_all(bytes: &[u8], kept: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || kept.contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form_per_style() {
        let objects = |raw| path(raw, PathStyle::of("s3"));
        let others = |raw| path(raw, PathStyle::of("execute-api"));
        for (raw, once, twice) in [
            ("", "/", "/"),
            ("/a//./b/../c", "/a//./b/../c", "/a/c"),
            ("/a%20b", "/a%20b", "/a%2520b"),
            ("/a%2fb", "/a%2Fb", "/a%252fb"),
            ("/%7Ea~", "/~a~", "/%257Ea~"),
            ("/a+b:c@d", "/a%2Bb%3Ac%40d", "/a%2Bb%3Ac%40d"),
            ("/ü", "/%C3%BC", "/%C3%BC"),
            ("/../..", "/../..", "/"),
            ("/a/", "/a/", "/a/"),
        ] {
            assert_eq!((objects(raw).as_deref(), others(raw).as_deref()), (Ok(once), Ok(twice)), "{raw}");
        }
        assert!(objects("/%2").is_err() && objects("/%zz").is_err() && objects("a").is_err() && others("*").is_err());
        assert!(others("/a/.").is_err() && others("/a/b/..").is_err(), "AWS and RFC 3986 do not agree on these");
    }

    #[test]
    fn a_query_is_sorted_by_encoded_names_and_then_values() {
        for (raw, form) in [
            ("", ""),
            ("b&a=2&a=1&a", "a=&a=1&a=2&b="),
            ("a-b=1&a=2", "a=2&a-b=1"),
            ("%61=%7e&X-Amz-Signature=f", "a=~"),
            ("a=b=c/%2f", "a=b%3Dc%2F%2F"),
            ("a+b=1+2&a%2Bb=3%20+", "a%20b=1%202&a%2Bb=3%20%20"),
            ("&", "=&="),
            ("é=1&z=2", "%C3%A9=1&z=2"),
        ] {
            assert_eq!(query(raw).as_deref(), Ok(form), "{raw}");
        }
        assert!(query("a=%").is_err() && query("%4=a").is_err());
    }
}
