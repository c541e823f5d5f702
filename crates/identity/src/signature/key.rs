//! Keys of signatures, each for one algorithm (RFC 9421 §3.3): what a request says of the algorithm never chooses it (§7.3.6).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA512, RsaKeyPair, VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::jwk;

/// The shortest secret that two share, in bytes.
const SHORTEST: usize = 32;

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-512 (§3.3.1).
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (§3.3.2).
    RsaV15Sha256,
    /// HMAC with SHA-256 (§3.3.3).
    HmacSha256,
    /// ECDSA on P-256 with SHA-256 (§3.3.4).
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384 (§3.3.5).
    EcdsaP384Sha384,
    /// Ed25519 (§3.3.6).
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RsaPssSha512,
        Self::RsaV15Sha256,
        Self::HmacSha256,
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::Ed25519,
    ];

    /// As it stands in `alg` (§6.2.2).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::RsaV15Sha256 => "rsa-v1_5-sha256",
            Self::HmacSha256 => "hmac-sha256",
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The same where keys are JWKs.
    fn jwk(self) -> Option<jwk::Algorithm> {
        match self {
            Self::RsaPssSha512 => Some(jwk::Algorithm::Ps512),
            Self::RsaV15Sha256 => Some(jwk::Algorithm::Rs256),
            Self::HmacSha256 => None,
            Self::EcdsaP256Sha256 => Some(jwk::Algorithm::Es256),
            Self::EcdsaP384Sha384 => Some(jwk::Algorithm::Es384),
            Self::Ed25519 => Some(jwk::Algorithm::EdDsa),
        }
    }

    fn public(self) -> Option<&'static dyn VerificationAlgorithm> {
        match self {
            Self::RsaPssSha512 => Some(&RSA_PSS_2048_8192_SHA512),
            Self::RsaV15Sha256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Self::HmacSha256 => None,
            Self::EcdsaP256Sha256 => Some(&ECDSA_P256_SHA256_FIXED),
            Self::EcdsaP384Sha384 => Some(&ECDSA_P384_SHA384_FIXED),
            Self::Ed25519 => Some(&ED25519),
        }
    }
}

/// A key that signatures are checked with.
pub struct VerifyingKey {
    algorithm: Algorithm,
    half: Half,
}

enum Half {
    Shared(Box<hmac::Key>),
    Public(ParsedPublicKey),
    Published(Arc<jwk::Key>, jwk::Algorithm),
}

impl VerifyingKey {
    /// A secret of at least 32 bytes that two share, for HMAC.
    #[must_use]
    pub fn shared(secret: &[u8]) -> Option<Self> {
        Some(Self { algorithm: Algorithm::HmacSha256, half: Half::Shared(shared(secret)?) })
    }

    /// A public key in PEM (`-----BEGIN PUBLIC KEY-----`, RFC 7468 §13).
    ///
    /// # Errors
    /// It cannot be read, or is not for this algorithm; in words for a person.
    pub fn from_pem(algorithm: Algorithm, text: &str) -> Result<Self, String> {
        let none = || format!("no public key for {} in PEM (`-----BEGIN PUBLIC KEY-----`)", algorithm.name());
        let public = algorithm.public().ok_or_else(none)?;
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| none())?;
        let half = Half::Public(ParsedPublicKey::new(public, der.as_ref()).map_err(|_| none())?);
        Ok(Self { algorithm, half })
    }

    /// A key of a JWK set, for one of the algorithms that it is good for. `None`: it is not good for this one.
    #[must_use]
    pub fn from_jwk(algorithm: Algorithm, key: Arc<jwk::Key>) -> Option<Self> {
        let published = algorithm.jwk().filter(|algorithm| key.is_for(*algorithm))?;
        Some(Self { algorithm, half: Half::Published(key, published) })
    }

    /// What it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it made this signature of these bytes; a secret's is compared in constant time.
    #[must_use]
    pub(super) fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.half {
            Half::Shared(key) => hmac::verify(key, signed, signature).is_ok(),
            Half::Public(key) => key.verify_sig(signed, signature).is_ok(),
            Half::Published(key, algorithm) => key.verifies(*algorithm, signed, signature),
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn shared(secret: &[u8]) -> Option<Box<hmac::Key>> {
    (secret.len() >= SHORTEST).then(|| hmac::Key::new(hmac::HMAC_SHA256, secret).into())
}

/// A key that requests are signed with.
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Shared(Box<hmac::Key>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// A secret of at least 32 bytes that two share, for HMAC.
    #[must_use]
    pub fn shared(secret: &[u8]) -> Option<Self> {
        Some(Self { algorithm: Algorithm::HmacSha256, pair: Pair::Shared(shared(secret)?) })
    }

    /// A private key in PEM: PKCS #8 (`-----BEGIN PRIVATE KEY-----`, RFC 7468 §10). One for RSA-PSS has to be a plain
    /// RSA key, not one that is marked as good for nothing else (`id-RSASSA-PSS`).
    ///
    /// # Errors
    /// It cannot be read, or is not for this algorithm; never with a part of the text.
    pub fn from_pem(algorithm: Algorithm, text: &str) -> Result<Self, String> {
        let none = || format!("no private key for {} in PEM (`-----BEGIN PRIVATE KEY-----`)", algorithm.name());
        match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(key)) => Self::from_pkcs8(algorithm, key.secret_pkcs8_der()).ok_or_else(none),
            Ok(_) => Err("a private key in an older form: `openssl pkcs8 -topk8 -nodes` rewrites it".to_owned()),
            Err(_) => Err(none()),
        }
    }

    /// A key from its PKCS #8 document (RFC 5958). `None`: it is not for this algorithm.
    #[must_use]
    pub fn from_pkcs8(algorithm: Algorithm, document: &[u8]) -> Option<Self> {
        let pair = match algorithm {
            Algorithm::HmacSha256 => return None,
            Algorithm::EcdsaP256Sha256 => {
                Pair::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document).ok()?)
            }
            Algorithm::EcdsaP384Sha384 => {
                Pair::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, document).ok()?)
            }
            Algorithm::Ed25519 => Pair::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).ok()?),
            Algorithm::RsaPssSha512 | Algorithm::RsaV15Sha256 => {
                // As for those that are checked: 2048 bits or more.
                let pair = RsaKeyPair::from_pkcs8(document).ok().filter(|pair| pair.public_modulus_len() >= 256);
                Pair::Rsa(pair?)
            }
        };
        Some(Self { algorithm, pair })
    }

    /// What it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature of these bytes.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, String> {
        let none = |_| "the system has no random numbers".to_owned();
        let random = SystemRandom::new();
        Ok(match &self.pair {
            Pair::Shared(key) => hmac::sign(key, signed).as_ref().to_vec(),
            Pair::Ec(pair) => pair.sign(&random, signed).map_err(none)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(signed).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let encoding =
                    if self.algorithm == Algorithm::RsaPssSha512 { &RSA_PSS_SHA512 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, signed, &mut signature).map_err(none)?;
                signature
            }
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
