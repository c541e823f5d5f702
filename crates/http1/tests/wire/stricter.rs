//! Where hyper accepts and we refuse: the reasons, the clauses, and proofs that each is needed.

/// One reason for which we refuse what hyper accepts.
pub(crate) struct Stricter {
    /// The fault of the answer.
    pub(crate) slug: &'static str,
    /// What was found.
    pub(crate) detail: &'static str,
    /// The clause that asks for it, or lets us.
    pub(crate) clause: &'static str,
    /// A request that hyper accepts and we refuse for this reason.
    pub(crate) example: &'static str,
}

const fn malformed(detail: &'static str, clause: &'static str, example: &'static str) -> Stricter {
    Stricter { slug: "http/malformed", detail, clause, example }
}

const fn path(detail: &'static str, clause: &'static str, example: &'static str) -> Stricter {
    Stricter { slug: "http/path", detail, clause, example }
}

const fn other(slug: &'static str, detail: &'static str, clause: &'static str, example: &'static str) -> Stricter {
    Stricter { slug, detail, clause, example }
}

/// All of them. Long examples stand in `{…}` as a number and the byte to repeat.
pub(crate) static STRICTER: &[Stricter] = &[
    malformed(
        "a line that ends in LF alone",
        "RFC 9112 §2.2: a recipient MAY take LF for a line end; one that does not sees another message",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
    ),
    malformed(
        "a request line that does not start with a method",
        "RFC 9112 §2.2: at least one empty line before a request ought to be ignored; we ignore one",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    malformed(
        "a method longer than 32 bytes",
        "RFC 9110 §15.6.2: a method that is not known; the registry's longest has 17",
        "A{32A} / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    malformed(
        "a byte in the request target that must be percent-encoded",
        "RFC 9112 §3.2: an invalid request line ought to be refused; RFC 3986 §2: a URI is ASCII",
        "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    malformed(
        "a `#` in the request target",
        "RFC 9110 §4.2.5, RFC 9112 §3.2: a fragment is no part of a target",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    malformed(
        "a request target that is neither a path nor an http URL",
        "RFC 9112 §3.2.3, §3.2.4: authority form is for CONNECT, `*` for OPTIONS",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    malformed(
        "an absolute request target that contradicts `Host`",
        "RFC 9112 §3.2: a client MUST send the same in both; §3.2.2: readers choose differently",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
    ),
    malformed("no `Host` field", "RFC 9112 §3.2: MUST be answered with 400", "GET / HTTP/1.1\r\n\r\n"),
    malformed(
        "more than one `Host` field",
        "RFC 9112 §3.2: MUST be answered with 400",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    ),
    malformed(
        "a `Host` that is not a host name with an optional port",
        "RFC 9112 §3.2: an invalid value MUST be answered with 400; RFC 9110 §4.2.1: an empty host MUST be refused",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    ),
    malformed(
        "more than one `Content-Length` field",
        "RFC 9110 §8.6: equal lengths MAY be refused",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    ),
    malformed(
        "a `Content-Length` that is not one plain number",
        "RFC 9110 §8.6: large numerals must be expected, and overflow prevented; 19 digits hold every length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {19 0}1\r\n\r\nx",
    ),
    malformed(
        "both `Content-Length` and `Transfer-Encoding`",
        "RFC 9112 §6.1: a server MAY refuse it; §6.3: ought to be handled as an error",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    malformed(
        "more than one `Transfer-Encoding` field",
        "RFC 9112 §6.1: chunked MUST NOT be applied twice, and only chunked is spoken here",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    malformed(
        "a `Transfer-Encoding` other than `chunked`",
        "RFC 9112 §6.1, §6.3: a coding that is not understood may hide the end of the body",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    ),
    other(
        "http/transfer-coding",
        "`chunked` is the only transfer coding spoken here",
        "RFC 9112 §6.1: a coding that is not understood ought to be answered with 501",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    malformed(
        "`Connection` names a field that frames or routes the request",
        "RFC 9110 §7.6.1: a sender MUST NOT name fields meant for all recipients",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n",
    ),
    other(
        "http/expectation",
        "only `100-continue` can be expected",
        "RFC 9110 §10.1.1: an expectation that cannot be met MAY be answered with 417",
        "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
    ),
    other(
        "http/connect",
        "CONNECT is not served here",
        "RFC 9110 §9.3.6, §15.6.2: tunnels are for proxies; 501 for what is not implemented",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    ),
    other(
        "http/target-too-long",
        "the request target is longer than 8192 bytes",
        "RFC 9112 §3: longer than wanted MUST be answered with 414; 8000 bytes ought to do",
        "GET /{8192a} HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    other(
        "http/head-too-large",
        "the head is larger than 32768 bytes",
        "RFC 9110 §5.4: larger than wanted MUST be answered with a client error",
        "GET / HTTP/1.1\r\nHost: a\r\nX: {32768a}\r\n\r\n",
    ),
    malformed(
        "a chunk size that is not a plain hexadecimal number",
        "RFC 9112 §7.1.1: blanks may stand before `;` only",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0 \r\n\r\n",
    ),
    malformed(
        "a chunk size that is too large",
        "RFC 9112 §7.1: large numerals must be expected, and overflow prevented; 32 digits hold every size",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{33 0}\r\n\r\n",
    ),
    malformed(
        "a chunk extension that breaks the grammar",
        "RFC 9112 §7.1.1: the grammar; a reader that minds quotes finds another end of the line",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a=\"\r\n\r\n",
    ),
    path(
        "the path contains a `%` without two hex digits",
        "RFC 3986 §2.1, RFC 9112 §3.2: an invalid target ought to be refused",
        "GET /% HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    path(
        "the path contains an encoded control character",
        "RFC 3986 §7.3: control characters may be unsafe behind us",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    path(
        "the path contains a backslash",
        "RFC 3986 §3.3: no character of a path; §7.3: a slash to some",
        "GET /\\ HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    path(
        "the path contains overlong UTF-8",
        "RFC 3629 §3: MUST NOT be decoded",
        "GET /%C0%AF HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    path(
        "the path hides a `.` or `..` segment behind an encoding or a parameter",
        "RFC 3986 §6.2.2.3: readers that differ in what is a dot segment find different resources",
        "GET /..%2F HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    path(
        "the path leads above its root",
        "RFC 3986 §5.4.2: abnormal; clamping it would hide what was meant",
        "GET /../a HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
];

impl Stricter {
    /// The example in full: `{3 0}` or `{3a}` is one byte three times.
    pub(crate) fn example(&self) -> Vec<u8> {
        let Some((before, (count, behind))) =
            self.example.split_once('{').and_then(|(b, rest)| Some((b, rest.split_once('}')?)))
        else {
            return self.example.as_bytes().to_vec();
        };
        let (count, byte) = count.split_at(count.len() - 1);
        format!("{before}{}{behind}", byte.repeat(count.trim().parse().unwrap())).into_bytes()
    }
}
