//! Proofs that the sender of a token has the key to which it is bound (DPoP, RFC 9449).
//!
//! A proof is for one request: its mark is kept for as long as it could be used again.

mod nonce;
mod proof;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tollgate_core::cache::CacheStore;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::problem::Problem;

use self::nonce::Nonces;
use self::proof::Proof;
use crate::bound::confirmation::is_same;
use crate::bound::faults::{
    PROOF_ALGORITHM, PROOF_MALFORMED, PROOF_MISSING, PROOF_NONCE, PROOF_REPLAYED, PROOF_REQUEST, PROOF_SIGNATURE,
    PROOF_TIME, PROOF_TOKEN, PROOFS_UNKNOWN,
};
use crate::checks::{Check, on};
use crate::faults::because;
use crate::jwk::Algorithm;
use crate::remembered::{Digest, digest};

/// Largest proof, in bytes: with an RSA key of 8192 bits and its signature there is some room left.
const LARGEST: usize = 8 * 1024;

/// How proofs are judged.
#[derive(Clone)]
pub struct Settings {
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How old one may be that has no nonce.
    pub age: Duration,
    /// By how much clocks may differ.
    pub skew: Duration,
    /// How old a nonce of the gateway's may be that proofs must have; `None`: they need none.
    pub nonce: Option<Duration>,
    /// What nonces are made with, for several gateways that take each other's; `None`: something of this process alone.
    pub secret: Option<Vec<u8>>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Settings");
        out.field("algorithms", &self.algorithms)
            .field("age", &self.age)
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

/// What of a request a proof is for, and the proof.
pub(crate) struct Asked<'x> {
    method: &'x str,
    scheme: &'x str,
    /// The host that the client asked for.
    host: &'x str,
    /// In its one form.
    path: &'x str,
    /// The first two: there must be one.
    proofs: (Option<&'x [u8]>, Option<&'x [u8]>),
}

impl<'x> Asked<'x> {
    pub(crate) fn of(x: &'x Exchange) -> Self {
        let mut all = x.head.fields.all("dpop");
        let proofs = (all.next(), all.next());
        Self { method: x.head.method_text(), scheme: x.scheme, host: x.asked_host(), path: x.head.path(), proofs }
    }
}

/// Judges proofs.
pub(crate) struct Dpop {
    settings: Settings,
    clock: Clock,
    algorithms: String,
    nonces: Option<Nonces>,
    store: OnceLock<Arc<dyn CacheStore>>,
}

impl Dpop {
    pub(crate) fn new(settings: Settings, clock: Clock) -> Self {
        let algorithms = settings.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(" ");
        let nonces = settings.nonce.map(|lasts| Nonces::new(settings.secret.as_deref(), lasts));
        Self { settings, clock, algorithms, nonces, store: OnceLock::new() }
    }

    /// Marks proofs in this store.
    pub(crate) fn mark_in(&self, store: &Arc<dyn CacheStore>) {
        let _ = self.store.set(Arc::clone(store));
    }

    /// How proofs may be signed, as a challenge names it (RFC 9449 §7.1).
    pub(crate) fn algorithms(&self) -> &str {
        &self.algorithms
    }

    /// A nonce for the next proof, if proofs need one.
    pub(crate) fn nonce(&self) -> Option<String> {
        self.nonces.as_ref().map(|nonces| nonces.make(self.clock.unix()))
    }

    /// Whether a request has a proof, by this key, for this token (RFC 9449 §4.3). Takes a signature's time.
    ///
    /// # Errors
    /// What is wrong with it; 503 if nobody can tell whether it was used before.
    pub(crate) async fn prove(&self, asked: &Asked<'_>, token: &str, key: &Digest) -> Result<(), Problem> {
        let (mark, lasts) = self.judge(asked, token, key)?;
        let Some(store) = self.store.get() else { return Err(unknown("there is none")) };
        match store.add(&mark, Bytes::new(), lasts).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(PROOF_REPLAYED.problem()),
            Err(error) => Err(unknown(error)),
        }
    }

    /// All but whether it was used before: its mark, and for how long it could be used.
    fn judge(&self, asked: &Asked<'_>, token: &str, key: &Digest) -> Result<(Vec<u8>, Duration), Problem> {
        let text = match asked.proofs {
            (None, _) => return Err(PROOF_MISSING.problem()),
            (Some(_), Some(_)) => return Err(because(&PROOF_MALFORMED, "more than one field")),
            (Some(text), None) => str::from_utf8(text).map_err(|_| because(&PROOF_MALFORMED, "no text"))?,
        };
        if text.len() > LARGEST {
            return Err(because(&PROOF_MALFORMED, format!("{} bytes", text.len())));
        }
        let proof = Proof::read(text)?;
        if !self.settings.algorithms.contains(&proof.algorithm) {
            return Err(because(&PROOF_ALGORITHM, "one that is not among `algorithms`"));
        }
        // First what costs least.
        if on(Check::ProofMethod) && proof.method != asked.method {
            return Err(because(&PROOF_REQUEST, "another `htm`"));
        }
        if on(Check::ProofUrl) && !proof::is_for(&proof.url, asked.scheme, asked.host, asked.path) {
            return Err(because(&PROOF_REQUEST, "another `htu`"));
        }
        let lasts = self.lasts(&proof)?;
        if on(Check::ProofToken) && !is_same(&proof.token, &digest(token)) {
            return Err(because(&PROOF_TOKEN, "another `ath`"));
        }
        if on(Check::ProofKey) && !is_same(&proof.thumbprint, key) {
            return Err(because(&PROOF_TOKEN, "signed by another key"));
        }
        if on(Check::ProofSignature) && !proof.is_signed() {
            return Err(PROOF_SIGNATURE.problem());
        }
        let mut hash = Context::new(&SHA256);
        hash.update(&proof.thumbprint);
        hash.update(proof.id.as_bytes());
        Ok(([b"dpop:", hash.finish().as_ref()].concat(), lasts))
    }

    /// For how long it could be used from now on: when it was made is told by our own nonce, if there has to be one, and else by itself.
    fn lasts(&self, proof: &Proof<'_>) -> Result<Duration, Problem> {
        let (now, skew) = (self.clock.unix(), self.settings.skew);
        let left = |until: SystemTime| until.duration_since(now).ok().filter(|left| !left.is_zero());
        if let Some(nonces) = &self.nonces {
            let made = proof.nonce.as_deref().and_then(|nonce| nonces.made(nonce));
            let until = made.filter(|made| *made <= now + skew).and_then(|made| left(made + nonces.lasts()));
            return until.ok_or_else(|| PROOF_NONCE.problem());
        }
        let until =
            Some(proof.made).filter(|made| *made <= now + skew).and_then(|made| left(made + self.settings.age + skew));
        until.ok_or_else(|| PROOF_TIME.problem())
    }
}

fn unknown(why: impl std::fmt::Display) -> Problem {
    because(&PROOFS_UNKNOWN, why).header("Retry-After", "1")
}
