//! Field names that the gateway itself must know, told apart by length and one compare.

/// A field name the gateway handles itself; everything else is [`Known::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Known {
    Other,
    Accept,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    /// One of those by which gateways and proxies usually tell who calls: `Remote-User`, `Client-Cert` (RFC 9440),
    /// `X-Auth-Request-…`, `X-Consumer-…` and the like.
    Identity,
    KeepAlive,
    Origin,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    Referer,
    Server,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XCorrelationId,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XForwardedPort,
    /// Any other that begins with `X-Forwarded-`.
    XForwardedOther,
    XRealIp,
}

impl Known {
    /// Which name this is, without regard to case (RFC 9110 §5.1).
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let candidates: &[(&str, Self)] = match name.len() {
            2 => &[("te", Self::Te)],
            3 => &[("via", Self::Via)],
            4 => &[("host", Self::Host), ("date", Self::Date)],
            6 => &[
                ("accept", Self::Accept),
                ("cookie", Self::Cookie),
                ("expect", Self::Expect),
                ("origin", Self::Origin),
                ("server", Self::Server),
            ],
            7 => &[("trailer", Self::Trailer), ("upgrade", Self::Upgrade), ("referer", Self::Referer)],
            9 => &[("forwarded", Self::Forwarded), ("x-real-ip", Self::XRealIp)],
            10 => &[
                ("connection", Self::Connection),
                ("user-agent", Self::UserAgent),
                ("keep-alive", Self::KeepAlive),
                ("tracestate", Self::Tracestate),
            ],
            11 => &[("traceparent", Self::Traceparent)],
            12 => &[("content-type", Self::ContentType)],
            13 => &[("authorization", Self::Authorization)],
            14 => &[("content-length", Self::ContentLength), ("http2-settings", Self::Http2Settings)],
            15 => &[("x-forwarded-for", Self::XForwardedFor)],
            16 => &[
                ("x-correlation-id", Self::XCorrelationId),
                ("x-forwarded-host", Self::XForwardedHost),
                ("x-forwarded-port", Self::XForwardedPort),
                ("proxy-connection", Self::ProxyConnection),
            ],
            17 => &[("x-forwarded-proto", Self::XForwardedProto), ("transfer-encoding", Self::TransferEncoding)],
            18 => &[("proxy-authenticate", Self::ProxyAuthenticate)],
            19 => &[("proxy-authorization", Self::ProxyAuthorization)],
            _ => &[],
        };
        // Most names end at their first letter; only what is likely is compared whole.
        let first = name.first().map_or(0, u8::to_ascii_lowercase);
        let is_it = |text: &str| text.as_bytes().first() == Some(&first) && name.eq_ignore_ascii_case(text.as_bytes());
        let known = candidates.iter().find(|(text, _)| is_it(text)).map(|(_, known)| *known);
        known.unwrap_or_else(|| match first {
            b'x' if begins(name, X_FORWARDED) => Self::XForwardedOther,
            b'x' if X_IDENTITY.iter().any(|start| begins(name, start)) => Self::Identity,
            b'r' if begins(name, b"remote-") => Self::Identity,
            b'c' if begins(name, b"client-cert") => Self::Identity,
            _ => Self::Other,
        })
    }

    /// Which name this is for programs that take `_` for `-`, as the variables of CGI do (RFC 3875 §4.1.18) and with them
    /// WSGI, Rack and PHP; [`Known::Other`] for names without `_`.
    #[must_use]
    pub fn disguised(name: &[u8]) -> Self {
        if !name.contains(&b'_') {
            return Self::Other;
        }
        // Longer than any name that is known: what is cut off makes no difference.
        let mut dashed = [0; 32];
        let len = name.len().min(dashed.len());
        for (to, from) in dashed.iter_mut().zip(name) {
            *to = if *from == b'_' { b'-' } else { *from };
        }
        Self::of(&dashed[..len])
    }

    /// Fields that concern one connection only and are never sent on (RFC 9110 §7.6.1, with `Keep-Alive` and
    /// `Proxy-Connection` of old clients); the framing fields are always made anew.
    #[must_use]
    pub fn is_hop_by_hop(self) -> bool {
        const HOPS: u64 = bits(&[
            Known::Connection,
            Known::ContentLength,
            // RFC 9113 §3.1: only means something to the next hop, and that was not asked to switch.
            Known::Http2Settings,
            Known::KeepAlive,
            Known::ProxyConnection,
            Known::Te,
            Known::TransferEncoding,
            Known::Upgrade,
        ]);
        HOPS & (1 << self as u8) != 0
    }

    /// Fields that must not appear in a trailer: framing, routing, request control, authentication
    /// (RFC 9110 §6.5.1).
    #[must_use]
    pub fn is_forbidden_in_trailer(self) -> bool {
        const FORBIDDEN: u64 = bits(&[
            Known::Authorization,
            Known::Connection,
            Known::ContentLength,
            Known::ContentType,
            Known::Cookie,
            Known::Expect,
            Known::Forwarded,
            Known::Host,
            Known::Identity,
            Known::KeepAlive,
            Known::ProxyAuthenticate,
            Known::ProxyAuthorization,
            Known::ProxyConnection,
            Known::Te,
            Known::Traceparent,
            Known::Tracestate,
            Known::Trailer,
            Known::TransferEncoding,
            Known::Upgrade,
            Known::Via,
            Known::XCorrelationId,
            Known::XForwardedFor,
            Known::XForwardedHost,
            Known::XForwardedOther,
            Known::XForwardedPort,
            Known::XForwardedProto,
            Known::XRealIp,
        ]);
        FORBIDDEN & (1 << self as u8) != 0
    }

    /// Fields that say who the client is: written by proxies, and by whoever wants to pass for somebody else.
    #[must_use]
    pub fn tells_of_client(self) -> bool {
        const TELLING: u64 = bits(&[
            Known::Forwarded,
            Known::Identity,
            Known::XForwardedFor,
            Known::XForwardedHost,
            Known::XForwardedOther,
            Known::XForwardedPort,
            Known::XForwardedProto,
            Known::XRealIp,
        ]);
        TELLING & (1 << self as u8) != 0
    }
}

