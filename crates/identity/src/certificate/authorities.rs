//! Those who may vouch for clients, of a file that may change.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Largest file, in bytes.
pub(super) const LARGEST: u64 = 1024 * 1024;

/// Authorities that are trusted.
pub struct Authorities(Vec<TrustAnchor<'static>>);

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authorities").field(&self.0.len()).finish()
    }
}

impl Authorities {
    /// Those of this file.
    ///
    /// # Errors
    /// It cannot be read, or has none; in words for a person.
    pub fn load(path: &Path) -> Result<Self, String> {
        Self::read(&tollgate_follow::read(path, LARGEST)?)
    }

    pub(super) fn read(pem: &[u8]) -> Result<Self, String> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("no PEM that can be read: {error}"))?;
            let anchor = anchor_from_trusted_cert(&certificate).map_err(|error| format!("no authority: {error}"))?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() { Err("there is no certificate in it (PEM)".to_owned()) } else { Ok(Self(anchors)) }
    }

    /// Whether one of them vouches for a client's certificate now, by way of these. Takes a few signatures' time.
    ///
    /// # Errors
    /// Why none does.
    pub(super) fn vouch(&self, der: &[u8], chain: &[Vec<u8>], now: SystemTime) -> Result<(), String> {
        let der = CertificateDer::from_slice(der);
        let certificate = EndEntityCert::try_from(&der).map_err(|error| error.to_string())?;
        let between: Vec<CertificateDer<'_>> = chain.iter().map(|one| CertificateDer::from_slice(one)).collect();
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO));
        certificate
            .verify_for_usage(ALL_VERIFICATION_ALGS, &self.0, &between, now, KeyUsage::client_auth(), None, None)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
