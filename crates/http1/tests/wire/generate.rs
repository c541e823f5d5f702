//! Requests and answers that are mostly valid, and mutations that make them not quite so.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Bytes that matter to somebody who looks for the end of something.
const NASTY: &[u8] = b"\r\n\r\n \t:;,\"\\/?#%@[]0123aF\0\x01\x0b\x7f\x80\xc3\xa9\xff-+_.=*";

/// One change of a message.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Insert(Index, u8),
    Replace(Index, u8),
    Remove(Index),
    /// A line once more, or one less.
    RepeatLine(Index),
    RemoveLine(Index),
    /// A CRLF becomes something else.
    LineEnd(Index, &'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<Index>;
    prop_oneof![
        (index(), select(NASTY)).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        (index(), select(NASTY)).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        index().prop_map(Mutation::Remove),
        index().prop_map(Mutation::RepeatLine),
        index().prop_map(Mutation::RemoveLine),
        (index(), select(&["\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", " \r\n", "\r\n\r\n", "\0\r\n"][..]))
            .prop_map(|(at, end)| Mutation::LineEnd(at, end)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    let lines: Vec<(usize, usize)> = line_ends(bytes);
    match mutation {
        _ if bytes.is_empty() => {}
        Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
        Mutation::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Mutation::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        _ if lines.is_empty() => {}
        Mutation::RepeatLine(at) => {
            let (start, end) = lines[at.index(lines.len())];
            let line = bytes[start..end].to_vec();
            bytes.splice(start..start, line);
        }
        Mutation::RemoveLine(at) => {
            let (start, end) = lines[at.index(lines.len())];
            bytes.drain(start..end);
        }
        Mutation::LineEnd(at, other) => {
            let (_, end) = lines[at.index(lines.len())];
            bytes.splice(end - 2..end, other.bytes());
        }
    }
}

/// Start and end of each line, its CRLF included.
fn line_ends(bytes: &[u8]) -> Vec<(usize, usize)> {
    let ends = bytes.windows(2).enumerate().filter(|(_, pair)| pair == b"\r\n").map(|(at, _)| at + 2);
    let mut start = 0;
    ends.map(|end| (std::mem::replace(&mut start, end), end)).collect()
}

/// `message` with none or a few mutations.
fn mutated(message: impl Strategy<Value = Vec<u8>>, most: usize) -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop_oneof![Just(Vec::new()), prop::collection::vec(mutation(), 1..=most)];
    (message, mutations).prop_map(|(mut bytes, mutations)| {
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        bytes
    })
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "/[a-z0-9/.%;?&=~_-]{0,16}",
        2 => "/[a-z]{1,4}(%[0-9a-fA-F]{2}|[!-~]){0,6}",
        1 => "http://a\\.test(/[a-z?]{0,6})?",
        2 => select(&["/", "*", "http://b.test/", "HTTPS://A.test?q", "a.test:443", "/../a", "/%2e%2e/a", "/a#b", "//a.test/b"][..])
            .prop_map(str::to_owned),
    ]
}

/// A field line whose value is whatever may stand in one.
fn any_field() -> impl Strategy<Value = String> {
    ("[A-Za-z0-9!#$&'*+.^_`|~-]{1,8}", "[ \t]{0,2}", "([!-~\u{e9}]([ \t!-~\u{e9}]{0,10}[!-~\u{e9}])?)?", "[ \t]{0,2}")
        .prop_map(|(name, before, value, behind)| format!("{name}:{before}{value}{behind}\r\n"))
}

/// Field lines that mean something to somebody on the way.
fn telling_field() -> impl Strategy<Value = String> {
    const LINES: &[&str] = &[
        "Connection: close",
        "Connection: keep-alive",
        "connection: x-a, Keep-Alive",
        "Connection: Content-Length",
        "Connection: te",
        "Connection: upgrade",
        "Upgrade: h2c",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "X-A: 1",
        "X-A: 2",
        "TE: trailers",
        "Te: gzip, trailers",
        "Trailer: X-T",
        "Expect: 100-continue",
        "Expect: 200-ok",
        "Host: a.test",
        "Host: b.test",
        "Content-Length: 0",
        "Content-Length: 5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Via: 1.0 x",
        "X-Forwarded-For: 1.2.3.4",
        "Forwarded: for=x",
        "Cookie: a=b; c=d",
        "Date: x",
    ];
    select(LINES).prop_map(|line| format!("{line}\r\n"))
}

