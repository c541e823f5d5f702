//! By what limits tell callers apart: so many requests in a time, or in flight.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use tollgate_config::model::FieldName;
use tollgate_core::country::{Countries, Country};
use tollgate_core::diagnostic::{Diagnostic, nearest};
use tollgate_core::exchange::Exchange;
use tollgate_core::host;
use tollgate_core::principal::Sources;
use tollgate_core::text::FromText;
use tollgate_expr::{Scope, Term};

/// Of an IPv6 address, the part that tells one client from another unless something else is written: the smallest network that a
/// customer gets (RFC 6177 §2, RFC 4291 §2.5.4). Whoever has one has all its addresses.
const IPV6_PREFIX: u8 = 64;
/// The words that are no expressions.
const WORDS: [&str; 7] = ["user", "consumer", "ip", "country", "api", "route", "host"];

/// One part of what callers are told apart by.
#[derive(Debug)]
pub(crate) enum Part {
    /// Who calls: the source that vouches for them, and their name there.
    User,
    /// The application.
    Consumer,
    /// The client's address; of IPv6 so many bits.
    Ip(u8),
    /// The country of the client's address, which somebody knows.
    Country(Arc<dyn Countries>),
    Api,
    Route,
    Host,
    /// The value of an expression; whether it is about the caller.
    Term(Term, Scope),
}

impl Part {
    /// Reads `user`, `ip/56`, `header X-Tenant`, or an expression.
    pub(crate) fn read(text: &str, sources: &Sources) -> Result<Self, Diagnostic> {
        Ok(match text {
            "country" => Self::Country(sources.countries.clone().ok_or_else(nobody_knows_countries)?),
            "user" => Self::User,
            "consumer" => Self::Consumer,
            "ip" => Self::Ip(IPV6_PREFIX),
            "api" => Self::Api,
            "route" => Self::Route,
            "host" => Self::Host,
            _ => match (text.strip_prefix("ip/"), text.strip_prefix("header ")) {
                (Some(bits), _) => {
                    Self::Ip(bits.parse().ok().filter(|bits| (1..=128).contains(bits)).ok_or_else(|| {
                        let mistake = Diagnostic::error(format!("`{text}` has no prefix of an IPv6 address"));
                        mistake.hint("so many of its bits, from 1 to 128: `ip/56`; IPv4 addresses are taken whole")
                    })?)
                }
                (_, Some(name)) => {
                    Self::expression(&format!("header(\"{}\")", FieldName::from_text(name.trim())?.as_str()))?
                }
                _ => Self::expression(text)?,
            },
        })
    }

    fn expression(text: &str) -> Result<Self, Diagnostic> {
        if let Ok(term) = Term::text_of(text, Scope::Request) {
            return Ok(Self::Term(term, Scope::Request));
        }
        Term::text_of(text, Scope::Caller).map(|term| Self::Term(term, Scope::Caller)).map_err(|error| {
            let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let mistake = Diagnostic::error(format!("nobody is told apart by `{text}`: {error}"));
            match (nearest(text, WORDS).filter(|_| is_word), error.hint) {
                (Some(meant), _) => mistake.hint(format!("did you mean `{meant}`?")),
                (None, Some(hint)) if !is_word => mistake.hint(hint),
                _ => mistake.hint("`user`, `consumer`, `ip`, `country`, `api`, `route`, `host`, `header X-Tenant`, or a value such as `claims.tenant`"),
            }
        })
    }

    /// Whether nobody can tell before it is known who calls.
    pub(crate) fn is_about_the_caller(&self) -> bool {
        matches!(self, Self::User | Self::Consumer | Self::Term(_, Scope::Caller))
    }

