//! Tokens that are bound to their senders.

use tollgate_core::decode::DecodeCx;
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::section;
use tollgate_core::units::Period;

use crate::model::auth::secret::Secret;
use crate::model::auth::tokens::{Algorithm, Tokens};
use crate::model::defaults::v1;
use tollgate_core::text::words;

section! {
    /// Proofs that whoever sends a token has the key to which it is bound (DPoP, RFC 9449).
    pub struct Dpop: fits {
        /// How proofs may be signed; without it, in all ways that are known.
        algorithms: Option<Spanned<Vec<Algorithm>>>,
        /// How old a proof may be. For so long it is remembered that it was used.
        age: Spanned<Period> = v1::DPOP_AGE,
        /// Proofs need a nonce that the gateway gives out, and that may be this old. Clients whose clock is wrong can make such proofs, and
        /// nobody can make them in stock.
        nonce: Option<Spanned<Period>>,
        /// What nonces are made with: at least 16 characters, the same for all gateways that take each other's. Without it, each start of a gateway
        /// has its own.
        secret: Option<Spanned<Secret>>,
    }
}

words! {
    /// What tokens have to be bound to.
    pub enum Bound {
        /// To nothing. Those that are bound need what they are bound to all the same.
        Optional = "optional",
        /// To a certificate or a key.
        Required = "required",
        /// To the client's certificate (RFC 8705).
        Certificate = "certificate",
        /// To a key of the client's (RFC 9449).
        Dpop = "dpop",
    }
}

words! {
    /// Whether a trusted proxy is believed about its clients' certificates.
    pub enum ProxysWord {
        /// What it says is not looked at.
        Ignored = "ignored",
        /// It is.
        Believed = "believed",
    }
}

/// Longest that a proof may be good.
const LONGEST: u64 = 600;

fn fits(written: &Dpop, cx: &mut DecodeCx) -> bool {
    let mut well = true;
    for period in std::iter::once(&written.age).chain(&written.nonce) {
        if !(1..=LONGEST).contains(&period.value.0.as_secs()) {
            let mistake = Diagnostic::error("a proof is good for a second to ten minutes").at(&period.span);
            cx.report(mistake.hint("a minute is usual: proofs are made for one request each"));
            well = false;
        }
    }
    if written.nonce.is_some() && written.age.span.is_some() {
        let mistake =
            Diagnostic::error("`age` has no use with `nonce`, which tells when a proof was made").at(&written.age.span);
        cx.report(mistake.hint("leave it out"));
        well = false;
    }
    if let Some(secret) = &written.secret {
        if secret.value.0.len() < 16 {
            let mistake = Diagnostic::error("too short a secret").at(&secret.span);
            cx.report(mistake.hint("16 characters or more: `openssl rand -hex 32`"));
            well = false;
        } else if written.nonce.is_none() {
            let mistake = Diagnostic::error("`secret` has no use: proofs need no nonce").at(&secret.span);
            cx.report(mistake.hint("`nonce: 1m`"));
            well = false;
        }
    }
    if let Some(algorithms) = written.algorithms.as_ref().filter(|algorithms| algorithms.value.is_empty()) {
        cx.report(Diagnostic::error("no proof could be signed").at(&algorithms.span).hint("`algorithms: [ES256]`"));
        well = false;
    }
    well
}

/// Whether what tokens have to be bound to can be shown.
pub(super) fn can_be_shown(source: &Tokens, cx: &mut DecodeCx) -> bool {
    let well = source.bound.value != Bound::Dpop || source.dpop.is_some();
    if !well {
        let mistake = Diagnostic::error("no proof is taken, and no token passes without one").at(&source.bound.span);
        cx.report(mistake.hint("say how they are judged: `dpop: {}`"));
    }
    well
}
