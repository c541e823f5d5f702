//! Certificates for tests: authorities, and what they sign.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType, date_time_ymd,
};

/// Somebody who vouches for others.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.pem)
    }
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate (PEM).
    pub cert: String,
    /// Its key (PEM).
    pub key: String,
    /// The public key's pin: `sha256/…`.
    pub pin: String,
}

/// For how long a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// Not any more.
    Past,
    /// Not yet.
    Future,
}

impl Authority {
    /// One that vouches for itself.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate (PEM).
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes its certificate; gives the file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        written(folder, name, &self.pem)
    }

    /// For a server of these names (or addresses); the first is its common name.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Identity {
        self.server_for(names, Validity::Now)
    }

    /// For a server, with a choice of time.
    ///
    /// # Panics
    /// When one of the names is none.
    #[must_use]
    pub fn server_for(&self, names: &[&str], validity: Validity) -> Identity {
        self.sign(server(names), validity)
    }

    /// For a server of these names that calls others, too, and shows them the same.
    #[must_use]
    pub fn member(&self, names: &[&str]) -> Identity {
        let mut params = server(names);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(params, Validity::Now)
    }

    /// For a client of this common name, with `urn:test:NAME` as its alternative name.
    ///
    /// # Panics
    /// When the name is none.
    #[must_use]
    pub fn client(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        let uri = format!("urn:test:{name}").try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::URI(uri));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, Validity::Now)
    }

    fn sign(&self, mut params: CertificateParams, validity: Validity) -> Identity {
        (params.not_before, params.not_after) = match validity {
            Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1)),
            Validity::Past => (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1)),
            Validity::Future => (date_time_ymd(2119, 1, 1), date_time_ymd(2120, 1, 1)),
        };
        params.distinguished_name.push(DnType::OrganizationName, "Tests");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        let hash = digest(&SHA256, &key.subject_public_key_info());
        Identity {
            cert: certificate.pem(),
            key: key.serialize_pem(),
            pin: format!("sha256/{}", BASE64.encode(hash.as_ref())),
        }
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).expect("names");
    params.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key`; gives the two files.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let cert = written(folder, &format!("{name}.pem"), &self.cert);
        (cert, written(folder, &format!("{name}.key"), &self.key))
    }
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().expect("a file stands in a folder")).expect("its folder");
    fs::write(&file, text).expect("it is written");
    file
}
