//! Addresses: where to listen, and where a request is sent.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tollgate_core::diagnostic::Diagnostic;

use crate::model::http::is_host_name;
use tollgate_core::text::{FromText, decode_from_text, text_schema};

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix:";
/// What stands before a name whose SRV records say where instances are.
const SRV: &str = "srv:";
/// The longest path of a Unix socket, in bytes: the system keeps room for no more, its final zero included.
const LONGEST_PATH: usize = 107;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// A port on all addresses, IPv4 and IPv6 (dual stack).
    AllAddresses(u16),
    /// Just this address.
    Socket(SocketAddr),
    /// A Unix socket: the file that is made for it.
    Unix(Arc<Path>),
}

impl Bind {
    /// The port; a Unix socket has none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::AllAddresses(port) => Some(*port),
            Self::Socket(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }

    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::AllAddresses(_) => false,
            Self::Socket(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether what is sent to `address` from this machine comes out here, going by what is written.
    #[must_use]
    pub fn is_reached_at(&self, address: &Address) -> bool {
        let any = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback();
        match (self, address) {
            (Self::Unix(own), Address::Unix(path)) => own == path,
            (Self::AllAddresses(own), Address::Socket(to)) => *own == to.port() && any(to.ip().to_canonical()),
            (Self::Socket(own), Address::Socket(to)) => {
                let (ip, wanted) = (own.ip().to_canonical(), to.ip().to_canonical());
                own.port() == to.port()
                    && (ip == wanted
                        || ip.is_unspecified() && any(wanted)
                        || wanted.is_unspecified() && ip.is_loopback())
            }
            (_, Address::Name { name, port }) => {
                let is_here = name == "localhost" || name.ends_with(".localhost");
                let local = |own: &SocketAddr| any(own.ip().to_canonical());
                is_here && self.port() == Some(*port) && !matches!(self, Self::Socket(own) if !local(own))
            }
            _ => false,
        }
    }

    /// Whether the two cannot both be bound.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let everything = |bind: &Self| match bind {
            Self::AllAddresses(_) => true,
            Self::Socket(address) => address.ip().is_unspecified(),
            Self::Unix(_) => false,
        };
        self.port() == other.port() && (self == other || everything(self) || everything(other))
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllAddresses(port) => port.fmt(f),
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromText for Bind {
    const WHAT: &'static str = "a port, an address and port, or a Unix socket";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return unix_path(path).map(Self::Unix);
        }
        if let Some(port) = port(text) {
            return Ok(Self::AllAddresses(port));
        }
        if let Some(port) = text.strip_prefix("*:").or(text.strip_prefix(':')).and_then(port) {
            return Ok(Self::AllAddresses(port));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok(Self::Socket(address)),
            _ => Err(Diagnostic::error(format!("`{text}` is no address to listen on"))
                .hint("a port (`8080`), an IP address and a port (`127.0.0.1:8080`, `[::1]:8080`), or `unix:/run/tollgate.sock`")),
        }
    }
}

decode_from_text!(Bind);

/// Where a request is sent: an address and a port, a Unix socket, or wherever SRV records say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A name that is looked up again and again, and a port.
    Name {
        /// The host name, lower-cased, without a final dot.
        name: String,
        /// The port.
        port: u16,
    },
    /// A name whose SRV records say hosts, ports and weights (RFC 2782), lower-cased, without a final dot.
    Srv(String),
    /// A Unix socket of this machine, by its path.
    Unix(Arc<Path>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { name, port } => write!(f, "{name}:{port}"),
            Self::Srv(name) => write!(f, "{SRV}{name}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromText for Address {
    const WHAT: &'static str = "an address: `host:port`, or `unix:/path`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return unix_path(path).map(Self::Unix);
        }
        if let Some(name) = text.strip_prefix(SRV) {
            return srv_name(name).map(Self::Srv);
        }
        if text.starts_with("http://unix:") {
            return Err(Diagnostic::error("the path of a Unix socket is no part of a URL")
                .hint("write the target as `unix:/run/app.sock`"));
        }
        if text.starts_with("https://") {
            return Err(Diagnostic::error("TLS is a matter of the service, not of an address")
                .hint("write the target as `host:port`, and `tls: on` beside the service's `to`"));
        }
        let plain = text.strip_prefix("http://");
        let rest = plain.unwrap_or(text);
        let rest = if plain.is_some() { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
        if rest.contains('/') {
            return Err(Diagnostic::error(format!("`{text}` has a path, but a target is an address"))
                .hint("change the path with the route's `strip` or `rewrite`"));
        }
        let default_port = plain.map(|_| 80);
        parse_host_port(rest, default_port).ok_or_else(|| {
            Diagnostic::error(format!("`{text}` is no address"))
                .hint("a host and a port: `10.0.0.1:8080`, `orders.internal:8080`, `[2001:db8::1]:8080`")
        })
    }
}

