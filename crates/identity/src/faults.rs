//! Why a credential is refused.

use tollgate_core::problem::{Fault, Problem, Retry, Side};

use crate::ldap::faults::{LDAP_CROWDED, LDAP_REFUSED, LDAP_UNAVAILABLE};

/// All of them.
pub static FAULTS: &[&Fault] = &[
    &HEADER,
    &MALFORMED,
    &TOO_LARGE,
    &ALGORITHM,
    &HEADER_FIELD,
    &UNKNOWN_KEY,
    &SIGNATURE,
    &ISSUER,
    &AUDIENCE,
    &TYPE,
    &EXPIRED,
    &NOT_YET,
    &CLAIM,
    &BOUND,
    &KEYS,
    &INACTIVE,
    &NOT_FOR_US,
    &UNTOLD,
    &CROWDED,
    &KEY_MALFORMED,
    &KEY_UNKNOWN,
    &KEY_EXPIRED,
    &KEY_LIST,
    &MINT,
    &TRADE_REFUSED,
    &NOT_TRADED,
    &METHOD,
    &NO_TOKEN,
    &TOO_MANY_FAILURES,
    &BASIC_MALFORMED,
    &BASIC_REFUSED,
    &BASIC_LIST,
    &BASIC_CROWDED,
    &LDAP_REFUSED,
    &LDAP_UNAVAILABLE,
    &LDAP_CROWDED,
    &SAML_METADATA,
    &SIGV4_MALFORMED,
    &SIGV4_STREAMING,
    &SIGV4_UNKNOWN_KEY,
    &SIGV4_SIGNATURE,
    &SIGV4_EXPIRED,
    &SIGV4_SCOPE,
    &SIGV4_BODY,
    &SIGNATURE_MALFORMED,
    &SIGNATURE_UNKNOWN_KEY,
    &SIGNATURE_INVALID,
    &SIGNATURE_EXPIRED,
    &SIGNATURE_COVERAGE,
    &SIGNATURE_REPLAYED,
    &SIGNATURE_UNTOLD,
    &DIGEST_MALFORMED,
    &DIGEST_MISMATCH,
    &SIGN_IMPOSSIBLE,
    &DECISION_DENIED,
    &DECISION_UNTOLD,
    &DECISION_CROWDED,
];

macro_rules! refused {
    ($name:ident, $slug:literal, $title:literal, $help:literal) => {
        pub(crate) static $name: Fault = Fault::client($slug, 401, $title, $help);
    };
}

