//! What a certificate says of the one that it is for (RFC 5280).

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXUPPER;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, GeneralName};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What a certificate says; whether anybody vouches for that is not looked at here.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The subject, and who vouches for it, as RFC 4514 writes them: the last part first.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The common names of the subject.
    pub(crate) common_names: Vec<String>,
    /// The alternative names, each kind in order. Names of the DNS in lower case.
    pub(crate) dns: Vec<String>,
    pub(crate) uris: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) addresses: Vec<String>,
    /// The number that its issuer gave it, in hexadecimal digits.
    pub(crate) serial: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// Whether it may vouch for others, by what it says in either place.
    pub(crate) may_vouch: bool,
    /// Whether its key is for signatures, as all are whose certificate does not say what the key is for.
    pub(crate) is_for_signatures: bool,
}

impl Parsed {
    /// # Errors
    /// It is none, or has names that may be read in more than one way.
    pub(crate) fn read(der: &[u8]) -> Result<Self, &'static str> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| "no certificate")?;
        if !rest.is_empty() {
            return Err("something after the certificate");
        }
        let names = certificate.subject_alternative_name().map_err(|_| "alternative names that do not read")?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let of = |which: fn(&GeneralName<'_>) -> Option<String>| names.iter().filter_map(which).collect::<Vec<_>>();
        let (mut dns, uris, emails) = (
            of(|name| if let GeneralName::DNSName(text) = name { Some((*text).to_owned()) } else { None }),
            of(|name| if let GeneralName::URI(text) = name { Some((*text).to_owned()) } else { None }),
            of(|name| if let GeneralName::RFC822Name(text) = name { Some((*text).to_owned()) } else { None }),
        );
        // A NUL or a line end in a name has fooled many a reader.
        if [&dns, &uris, &emails].into_iter().flatten().any(|name| !name.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("an alternative name that is no visible ASCII");
        }
        dns.iter_mut().for_each(|name| name.make_ascii_lowercase());
        let usage = certificate.key_usage().map_err(|_| "a use of its key that does not read")?;
        let limits = certificate.basic_constraints().map_err(|_| "constraints that do not read")?;
        let validity = certificate.validity();
        let common_names = certificate.subject().iter_common_name().map(|name| name.as_str().map(str::to_owned));
        Ok(Self {
            subject: distinguished(certificate.subject()),
            issuer: distinguished(certificate.issuer()),
            common_names: common_names.collect::<Result<_, _>>().map_err(|_| "a common name that is no text")?,
            dns,
            uris,
            emails,
            addresses: of(|name| if let GeneralName::IPAddress(bytes) = name { address(bytes) } else { None }),
            serial: HEXUPPER.encode(certificate.raw_serial()),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
            may_vouch: limits.is_some_and(|limits| limits.value.ca)
                || usage.as_ref().is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()),
            is_for_signatures: usage.is_none_or(|usage| usage.value.digital_signature()),
        })
    }
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
}

/// A name as RFC 4514 §2 writes it: no two names are written alike.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

/// RFC 4514 §2.3: by a short name if it is one of those of §3 and its value is a text.
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = match oid.as_str() {
        "2.5.4.3" => Some("CN"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "2.5.4.6" => Some("C"),
        "2.5.4.9" => Some("STREET"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        _ => None,
    };
    match (short, attribute.as_str()) {
        (Some(short), Ok(text)) => format!("{short}={}", escaped(text)),
        _ => format!("{oid}=#{}", HEXUPPER.encode(&encoded(attribute))),
    }
}

/// A value as it is encoded (DER).
fn encoded(attribute: &AttributeTypeAndValue<'_>) -> Vec<u8> {
    let value = attribute.attr_value();
    let length = value.data.len();
    let mut out = vec![u8::try_from(value.header.tag().0).unwrap_or(0x1f)];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1)..];
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f));
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(value.data);
    out
}

/// RFC 4514 §2.4, and controls as well: the text ends up in logs and header fields.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let last = text.chars().count().saturating_sub(1);
    for (at, char) in text.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => out.extend(['\\', char]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            _ if char.is_control() => {
                for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                    out.push('\\');
                    HEXUPPER.encode_append(&[byte], &mut out);
                }
            }
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_pass_for_more_than_one() {
        for (text, written) in [
            ("alice", "alice"),
            ("alice,O=Admins", "alice\\,O\\=Admins"),
            ("a+b\"<c>;\\", "a\\+b\\\"\\<c\\>\\;\\\\"),
            (" #x ", "\\ #x\\ "),
            ("#x", "\\#x"),
            (" ", "\\ "),
            ("a\0b\n", "a\\00b\\0A"),
            ("Zoë", "Zoë"),
        ] {
            assert_eq!(escaped(text), written);
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for der in [&b""[..], b"x", &[0x30, 0x03, 1, 2, 3]] {
            assert!(Parsed::read(der).is_err());
        }
    }
}
