//! Absolute URLs, of those whom the gateway itself asks.

use tollgate_core::diagnostic::Diagnostic;

use crate::model::http::is_host_name;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// An absolute URL, `http` or `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

impl FromText for Url {
    const WHAT: &'static str = "a URL";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let wrong = || {
            Diagnostic::error(format!("`{text}` is no URL"))
                .hint("`https://host.example.com`, with or without a port and a path")
        };
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or_else(wrong)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Diagnostic::error("a URL with a name and a password in it").hint("they would end up in logs"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_host_name(&host.to_ascii_lowercase()) || host.parse::<std::net::Ipv4Addr>().is_ok(),
        };
        let is_text = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_port && is_host && is_text { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

decode_from_text!(Url);
text_schema!(Url, "Url", "description": "An absolute URL.", "pattern": "^https?://[^/]+", "examples": ["https://idp.example.com"]);

/// Whether nobody is between: by TLS, or on this machine.
pub(crate) fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost")
        || host == "[::1]"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_needs_no_tls() {
        for url in [
            "https://a.example",
            "http://localhost/x",
            "http://localhost:9000",
            "http://127.0.0.2:1/",
            "http://[::1]:80/x",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in
            ["http://a.example", "http://localhost.evil.example/", "http://127.evil.example", "http://10.0.0.1:80/"]
        {
            assert!(!is_private(url), "{url}");
        }
    }
}
