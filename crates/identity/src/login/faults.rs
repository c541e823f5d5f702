//! Why somebody is not signed in.

use tollgate_core::problem::{Fault, Retry, Side};

/// All of them.
pub static FAULTS: &[&Fault] =
    &[&SESSION, &CROSS_SITE, &STATE, &TARGET, &INSECURE, &REFUSED, &TOKEN, &PROVIDER, &STORE, &TOO_LARGE, &NO_PAGE];

pub(crate) static SESSION: Fault = Fault::client(
    "login/session",
    401,
    "The session has ended",
    "Sign in again: a browser is led there when it asks for a page; a program's user opens `form-action` of `WWW-Authenticate`.",
);

pub(crate) static CROSS_SITE: Fault = Fault::client(
    "login/cross-site",
    403,
    "A page of another site sent this with the user's session",
    "Only pages of this host may change things on behalf of who is signed in. Pages of other hosts of yours: `origins`.",
);

pub(crate) static STATE: Fault = Fault::client(
    "login/state",
    400,
    "Nobody is signing in here in this way",
    "The sign-in took longer than ten minutes, was finished before, or began in another browser: begin anew.",
);

pub(crate) static TARGET: Fault =
    Fault::client("login/target", 400, "Nobody is led there", "`to` is a path on this host: `/orders?page=2`.");

pub(crate) static INSECURE: Fault = Fault::client(
    "login/insecure",
    403,
    "Nobody signs in over an open connection",
    "Use https. Behind a proxy that ends TLS, name it under `trust`, so that the gateway knows how its clients come.",
);

pub(crate) static REFUSED: Fault = Fault::client(
    "login/refused",
    403,
    "The identity provider let nobody in",
    "Whoever signed in is not allowed to, or left before the end. The gateway's log has what the provider said.",
);

pub(crate) static TOKEN: Fault = Fault::upstream(
    "login/token",
    502,
    "What the identity provider gave cannot be believed",
    "The gateway's log says what was wrong with it: a signature, an issuer, a time.",
);

pub(crate) static PROVIDER: Fault = Fault::upstream(
    "login/provider",
    503,
    "The identity provider cannot be asked",
    "It does not answer, or not as it should. The gateway's log says more; `Retry-After` when to try again.",
);

pub(crate) static STORE: Fault = Fault::gateway(
    "login/store",
    503,
    "The session cannot be kept",
    "The store of sessions is full or cannot be asked: `store` in the config.",
);

pub(crate) static TOO_LARGE: Fault = Fault {
    slug: "login/too-large",
    status: 500,
    title: "The session is too large for cookies",
    side: Side::Gateway,
    retry: Retry::Never,
    help: "Keep sessions in the store: `session: { in: store }`; or ask the provider for fewer claims.",
};

pub(crate) static NO_PAGE: Fault = Fault::client(
    "login/not-found",
    404,
    "There is nothing here about signing in",
    "Below `at` there are `login`, `logout`, and what the identity provider calls back.",
);