/// More than one credential, or one that does not read (RFC 6750 §3.1, `invalid_request`).
pub(crate) static HEADER: Fault = Fault::client(
    "bearer/malformed",
    400,
    "The Authorization field cannot be read",
    "Send one `Authorization` field, with `Bearer`, a space, and the token.",
);
refused!(
    MALFORMED,
    "jwt/malformed",
    "The token is no JWT that can be read",
    "Send a signed JWT (RFC 7519) in its compact form: three parts, JSON objects without repeated members. Encrypted ones are not taken."
);
refused!(
    TOO_LARGE,
    "jwt/too-large",
    "The token is too large",
    "Ask the identity provider to put less into the token. The gateway's operator sets the limit: `largest`."
);
refused!(
    ALGORITHM,
    "jwt/algorithm",
    "The token is not signed in a way that is accepted",
    "The algorithm has to be the one that the provider's key is for; tokens without a signature or with a shared secret are never taken."
);
refused!(
    HEADER_FIELD,
    "jwt/header",
    "The token's header asks for what is not done",
    "Tokens that bring their own key, or name an address where it is, are not taken, and neither are unknown critical extensions."
);
refused!(
    UNKNOWN_KEY,
    "jwt/unknown-key",
    "The token is signed with a key that the provider does not publish",
    "Get a new token. If that does not help: is it from the provider that the gateway is set up with?"
);
refused!(SIGNATURE, "jwt/signature", "The token's signature does not hold", "Get a new token, and send it unchanged.");
refused!(
    ISSUER,
    "jwt/issuer",
    "The token is from another issuer",
    "Get a token from the provider that this API trusts."
);
refused!(
    AUDIENCE,
    "jwt/audience",
    "The token is not meant for this API",
    "Ask the provider for a token whose audience (`aud`) is this API."
);
refused!(
    TYPE,
    "jwt/type",
    "The token is of another type",
    "Send an access token: not an ID token, nor one that is made for something else."
);
refused!(EXPIRED, "jwt/expired", "The token has expired", "Get a new token.");
refused!(
    NOT_YET,
    "jwt/not-yet-valid",
    "The token is not valid yet",
    "Wait, or look at the clocks of the provider and of the gateway."
);
refused!(
    CLAIM,
    "jwt/claim",
    "The token lacks a claim, or one cannot be read",
    "Ask the provider for tokens with `iss`, `exp` and `aud`."
);
refused!(
    BOUND,
    "jwt/bound",
    "The token is bound to a key, of which no proof is taken here",
    "Get a token that is not bound (`cnf`), or is bound to a certificate. For the operator: `dpop` of the source of identity takes proofs of keys."
);
refused!(
    INACTIVE,
    "token/inactive",
    "The token is not valid, or not any more",
    "Get a new token: the provider does not know this one, or has revoked it."
);
refused!(
    NOT_FOR_US,
    "token/audience",
    "The token is not meant for this API",
    "Ask the provider for a token whose audience (`aud`) is this API."
);
/// Never a 401, as [`KEYS`].
pub(crate) static UNTOLD: Fault = Fault::upstream(
    "token/unavailable",
    503,
    "The identity provider does not tell about the token",
    "Try again. For the operator: `tollgate status` tells why the provider cannot be asked.",
);
/// More tokens are unknown at a time than the provider is asked about.
pub(crate) static CROWDED: Fault = Fault::gateway(
    "token/crowded",
    503,
    "Too many tokens are being asked about",
    "Try again. The gateway's operator sets how many the provider is asked about at a time: `at_once`.",
);
/// Never a 401: the client's token may be good.
pub(crate) static KEYS: Fault = Fault::upstream(
    "jwt/keys-unavailable",
    503,
    "The identity provider's keys cannot be had",
    "Try again. For the operator: `tollgate status` tells why the keys of the provider cannot be read.",
);

/// More than one key, or one that cannot be read.
pub(crate) static KEY_MALFORMED: Fault = Fault::client(
    "key/malformed",
    400,
    "The API key cannot be read",
    "Send one API key, where the documentation of this API says: neither empty nor twice.",
);
refused!(
    KEY_UNKNOWN,
    "key/unknown",
    "The API key is not known",
    "Is it written in full? It may have been taken back: ask whoever runs this API."
);
refused!(KEY_EXPIRED, "key/expired", "The API key has expired", "Ask whoever runs this API for a new one.");
/// Never a 401: the client's key may be good.
pub(crate) static KEY_LIST: Fault = Fault::gateway(
    "key/unavailable",
    503,
    "The list of API keys cannot be read",
    "Try again. For the operator: `tollgate status` and the log tell why.",
);

