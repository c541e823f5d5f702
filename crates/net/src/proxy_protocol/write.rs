//! The header that we begin connections to services with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tollgate_core::facts::{Conn, Ends, Tls};

use super::SIGNATURE;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// As a line of text: addresses and ports, no more.
    V1,
    /// In binary, with what TLS with the client settled.
    V2,
}

/// What a header of version 2 may be about (section 2.2): the proxy itself, or a client.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Families of addresses.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Kinds of fields (section 2.2.1).
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CIPHER: u8 = 0x23;
/// What is known of the client (section 2.2.3): it speaks TLS; it showed a certificate on this connection, in this session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERT_CONN: u8 = 0x02;
const CLIENT_CERT_SESS: u8 = 0x04;

/// The header for a connection made for this client; `None`: for the gateway's own sake.
#[must_use]
pub fn header(version: Version, client: Option<&Conn>) -> Vec<u8> {
    match version {
        Version::V1 => v1(client),
        Version::V2 => v2(client),
    }
}

fn v1(client: Option<&Conn>) -> Vec<u8> {
    let text = match client.map(|client| client.ends) {
        Some(Ends::Sockets { peer, local }) => {
            let (from, to, family) = match one_family(peer, local) {
                Pair::V4(from, to) => (IpAddr::V4(from), IpAddr::V4(to), "TCP4"),
                Pair::V6(from, to) => (IpAddr::V6(from), IpAddr::V6(to), "TCP6"),
            };
            format!("PROXY {family} {from} {to} {} {}\r\n", peer.port(), local.port())
        }
        // Version 1 knows no other word for what has no addresses.
        Some(Ends::Unix) | None => "PROXY UNKNOWN\r\n".to_owned(),
    };
    text.into_bytes()
}

fn v2(client: Option<&Conn>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(client) = client else {
        header.extend_from_slice(&[LOCAL, UNSPECIFIED, 0, 0]);
        return header;
    };
    let mut rest = Vec::new();
    let family = match client.ends {
        Ends::Sockets { peer, local } => {
            let family = match one_family(peer, local) {
                Pair::V4(from, to) => {
                    rest.extend_from_slice(&from.octets());
                    rest.extend_from_slice(&to.octets());
                    TCP4
                }
                Pair::V6(from, to) => {
                    rest.extend_from_slice(&from.octets());
                    rest.extend_from_slice(&to.octets());
                    TCP6
                }
            };
            rest.extend_from_slice(&peer.port().to_be_bytes());
            rest.extend_from_slice(&local.port().to_be_bytes());
            family
        }
        Ends::Unix => UNSPECIFIED,
    };
    if let Some(tls) = &client.tls {
        fields(&mut rest, tls);
    }
    header.extend_from_slice(&[PROXY, family]);
    header.extend_from_slice(&length(&rest));
    header.extend_from_slice(&rest);
    header
}

fn fields(out: &mut Vec<u8>, tls: &Tls) {
    if let Some(protocol) = &tls.alpn {
        field(out, ALPN, protocol);
    }
    if let Some(name) = &tls.server_name {
        field(out, AUTHORITY, name.as_bytes());
    }
    let (client, verified) = match (&tls.client, tls.is_resumed) {
        (None, _) => (CLIENT_SSL, 1_u32),
        (Some(_), true) => (CLIENT_SSL | CLIENT_CERT_SESS, 0),
        (Some(_), false) => (CLIENT_SSL | CLIENT_CERT_SESS | CLIENT_CERT_CONN, 0),
    };
    let mut ssl = vec![client];
    // 0: it showed a certificate, and that was verified.
    ssl.extend_from_slice(&verified.to_be_bytes());
    field(&mut ssl, SSL_VERSION, tls.version.as_bytes());
    field(&mut ssl, SSL_CIPHER, tls.cipher.as_bytes());
    field(out, SSL, &ssl);
}

fn field(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&length(value));
    out.extend_from_slice(value);
}

