//! Certificates and keys, read from PEM files, and told apart if something is wrong with them.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::provider;

/// The largest file that is read.
const LARGEST: u64 = 1024 * 1024;

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The file of the certificate, followed by those that vouch for it (PEM).
    pub cert: PathBuf,
    /// The file of its private key (PEM); may be the same file.
    pub key: PathBuf,
}

/// What a file is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A certificate and its chain.
    Certificate,
    /// A private key.
    Key,
    /// The certificates of those who are believed.
    Roots,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Which one.
    pub path: PathBuf,
    /// What it is there for.
    pub part: Part,
    /// What is wrong, for a person.
    pub message: Cow<'static, str>,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.message)
    }
}

impl std::error::Error for FileError {}

/// A certificate that can be shown.
#[derive(Clone, Debug)]
pub(super) struct Material {
    /// With its key.
    pub(super) certified: Arc<CertifiedKey>,
    /// The host names it is good for, in lower case, `*.` before those of a wildcard.
    pub(super) names: Vec<String>,
    /// From when it is good.
    pub(super) begins: SystemTime,
    /// Until when.
    pub(super) ends: SystemTime,
}

impl Pair {
    /// Reads both files.
    pub(super) fn load(&self) -> Result<Material, FileError> {
        let in_cert = Place { path: &self.cert, part: Part::Certificate };
        let in_key = Place { path: &self.key, part: Part::Key };
        let chain = certificates(&read(&in_cert)?, &in_cert)?;
        let key = private_key(&read(&in_key)?, &in_key)?;
        let leaf = chain.first().ok_or_else(|| in_cert.error("no certificate in it", None))?;
        let Facts { names, begins, ends } = facts(leaf).ok_or_else(|| in_cert.error(NO_CERTIFICATE, None))?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => in_key.error(
                format!("this key does not belong to the certificate in `{}`", self.cert.display()),
                Some("the certificate of the key comes first in its file, those that vouch for it follow"),
            ),
            Error::InvalidCertificate(why) => in_cert.error(format!("the certificate cannot be used: {why:?}"), None),
            other => in_key.error(format!("the key cannot be used: {other}"), Some(KEY_KINDS)),
        })?;
        Ok(Material { certified: Arc::new(certified), names, begins, ends })
    }
}

const NO_CERTIFICATE: &str = "what stands there as a certificate is none";
const KEY_KINDS: &str = "an RSA key of 2048 bits or more, an ECDSA key on P-256, P-384 or P-521, or Ed25519";

/// The certificates of those who are believed.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let place = Place { path, part: Part::Roots };
    let mut store = RootCertStore::empty();
    for certificate in certificates(&read(&place)?, &place)? {
        store.add(certificate).map_err(|error| place.error(format!("a certificate cannot be used: {error}"), None))?;
    }
    Ok(store)
}

/// A file, and what it is there for.
struct Place<'p> {
    path: &'p Path,
    part: Part,
}

impl Place<'_> {
    fn error(&self, message: impl Into<Cow<'static, str>>, hint: Option<&'static str>) -> FileError {
        FileError { path: self.path.to_owned(), part: self.part, message: message.into(), hint }
    }
}

fn read(place: &Place<'_>) -> Result<Vec<u8>, FileError> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => place.error("there is no such file", None),
        std::io::ErrorKind::PermissionDenied => {
            place.error("it may not be read", Some("the user that runs Tollgate must be allowed to read it"))
        }
        _ => place.error(format!("it cannot be read: {error}"), None),
    };
    let file = File::open(place.path).map_err(cannot)?;
    // A pipe or device could keep us waiting for ever.
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(place.error("it is no regular file", None));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(place.error("it is larger than 1 MiB", None));
    }
    Ok(bytes)
}

fn certificates(pem: &[u8], place: &Place<'_>) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = read.map_err(|error| place.error(format!("it is no well-formed PEM: {error}"), None))?;
    if chain.is_empty() {
        let hint = match () {
            () if contains(pem, "PRIVATE KEY-----") => "there is a private key in it: are `cert` and `key` swapped?",
            () if pem.first() == Some(&0x30) => {
                "it looks like DER: `openssl x509 -inform der -in FILE` makes PEM of it"
            }
            () => "it should hold `-----BEGIN CERTIFICATE-----`",
        };
        return Err(place.error("no certificate in it", Some(hint)));
    }
    Ok(chain)
}

fn private_key(pem: &[u8], place: &Place<'_>) -> Result<PrivateKeyDer<'static>, FileError> {
    if contains(pem, "BEGIN ENCRYPTED PRIVATE KEY") || contains(pem, "Proc-Type: 4,ENCRYPTED") {
        let hint = "keep it decrypted where only Tollgate can read it: `openssl pkey -in FILE -out FILE.decrypted`";
        return Err(place.error("the key is encrypted", Some(hint)));
    }
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            let hint = match () {
                () if contains(pem, "BEGIN CERTIFICATE") => {
                    "there is a certificate in it: are `cert` and `key` swapped?"
                }
                () if pem.first() == Some(&0x30) => "it looks like DER: `openssl pkey -in FILE` makes PEM of it",
                () => "it should hold `-----BEGIN PRIVATE KEY-----`",
            };
            Err(place.error("no private key in it", Some(hint)))
        }
        Err(error) => Err(place.error(format!("it is no well-formed PEM: {error}"), None)),
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle.as_bytes())
}

struct Facts {
    names: Vec<String>,
    begins: SystemTime,
    ends: SystemTime,
}

/// What a certificate says of itself. Only the subject's alternative names count (RFC 9525 §2).
fn facts(der: &CertificateDer<'_>) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()?.map(|extension| &extension.value.general_names);
    let names = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    Some(Facts {
        names: names.collect(),
        begins: time(validity.not_before.timestamp()),
        // Good until the end of that second (RFC 5280 §4.1.2.5).
        ends: time(validity.not_after.timestamp().saturating_add(1)),
    })
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
