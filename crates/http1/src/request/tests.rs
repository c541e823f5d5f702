use super::*;
use tollgate_core::buffer::Buffer;

const LIMITS: HeadLimits = HeadLimits { target: 64, head: 512, fields: 8 };

fn read(text: &str) -> Result<(RequestHead, Parsed), Problem> {
    let mut head = RequestHead::default();
    head.fields.buffer = Buffer::holding(text.as_bytes());
    let parsed = Reader::default().read(&mut head, &LIMITS)?;
    Ok((head, parsed))
}

fn understood(text: &str) -> Result<(RequestHead, Verdict), Problem> {
    let (mut head, parsed) = read(text)?;
    assert_eq!(parsed, Parsed::Complete, "{text:?}");
    let verdict = judge(&mut head)?;
    Ok((head, verdict))
}

/// A request of these field lines, `Host` before them.
fn with(lines: &str) -> Result<(RequestHead, Verdict), Problem> {
    understood(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"))
}

#[track_caller]
fn refused<T>(answer: Result<T, Problem>, slug: &str, detail: &str) {
    match answer {
        Ok(_) => panic!("accepted; {slug} was expected"),
        Err(problem) => assert_eq!((problem.fault.slug, &problem.detail[..]), (slug, detail)),
    }
}

#[test]
fn a_head_is_an_index_over_its_bytes() {
    let (head, verdict) = understood(
        "PATCH /a/../b?q=1&r HTTP/1.1\r\nhost: A.test:8080\r\nX-One:  two words \t\r\nx-one:\r\nTE: trailers\r\n\r\nbody",
    )
    .unwrap();
    assert_eq!((head.method, head.method_text(), head.version), (Method::Patch, "PATCH", Version::Http11));
    assert_eq!((head.path(), head.query(), head.host()), ("/b", Some("q=1&r"), "A.test:8080"));
    let fields: Vec<_> = head.fields.iter().collect();
    let expected: [(&[u8], &[u8]); 4] =
        [(b"host", b"A.test:8080"), (b"X-One", b"two words"), (b"x-one", b""), (b"TE", b"trailers")];
    assert_eq!(fields, expected);
    assert_eq!(&head.fields.buffer.filled()[head.fields.head_len..], b"body");
    let told = Verdict {
        length: Length::None,
        keep_alive: true,
        expects_continue: false,
        takes_trailers: true,
        upgrades: false,
    };
    assert_eq!(verdict, told);
}

/// RFC 9112 §3: single spaces, nothing before, between or behind.
#[test]
fn a_request_line_has_one_form() {
    let lines = [
        (" GET / HTTP/1.1", "a request line that does not start with a method"),
        ("GET  / HTTP/1.1", "a byte in the request target that must be percent-encoded"),
        ("GET\t/ HTTP/1.1", "a byte that may not stand in a method"),
        ("GE(T / HTTP/1.1", "a byte that may not stand in a method"),
        ("GET / HTTP/1.1 ", "something behind the HTTP version"),
        ("GET /  HTTP/1.1", "a request line that does not end in an HTTP version"),
        ("GET /a b HTTP/1.1", "a request line that does not end in an HTTP version"),
        ("GET /", "a request line without a version"),
        ("GET", "a byte that may not stand in a method"),
        ("GET / http/1.1", "a request line that does not end in an HTTP version"),
        ("GET / HTTP/11", "a request line that does not end in an HTTP version"),
        ("GET / HTTP/1.10", "something behind the HTTP version"),
        ("GET /\u{e9} HTTP/1.1", "a byte in the request target that must be percent-encoded"),
        ("GET /\0 HTTP/1.1", "a byte in the request target that must be percent-encoded"),
        ("GET /#a HTTP/1.1", "a `#` in the request target"),
        ("A23456789012345678901234567890123 / HTTP/1.1", "a method longer than 32 bytes"),
    ];
    for (line, detail) in lines {
        refused(understood(&format!("{line}\r\nHost: a\r\n\r\n")), "http/malformed", detail);
    }
}

/// RFC 9112 §2.3, RFC 9110 §15.6.6.
#[test]
fn other_versions_are_told_so() {
    for version in ["0.9", "1.2", "2.0", "3.0"] {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n");
        refused(understood(&text), "http/version", "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    refused(read("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "http/version", "only HTTP/1.0 and HTTP/1.1 are spoken here");
}

/// RFC 9112 §2.2: CRLF only; one empty line before the request is forgiven.
#[test]
fn lines_end_in_crlf_and_nothing_else() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    assert!(understood(&format!("\r\n{head}")).is_ok());
    assert!(read(&format!("\r\n\r\n{head}")).is_err());
    assert!(read(&format!("\n{head}")).is_err());
    assert!(read(&format!("\r{head}")).is_err());
    for (from, _) in head.match_indices("\r\n") {
        let (before, behind) = (&head[..from], &head[from + 2..]);
        for end in ["\n", "\r", "\r\r\n", "\n\r", "\r \n", "\0\r\n", "\u{b}\r\n"] {
            let text = format!("{before}{end}{behind}");
            // A CR at the very end may still get its LF.
            assert!(!matches!(read(&text), Ok((_, Parsed::Complete))), "{text:?}");
        }
    }
}

/// RFC 9112 §5.
#[test]
fn field_lines_have_one_form() {
    let lines = [
        ("X : y\r\n", "white space before the colon of a header line"),
        ("X\t: y\r\n", "white space before the colon of a header line"),
        ("X: y\r\n z\r\n", "a folded or indented header line"),
        ("X: y\r\n\tz\r\n", "a folded or indented header line"),
        (": y\r\n", "an empty header name"),
        ("X\r\n", "a header line without a colon"),
        ("X y: z\r\n", "white space before the colon of a header line"),
        ("X(y): z\r\n", "a byte that may not stand in a header name"),
        ("X\u{e9}: z\r\n", "a byte that may not stand in a header name"),
        ("X\0: z\r\n", "a byte that may not stand in a header name"),
        ("X: a\0b\r\n", "a control byte in a header value"),
        ("X: a\u{7f}b\r\n", "a control byte in a header value"),
        ("X: a\u{1}\r\n", "a control byte in a header value"),
        ("X: a\rb\r\n", "a CR without LF"),
        ("X: a\nb\r\n", "a line that ends in LF alone"),
    ];
    for (line, detail) in lines {
        refused(with(line), "http/malformed", detail);
    }
    let (head, _) = with("X-\u{21}#$%&'*+.^_`|~: \u{e9}\u{ff} \t tab\tinside \r\n").unwrap();
    assert_eq!(head.fields.all("x-!#$%&'*+.^_`|~").next(), Some("\u{e9}\u{ff} \t tab\tinside".as_bytes()));
}

#[test]
fn limits_are_told_apart() {
    let target = format!("/{}", "a".repeat(63));
    assert!(understood(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).is_ok());
    let detail = "the request target is longer than 64 bytes";
    refused(understood(&format!("GET {target}a HTTP/1.1\r\nHost: a\r\n\r\n")), "http/target-too-long", detail);
    refused(read(&format!("GET {target}a")), "http/target-too-long", detail);

    assert!(with(&"X: y\r\n".repeat(7)).is_ok());
    refused(with(&"X: y\r\n".repeat(8)), "http/head-too-large", "more than 8 header lines");

    let line = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let fitting = "y".repeat(512 - line.len() - 4);
    assert!(understood(&format!("{line}{fitting}\r\n\r\n")).is_ok());
    let detail = "the head is larger than 512 bytes";
    refused(understood(&format!("{line}{fitting}y\r\n\r\n")), "http/head-too-large", detail);
    refused(read(&format!("{line}{fitting}yyyy")), "http/head-too-large", detail);
    assert!(matches!(read(&format!("{line}{fitting}\r\n\r")), Ok((_, Parsed::Partial))));
}

#[test]
fn parts_beyond_64_kib_are_refused_whatever_the_limits() {
    let limits = HeadLimits { target: usize::MAX, head: usize::MAX, fields: usize::MAX };
    for lines in ["", "Host: a\r\n"] {
        let mut head = RequestHead::default();
        let blank = " ".repeat(0xFFFF - 20);
        let text = format!("GET /{} HTTP/1.1\r\n{lines}X:{blank}y\r\nX: z\r\n\r\n", "a".repeat(0xFFFF - blank.len()));
        head.fields.buffer = Buffer::holding(text.as_bytes());
        assert!(Reader::default().read(&mut head, &limits).is_err());
    }
    let mut head = RequestHead::default();
    head.fields.buffer = Buffer::holding(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(0xFFFF)).as_bytes());
    refused(
        Reader::default().read(&mut head, &limits),
        "http/head-too-large",
        &format!("the head is larger than {} bytes", usize::MAX),
    );
}