/// No field is longer than a few hundred bytes: names and protocols of TLS have at most 255 each.
fn length(value: &[u8]) -> [u8; 2] {
    u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// Two addresses of one family, as the protocol wants them.
enum Pair {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// IPv4 in its own form, even on a dual-stack socket, unless the other end is IPv6.
fn one_family(peer: SocketAddr, local: SocketAddr) -> Pair {
    let as_v6 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match (peer.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Pair::V4(from, to),
        (from, to) => Pair::V6(as_v6(from), as_v6(to)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tollgate_core::facts::ClientCertificate;

    use super::*;
    use crate::Socket;
    use crate::proxy_protocol::read;

    fn tls() -> Tls {
        Tls {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: Some("shop.example".into()),
            alpn: Some((*b"h2").into()),
            is_resumed: false,
            client: None,
        }
    }

    /// What our own reader makes of a header, and of what follows.
    fn read_back(header: &[u8]) -> (Option<(SocketAddr, SocketAddr)>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut far, near) = UnixStream::pair().unwrap();
            far.write_all(header).await.unwrap();
            far.write_all(b"GET /").await.unwrap();
            drop(far);
            let mut socket = Socket::from(near);
            let told = read(&mut socket).await.unwrap();
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.unwrap();
            (told, rest)
        })
    }

    #[test]
    fn both_versions_are_as_the_specification_shows_them() {
        let client = Conn::new("203.0.113.7:40000".parse().unwrap(), "10.0.0.1:443".parse().unwrap(), 0);
        assert_eq!(header(Version::V1, Some(&client)), b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\n");
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x9c\x40\x01\xbb";
        assert_eq!(header(Version::V2, Some(&client)), v2);
        let client = Conn::new("[::ffff:203.0.113.7]:40000".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap(), 0);
        let v1 = b"PROXY TCP6 ::ffff:203.0.113.7 2001:db8::1 40000 443\r\n";
        assert_eq!(header(Version::V1, Some(&client)), v1);
    }

    #[test]
    fn who_has_no_address_is_unknown_and_the_gateway_speaks_for_itself() {
        let unix = Conn::by_unix_socket(0);
        assert_eq!(header(Version::V1, Some(&unix)), b"PROXY UNKNOWN\r\n");
        assert_eq!(header(Version::V1, None), b"PROXY UNKNOWN\r\n");
        assert_eq!(header(Version::V2, Some(&unix))[12..], [PROXY, UNSPECIFIED, 0, 0]);
        assert_eq!(header(Version::V2, None)[12..], [LOCAL, UNSPECIFIED, 0, 0]);
        for version in [Version::V1, Version::V2] {
            assert_eq!(read_back(&header(version, None)), (None, b"GET /".to_vec()));
            assert_eq!(read_back(&header(version, Some(&unix))), (None, b"GET /".to_vec()));
        }
    }

    #[test]
    fn version_two_tells_what_tls_settled() {
        let client = |tls| Conn::by_unix_socket(0).under(tls);
        let ssl = |flags: u8, verified: u8| {
            let version = b"\x21\0\x07TLSv1.3\x23\0\x16TLS_AES_128_GCM_SHA256";
            let before = b"\x01\0\x02h2\x02\0\x0cshop.example\x20\0\x28";
            [before.as_slice(), &[flags, 0, 0, 0, verified], version].concat()
        };
        assert_eq!(header(Version::V2, Some(&client(tls())))[16..], ssl(0x01, 1));
        let shown =
            ClientCertificate { subject: "CN=a".into(), names: [].into(), sha256: "".into(), der: Default::default() };
        let with = |is_resumed| Tls { client: Some(shown.clone()), is_resumed, ..tls() };
        assert_eq!(header(Version::V2, Some(&client(with(false))))[16..], ssl(0x07, 0));
        assert_eq!(header(Version::V2, Some(&client(with(true))))[16..], ssl(0x05, 0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            peer in any::<SocketAddr>(),
            local in any::<SocketAddr>(),
            name in proptest::option::of("[a-z.]{1,253}"),
        ) {
            let client = Conn::new(peer, local, 0);
            let client = match name {
                Some(name) => client.under(Tls { server_name: Some(name.into()), ..tls() }),
                None => client,
            };
            let canonical = |of: SocketAddr| (of.ip().to_canonical(), of.port());
            for version in [Version::V1, Version::V2] {
                let (told, rest) = read_back(&header(version, Some(&client)));
                let (from, to) = told.unwrap();
                prop_assert_eq!((canonical(from), canonical(to)), (canonical(peer), canonical(local)));
                prop_assert_eq!(rest, b"GET /");
            }
        }
    }
}