/// A policy engine says no.
pub(crate) static DECISION_DENIED: Fault = Fault::client(
    "decision/denied",
    403,
    "The caller may not do this",
    "Whoever runs this API decides who may: ask them. For the operator: the log tells what was decided.",
);
/// A policy engine says nothing.
pub(crate) static DECISION_UNTOLD: Fault = Fault::upstream(
    "decision/unavailable",
    503,
    "Nobody can tell now whether the caller may do this",
    "Try again. For the operator: the log tells what is wrong with who decides.",
);
/// Too many questions are asked of it.
pub(crate) static DECISION_CROWDED: Fault = Fault::gateway(
    "decision/crowded",
    503,
    "Too many questions are asked of who decides",
    "Try again. For the operator: `at_once` says how many may be.",
);
/// The signature that a service asks for cannot be made.
pub(crate) static SIGN_IMPOSSIBLE: Fault = Fault::gateway(
    "sign/impossible",
    500,
    "The request cannot be signed for its service",
    "Send what the signature has to cover. For the operator: the log tells what that is.",
);
/// Tokens of the gateway's own cannot be made.
pub(crate) static MINT: Fault = Fault::gateway(
    "mint/unavailable",
    503,
    "The gateway cannot make a token for the service",
    "Try again. For the operator: the log tells what is wrong with the keys.",
);
/// The provider does not trade the caller's token for one that is meant for the service.
pub(crate) static TRADE_REFUSED: Fault = Fault::client(
    "exchange/refused",
    403,
    "The identity provider gives no token for this service",
    "The caller may not use it, or the provider was not told that the gateway may trade tokens for it.",
);
/// The provider cannot be asked to trade a token.
pub(crate) static NOT_TRADED: Fault = Fault::upstream(
    "exchange/unavailable",
    503,
    "The identity provider does not trade tokens now",
    "Try again. For the operator: the log tells why the provider cannot be asked.",
);

/// A route of the gateway's own, asked in a way that it is not for.
pub(crate) static METHOD: Fault =
    Fault::client("issuer/method", 405, "This is not asked for by that method", "`Allow` names those that are.");
/// A token that is not traded; what the client is told is an error of OAuth.
pub(crate) static NO_TOKEN: Fault = Fault::client(
    "issuer/refused",
    400,
    "The token is not traded",
    "`error` and `error_description` say why (RFC 6749 §5.2, RFC 8693 §2.2.2).",
);

/// An address has come with too many wrong credentials: those that are not known to be good are not looked at for a while.
pub(crate) static TOO_MANY_FAILURES: Fault = Fault {
    slug: "auth/too-many-failures",
    status: 429,
    title: "Too many wrong credentials came from this address",
    side: Side::Client,
    retry: Retry::Later,
    help: "Wait as long as `Retry-After` says. The gateway's operator sets how many an address may try in a minute: `limits.failures`.",
};
/// A `Basic` credential that cannot be read.
pub(crate) static BASIC_MALFORMED: Fault = Fault::client(
    "basic/malformed",
    400,
    "The name and password cannot be read",
    "Send one `Authorization` field with `Basic` and base64 of `name:password` (RFC 7617).",
);
refused!(
    BASIC_REFUSED,
    "basic/refused",
    "The name or the password is wrong",
    "Try again, or ask whoever runs this API."
);
/// Never a 401: the client's password may be right.
pub(crate) static BASIC_LIST: Fault = Fault::gateway(
    "basic/unavailable",
    503,
    "Passwords cannot be checked",
    "Try again. For the operator: `tollgate status` and the log tell what is wrong with the file.",
);
/// More passwords come than are checked at a time.
pub(crate) static BASIC_CROWDED: Fault = Fault::gateway(
    "basic/crowded",
    503,
    "Too many passwords are being checked",
    "Try again. The gateway's operator sets how many are checked at a time: `at_once`.",
);
/// Never the client's fault: the assertion may be good.
pub(crate) static SAML_METADATA: Fault = Fault::gateway(
    "saml/unavailable",
    503,
    "The identity provider's metadata cannot be read",
    "Try again. For the operator: the log tells what is wrong with the file.",
);
/// A signature of AWS that cannot be read, or does not sign what it has to.
pub(crate) static SIGV4_MALFORMED: Fault = Fault::client(
    "sigv4/malformed",
    400,
    "The AWS signature cannot be read",
    "Sign with AWS Signature Version 4 (`AWS4-HMAC-SHA256`), in the `Authorization` field or in the query, never in both; `host` and every `x-amz-…` field have to be signed.",
);
/// Chunks that are signed one by one.
pub(crate) static SIGV4_STREAMING: Fault = Fault::client(
    "sigv4/streaming",
    400,
    "Bodies that are signed in chunks are not taken",
    "Sign the whole body, or none of it: `X-Amz-Content-Sha256` is its SHA-256 or, where this API allows that, `UNSIGNED-PAYLOAD`; never `STREAMING-…`.",
);
refused!(
    SIGV4_UNKNOWN_KEY,
    "sigv4/unknown-key",
    "The access key is not known",
    "Is the access key id written in full? It may have been taken back: ask whoever runs this API."
);
refused!(
    SIGV4_SIGNATURE,
    "sigv4/signature",
    "The AWS signature does not hold",
    "Is the secret the right one, and is the request sent as it was signed? The detail has the SHA-256 of what the gateway saw: the last line of the string to sign."
);
refused!(
    SIGV4_EXPIRED,
    "sigv4/expired",
    "The AWS signature has expired",
    "Sign the request again when it is sent, and look at the clock of whoever signs."
);
refused!(
    SIGV4_SCOPE,
    "sigv4/scope",
    "The AWS signature is for something else",
    "Sign for the region and the service that the documentation of this API says, on the day of the request's date."
);
refused!(
    SIGV4_BODY,
    "sigv4/body",
    "The body is not the one that was signed",
    "Send the body as it was signed. Where `X-Amz-Content-Sha256` says `UNSIGNED-PAYLOAD`, or nothing, sign the body's hash instead."
);

