//! The PROXY protocol, versions 1 and 2: how a proxy says for whom it speaks, before anything else. Read of proxies in front
//! of us, written for services behind us.
//!
//! After HAProxy's specification (proxy-protocol.txt, sections 2.1 and 2.2). Whoever may say so is the caller's to decide.

mod write;

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;

use crate::Socket;

pub use write::{Version, header};

/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header there is: `PROXY UNKNOWN` and its end.
const SHORTEST: usize = 15;
/// The longest header of version 1, its end included.
const LONGEST_V1: usize = 107;
/// The longest header of version 2 that is read, fields of all kinds included.
const LONGEST_V2: usize = 2048;

/// Reads a header, and not one byte more: the client and where it reached the proxy. `None`: the proxy speaks for itself (a
/// health check, say), or does not know.
///
/// # Errors
/// What comes is no such header, or the connection ends.
pub async fn read(socket: &mut Socket) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let mut header = vec![0; SHORTEST];
    socket.read_exact(&mut header).await?;
    if header.starts_with(SIGNATURE) {
        more(socket, &mut header, 1).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > LONGEST_V2 {
            return Err(malformed("a PROXY header that is too long"));
        }
        more(socket, &mut header, length).await?;
    } else if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            if header.len() >= LONGEST_V1 {
                return Err(malformed("a PROXY header that is too long"));
            }
            // Where it ends is not known beforehand, and what follows is not ours.
            more(socket, &mut header, 1).await?;
        }
    } else {
        return Err(malformed("what came is no PROXY header"));
    }
    match ProxyHeader::parse(&header, ParseConfig::default()) {
        Ok((parsed, length)) if length == header.len() => {
            Ok(parsed.proxied_address().map(|told| (told.source, told.destination)))
        }
        _ => Err(malformed("a PROXY header that cannot be understood")),
    }
}

async fn more(socket: &mut Socket, header: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let from = header.len();
    header.resize(from + count, 0);
    socket.read_exact(&mut header[from..]).await.map(|_| ())
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    /// What is read of these bytes, and what is left of them.
    async fn told(bytes: &[u8]) -> (Result<Option<(SocketAddr, SocketAddr)>, String>, Vec<u8>) {
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(bytes).await.unwrap();
        drop(far);
        let mut socket = Socket::from(near);
        let told = read(&mut socket).await.map_err(|error| error.to_string());
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        (told, rest)
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, addresses, b"GET /"].concat()
    }

    #[tokio::test]
    async fn both_versions_are_read_to_their_last_byte_and_no_further() {
        let ends = |from: &str, to: &str| Ok(Some((from.parse().unwrap(), to.parse().unwrap())));
        let client = || ends("203.0.113.7:40000", "10.0.0.1:443");
        let v1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 443\r\nGET /";
        assert_eq!(told(v1).await, (client(), b"GET /".to_vec()));
        let v1 = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\nGET /";
        assert_eq!(told(v1).await, (ends("[2001:db8::7]:40000", "[2001:db8::1]:443"), b"GET /".to_vec()));
        let addresses = [203, 0, 113, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 0xbb];
        assert_eq!(told(&v2(1, 0x11, &addresses)).await, (client(), b"GET /".to_vec()));
        let with_fields = [&addresses[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(told(&v2(1, 0x11, &with_fields)).await.0, client());
    }

    #[tokio::test]
    async fn a_proxy_may_speak_for_itself_or_for_nobody_known() {
        assert_eq!(told(b"PROXY UNKNOWN\r\nGET /").await, (Ok(None), b"GET /".to_vec()));
        assert_eq!(told(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nGET /").await, (Ok(None), b"GET /".to_vec()));
        assert_eq!(told(&v2(0, 0, &[])).await, (Ok(None), b"GET /".to_vec()));
    }

    #[tokio::test]
    async fn whatever_else_comes_is_refused() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        let endless = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
            b"PROXY TCP4 203.0.113.7\r\n",
            b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 99999\r\n",
            b"PROXY TCP9 a b 1 2\r\n",
            b"PROXY",
            &long,
            &endless,
            &v2(1, 0x11, &[1, 2, 3]),
            &v2(7, 0x11, &[0; 12]),
        ] {
            assert!(told(bytes).await.0.is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