/// RFC 9112 §3.2: exactly one `Host`; HTTP/1.0 may leave it out.
#[test]
fn there_is_one_host() {
    refused(understood("GET / HTTP/1.1\r\n\r\n"), "http/malformed", "no `Host` field");
    for lines in ["Host: a\r\nHost: a\r\n", "Host: a\r\nhOST: b\r\n"] {
        refused(understood(&format!("GET / HTTP/1.1\r\n{lines}\r\n")), "http/malformed", "more than one `Host` field");
        refused(understood(&format!("GET / HTTP/1.0\r\n{lines}\r\n")), "http/malformed", "more than one `Host` field");
    }
    let (head, verdict) = understood("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((head.host(), verdict.keep_alive), ("", false));
    refused(understood("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), "http/connect", "CONNECT is not served here");
}

/// RFC 9112 §6.3, with everything doubtful refused.
#[test]
fn framing_is_told_once_or_not_at_all() {
    let length = |lines: &str| with(lines).map(|(_, verdict)| verdict.length);
    assert_eq!(length("").ok(), Some(Length::None));
    assert_eq!(length("Content-Length: 0\r\n").ok(), Some(Length::None));
    assert_eq!(length("content-length:007\r\n").ok(), Some(Length::Known(7)));
    assert_eq!(length("Content-Length: 9223372036854775807\r\n").ok(), Some(Length::Known(i64::MAX as u64)));
    assert_eq!(length("Transfer-Encoding: chunked\r\n").ok(), Some(Length::Chunked));
    assert_eq!(length("transfer-encoding:\tChunKed \r\n").ok(), Some(Length::Chunked));

    let number = "a `Content-Length` that is not one plain number";
    let values = [
        "",
        "+1",
        "-1",
        "1 ,",
        "1, 1",
        "1 1",
        "0x1",
        "1.0",
        "1_0",
        "\"1\"",
        "\u{b2}",
        "9223372036854775808",
        "18446744073709551616",
        "00000000000000000001",
    ];
    for value in values {
        refused(length(&format!("Content-Length: {value}\r\n")), "http/malformed", number);
    }
    let twice = "Content-Length: 1\r\ncontent-length: 1\r\n";
    refused(length(twice), "http/malformed", "more than one `Content-Length` field");
    let both = "both `Content-Length` and `Transfer-Encoding`";
    refused(length("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), "http/malformed", both);
    refused(length("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), "http/malformed", both);
}

/// RFC 9112 §6.1.
#[test]
fn chunked_is_the_only_transfer_coding() {
    let other = "a `Transfer-Encoding` other than `chunked`";
    let values = [
        "",
        ",",
        "identity",
        "chunked, chunked",
        "chunked, gzip",
        "chunked,",
        ", chunked",
        "\"chunked\"",
        "chunked;a=b",
        "xchunked",
        "chunkedx",
        "x, chunked",
        "gzip, , identity",
        "gzip",
        "chunked gzip",
        "chunk\u{e9}d",
    ];
    for value in values {
        refused(with(&format!("Transfer-Encoding: {value}\r\n")), "http/malformed", other);
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    refused(with(twice), "http/malformed", "more than one `Transfer-Encoding` field");
    refused(
        with("Transfer-Encoding: gzip, chunked\r\n"),
        "http/transfer-coding",
        "`chunked` is the only transfer coding spoken here",
    );
    refused(
        understood("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "http/malformed",
        "`Transfer-Encoding` in an HTTP/1.0 request",
    );
}

/// RFC 9112 §9.3.
#[test]
fn the_connection_stays_as_the_client_says() {
    let table = [
        ("1.1", "", true),
        ("1.1", "close", false),
        ("1.1", "CLOSE", false),
        ("1.1", "keep-alive, close", false),
        ("1.1", "upgrade", true),
        ("1.1", "closed", true),
        ("1.0", "", false),
        ("1.0", "keep-alive", true),
        ("1.0", "Keep-Alive ,close", false),
    ];
    for (version, value, stays) in table {
        let line = if value.is_empty() { String::new() } else { format!("Connection: {value}\r\n") };
        let (_, verdict) = understood(&format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n")).unwrap();
        assert_eq!(verdict.keep_alive, stays, "HTTP/{version}, {value}");
    }
}

/// RFC 9110 §7.6.1.
#[test]
fn what_connection_names_is_dropped_unless_it_frames_or_routes() {
    let (head, _) =
        with("X-A: 1\r\nConnection: x-A, , close\r\nx-a: 2\r\nX-B: 3\r\nConnection: x-c\r\nX-C: 4\r\n").unwrap();
    assert!(!head.fields.has("x-a") && !head.fields.has("x-c") && head.fields.has("x-b"));
    for name in ["Host", "content-length", "Transfer-Encoding"] {
        refused(
            with(&format!("Connection: close, {name}\r\n")),
            "http/malformed",
            "`Connection` names a field that frames or routes the request",
        );
    }
    let named = |many: usize| format!("X-A: 1\r\nConnection: close,{}keep-alive\r\n", "x-a,".repeat(many));
    assert!(with(&named(100)).is_ok_and(|(head, _)| !head.fields.has("x-a")));
    refused(with(&named(101)), "http/malformed", "more than 100 fields named in `Connection`");
}

/// RFC 9110 §10.1.1.
#[test]
fn only_100_continue_can_be_expected() {
    let (_, verdict) = with("Expect: 100-Continue\r\nContent-Length: 1\r\n").unwrap();
    assert!(verdict.expects_continue);
    let other = "only `100-continue` can be expected";
    for lines in [
        "Expect: \r\n",
        "Expect: 200-ok\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        refused(with(lines), "http/expectation", other);
    }
    let (_, verdict) = understood("POST / HTTP/1.0\r\nExpect: anything\r\n\r\n").unwrap();
    assert!(!verdict.expects_continue);
}

/// RFC 9110 §10.1.4.
#[test]
fn trailers_are_taken_if_any_te_says_so() {
    let takes = |lines: &str| with(lines).map(|(_, verdict)| verdict.takes_trailers).ok();
    assert_eq!(takes("TE: gzip\r\nte: deflate, Trailers\r\nConnection: TE\r\n"), Some(true));
    assert_eq!(takes("TE: gzip;q=0.5\r\n"), Some(false));
    assert_eq!(takes("TE: trailersx\r\n"), Some(false));
    assert_eq!(takes(""), Some(false));
}

/// RFC 9110 §7.8.
#[test]
fn another_protocol_is_asked_for_by_both_fields_and_without_a_body() {
    let asks = |line: &str| {
        let (mut head, limits) = (RequestHead::default(), HeadLimits::default());
        head.fields.buffer = Buffer::holding(line.as_bytes());
        assert_eq!(Reader::default().read(&mut head, &limits).ok(), Some(Parsed::Complete));
        judge(&mut head).map(|verdict| verdict.upgrades).ok()
    };
    let get = |rest: &str| asks(&format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n"));
    assert_eq!(get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"), Some(true));
    assert_eq!(get("Upgrade: websocket\r\n"), Some(false));
    assert_eq!(get("Connection: Upgrade\r\n"), Some(false));
    assert_eq!(get("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n"), Some(false));
    assert_eq!(asks("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), Some(false));
}
