//! Why a token is refused that is bound to a key or a certificate, or that should be.

use tollgate_core::problem::Fault;

/// All of them.
pub static FAULTS: &[&Fault] = &[
    &REQUIRED,
    &SCHEME,
    &CERTIFICATE,
    &PROOF_MISSING,
    &PROOF_MALFORMED,
    &PROOF_ALGORITHM,
    &PROOF_KEY,
    &PROOF_SIGNATURE,
    &PROOF_REQUEST,
    &PROOF_TIME,
    &PROOF_TOKEN,
    &PROOF_REPLAYED,
    &PROOF_NONCE,
    &PROOFS_UNKNOWN,
];

macro_rules! refused {
    ($name:ident, $slug:literal, $title:literal, $help:literal) => {
        pub(crate) static $name: Fault = Fault::client($slug, 401, $title, $help);
    };
}

refused!(
    REQUIRED,
    "bound/required",
    "The token is not bound to its sender as it has to be",
    "Ask the provider for a token that is bound to a client certificate (RFC 8705) or to a key (DPoP, RFC 9449): `WWW-Authenticate` names what is taken."
);
refused!(
    SCHEME,
    "bound/scheme",
    "The token is not sent in the way that it is for",
    "Send a token that is bound to a key as `Authorization: DPoP …` with a proof (RFC 9449), and every other one as `Authorization: Bearer …`."
);
refused!(
    CERTIFICATE,
    "bound/certificate",
    "The token is bound to another certificate than the client's",
    "Send the token on a connection with the certificate with which it was got (RFC 8705). For the operator: behind a proxy that ends TLS, set `forwarded` of the source of identity."
);
refused!(
    PROOF_MISSING,
    "dpop/missing",
    "There is no proof for the token",
    "Send a proof in the `DPoP` field: a JWT that the token's key signs (RFC 9449)."
);
refused!(
    PROOF_MALFORMED,
    "dpop/malformed",
    "The proof cannot be read",
    "Send one `DPoP` field with a signed JWT of the type `dpop+jwt`, with `htm`, `htu`, `iat`, `jti` and `ath` (RFC 9449 §4.2)."
);
refused!(
    PROOF_ALGORITHM,
    "dpop/algorithm",
    "The proof is not signed in a way that is accepted",
    "`algs` in `WWW-Authenticate` names the ways: by key pairs only, never with a shared secret or not at all."
);
refused!(
    PROOF_KEY,
    "dpop/key",
    "The proof's key cannot be used",
    "`jwk` in the proof's header is the public key that signs it, for its `alg`, without any private part. If that was sent: make a new key, this one is known now."
);
refused!(
    PROOF_SIGNATURE,
    "dpop/signature",
    "The proof's signature does not hold",
    "Sign the proof with the key whose public half is in its `jwk`."
);
refused!(
    PROOF_REQUEST,
    "dpop/request",
    "The proof is for another request",
    "`htm` is the method and `htu` the URL of this request as you sent it, without query and fragment. For the operator: a proxy in front has to be in `trust` and tell the scheme and host."
);
refused!(
    PROOF_TIME,
    "dpop/time",
    "The proof is too old, or lies ahead",
    "Make a new proof for each request, and look at your clock. The gateway's operator sets how old one may be: `dpop.age`."
);
refused!(
    PROOF_TOKEN,
    "dpop/token",
    "The proof is not for this token",
    "Sign with the key that the token is bound to (`cnf.jkt`), and send the hash of this token as `ath` (RFC 9449 §4.2)."
);
refused!(
    PROOF_REPLAYED,
    "dpop/replayed",
    "The proof was used before",
    "Make a new proof, with a `jti` of its own, for each request, also if it is sent again."
);
refused!(
    PROOF_NONCE,
    "dpop/nonce",
    "The proof needs a nonce that is given out here",
    "Make a new proof with the value of `DPoP-Nonce` in this answer as `nonce`, and send the request again (RFC 9449 §9)."
);
/// Never a 401: the proof may be good.
pub(crate) static PROOFS_UNKNOWN: Fault = Fault::gateway(
    "dpop/unavailable",
    503,
    "Nobody can tell whether the proof was used before",
    "Try again. For the operator: the store of marks is full or cannot be asked; the log tells why (`store`).",
);
