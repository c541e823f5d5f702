//! What the engine itself refuses with.

use tollgate_core::problem::Fault;

/// The head was not complete in time.
pub static HEAD_TIMEOUT: Fault = Fault::client(
    "http/head-timeout",
    408,
    "Request head too slow",
    "The request's head was not complete within `limits.head_timeout` (RFC 9110 §15.5.9).",
);

/// The body stopped coming.
pub static BODY_TIMEOUT: Fault = Fault::client(
    "http/body-timeout",
    408,
    "Request body too slow",
    "No byte of the request's body came within the route's `idle` time (RFC 9110 §15.5.9).",
);

/// The body came too slowly.
pub static SLOW_BODY: Fault = Fault::client(
    "http/slow-body",
    408,
    "Request body came too slowly",
    "The request's body came, over more than the `grace`, more slowly than `limits.pace.request` (RFC 9110 §15.5.9).",
);

/// The answer was read too slowly.
pub static SLOW_READER: Fault = Fault::client(
    "http/slow-reader",
    408,
    "Answer was read too slowly",
    "The client read its answer, over more than the `grace`, more slowly than `limits.pace.response`. The answer had begun, so only \
     the log shows this; the client sees it cut off.",
);

/// HTTP in the clear where TLS is spoken.
pub static PLAIN_HTTP: Fault = Fault::client(
    "tls/plain-http",
    400,
    "This port speaks HTTPS",
    "The request came without TLS on a port that speaks nothing else. Call it with `https://`.",
);

/// A policy, or what answers in place of a service, took too long.
pub static SLOW: Fault = Fault::gateway(
    "gateway/timeout",
    504,
    "The gateway took too long",
    "What the gateway itself does for this request (asking an identity provider, say) was not done within the route's `timeout`, \
     or its `total`. The log names the policy.",
);

/// The gateway itself has too much to do.
pub static OVERLOADED: Fault = Fault::gateway(
    "gateway/overloaded",
    503,
    "The gateway has too much to do",
    "The gateway is at the end of what it may use (`overload`: memory, file descriptors, or the time of its workers) and refuses requests, those \
     that matter least first (`criticality`). Come again after the seconds that `Retry-After` says. For the operator: \
     `tollgate_overload_level` tells of what.",
);

/// What the gateway itself was sending could not be had to its end.
pub static BODY_BROKEN: Fault = Fault::gateway(
    "http/body-broken",
    500,
    "Answer broke off",
    "What the gateway was sending from its own machine (a file, say) could not be read to its end. The answer had begun, so \
     only the log shows this; the client sees it cut off.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] =
    &[&HEAD_TIMEOUT, &BODY_TIMEOUT, &SLOW_BODY, &SLOW_READER, &SLOW, &OVERLOADED, &BODY_BROKEN, &PLAIN_HTTP];
