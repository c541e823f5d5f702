//! What a browser tells of a request: whether a person asks for a page, whose page asks, and where somebody may be led back to.

use tollgate_core::exchange::Exchange;
use tollgate_core::head::Method;

use crate::checks::{Check, on};

/// Where clients reach the gateway: scheme and host, as this one sees them, or as a trusted proxy tells.
pub(crate) fn origin(x: &Exchange) -> String {
    format!("{}://{}", x.scheme, x.asked_host().to_ascii_lowercase())
}

/// Whether a secret may be kept by a browser on this connection: under TLS, or on one machine.
pub(crate) fn is_safe(x: &Exchange) -> bool {
    x.scheme == "https" || is_this_machine(x.asked_host())
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(address, _)| address == "::1"),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase(),
    };
    let is_loopback = name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    is_loopback || name == "localhost" || name.ends_with(".localhost")
}

/// Whether a person wants to see a page: the answer may lead them elsewhere. A program is told, for it would follow in vain.
pub(crate) fn is_navigation(x: &Exchange) -> bool {
    let fields = &x.head.fields;
    if !matches!(x.head.method, Method::Get | Method::Head) || fields.has("upgrade") || fields.has("x-requested-with") {
        return false;
    }
    // Fetch Metadata: what browsers say, and pages cannot.
    match fields.text("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => fields.text("accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Whether another site's page had this sent, with a cookie that its user did not mean to show: anything but reading, and opening a
/// WebSocket. `own`: where the gateway is reached, beside where this request came to.
pub(crate) fn is_cross_site(x: &Exchange, own: &[String]) -> bool {
    if !on(Check::OtherSite) {
        return false;
    }
    let fields = &x.head.fields;
    // Who asks for somebody else (`serve: check`) says which method it is about; who says so without being asked is judged no less strictly.
    let of_another = ["x-forwarded-method", "x-original-method"];
    let told = of_another.into_iter().flat_map(|name| fields.all(name)).map(Method::of);
    let is_reading = |method: Method| matches!(method, Method::Get | Method::Head | Method::Options | Method::Trace);
    let reads = std::iter::once(x.head.method).chain(told).all(is_reading);
    // A WebSocket over HTTP/2 is a CONNECT (RFC 8441 §4).
    if reads && !fields.has("upgrade") && fields.text("sec-fetch-mode") != Some("websocket") {
        return false;
    }
    match (fields.text("sec-fetch-site"), fields.text("origin")) {
        (Some("same-origin" | "none"), _) => false,
        (_, Some(said)) => {
            !own.iter().any(|own| own.eq_ignore_ascii_case(said)) && !said.eq_ignore_ascii_case(&origin(x))
        }
        (Some(_), None) => true,
        // No browser of these years: what keeps its cookies from others is SameSite.
        (None, None) => false,
    }
}

/// Whether it is a place on this host (RFC 3986 §4.2): a path, and nothing that a browser takes for another host.
pub(crate) fn is_local(target: &str) -> bool {
    target.starts_with('/')
        && (!target.starts_with("//") || !on(Check::OtherHost))
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && target.len() <= 2048
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tollgate_core::clock::Clock;
    use tollgate_core::facts::{Conn, Route};

    use super::*;

    fn exchange(method: Method, fields: &[(&'static str, &'static str)]) -> Exchange {
        let address = ([127, 0, 0, 1], 1).into();
        let mut x =
            Exchange::new(Arc::new(Conn::new(address, address, 0)), Arc::new(Route::default()), Clock::real().now());
        x.head.method = method;
        fields.iter().for_each(|(name, value)| x.head.fields.add(*name, *value));
        x
    }

    #[test]
    fn a_person_who_wants_a_page_is_told_from_a_program() {
        for (fields, wants) in [
            (&[("Sec-Fetch-Mode", "navigate")][..], true),
            (&[("Accept", "text/html,*/*")], true),
            (&[("Sec-Fetch-Mode", "cors"), ("Accept", "text/html")], false),
            (&[("Accept", "application/json")], false),
            (&[("Accept", "text/html"), ("X-Requested-With", "XMLHttpRequest")], false),
            (&[("Sec-Fetch-Mode", "navigate"), ("Upgrade", "websocket")], false),
            (&[], false),
        ] {
            assert_eq!(is_navigation(&exchange(Method::Get, fields)), wants, "{fields:?}");
        }
        assert!(!is_navigation(&exchange(Method::Post, &[("Sec-Fetch-Mode", "navigate")])));
    }

    #[test]
    fn another_sites_page_may_read_and_no_more() {
        let own = ["https://app.example".to_owned()];
        for (method, fields, is_foreign) in [
            (Method::Get, &[("Origin", "https://evil.example")][..], false),
            (Method::Post, &[("Origin", "https://evil.example")], true),
            (Method::Post, &[("Origin", "null")], true),
            (Method::Post, &[("Origin", "https://APP.example")], false),
            (Method::Post, &[("Origin", "https://app.example.evil.example")], true),
            (Method::Post, &[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://proxied.example")], false),
            (Method::Post, &[("Sec-Fetch-Site", "same-site")], true),
            (Method::Post, &[("Sec-Fetch-Site", "cross-site")], true),
            (Method::Post, &[], false),
            (Method::Get, &[("Upgrade", "websocket"), ("Origin", "https://evil.example")], true),
            (Method::Get, &[("Upgrade", "websocket"), ("Origin", "https://app.example")], false),
        ] {
            assert_eq!(is_cross_site(&exchange(method, fields), &own), is_foreign, "{method:?} {fields:?}");
        }
    }

    #[test]
    fn nobody_is_led_to_another_host() {
        for target in ["/", "/a?b=c", "/a//b", "/%2f/evil", "/a?to=https://evil.example"] {
            assert!(is_local(target), "{target}");
        }
        for target in
            ["", "a", "//evil", "/\\evil", "\\\\evil", "https://evil", "/a\\b", "/a\tb", "/\n/evil", "/é", " /a"]
        {
            assert!(!is_local(target), "{target}");
        }
    }

    #[test]
    fn only_this_machine_is_safe_without_tls() {
        for host in ["localhost", "localhost:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "app.localhost"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com", "10.0.0.1:80", "[::2]:80", "127.0.0.1.example.com"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
