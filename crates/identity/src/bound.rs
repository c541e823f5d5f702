//! Tokens that are bound to their senders: to a client certificate (RFC 8705 §3), or to a key (DPoP, RFC 9449).
//!
//! What is remembered of a token is what it says. Whether its sender has what it is bound to is looked at with every request.

pub(crate) mod confirmation;
pub mod faults;

use std::sync::Arc;

use bytes::Bytes;
use tollgate_core::cache::CacheStore;
use tollgate_core::clock::Clock;
use tollgate_core::exchange::Exchange;
use tollgate_core::principal::{Found, Principal};
use tollgate_core::problem::Problem;

use self::confirmation::{Confirmation, is_same};
use self::faults::{CERTIFICATE, PROOF_NONCE, REQUIRED, SCHEME};
use crate::bearer::{self, Scheme, Sent};
use crate::certificate::fingerprint;
use crate::certificate::shown::{Shown, shown};
use crate::dpop::{self, Asked, Dpop};
use crate::faults::{BOUND, because};
use crate::remembered::Digest;

/// What tokens have to be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// To nothing; those that are need what they are bound to.
    Optional,
    /// To either.
    Required,
    /// To a certificate.
    Certificate,
    /// To a key.
    Key,
}

/// What tokens are bound to, and how their senders show that they have it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What they have to be bound to.
    pub bound: Bound,
    /// Whether trusted proxies tell of their clients' certificates.
    pub forwarded: bool,
    /// How proofs are judged; `None`: none is taken.
    pub dpop: Option<dpop::Settings>,
}

/// Looks whether whoever sends a token may.
pub(crate) struct Proofs {
    name: Arc<str>,
    bound: Bound,
    forwarded: bool,
    dpop: Option<Dpop>,
}

impl Proofs {
    pub(crate) fn new(name: &Arc<str>, settings: &Settings, clock: &Clock) -> Self {
        let dpop = settings.dpop.clone().map(|dpop| Dpop::new(dpop, clock.clone()));
        Self { name: Arc::clone(name), bound: settings.bound, forwarded: settings.forwarded, dpop }
    }

    /// Marks what was used in this store.
    pub(crate) fn mark_in(&self, store: &Arc<dyn CacheStore>) {
        self.dpop.iter().for_each(|dpop| dpop.mark_in(store));
    }