/// Signatures that cannot be read, or cover what is not there.
pub(crate) static SIGNATURE_MALFORMED: Fault = Fault::client(
    "signature/malformed",
    400,
    "The message signature cannot be read",
    "`Signature-Input` and `Signature` are those of RFC 9421, and what they cover is in the request. Components with `sf`, `key`, `bs`, `tr` or `req` are not taken.",
);
refused!(
    SIGNATURE_UNKNOWN_KEY,
    "signature/unknown-key",
    "The key of the message signature is not known",
    "Is `keyid` the name of your key here? It may have been taken back: ask whoever runs this API."
);
refused!(
    SIGNATURE_INVALID,
    "signature/invalid",
    "The message signature does not hold",
    "Sign with the key that `keyid` names, and send everything that is covered unchanged."
);
refused!(
    SIGNATURE_EXPIRED,
    "signature/expired",
    "The message signature has expired",
    "Sign the request again when it is sent, and look at the clock of whoever signs."
);
refused!(
    SIGNATURE_REPLAYED,
    "signature/replayed",
    "The message signature was used before",
    "Sign each request anew, with a nonce of its own."
);
/// Nobody can tell whether a signature was used before.
pub(crate) static SIGNATURE_UNTOLD: Fault = Fault::gateway(
    "signature/unavailable",
    503,
    "Nobody can tell whether the message signature was used before",
    "Try again. For the operator: the log tells what is wrong with the store.",
);
refused!(
    SIGNATURE_COVERAGE,
    "signature/coverage",
    "The message signature does not cover enough",
    "Cover what the documentation of this API says, and say when the signature was made (`created`)."
);

/// Hashes of a body that cannot be read.
pub(crate) static DIGEST_MALFORMED: Fault = Fault::client(
    "digest/malformed",
    400,
    "The Content-Digest field cannot be read",
    "Send the SHA-256 or the SHA-512 of the content, as RFC 9530 has it: `sha-256=:…:`.",
);
/// A body that is another one.
pub(crate) static DIGEST_MISMATCH: Fault = Fault::client(
    "digest/mismatch",
    400,
    "The content is not the one that was hashed",
    "Send the content as it was when `Content-Digest` was made, with the same coding.",
);

/// What a stranger wrote, fit for a log.
pub(crate) fn quoted(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// One case, with the reason for our own log.
pub(crate) fn because(fault: &'static Fault, cause: impl std::fmt::Display) -> Problem {
    fault.problem().cause(cause)
}
