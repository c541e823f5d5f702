//! What the admin API refuses with.

use tollgate_core::problem::{Fault, Retry, Side};

/// Without the token, or with another one.
pub(crate) static UNAUTHORIZED: Fault = Fault::client(
    "admin/unauthorized",
    401,
    "The admin token is needed",
    "Send `Authorization: Bearer …` with what is in `admin.token` in the folder `data:` of the config. `tollgate reload`, `drain` and \
     `undrain` do so by themselves.",
);

/// Too many wrong tokens at the same time.
pub(crate) static TOO_MANY: Fault = Fault {
    slug: "admin/too-many-failures",
    status: 429,
    title: "Too many wrong tokens",
    side: Side::Client,
    retry: Retry::Later,
    help: "Wrong tokens are answered slowly, and only so many at a time. The right one is taken all the while.",
};

/// Asked for by a name that is not its own.
pub(crate) static WRONG_HOST: Fault = Fault::client(
    "admin/wrong-host",
    421,
    "The admin API does not go by this name",
    "It is asked for by an address, as `localhost`, or by a name under `hosts` of its listener. Whoever's page makes a browser look \
     up another name, and get this machine's address, is kept out by that (DNS rebinding).",
);

/// Asked by a page from elsewhere.
pub(crate) static FOREIGN_ORIGIN: Fault = Fault::client(
    "admin/foreign-origin",
    403,
    "Pages of other origins may not ask the admin API",
    "A browser sent the request for a page that does not come from here (`Origin`).",
);

/// Read again, and refused.
pub(crate) static CONFIG_REFUSED: Fault = Fault::client(
    "admin/config-refused",
    422,
    "The config was refused",
    "The config before stays in force. `report` has every mistake with its place, as `tollgate check` shows it.",
);

/// Nothing can be done any more.
pub(crate) static UNAVAILABLE: Fault = Fault::gateway(
    "admin/unavailable",
    503,
    "This cannot be done now",
    "The gateway is stopping, or another process has taken its place, or its config did not come from a file.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] = &[&UNAUTHORIZED, &TOO_MANY, &WRONG_HOST, &FOREIGN_ORIGIN, &CONFIG_REFUSED, &UNAVAILABLE];