/// How the names of a whole family begin.
const X_FORWARDED: &[u8] = b"x-forwarded-";

/// How fields begin by which Kong, oauth2-proxy, Authelia, Grafana, APISIX, nginx and others tell who calls.
const X_IDENTITY: [&[u8]; 9] = [
    b"x-auth-request-",
    b"x-authenticated-",
    b"x-client-cert",
    b"x-consumer-",
    b"x-credential-identifier",
    b"x-remote-",
    b"x-ssl-client-",
    b"x-userinfo",
    b"x-webauth-",
];

fn begins(name: &[u8], start: &[u8]) -> bool {
    name.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start))
}

const fn bits(names: &[Known]) -> u64 {
    let mut mask = 0;
    let mut i = 0;
    while i < names.len() {
        mask |= 1 << names[i] as u8;
        i += 1;
    }
    mask
}

/// Whether `name` is a field name: one or more token characters (RFC 9110 §5.1, §5.6.2).
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| TOKEN[*b as usize])
}

/// Whether `value` may stand as a field value: no control bytes but tab, no white space around it
/// (RFC 9110 §5.5).
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| matches!(b, b' ' | b'\t'));
    !edge(value.first()) && !edge(value.last()) && value.iter().all(|b| (*b >= b' ' && *b != 0x7f) || *b == b'\t')
}

/// `tchar` of RFC 9110 §5.6.2.
pub static TOKEN: [bool; 256] = token_table();

const fn token_table() -> [bool; 256] {
    let mut table = [false; 256];
    let others = b"!#$%&'*+-.^_`|~";
    let mut i = 0;
    while i < 256 {
        table[i] = (i as u8).is_ascii_alphanumeric();
        i += 1;
    }
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(Known::of(b"CONTENT-length"), Known::ContentLength);
        assert_eq!(Known::of(b"x-forwarded-for"), Known::XForwardedFor);
        assert_eq!(Known::of(b"content-lengt\xe8"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn the_whole_family_of_x_forwarded_is_known() {
        for name in [&b"X-Forwarded-Prefix"[..], b"x-forwarded-ssl", b"X-Forwarded-", b"X-Forwarded-For-Long-After-All"]
        {
            assert_eq!(Known::of(name), Known::XForwardedOther);
        }
        assert_eq!(Known::of(b"X-Forwarded"), Known::Other);
        assert_eq!(Known::of(b"y-forwarded-ssl"), Known::Other);
    }

    #[test]
    fn names_that_tell_who_calls_are_known() {
        for name in [
            "Remote-User",
            "REMOTE-GROUPS",
            "Client-Cert",
            "client-cert-chain",
            "X-Auth-Request-Email",
            "X-Consumer-Username",
            "x-remote-user",
            "X-SSL-Client-Verify",
            "X-Userinfo",
        ] {
            assert_eq!(Known::of(name.as_bytes()), Known::Identity, "{name}");
            assert!(Known::of(name.as_bytes()).tells_of_client());
        }
        assert_eq!(Known::disguised(b"Remote_User"), Known::Identity);
        for name in ["X-Client", "Client-Id", "Remote", "X-User-Agent", "X-Auth"] {
            assert_eq!(Known::of(name.as_bytes()), Known::Other, "{name}");
        }
    }

    #[test]
    fn an_underscore_hides_no_known_name() {
        assert_eq!(Known::disguised(b"X_Forwarded-for"), Known::XForwardedFor);
        assert_eq!(Known::disguised(b"transfer_encoding"), Known::TransferEncoding);
        assert_eq!(Known::disguised(b"X_FORWARDED_SOMETHING_THAT_IS_LONGER_THAN_ALL"), Known::XForwardedOther);
        assert_eq!(Known::disguised(b"X-Forwarded-For"), Known::Other);
        assert_eq!(Known::disguised(b"my_own_field_that_is_longer_than_all"), Known::Other);
        assert_eq!(Known::disguised(b"_"), Known::Other);
    }

    #[test]
    fn only_token_characters_make_a_name() {
        assert!(is_token(b"X-Custom_1"));
        assert!(!is_token(b""));
        assert!(!is_token(b"a b"));
        assert!(!is_token(b"a:"));
        assert!(!is_token(b"\xc3\xa9"));
    }
}