decode_from_text!(Address);
text_schema!(Address, "Address", "description": "A host and a port, before which `http://` may stand, a name with SRV records, or a Unix socket.", "pattern": r"^((http://)?[^/\s]+(:[0-9]{1,5})?/?|unix:/.+)$",
    "examples": ["10.0.0.1:8080", "orders.internal:8080", "[2001:db8::1]:8080", "srv:_http._tcp.orders.internal", "unix:/run/app.sock"]);

/// A name that may have SRV records. The port is said by them.
fn srv_name(text: &str) -> Result<String, Diagnostic> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if is_host_name(&name) && name.bytes().any(|b| b.is_ascii_alphabetic()) {
        return Ok(name);
    }
    let mistake = Diagnostic::error(format!("`{SRV}{text}` is no name with SRV records"));
    Err(mistake.hint("the name alone, since the records say the ports: `srv:_http._tcp.orders.internal`"))
}

/// The path of a Unix socket. From the root, since a socket is no file that lies beside the config.
fn unix_path(path: &str) -> Result<Arc<Path>, Diagnostic> {
    let mistake = |what: &str| Err(Diagnostic::error(format!("`{UNIX}{path}` {what}")));
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return mistake("is no Unix socket").map_err(|m| m.hint("a path from the root: `unix:/run/app.sock`"));
    }
    if path.len() > LONGEST_PATH {
        return mistake("is too long")
            .map_err(|m| m.hint(format!("the path has {} bytes; Linux takes {LONGEST_PATH} at most", path.len())));
    }
    Ok(Path::new(path).into())
}

fn parse_host_port(text: &str, default_port: Option<u16>) -> Option<Address> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() > 0).then_some(Address::Socket(address));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if let (Some(port), Ok(ip)) = (default_port, bare.parse::<IpAddr>()) {
        return Some(Address::Socket(SocketAddr::new(ip, port)));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, digits)) => (name, port(digits)?),
        None => (text, default_port?),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // `10.0.0.300` is a mistyped address, not a name to look up.
    let has_letter = name.bytes().any(|b| b.is_ascii_alphabetic());
    (has_letter && is_host_name(&name)).then_some(Address::Name { name, port })
}

