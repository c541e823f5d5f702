//! What is answered when no instance answers.

use tollgate_core::problem::Fault;

/// The service has no instance that may be asked.
pub static NO_INSTANCE: Fault = Fault::upstream(
    "upstream/no-instance",
    503,
    "No instance available",
    "The service has no instance: its name does not resolve, or its list is empty. `tollgate status` shows what is known.",
);

/// All instances are left out.
pub static UNHEALTHY: Fault = Fault::upstream(
    "upstream/unhealthy",
    503,
    "No healthy instance",
    "All instances of the service are unhealthy by their checks or ejected because requests failed, and the service says \
     `when_all_fail: refuse`. `tollgate status` shows why.",
);

/// No connection to any instance that was tried.
pub static CONNECT_FAILED: Fault = Fault::upstream(
    "upstream/connect-failed",
    502,
    "Cannot connect to the service",
    "No connection could be made to the instances that were tried: refused, unreachable, or slower than the service's \
     `connect_timeout`. The access log names the instance.",
);

/// A connection, but no TLS on it.
pub static TLS_FAILED: Fault = Fault::upstream(
    "upstream/tls-failed",
    502,
    "No TLS with the service",
    "The instances that were tried can be reached, but the TLS handshake failed: their certificate is not vouched for, is for \
     another name, or has another key than those in `pin`; or they do not speak TLS, or refuse the gateway's certificate. \
     The access log says which.",
);

/// The instance speaks, but not what is asked of it.
pub static PROTOCOL: Fault = Fault::upstream(
    "upstream/protocol",
    502,
    "The service does not speak this protocol",
    "The instances that were tried do not speak the version of HTTP that the service's `protocol` names, or do not carry over \
     it what the client asks for (WebSocket over HTTP/2 needs RFC 8441). The access log says which.",
);

/// The connection ended before an answer came.
pub static RESET: Fault = Fault::upstream(
    "upstream/reset",
    502,
    "The service closed the connection",
    "The instance closed the connection before its answer was complete, and the request could not be repeated safely \
     (RFC 9110 §9.2.2), or every repetition failed too.",
);

/// What came is no answer that has one meaning.
pub static INVALID_ANSWER: Fault = Fault::upstream(
    "upstream/invalid-answer",
    502,
    "The service answered with nonsense",
    "The instance's answer breaks RFC 9112 (or RFC 9113, over HTTP/2) or could be read in two ways. The access log says what was found.",
);

/// The route's `timeout` or `total` ran out.
pub static TIMEOUT: Fault = Fault::upstream(
    "upstream/timeout",
    504,
    "The service did not answer in time",
    "No answer within the route's `timeout` (queue and retries included), not all of it within `total`, or no byte of it for \
     as long as `idle`. An answer that has begun is then cut off.",
);

/// The service's connection limit is reached and its queue is full or too slow.
pub static LIMIT: Fault = Fault::upstream(
    "upstream/limit",
    503,
    "The service is at its connection limit",
    "All of the service's `connections` are busy and its `queue` is full, or the time to wait in it ran out.",
);

/// The service is sent requests evenly spaced, and there is no moment for this one.
pub static RATE: Fault = Fault::upstream(
    "upstream/rate",
    503,
    "The service is at its rate",
    "The service is sent no more than its `smooth` rate, and as many as its `queue` wait already, or its turn would come too late. \
     `Retry-After` says when to come again.",
);

/// The service has as many requests as it can do at a time.
pub static OVERLOADED: Fault = Fault::upstream(
    "upstream/overloaded",
    503,
    "The service has as much as it can do",
    "The service says `adaptive_concurrency`: it has as many requests at a time as it can answer soon, and others that wait matter more \
     (`criticality`), or waiting took too long. Come again after the seconds that `Retry-After` says.",
);

/// The service is left alone.
pub static BREAKER_OPEN: Fault = Fault::upstream(
    "upstream/breaker-open",
    503,
    "The service is left alone for a while",
    "Too much of what was sent to the service failed, so its `breaker` is open: nothing is sent until the seconds that `Retry-After` \
     says are over; then a few requests are let through to see how it is. `tollgate status` shows it, and the log says why it opened.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] = &[
    &NO_INSTANCE,
    &UNHEALTHY,
    &CONNECT_FAILED,
    &TLS_FAILED,
    &PROTOCOL,
    &RESET,
    &INVALID_ANSWER,
    &TIMEOUT,
    &LIMIT,
    &RATE,
    &OVERLOADED,
    &BREAKER_OPEN,
];
