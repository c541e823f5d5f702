//! What the API of the registry refuses with.

use tollgate_core::problem::{Fault, Retry, Side};

/// Nobody who is known.
pub(crate) static UNAUTHORIZED: Fault = Fault::client(
    "registry/unauthorized",
    401,
    "The registry has to know who asks",
    "Send `Authorization: Bearer …` with a token that stands under `registry: register` (or `read`) of the config, or the admin token; or \
     show a certificate that is named there, on an admin listener whose `tls` has `client`.",
);

/// Somebody else's service.
pub(crate) static FORBIDDEN: Fault = Fault::client(
    "registry/forbidden",
    403,
    "Not with this credential",
    "It is known, but not for this service: `registry: register` says who may register instances of which services, `read` who may look \
     them up.",
);

/// It is not there.
pub(crate) static NOT_FOUND: Fault = Fault::client(
    "registry/not-found",
    404,
    "There is no such instance",
    "It never registered, has deregistered, or its time ended before it was renewed: it has to register again (`PUT`).",
);

/// A condition does not hold.
pub(crate) static PRECONDITION: Fault = Fault::client(
    "registry/precondition-failed",
    412,
    "The condition does not hold",
    "`If-None-Match: *` asks for an instance that is not there yet, `If-Match: *` for one that is (RFC 9110 §13.1). Nothing was changed.",
);

/// What changed is forgotten.
pub(crate) static COMPACTED: Fault = Fault::client(
    "registry/compacted",
    410,
    "What changed since is not known any more",
    "List all instances again, and wait for changes after the revision that comes with them. `registry: history` says how many changes are \
     remembered.",
);

/// The body does not read.
pub(crate) static MALFORMED: Fault = Fault::client(
    "registry/malformed",
    400,
    "The request does not read",
    "The body has to be a JSON object, in UTF-8; `wait` of the query a time (`30s`), and `after` a revision.",
);

/// What the body says is wrong.
pub(crate) static INVALID: Fault = Fault::client(
    "registry/invalid",
    422,
    "That cannot be registered",
    "`errors` has every mistake: `pointer` tells its place in the body as a JSON pointer (RFC 6901), `detail` what is expected there.",
);

/// No room for another instance.
pub(crate) static FULL: Fault = Fault {
    slug: "registry/full",
    status: 507,
    title: "The registry is full",
    side: Side::Gateway,
    retry: Retry::Later,
    help: "`registry: most` says how many instances may register, `each` how many of one service; `detail` names the one that is reached. Those that are there can be renewed and \
           changed all the while.",
};

/// No room for another watcher.
pub(crate) static WATCHERS: Fault = Fault::gateway(
    "registry/too-many-watchers",
    503,
    "Too many wait for changes",
    "`registry: watchers` says how many may. Come again after `Retry-After`, or list without waiting.",
);

/// What keeps the registry does not answer.
pub(crate) static UNAVAILABLE: Fault = Fault::gateway(
    "registry/unavailable",
    503,
    "The registry cannot be asked now",
    "What keeps it (etcd, or the disk) does not answer; the gateway's log says why. Ask again, or another gateway. Looking up and routing go on \
     with what is known.",
);

/// What keeps the registry was not heard of yet.
pub(crate) static UNHEARD: Fault = Fault::gateway(
    "registry/unheard",
    503,
    "The registry was not heard of yet",
    "Since it started, the gateway could not ask what keeps the registry (etcd, or the disk): it does not know which instances there are, which \
     is not the same as that there are none. Its log says why. Come again after `Retry-After`, or ask another gateway.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] = &[
    &UNAUTHORIZED,
    &FORBIDDEN,
    &NOT_FOUND,
    &PRECONDITION,
    &COMPACTED,
    &MALFORMED,
    &INVALID,
    &FULL,
    &WATCHERS,
    &UNAVAILABLE,
    &UNHEARD,
];
