//! Why certificates of clients are refused.

use tollgate_core::problem::Fault;

/// All of them.
pub static FAULTS: &[&Fault] = &[&MALFORMED, &NAME, &UNKNOWN, &PROXY, &EXPIRED, &UNTRUSTED, &AUTHORITIES];

/// What a proxy forwards cannot be read, or the certificate of the connection has what none should have.
pub(crate) static MALFORMED: Fault = Fault::client(
    "certificate/malformed",
    400,
    "The client's certificate cannot be read",
    "The proxy in front has to send one `Client-Cert` field with the certificate in base64 between colons (RFC 9440), and the certificate must have names of visible ASCII.",
);
/// The certificate does not say who it is for, in the way that is asked for.
pub(crate) static NAME: Fault = Fault::client(
    "certificate/name",
    401,
    "The client's certificate does not say in one way who it is for",
    "Use a certificate with exactly one name of the kind that this API asks for. A SPIFFE ID has to be the only URI in its certificate, and of the form that SPIFFE lays down.",
);
/// It is good, and for somebody else.
pub(crate) static UNKNOWN: Fault = Fault::client(
    "certificate/unknown",
    401,
    "The client's certificate is of nobody who is let in",
    "Ask whoever runs this API to let in the name that stands in the certificate: `names` and `domains` of the source of identity.",
);
/// A proxy has shown its own.
pub(crate) static PROXY: Fault = Fault::client(
    "certificate/proxy",
    401,
    "The certificate is a proxy's, and says nothing about the client",
    "For the operator: a connection from a proxy of `trust` shows that proxy's certificate. Have it send the client's in `Client-Cert` (RFC 9440), and set `forwarded` of the source of identity.",
);
/// Its time is over, perhaps while the connection was open.
pub(crate) static EXPIRED: Fault = Fault::client(
    "certificate/expired",
    401,
    "The client's certificate has expired, or does not hold yet",
    "Get a new certificate, and connect again with it.",
);
/// Nobody in `ca` vouches for it.
pub(crate) static UNTRUSTED: Fault = Fault::client(
    "certificate/untrusted",
    401,
    "Nobody who is trusted here vouches for the client's certificate",
    "Use a certificate of the authority that this API names. For the operator: those in between have to be in `ca`, or in `Client-Cert-Chain`.",
);
/// Never a 401: the client's certificate may be good.
pub(crate) static AUTHORITIES: Fault = Fault::gateway(
    "certificate/unavailable",
    503,
    "The client's certificate cannot be checked",
    "Try again. For the operator: `tollgate status` and the log tell what is wrong with the file `ca`.",
);
