//! Why a message of SAML is refused.

use tollgate_core::problem::Fault;

pub(super) use crate::faults::because;

/// All of them.
pub static FAULTS: &[&Fault] = &[
    &MALFORMED, &SIGNATURE, &ISSUER, &AUDIENCE, &EXPIRED, &NOT_YET, &RECIPIENT, &REPLAYED, &CONTEXT, &STATUS,
    &ENCRYPTED, &CROWDED, &METADATA,
];

macro_rules! refused {
    ($name:ident, $slug:literal, $title:literal, $help:literal) => {
        // No scheme of `WWW-Authenticate` goes with SAML, so it is no 401 (RFC 9110 §15.5.2).
        pub(super) static $name: Fault = Fault::client($slug, 403, $title, $help);
    };
}

/// What cannot be read, or may be read in more than one way.
pub(super) static MALFORMED: Fault = Fault::client(
    "saml/malformed",
    400,
    "The SAML message cannot be read",
    "It has to be XML in UTF-8 of SAML 2.0, without document type, entities or processing instructions, with one assertion and no ID twice.",
);
refused!(
    SIGNATURE,
    "saml/signature",
    "The SAML message is not signed, or its signature does not hold",
    "The identity provider has to sign the response or the assertion itself, with a key of its metadata, by RSA or ECDSA with SHA-256 or better, and with exclusive canonicalisation."
);
refused!(
    ISSUER,
    "saml/issuer",
    "The SAML message is from another issuer",
    "Sign in at the identity provider that the gateway is set up with: its `entityID` has to be the `Issuer`."
);
refused!(
    AUDIENCE,
    "saml/audience",
    "The assertion is not meant for this service",
    "The identity provider has to name the gateway's `entityID` as `Audience`."
);
refused!(
    EXPIRED,
    "saml/expired",
    "The assertion has expired",
    "Sign in again. If that does not help: look at the clocks."
);
refused!(
    NOT_YET,
    "saml/not-yet-valid",
    "The assertion is not valid yet",
    "Wait, or look at the clocks of the identity provider and of the gateway."
);
refused!(
    CONTEXT,
    "saml/context",
    "Signed in in another way than is asked for here",
    "Sign in as the service asks for it, with a second factor perhaps. For the operator: the `AuthnContextClassRef` of the assertion is none of `contexts`."
);
refused!(
    RECIPIENT,
    "saml/recipient",
    "The SAML message was sent to somebody else, or answers something else",
    "Start signing in again, in one window. For the operator: the address that the provider sends answers to has to be the one of the gateway's metadata."
);
refused!(REPLAYED, "saml/replayed", "The assertion was used before", "Sign in again: each assertion is good for once.");
refused!(
    STATUS,
    "saml/status",
    "The identity provider did not sign the user in",
    "It said so itself: the reason is in the gateway's log, and in that of the provider."
);
refused!(
    ENCRYPTED,
    "saml/encrypted",
    "The assertion is encrypted in a way that is not taken",
    "The identity provider has to encrypt by AES-GCM for the key of the gateway's metadata, and that key by RSA-OAEP."
);
/// Nobody can tell whether a message was used before.
pub(super) static CROWDED: Fault = Fault::gateway(
    "saml/crowded",
    503,
    "Nobody can tell whether this was used before",
    "Try again. The gateway's store of marks is full or cannot be asked: `store` in the config.",
);
/// Never a 401: the user did nothing wrong.
pub(super) static METADATA: Fault = Fault::upstream(
    "saml/metadata",
    503,
    "The identity provider's metadata is not valid any more",
    "Try again. For the operator: get the provider's metadata anew, `validUntil` has passed.",
);
