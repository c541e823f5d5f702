//! `tls`: of listeners, and of services.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tollgate_core::decode::{Decode, DecodeCx};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::{Node, Spanned, Value};
use tollgate_core::section;

use crate::model::defaults::v1;
use crate::model::http::is_host_name;
use tollgate_core::text::{FromText, decode_from_text, text_schema, words};

words! {
    /// Which versions and ciphers, after Mozilla's recommendations for servers.
    pub enum TlsPolicy {
        /// TLS 1.3 only.
        Modern = "modern",
        /// TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only.
        Intermediate = "intermediate",
    }
}

words! {
    /// Whether the other side must prove who it is.
    pub enum Verify {
        /// By a certificate for its name.
        On = "on",
        /// Not at all.
        Off = "off",
    }
}

section! {
    /// TLS on a listener.
    pub struct ListenerTls {
        /// The certificates, chosen by the name that the client asks for (SNI). The first is shown to clients that ask for
        /// none, or for one of which there is no certificate.
        certificates: Certificates,
        /// `modern`: TLS 1.3 only. `intermediate`: 1.2 too.
        policy: TlsPolicy = v1::TLS_POLICY,
        /// Certificates of clients; without it, none are asked for.
        client: Option<ClientCertificates>,
    }
}

section! {
    /// A certificate and its key. Both files are read again when they change.
    pub struct Certificate {
        /// The certificate, followed by those that vouch for it (PEM).
        cert: Spanned<FilePath>,
        /// Its private key, not encrypted (PEM). May be in the same file.
        key: Spanned<FilePath>,
    }
}

section! {
    /// Certificates of clients.
    pub struct ClientCertificates {
        /// The certificates of those who may vouch for clients (PEM).
        ca: Spanned<FilePath>,
        /// Whether a client without a certificate is refused. One that is not vouched for always is.
        required: bool = v1::TLS_CLIENT_REQUIRED,
    }
}

section! {
    /// TLS to the instances of a service.
    pub struct ServiceTls: fits {
        /// The certificates of those who may vouch for the instances (PEM); without it, whom the system trusts.
        ca: Option<Spanned<FilePath>>,
        /// The name that is asked for and that the certificate must have; without it, the host name of the target.
        name: Option<TlsName>,
        /// The certificate that is shown to the instances, followed by those that vouch for it (PEM).
        cert: Option<Spanned<FilePath>>,
        /// Its private key, not encrypted (PEM).
        key: Option<Spanned<FilePath>>,
        /// The public keys of which an instance must have one, beside all else that is asked of its certificate.
        pin: Option<Vec<Pin>>,
        /// `off`: whoever answers is believed, but for the pins. For tests, and for nothing else.
        verify: Spanned<Verify> = v1::TLS_VERIFY,
    }
}

/// Whether its parts go together.
fn fits(tls: &ServiceTls, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    let alone = match (&tls.cert, &tls.key) {
        (Some(cert), None) => Some((cert, "`cert` needs its `key`")),
        (None, Some(key)) => Some((key, "`key` needs its `cert`")),
        _ => None,
    };
    if let Some((file, message)) = alone {
        cx.report(Diagnostic::error(message).at(&file.span));
        well = false;
    }
    if tls.verify.value == Verify::Off && tls.pin.is_none() {
        let warning = Diagnostic::warning("with `verify: off`, whoever answers is believed").at(&tls.verify.span);
        cx.report(warning.hint("name those who may vouch for the service (`ca`), or the key it has (`pin`)"));
    }
    if let (Verify::Off, Some(ca)) = (tls.verify.value, &tls.ca) {
        let mistake = Diagnostic::error("`ca` has no use with `verify: off`").at(&ca.span);
        cx.report(mistake.hint("leave out `verify: off`, and the certificate is held against `ca`"));
        well = false;
    }
    well
}

/// The certificates of a listener; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificates(pub Vec<Certificate>);

impl Decode for Certificates {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let certificates = Vec::<Certificate>::decode(node, cx)?;
        if certificates.is_empty() {
            cx.report(Diagnostic::error("TLS needs at least one certificate").at(&node.span));
            return None;
        }
        Some(Self(certificates))
    }

    fn example() -> Option<&'static str> {
        Some("[{ cert: ./shop.pem, key: ./shop.key }]")
    }
}

impl JsonSchema for Certificates {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Certificates".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<Certificate>() })
    }
}

/// A file. A path that does not begin with `/` starts at the folder of the config file that it is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl Decode for FilePath {
    fn decode(node: &Node, cx: &mut DecodeCx) -> Option<Self> {
        let Value::String(text) = &node.value else { return cx.expected(node, "a file") };
        if text.is_empty() || text.ends_with('/') || text.contains('\0') {
            let mistake = Diagnostic::error(format!("`{text}` is no file")).at(&node.span);
            cx.report(mistake.hint("a path: `./shop.pem` is beside the config file"));
            return None;
        }
        let folder = Path::new(&node.span.source.name).parent().unwrap_or(Path::new(""));
        Some(Self(folder.join(text.strip_prefix("./").unwrap_or(text))))
    }
}

impl JsonSchema for FilePath {
    fn schema_name() -> Cow<'static, str> {
        "FilePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A file. A path that does not begin with `/` starts at the folder of the config file.",
            "pattern": "[^/]$",
            "examples": ["./shop.pem", "/etc/tollgate/shop.pem"],
        })
    }
}

/// A host name in a certificate, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(pub String);

impl FromText for TlsName {
    const WHAT: &'static str = "a host name";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match is_host_name(&name) || name.parse::<std::net::IpAddr>().is_ok() {
            true => Ok(Self(name)),
            false => Err(Diagnostic::error(format!("`{text}` is no host name"))
                .hint("as it stands in the certificate, without a port: `orders.internal`")),
        }
    }
}

decode_from_text!(TlsName);
text_schema!(TlsName, "TlsName", "description": "A host name as it stands in a certificate, or an address.", "pattern": r"^[0-9A-Za-z_.:-]+$", "examples": ["orders.internal"]);

/// The SHA-256 of a public key (SubjectPublicKeyInfo), as `sha256/` and Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl FromText for Pin {
    const WHAT: &'static str = "a pin: `sha256/…`";

    fn from_text(text: &str) -> Result<Self, Diagnostic> {
        let hash = text.strip_prefix("sha256/").and_then(|base64| BASE64.decode(base64.as_bytes()).ok());
        hash.and_then(|hash| hash.try_into().ok()).map(Self).ok_or_else(|| {
            Diagnostic::error(format!("`{text}` is no pin"))
                .hint("`sha256/` and the 44 characters of Base64 that the SHA-256 of the public key makes")
        })
    }
}

decode_from_text!(Pin);
text_schema!(Pin, "Pin", "description": "The SHA-256 of a public key (SubjectPublicKeyInfo) in Base64.", "pattern": "^sha256/[A-Za-z0-9+/]{43}=$", "examples": ["sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_whole_hashes() {
        let empty = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(Pin::from_text(empty).map(|pin| pin.0[..2].to_vec()), Ok(vec![0xe3, 0xb0]));
        for wrong in ["", "sha256/", "sha1/47DE", &empty[..50], "sha256/47DEQpj8HBSa"] {
            assert!(Pin::from_text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_those_of_certificates() {
        assert_eq!(TlsName::from_text("Orders.Internal."), Ok(TlsName("orders.internal".into())));
        assert!(TlsName::from_text("::1").is_ok());
        for wrong in ["orders:443", "https://orders", "*.internal", ""] {
            assert!(TlsName::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
