//! The keys that an identity provider signs with, as its metadata names them, each for the algorithms of its own kind.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, VerificationAlgorithm,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// How messages may be signed (RFC 9231 §2.3): with key pairs only, and never over SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaSha256,
    /// With SHA-384.
    RsaSha384,
    /// With SHA-512.
    RsaSha512,
    /// ECDSA on P-256 with SHA-256.
    EcdsaSha256,
    /// On P-384 with SHA-384.
    EcdsaSha384,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::RsaSha256, Self::RsaSha384, Self::RsaSha512, Self::EcdsaSha256, Self::EcdsaSha384];

    /// As it stands in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            Self::RsaSha384 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384",
            Self::RsaSha512 => "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
            Self::EcdsaSha256 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
            Self::EcdsaSha384 => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// RFC 9231 §2.3.6: a signature by ECDSA is two numbers of fixed length, not DER.
    fn verifying(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::RsaSha384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::EcdsaSha256 => &ECDSA_P256_SHA256_FIXED,
            Self::EcdsaSha384 => &ECDSA_P384_SHA384_FIXED,
        }
    }
}

/// The digest of this name (XML Encryption 1.1 §5.7, RFC 9231 §2.1), none of which is SHA-1.
pub(super) fn digest_of(name: &str) -> Option<&'static digest::Algorithm> {
    match name {
        "http://www.w3.org/2001/04/xmlenc#sha256" => Some(&digest::SHA256),
        "http://www.w3.org/2001/04/xmldsig-more#sha384" => Some(&digest::SHA384),
        "http://www.w3.org/2001/04/xmlenc#sha512" => Some(&digest::SHA512),
        _ => None,
    }
}

/// A certificate, of which the key alone counts: metadata says whose it is, and until when.
///
/// Neither its validity nor who signed it is looked at, as SAML 2.0 Metadata Interoperability Profile §2.6.1 has it: most are
/// signed by themselves.
pub struct Certificate {
    der: Vec<u8>,
    /// Ready to be used, per method that it is good for.
    verifying: Vec<(Method, ParsedPublicKey)>,
}

impl Certificate {
    /// Reads a certificate (RFC 5280).
    ///
    /// # Errors
    /// It is none, or its key is for no signature that is taken.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let key = public_key(der)?;
        // RSA keys, and points of a curve: each is refused by whatever is for another kind.
        let verifying: Vec<_> = Method::ALL
            .into_iter()
            .filter_map(|method| Some((method, ParsedPublicKey::new(method.verifying(), &key).ok()?)))
            .collect();
        if verifying.is_empty() {
            return Err("a certificate whose key is neither RSA of 2048 bits or more nor on P-256 or P-384".to_owned());
        }
        Ok(Self { der: der.to_vec(), verifying })
    }

    /// As it was read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether its key made this signature of these bytes.
    #[must_use]
    pub fn verifies(&self, method: Method, signed: &[u8], signature: &[u8]) -> bool {
        let key = self.verifying.iter().find(|(own, _)| *own == method);
        key.is_some_and(|(_, key)| key.verify_sig(signed, signature).is_ok())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<Method> = self.verifying.iter().map(|(method, _)| *method).collect();
        f.debug_struct("Certificate").field("methods", &methods).finish_non_exhaustive()
    }
}

/// The public key of a certificate: an `RSAPublicKey` (RFC 8017 §A.1.1), or a point (SEC 1 §2.3.3).
pub(super) fn public_key(der: &[u8]) -> Result<Vec<u8>, String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| "no certificate".to_owned())?;
    if !rest.is_empty() {
        return Err("something after the certificate".to_owned());
    }
    Ok(certificate.public_key().subject_public_key.data.to_vec())
}
