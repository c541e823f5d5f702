//! What a handshake settled, taken out of rustls for those who know nothing of it.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion, ServerConnection, SupportedCipherSuite};
use tollgate_core::facts::{ClientCertificate, Tls};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::material::address;

/// What is known of a client's connection whose handshake is done.
pub(super) fn facts(connection: &ServerConnection) -> Tls {
    Tls {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: connection.negotiated_cipher_suite().map_or("", cipher),
        server_name: connection.server_name().map(Into::into),
        alpn: connection.alpn_protocol().map(Into::into),
        is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        // Whatever is here was verified: else there would be no connection.
        client: connection.peer_certificates().and_then(|chain| chain.first()).map(client),
    }
}

/// The name of the IANA registry, which rustls varies a little for TLS 1.3.
fn cipher(suite: SupportedCipherSuite) -> &'static str {
    match suite.suite() {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or(""),
    }
}

fn client(der: &CertificateDer<'_>) -> ClientCertificate {
    let hash = digest(&SHA256, der);
    let sha256 = hash.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    let parsed = X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate);
    let names = parsed.as_ref().and_then(|certificate| certificate.subject_alternative_name().ok().flatten());
    let names = names.iter().flat_map(|extension| &extension.value.general_names).filter_map(name);
    ClientCertificate {
        subject: parsed.as_ref().map(|certificate| certificate.subject().to_string()).unwrap_or_default().into(),
        names: names.collect(),
        sha256: sha256.into(),
        der: Bytes::copy_from_slice(der),
    }
}

/// An alternative name with its kind before it: `dns:`, `uri:`, `email:`, `ip:`.
fn name(name: &GeneralName<'_>) -> Option<Box<str>> {
    match name {
        GeneralName::DNSName(name) => Some(format!("dns:{name}").into()),
        GeneralName::URI(uri) => Some(format!("uri:{uri}").into()),
        GeneralName::RFC822Name(mail) => Some(format!("email:{mail}").into()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| format!("ip:{address}").into()),
        _ => None,
    }
}