fn extension() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(""), 1 => select(&[";a", ";a=b", " ; a = \"b;c\"", ";a=\"\\\"\";b", ";", " ", ";a=\"", ";=b"][..])]
}

/// A chunked body of these pieces: mostly valid sizes and extensions, and perhaps trailers.
pub(crate) fn chunked(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![8 => Just("x"), 1 => select(&["X", "0x", "000x", "+x", "00000000000000000x"][..])];
    let piece = (prop::collection::vec(any::<u8>(), 1..20), size, extension());
    let trailer = prop_oneof![3 => any_field(), 1 => telling_field()];
    let trailers = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(trailer, 0..4)];
    (prop::collection::vec(piece, 0..most), extension(), trailers).prop_map(|(pieces, extension, trailers)| {
        let mut bytes = Vec::new();
        for (piece, size, extension) in pieces {
            let hex = if size == "X" {
                format!("{:X}", piece.len())
            } else {
                size.replace('x', &format!("{:x}", piece.len()))
            };
            bytes.extend_from_slice(format!("{hex}{extension}\r\n").as_bytes());
            bytes.extend_from_slice(&piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("0{extension}\r\n{}\r\n", trailers.concat()).as_bytes());
        bytes
    })
}

/// A framing field and the body that goes with it, mostly.
fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    prop_oneof![
        3 => Just((String::new(), Vec::new())),
        2 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        3 => chunked(5).prop_map(|body| ("Transfer-Encoding: chunked\r\n".to_owned(), body)),
    ]
}

/// One valid request, except for what targets, field lines and chunks bring in.
fn plain_request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![6 => select(&["GET", "POST", "OPTIONS"][..]), 1 => select(&["M-SEARCH", "get", "CONNECT", "TRACE"][..])];
    let version = prop_oneof![8 => Just("1.1"), 2 => Just("1.0"), 1 => select(&["1.2", "2.0", "0.9"][..])];
    let host = prop_oneof![
        8 => Just("Host: a.test\r\n"),
        1 => select(&["", "host:A.TEST:80 \r\n", "Host:\r\n", "Host: [::1]\r\n", "Host: u@a\r\n", "Host: a.test:\r\n"][..]),
    ];
    let field = prop_oneof![3 => any_field(), 1 => telling_field()];
    let fields = prop::collection::vec(field, 0..5);
    (method, target(), version, host, fields, body()).prop_map(
        |(method, target, version, host, fields, (framing, body))| {
            let head = format!("{method} {target} HTTP/{version}\r\n{host}{framing}{}\r\n", fields.concat());
            [head.as_bytes(), &body].concat()
        },
    )
}

/// One request, perhaps mutated, and perhaps something behind it.
pub(crate) fn request() -> impl Strategy<Value = Vec<u8>> {
    let next = select(
        &["", "", "", "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n", "\r\n\r\nGET", "\0", "0\r\n\r\n", "GET"][..],
    );
    (mutated(plain_request(), 3), next).prop_map(|(request, next)| [&request, next.as_bytes()].concat())
}

/// Several requests in a row.
pub(crate) fn pipeline() -> impl Strategy<Value = Vec<u8>> {
    mutated(prop::collection::vec(plain_request(), 1..4).prop_map(|requests| requests.concat()), 2)
}

/// One answer, perhaps mutated.
pub(crate) fn answer() -> impl Strategy<Value = Vec<u8>> {
    let line = select(
        &["1.1 200 OK", "1.1 204 ", "1.1 304 Not Modified", "1.0 200 OK", "1.1 100", "1.1 503 \u{e9} \t", "1.1 600 x"]
            [..],
    );
    let field = prop_oneof![3 => any_field(), 1 => telling_field()];
    let whole = (line, prop::collection::vec(field, 0..5), body()).prop_map(|(line, fields, (framing, body))| {
        [format!("HTTP/{line}\r\n{framing}{}\r\n", fields.concat()).as_bytes(), &body].concat()
    });
    mutated(whole, 3)
}

/// Bytes without any sense, though some of them are nasty.
pub(crate) fn noise(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![any::<u8>(), select(NASTY)], 0..most)
}

/// A way to cut `len` bytes: the lengths of the pieces come from these, over and over.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(1), 1..8usize, 1..200usize], 1..12)
}