/// A port as digits, 1..=65535.
fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// An IP address with a port that may be left out; for name servers.
pub(crate) fn socket_or(text: &str, default_port: u16) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, default_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_and_nothing_more() {
        let name = |name: &str, port| Ok(Address::Name { name: name.into(), port });
        let read = |text| Address::from_text(text).map_err(|d| d.message);
        assert_eq!(read("10.0.0.1:8080"), Ok(Address::Socket("10.0.0.1:8080".parse().unwrap())));
        assert_eq!(read("[::1]:80"), Ok(Address::Socket("[::1]:80".parse().unwrap())));
        assert_eq!(read("Orders.Internal.:8080"), name("orders.internal", 8080));
        assert_eq!(read("http://orders"), name("orders", 80));
        assert_eq!(read("http://10.0.0.1/"), Ok(Address::Socket("10.0.0.1:80".parse().unwrap())));
        for wrong in ["orders", "orders:", "orders:0", "orders:65536", "10.0.0.300:80", ":80", "a b:80", "orders:+80"] {
            assert_eq!(read(wrong), Err(format!("`{wrong}` is no address")));
        }
        assert!(read("http://orders:80/v1").is_err_and(|m| m.contains("has a path")));
        assert!(read("https://orders:443").is_err());
        assert!(read("http://unix:/run/x.sock").is_err_and(|m| m.contains("no part of a URL")));
    }

    #[test]
    fn srv_records_have_a_name_and_no_port() {
        let name = "srv:_http._tcp.orders.internal";
        let read = Address::from_text("srv:_http._tcp.Orders.Internal.").unwrap();
        assert_eq!((&read, read.to_string().as_str()), (&Address::Srv(name["srv:".len()..].into()), name));
        assert!(Address::from_text("srv:orders.service.consul").is_ok(), "not all have underscores");
        for wrong in ["srv:", "srv:orders:80", "srv:a b", "srv:10.0.0.1", "srv:a..b"] {
            assert!(
                Address::from_text(wrong).is_err_and(|m| m.message.contains("no name with SRV records")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_unix_socket_is_a_path_from_the_root() {
        assert_eq!(Address::from_text("unix:/run/x.sock"), Ok(Address::Unix(Path::new("/run/x.sock").into())));
        let bind = Bind::from_text("unix:/run/x.sock").unwrap();
        assert_eq!((bind.to_string().as_str(), bind.port()), ("unix:/run/x.sock", None));
        assert!(bind.overlaps(&bind.clone()));
        assert!(!bind.overlaps(&Bind::from_text("unix:/run/y.sock").unwrap()));
        let longest = format!("unix:/{}", "x".repeat(LONGEST_PATH - 1));
        assert!(Address::from_text(&longest).is_ok());
        for wrong in ["unix:", "unix:run/x.sock", "unix:/run/", &format!("{longest}x")] {
            assert!(Address::from_text(wrong).is_err(), "{wrong}");
            assert!(Bind::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bare_port_takes_every_address() {
        assert_eq!(Bind::from_text("8080"), Ok(Bind::AllAddresses(8080)));
        assert_eq!(Bind::from_text("*:8080"), Ok(Bind::AllAddresses(8080)));
        assert!(Bind::from_text("0").is_err());
        assert!(Bind::from_text("localhost:80").is_err());
        let all = Bind::AllAddresses(80);
        let one = Bind::Socket("127.0.0.1:80".parse().unwrap());
        assert!(all.overlaps(&one));
        assert!(!one.overlaps(&Bind::Socket("127.0.0.2:80".parse().unwrap())));
    }

    #[test]
    fn it_is_told_what_an_address_leads_to() {
        let reached =
            |bind: &str, to: &str| Bind::from_text(bind).unwrap().is_reached_at(&Address::from_text(to).unwrap());
        for (bind, to) in [
            ("9901", "127.0.0.1:9901"),
            ("9901", "[::1]:9901"),
            ("9901", "localhost:9901"),
            ("0.0.0.0:9901", "127.0.0.2:9901"),
            ("127.0.0.1:9901", "0.0.0.0:9901"),
            ("127.0.0.1:9901", "[::ffff:127.0.0.1]:9901"),
            ("127.0.0.1:9901", "admin.localhost:9901"),
            ("10.0.0.1:9901", "10.0.0.1:9901"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
        ] {
            assert!(reached(bind, to), "{bind} {to}");
        }
        for (bind, to) in [
            ("9901", "127.0.0.1:9900"),
            ("127.0.0.1:9901", "127.0.0.2:9901"),
            ("10.0.0.1:9901", "localhost:9901"),
            ("9901", "orders:9901"),
            ("unix:/run/x.sock", "unix:/run/y.sock"),
            ("9901", "unix:/run/y.sock"),
        ] {
            assert!(!reached(bind, to), "{bind} {to}");
        }
    }
}
