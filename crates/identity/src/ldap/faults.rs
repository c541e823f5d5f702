//! Why a directory lets somebody not in.

use tollgate_core::problem::Fault;

/// Whatever was wrong with it: the log has more.
pub(crate) static LDAP_REFUSED: Fault = Fault::client(
    "ldap/refused",
    401,
    "The name or the password is wrong",
    "Try again, or ask whoever runs this API. The account may also be locked, or its password expired.",
);
/// Never a 401: the client's password may be right.
pub(crate) static LDAP_UNAVAILABLE: Fault = Fault::upstream(
    "ldap/unavailable",
    503,
    "The directory cannot be asked",
    "Try again. For the operator: `tollgate status` and the log tell what is wrong with the LDAP server.",
);
/// More passwords come than the directory is asked about.
pub(crate) static LDAP_CROWDED: Fault = Fault::gateway(
    "ldap/crowded",
    503,
    "Too many passwords are being asked about",
    "Try again. The gateway's operator sets how many the directory is asked about at a time: `at_once`.",
);
