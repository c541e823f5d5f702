//! What the framing refuses with.

use tollgate_core::problem::Fault;

/// The message breaks RFC 9112 or could be read in two ways.
pub static MALFORMED: Fault = Fault::client(
    "http/malformed",
    400,
    "Malformed request",
    "The request breaks the letter of RFC 9110 or 9112, or two readers could understand it differently. `detail` names \
     what was found. Mend the client; no setting makes the gateway accept it. The connection is closed.",
);

/// The path cannot be brought into one safe form.
pub static PATH: Fault = Fault::client(
    "http/path",
    400,
    "Path refused",
    "The path has no safe normal form: NUL or backslash, broken percent-encoding, `..` above the root, or a dot segment \
     hidden behind `%2F` or `;`. See “Paths” in the routing guide.",
);

/// The request target is longer than `limits.target`.
pub static TARGET_TOO_LONG: Fault = Fault::client(
    "http/target-too-long",
    414,
    "Request target too long",
    "The request target is longer than `limits.target`. Raise that limit or shorten the URL.",
);

/// The head is larger than `limits.head`, or has more than `limits.fields` fields.
pub static HEAD_TOO_LARGE: Fault = Fault::client(
    "http/head-too-large",
    431,
    "Request header fields too large",
    "The head is larger than `limits.head` or has more than `limits.fields` fields (RFC 6585 §5).",
);

/// The body is larger than the route's `body`.
pub static BODY_TOO_LARGE: Fault = Fault::client(
    "http/body-too-large",
    413,
    "Content too large",
    "The body is larger than the route's `body` limit. Raise it on that route, or send less.",
);

/// Not HTTP/1.0 or HTTP/1.1.
pub static VERSION: Fault = Fault::client(
    "http/version",
    505,
    "HTTP version not supported",
    "The request line names a version other than HTTP/1.0 and HTTP/1.1.",
);

/// A transfer coding other than `chunked`.
pub static CODING: Fault = Fault::client(
    "http/transfer-coding",
    501,
    "Transfer coding not implemented",
    "`Transfer-Encoding` names a coding other than `chunked` (RFC 9112 §6.1). Use `Content-Encoding` for compression.",
);

/// An `Expect` other than `100-continue`.
pub static EXPECTATION: Fault = Fault::client(
    "http/expectation",
    417,
    "Expectation failed",
    "`Expect` asks for something other than `100-continue` (RFC 9110 §10.1.1).",
);

/// `CONNECT`.
pub static CONNECT: Fault = Fault::client(
    "http/connect",
    501,
    "CONNECT not implemented",
    "The gateway is no forward proxy: it opens no tunnels to places that clients name.",
);

/// All of them, for the catalogue.
pub static ALL: &[&Fault] =
    &[&MALFORMED, &PATH, &TARGET_TOO_LONG, &HEAD_TOO_LARGE, &BODY_TOO_LARGE, &VERSION, &CODING, &EXPECTATION, &CONNECT];
