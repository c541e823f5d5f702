//! What is answered when no route serves a request.

use tollgate_core::problem::Fault;

/// No route matches.
pub static NOT_FOUND: Fault = Fault::client(
    "route/not-found",
    404,
    "No route",
    "No route matches the request's host, path and conditions. `tollgate explain METHOD URL` tells what would match, and \
     what nearly did.",
);

/// Routes match, but for the method.
pub static METHOD_NOT_ALLOWED: Fault = Fault::client(
    "route/method-not-allowed",
    405,
    "Method not allowed",
    "Routes match the request's host and path, but none takes its method. `Allow` lists the methods that are taken \
     (RFC 9110 §15.5.6).",
);

/// The route's `rewrite` makes no path of what the request brought.
pub static REWRITE: Fault = Fault::client(
    "route/rewrite",
    400,
    "Path cannot be rewritten",
    "What the request's path brought, put into the route's `rewrite`, is no path, or hides a `.` or `..` segment. It can \
     only happen where a placeholder shares a segment with something else, or comes from a regular expression.",
);

/// A service may read the path otherwise than the gateway did.
pub static PATH_READINGS: Fault = Fault::client(
    "route/path-readings",
    400,
    "Path can be read in two ways",
    "The path has a parameter (`;`) or an encoded slash (`%2F`), and `paths` refuses that, or what a service that drops or \
     decodes it would read belongs to another route. Write the path without, or see “Paths that services read differently” \
     in the routing guide.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] = &[&NOT_FOUND, &METHOD_NOT_ALLOWED, &REWRITE, &PATH_READINGS];