    /// The token of a request; `None`: its client does not claim to have one that could be taken here.
    ///
    /// # Errors
    /// As [`bearer::sent`].
    pub(crate) fn sent<'x>(&self, x: &'x Exchange) -> Result<Option<Sent<'x>>, Problem> {
        let sent = bearer::sent(&x.head.fields)?;
        Ok(sent.filter(|sent| sent.scheme == Scheme::Bearer || self.dpop.is_some()))
    }

    /// What was found out about a token holds only if its sender has what it is bound to.
    pub(crate) fn confirm<'a>(&'a self, x: &'a Exchange, sent: Sent<'a>, found: Found<'a>) -> Found<'a> {
        match found {
            Found::Nothing => Found::Nothing,
            Found::Foreign(problem) => Found::Foreign(self.told(sent.scheme, problem)),
            Found::Checked(Err(problem)) => Found::Checked(Err(self.told(sent.scheme, problem))),
            Found::Checked(Ok(caller)) => match self.judge(sent.scheme, &caller, || self.certificate(x)) {
                Ok(None) => Found::Checked(Ok(caller)),
                // The signature is looked at where that is waited for, and not before: once.
                Ok(Some(key)) => {
                    let asked = Asked::of(x);
                    Found::Checking(Box::pin(async move {
                        self.prove(&asked, sent, &key).await?;
                        Ok(caller)
                    }))
                }
                Err(problem) => Found::Checked(Err(self.told(sent.scheme, problem))),
            },
            Found::Checking(checking) => {
                let (asked, certificate) = (Asked::of(x), self.certificate(x));
                Found::Checking(Box::pin(async move {
                    let told = |problem| self.told(sent.scheme, problem);
                    let caller = checking.await.map_err(told)?;
                    if let Some(key) = self.judge(sent.scheme, &caller, || certificate).map_err(told)? {
                        self.prove(&asked, sent, &key).await?;
                    }
                    Ok(caller)
                }))
            }
        }
    }

    /// All but the proof: the key of which one is needed, if it is.
    fn judge(
        &self,
        scheme: Scheme,
        caller: &Principal,
        certificate: impl FnOnce() -> Result<Digest, Problem>,
    ) -> Result<Option<Digest>, Problem> {
        let confirmation = Confirmation::of(&caller.claims).ok_or_else(|| BOUND.problem())?;
        let is_bound = match self.bound {
            Bound::Optional => true,
            Bound::Required => confirmation != Confirmation::default(),
            Bound::Certificate => confirmation.certificate.is_some(),
            Bound::Key => confirmation.key.is_some(),
        };
        if !is_bound {
            return Err(REQUIRED.problem());
        }
        if confirmation.key.is_some() && self.dpop.is_none() {
            return Err(because(&BOUND, "bound to a key, and the source has no `dpop`"));
        }
        // RFC 9449 §7.1, §7.2: each goes by its own scheme, so that a bound token is not sent by whoever stole it as if it were none.
        if (scheme == Scheme::Dpop) != confirmation.key.is_some() {
            return Err(SCHEME.problem());
        }
        // RFC 8705 §3.
        if let Some(expected) = confirmation.certificate
            && !is_same(&certificate()?, &expected)
        {
            return Err(because(&CERTIFICATE, "another one"));
        }
        Ok(confirmation.key)
    }

    /// The SHA-256 of the certificate that the client has shown.
    fn certificate(&self, x: &Exchange) -> Result<Digest, Problem> {
        let der = match shown(x, self.forwarded)? {
            Shown::Nothing => return Err(because(&CERTIFICATE, "the client has shown none")),
            Shown::Proxys => return Err(because(&CERTIFICATE, "the certificate is a proxy's, not the client's")),
            Shown::Here(der) => der.clone(),
            Shown::There(der) => der,
        };
        Ok(fingerprint(&der))
    }

    async fn prove(&self, asked: &Asked<'_>, sent: Sent<'_>, key: &Digest) -> Result<(), Problem> {
        let Some(dpop) = &self.dpop else { return Err(BOUND.problem()) };
        dpop.prove(asked, sent.token, key).await.map_err(|problem| self.told(sent.scheme, problem))
    }

    /// What tokens have to be bound to, in a few words behind what they are.
    pub(crate) fn describe(&self) -> &'static str {
        match self.bound {
            Bound::Optional => "",
            Bound::Required => ", bound to a certificate or a key",
            Bound::Certificate => ", bound to a certificate",
            Bound::Key => ", bound to a key",
        }
    }

    /// How the client may say who it is.
    pub(crate) fn challenge(&self) -> String {
        let bearer = format!("Bearer realm=\"{}\"", self.name);
        match (&self.dpop, self.bound) {
            (None, _) => bearer,
            (Some(dpop), Bound::Key) => self.dpop_challenge(dpop),
            (Some(dpop), _) => format!("{bearer}, {}", self.dpop_challenge(dpop)),
        }
    }

    fn dpop_challenge(&self, dpop: &Dpop) -> String {
        format!("DPoP realm=\"{}\", algs=\"{}\"", self.name, dpop.algorithms())
    }

    /// With a challenge that says what is wrong beside the scheme that was used (RFC 6750 §3, RFC 9449 §7.1). Without proofs the one that
    /// all sources have will do.
    fn told(&self, scheme: Scheme, problem: Problem) -> Problem {
        let Some(dpop) = &self.dpop else { return problem };
        let error = match (problem.fault.status, problem.fault.policy()) {
            (400, _) => "invalid_request",
            (401, _) if std::ptr::eq(problem.fault, &PROOF_NONCE) => "use_dpop_nonce",
            (401, "dpop") => "invalid_dpop_proof",
            (401, _) => "invalid_token",
            _ => return problem,
        };
        let error = format!("error=\"{error}\", error_description=\"{}\"", problem.fault.title);
        let dpop_challenge = self.dpop_challenge(dpop);
        let field = match (scheme, self.bound) {
            (Scheme::Dpop, _) | (_, Bound::Key) => format!("{dpop_challenge}, {error}"),
            (Scheme::Bearer, _) => format!("Bearer realm=\"{}\", {error}, {dpop_challenge}", self.name),
        };
        let problem = problem.header("WWW-Authenticate", Bytes::from(field));
        match dpop.nonce().filter(|_| scheme == Scheme::Dpop) {
            Some(nonce) => problem.header("DPoP-Nonce", nonce),
            None => problem,
        }
    }
}