    /// Adds what this request has of it, with a length before each text, so that no two requests are alike by chance. What is not there is
    /// empty.
    pub(crate) fn add_to(&self, key: &mut Vec<u8>, x: &Exchange) {
        let caller = x.principal.as_deref();
        match self {
            Self::User => {
                add(key, caller.map_or("", |caller| &*caller.source).as_bytes());
                add(key, caller.map_or("", |caller| &*caller.subject).as_bytes());
            }
            Self::Consumer => {
                add(key, caller.and_then(|caller| caller.consumer.as_deref()).unwrap_or_default().as_bytes())
            }
            Self::Ip(bits) => match x.client.ip() {
                Some(IpAddr::V4(address)) => add(key, &address.octets()),
                Some(IpAddr::V6(address)) => add(key, &network(address, *bits).octets()),
                None => add(key, b"unix"),
            },
            Self::Country(known) => add(key, x.country(&**known).as_ref().map_or("", Country::as_str).as_bytes()),
            Self::Api => add(key, x.route.api.as_bytes()),
            Self::Route => {
                add(key, x.route.api.as_bytes());
                add(key, x.route.name.as_bytes());
            }
            Self::Host => add(key, host::name(x.head.host()).to_ascii_lowercase().as_bytes()),
            Self::Term(term, _) => add(key, term.text(x).unwrap_or_default().as_bytes()),
        }
    }
}

/// The mistake of whoever names a country where there is nobody to ask.
pub(crate) fn nobody_knows_countries() -> Diagnostic {
    let mistake = Diagnostic::error("nobody knows the countries of addresses here");
    mistake.hint("at the top of the file, a database of them in MaxMind's format: `geo: ./GeoLite2-Country.mmdb`")
}

fn add(key: &mut Vec<u8>, part: &[u8]) {
    key.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    key.extend(part);
}

fn network(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use tollgate_core::clock::Clock;
    use tollgate_core::facts::{Conn, Route};

    use super::*;

    fn key(text: &str, from: &str) -> Vec<u8> {
        let address = format!("{from}:1").parse().or_else(|_| format!("[{from}]:1").parse()).unwrap();
        let conn = Arc::new(Conn::new(address, address, 0));
        let x = Exchange::new(conn, Arc::new(Route::new("shop", "/orders")), Clock::real().now());
        let mut key = Vec::new();
        Part::read(text, &Sources::default()).unwrap().add_to(&mut key, &x);
        key
    }

    #[test]
    fn addresses_are_told_apart_by_the_network_that_somebody_has() {
        assert_ne!(key("ip", "192.0.2.1"), key("ip", "192.0.2.2"));
        assert_eq!(key("ip", "2001:db8::1"), key("ip", "2001:db8::2:3:4:5"));
        assert_ne!(key("ip", "2001:db8::1"), key("ip", "2001:db8:0:1::1"));
        assert_eq!(key("ip/56", "2001:db8::1"), key("ip/56", "2001:db8:0:1::1"));
        assert_ne!(key("ip/56", "2001:db8::1"), key("ip/56", "2001:db8:0:100::1"));
        assert_ne!(key("ip/128", "2001:db8::1"), key("ip/128", "2001:db8::2"));
        assert_eq!(key("ip", "::ffff:192.0.2.1"), key("ip", "192.0.2.1"));
    }

    #[test]
    fn what_is_not_there_is_one_value_and_no_two_are_alike_by_chance() {
        assert_eq!(key("user", "192.0.2.1"), key("user", "192.0.2.2"));
        assert_eq!(key("header X-Tenant", "192.0.2.1"), [0; 4]);
        let both = |a: &[u8], b: &[u8]| {
            let mut key = Vec::new();
            add(&mut key, a);
            add(&mut key, b);
            key
        };
        assert_ne!(both(b"a", b"bc"), both(b"ab", b"c"));
    }

    #[test]
    fn only_what_is_about_the_caller_has_to_wait_for_them() {
        for (text, is) in [
            ("user", true),
            ("consumer", true),
            ("claims.tenant", true),
            ("ip", false),
            ("header X-Tenant", false),
            ("query(\"key\")", false),
        ] {
            assert_eq!(Part::read(text, &Sources::default()).unwrap().is_about_the_caller(), is, "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let told = |text| Part::read(text, &Sources::default()).unwrap_err().hint.unwrap();
        assert_eq!(told("users"), "did you mean `user`?");
        assert!(told("xyz").starts_with("`user`, `consumer`"));
        assert!(told("country").contains("`geo: ./GeoLite2-Country.mmdb`"));
        assert!(told("ip/0").contains("from 1 to 128") && told("ip/129") == told("ip/x"));
        assert!(
            Part::read("header a b", &Sources::default()).is_err()
                && Part::read("scopes", &Sources::default()).is_err()
        );
    }
}
