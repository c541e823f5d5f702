//! What may go wrong with files.

use tollgate_core::problem::Fault;

/// Nothing is there that may be shown.
pub(crate) static NOT_FOUND: Fault = Fault::client(
    "files/not-found",
    404,
    "No such file",
    "There is no file of this path below the route's `dir`. Names that begin with a dot are not shown (but `.well-known`), \
     nor is what a symbolic link leads to outside of the directory; a directory is shown only if it has an `index` or \
     `listing` is on.",
);

/// Another method than `GET` and `HEAD`.
pub(crate) static METHOD: Fault = Fault::client(
    "files/method",
    405,
    "Files can only be read",
    "Files answer GET and HEAD. To send other methods of the same path elsewhere, write a route that names them.",
);

/// A precondition does not hold.
pub(crate) static PRECONDITION: Fault = Fault::client(
    "files/precondition",
    412,
    "The file is another one by now",
    "`If-Match` or `If-Unmodified-Since` names a state of the file that it is no longer in. Get it anew.",
);

/// No range lies within the file.
pub(crate) static RANGE: Fault = Fault::client(
    "files/range",
    416,
    "The range lies outside of the file",
    "No byte that `Range` asks for is in the file. `Content-Range` of the answer says how long it is.",
);

/// The gateway may not read it.
pub(crate) static FORBIDDEN: Fault = Fault::client(
    "files/forbidden",
    403,
    "The file may not be read",
    "The file is there, but the user that the gateway runs as may not read it. Change the rights of the file, or of the \
     directories above it.",
);

/// It cannot be read.
pub(crate) static FAILED: Fault = Fault::gateway(
    "files/failed",
    500,
    "The file cannot be read",
    "The directory of the route is not there (any more), the disk failed, or the gateway has too many files open. The log \
     says which, at the level `debug`; the access log names the request.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] = &[&NOT_FOUND, &METHOD, &PRECONDITION, &RANGE, &FORBIDDEN, &FAILED];
