//! The gateway's own key: it signs what is sent to an identity provider, and opens what the provider encrypts for it.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OaepAlgorithm, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::{self, Method};

/// A key pair with the certificate that shows its public half to others.
pub struct OwnKey {
    pair: Pair,
    /// RSA alone opens.
    opening: Option<OaepPrivateDecryptingKey>,
    certificate: Vec<u8>,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl OwnKey {
    /// A private key (PKCS #8: RSA, P-256 or P-384) and its certificate, both in PEM (RFC 7468), in one text or in two that are put
    /// together.
    ///
    /// # Errors
    /// Either is missing, cannot be used, or they do not belong together; never with a part of the text.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let no_key = || "no private key in PEM (`-----BEGIN PRIVATE KEY-----`)".to_owned();
        let document = match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => key,
            Ok(_) => return Err("a private key in an older form: `openssl pkcs8 -topk8 -nodes` rewrites it".to_owned()),
            Err(_) => return Err(no_key()),
        };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "no certificate in PEM (`-----BEGIN CERTIFICATE-----`)".to_owned())?;
        Self::from_der(document.secret_pkcs8_der(), certificate.as_ref())
    }

    /// The same from their bytes.
    ///
    /// # Errors
    /// Either cannot be used, or they do not belong together.
    pub fn from_der(pkcs8: &[u8], certificate: &[u8]) -> Result<Self, String> {
        let (pair, opening) = if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8) {
            (Pair::P256(pair), None)
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8) {
            (Pair::P384(pair), None)
        } else {
            let unusable = |_| "a private key that is neither P-256 nor P-384 nor RSA".to_owned();
            let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(unusable)?;
            if pair.public_modulus_len() < 256 {
                return Err("an RSA key of less than 2048 bits".to_owned());
            }
            let opening = PrivateDecryptingKey::from_pkcs8(pkcs8).ok().map(OaepPrivateDecryptingKey::new);
            (Pair::Rsa(pair), opening.and_then(Result::ok))
        };
        let public = match &pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair) => pair.public_key().as_ref(),
        };
        if certificate::public_key(certificate)? != public {
            return Err("the certificate is for another key".to_owned());
        }
        Ok(Self { pair, opening, certificate: certificate.to_vec() })
    }

    /// The certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Whether it opens what was encrypted: RSA keys do.
    #[must_use]
    pub fn is_for_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// How it signs.
    #[must_use]
    pub fn method(&self) -> Method {
        match &self.pair {
            Pair::P256(_) => Method::EcdsaSha256,
            Pair::P384(_) => Method::EcdsaSha384,
            Pair::Rsa(_) => Method::RsaSha256,
        }
    }

    /// Its signature of these bytes.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let (random, none) = (SystemRandom::new(), |_| "the system has no random numbers".to_owned());
        match &self.pair {
            Pair::P256(pair) | Pair::P384(pair) => Ok(pair.sign(&random, text).map_err(none)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map_err(none)?;
                Ok(signature)
            }
        }
    }

    /// What was encrypted for it; `None`: that was not.
    pub(super) fn open(&self, algorithm: &'static OaepAlgorithm, text: &[u8]) -> Option<Vec<u8>> {
        let opening = self.opening.as_ref()?;
        let mut room = vec![0; opening.min_output_size()];
        opening.decrypt(algorithm, text, &mut room, None).ok().map(|key| key.to_vec())
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKey").field("method", &self.method()).finish_non_exhaustive()
    }
}
