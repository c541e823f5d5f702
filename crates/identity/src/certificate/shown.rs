//! The certificate that the client of a request has shown: to us, or to a trusted proxy that forwards it (RFC 9440).

use bytes::Bytes;
use tollgate_core::exchange::{Exchange, Peer};
use tollgate_core::problem::Problem;

use super::faults::MALFORMED;
use crate::faults::because;
use crate::message::{Message, NotOne};
use crate::signature::fields::{Item, Member, dictionary};

/// Most certificates of a chain that is forwarded.
const MOST_IN_CHAIN: usize = 6;

/// What is known of the client's certificate.
#[derive(Debug)]
pub(crate) enum Shown<'x> {
    /// The client has none, or nobody says.
    Nothing,
    /// The connection has one, but it is of a proxy that speaks for others.
    Proxys,
    /// The client has shown it to us.
    Here(&'x Bytes),
    /// It has shown it to the proxy, which says so.
    There(Bytes),
}

/// What certificate the client has shown. `forwarded`: whether trusted proxies tell.
///
/// A connection from a proxy of `trust` says who the proxy is: to take that for the client would let in everybody who comes by it.
///
/// # Errors
/// `certificate/malformed`: what the proxy says cannot be read.
pub(crate) fn shown(x: &Exchange, forwarded: bool) -> Result<Shown<'_>, Problem> {
    let own = x.conn.tls.as_ref().and_then(|tls| tls.client.as_ref());
    if x.peer == Peer::Client {
        return Ok(own.map_or(Shown::Nothing, |own| Shown::Here(&own.der)));
    }
    if !forwarded {
        return Ok(if own.is_some() { Shown::Proxys } else { Shown::Nothing });
    }
    // It was dropped already, so that nobody else takes it for true.
    let message = Message::received(&x.head, x.scheme);
    match message.one("client-cert") {
        Ok(None) => Ok(Shown::Nothing),
        Ok(Some(value)) => bytes(value.as_bytes()).map(|der| Shown::There(der.into())),
        Err(NotOne::Several) => Err(because(&MALFORMED, "more than one `Client-Cert`")),
        Err(NotOne::NoText) => Err(because(&MALFORMED, "a `Client-Cert` that is no ASCII")),
    }
}

/// Those that a trusted proxy says stand between the certificate and its authority (RFC 9440 §2.3).
///
/// # Errors
/// `certificate/malformed`.
pub(crate) fn chain(x: &Exchange) -> Result<Vec<Vec<u8>>, Problem> {
    let message = Message::received(&x.head, x.scheme);
    let lines = message.all("client-cert-chain");
    // A byte sequence has no comma in it.
    let parts = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let chain = parts.take(MOST_IN_CHAIN + 1).map(bytes).collect::<Result<Vec<_>, _>>()?;
    if chain.len() > MOST_IN_CHAIN { Err(because(&MALFORMED, "too long a chain")) } else { Ok(chain) }
}

/// A byte sequence (RFC 8941 §3.3.5); parameters mean nothing here.
fn bytes(value: &[u8]) -> Result<Vec<u8>, Problem> {
    // The one member of a dictionary is read as an item is.
    let text = [b"c=", value].concat();
    let read = dictionary(std::iter::once(&text[..])).map_err(|why| because(&MALFORMED, why))?;
    match <[_; 1]>::try_from(read) {
        Ok([(_, Member::Item(Item::Bytes(bytes), _))]) if !bytes.is_empty() => Ok(bytes),
        _ => Err(because(&MALFORMED, "no byte sequence")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::certificate::parsed::Parsed;

    proptest! {
        #[test]
        fn no_input_panics(text in ".*", der in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = bytes(text.as_bytes());
            prop_assert!(Parsed::read(&der).is_err());
        }
    }

    #[test]
    fn a_forwarded_certificate_is_one_byte_sequence() {
        assert_eq!(bytes(b":aGk=:").unwrap(), b"hi");
        assert_eq!(bytes(b":aGk=:;x=1").unwrap(), b"hi");
        for value in [&b""[..], b"aGk=", b":aGk=", b"::", b":aGk:", b"\"aGk=\"", b":aGk=:, d=:aGk=:", b"(:aGk=:)", b"1"]
        {
            assert!(bytes(value).is_err(), "{}", String::from_utf8_lossy(value));
        }
    }
}
