//! Words of HTTP: methods and hosts.

use std::fmt;

use tollgate_core::diagnostic::Diagnostic;

use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// The methods that everybody means; others are allowed.
pub(crate) const USUAL_METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// A request method (RFC 9110 §9): upper case, since methods are case-sensitive and all registered ones are so.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(String);

impl Method {
    /// The method as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromText for Method {
    const WHAT: &'static str = "a method";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if text.starts_with(|c: char| c.is_ascii_uppercase()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let mistake = Diagnostic::error(format!("`{text}` is no method"));
        let upper = text.to_ascii_uppercase();
        Err(match USUAL_METHODS.contains(&upper.as_str()) {
            true => mistake.hint(format!("did you mean `{upper}`?")),
            false => mistake.hint("methods are written in upper case, several with commas: `GET,POST /orders`"),
        })
    }
}

decode_from_text!(Method);

/// A host that an api answers for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Just this one, lower-cased.
    Exact(String),
    /// `*.example.com`: any name below, at any depth. Holds `example.com`, lower-cased.
    Wildcard(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Wildcard(below) => write!(f, "*.{below}"),
        }
    }
}

impl FromText for HostPattern {
    const WHAT: &'static str = "a host name";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let lower = text.to_ascii_lowercase();
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(below) => (below, true),
            None => (lower.as_str(), false),
        };
        let ip =
            |t: &str| t.starts_with('[') && t.ends_with(']') && t[1..t.len() - 1].parse::<std::net::Ipv6Addr>().is_ok();
        if is_host_name(name) || (!wildcard && ip(name)) {
            return Ok(if wildcard { Self::Wildcard(name.into()) } else { Self::Exact(name.into()) });
        }
        let mistake = Diagnostic::error(format!("`{text}` is no host"));
        Err(mistake.hint(match text {
            "*" => "leave out `hosts` to answer for every host",
            _ if text.contains("://") => "only the name, without a scheme: `shop.example.com`",
            _ if text.contains(':') => "without a port: a host holds for every port that is listened on",
            _ if text.contains('*') => "a `*` stands only as the whole first part: `*.example.com`",
            _ if !text.is_ascii() => "write it in its ASCII form (punycode, `xn--…`)",
            _ => "a name such as `shop.example.com` or `*.example.com`",
        }))
    }
}

decode_from_text!(HostPattern);
text_schema!(HostPattern, "Host", "description": "A host name in ASCII, or `*.` and a name for all below it; no port.", "pattern": r"^(\*\.)?[A-Za-z0-9_.-]+$|^\[[0-9A-Fa-f:.]+\]$", "examples": ["shop.example.com", "*.shop.example.com"]);

/// Whether this is a host name (or IPv4 address) in lower case: labels of letters, digits, `-` and `_`.
pub(crate) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// What is sent on in the `Host` field: a host, with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostText(String);

impl HostText {
    /// The text as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for HostText {
    const WHAT: &'static str = "a host";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port_is_right = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|n| n > 0) && !p.starts_with('+'));
        match HostPattern::from_text(host) {
            Ok(HostPattern::Exact(_)) if port_is_right => Ok(Self(text.to_owned())),
            _ => Err(Diagnostic::error(format!("`{text}` is no host"))
                .hint("a host, with or without a port: `orders.internal`, `orders.internal:8080`")),
        }
    }
}

decode_from_text!(HostText);
text_schema!(HostText, "HostText", "description": "A host, with or without a port.", "pattern": r"^[^/\s*]+$", "examples": ["orders.internal"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_without_scheme_or_port() {
        let read = |text| HostPattern::from_text(text).map_err(|d| d.hint.unwrap_or_default());
        assert_eq!(read("Shop.Example.COM"), Ok(HostPattern::Exact("shop.example.com".into())));
        assert_eq!(read("*.example.com"), Ok(HostPattern::Wildcard("example.com".into())));
        assert_eq!(read("[::1]"), Ok(HostPattern::Exact("[::1]".into())));
        assert!(read("shop:80").is_err_and(|h| h.contains("without a port")));
        assert!(read("https://shop").is_err_and(|h| h.contains("without a scheme")));
        assert!(read("a.*.b").is_err_and(|h| h.contains("first part")));
        for wrong in ["", "a..b", "-a", "*", "müller.de", "a b", "["] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn methods_are_upper_case() {
        assert!(Method::from_text("GET").is_ok());
        assert!(Method::from_text("M-SEARCH").is_ok());
        assert_eq!(Method::from_text("get").unwrap_err().hint.as_deref(), Some("did you mean `GET`?"));
        assert!(Method::from_text("").is_err());
    }
}
