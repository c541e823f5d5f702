use super::*;
use tollgate_core::buffer::Buffer;

const LIMITS: HeadLimits = HeadLimits { target: 64, head: 256, fields: 4 };

fn read(text: &str) -> Result<(ReplyHead, Parsed), &'static str> {
    let mut head = ReplyHead::default();
    head.fields.buffer = Buffer::holding(text.as_bytes());
    let parsed = Reader::default().read(&mut head, &LIMITS)?;
    Ok((head, parsed))
}

fn understood(text: &str, request: Method) -> Result<(ReplyHead, Verdict), &'static str> {
    let (mut head, parsed) = read(text)?;
    assert_eq!(parsed, Parsed::Complete, "{text:?}");
    let verdict = judge(&mut head, request)?;
    Ok((head, verdict))
}

/// The verdict on the answer to a `GET` with this status line behind `HTTP/1.1` and these field lines.
fn verdict(status: u16, lines: &str) -> Result<Verdict, &'static str> {
    understood(&format!("HTTP/1.1 {status} x\r\n{lines}\r\n"), Method::Get).map(|(_, verdict)| verdict)
}

#[test]
fn a_head_is_an_index_over_its_bytes() {
    let (head, verdict) =
        understood("HTTP/1.1 200 \u{e9} so so\r\nA: b\r\na:c \r\nContent-Length: 4\r\n\r\nbody", Method::Get).unwrap();
    assert_eq!((head.status, head.version), (200, Version::Http11));
    assert_eq!(head.reason.of(head.fields.buffer.filled()), "\u{e9} so so".as_bytes());
    assert_eq!(head.fields.all("a").collect::<Vec<_>>(), [b"b", b"c"]);
    assert_eq!(&head.fields.buffer.filled()[head.fields.head_len..], b"body");
    assert_eq!(verdict, Verdict { length: Length::Known(4), told: Length::Known(4), keep_alive: true });
}

/// RFC 9112 §4; the space before an empty reason may be missing.
#[test]
fn a_status_line_has_one_form() {
    for line in ["HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 599  odd\treason "] {
        assert!(read(&format!("{line}\r\n\r\n")).is_ok(), "{line}");
    }
    let lines = [
        "HTTP/1.2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200 OK    ",
        "http/1.1 200 OK",
        "ICY 200 OK     ",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 20x OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 O\u{7f}K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 OK\n",
        "HTTP/1.1 200 O\0K",
        " HTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
    ];
    for line in lines {
        assert!(read(&format!("{line}\r\n\r\n")).is_err(), "{line:?}");
    }
    for status in ["000", "099", "600", "999"] {
        let text = format!("HTTP/1.1 {status} x\r\n\r\n");
        assert_eq!(read(&text).err(), Some("a status code outside 100 to 599"));
    }
}

#[test]
fn limits_hold_for_answers_too() {
    assert_eq!(
        read(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(5))).err(),
        Some("more fields than `limits.fields`")
    );
    let line = "HTTP/1.1 200 OK\r\nA: ";
    let fitting = "b".repeat(256 - line.len() - 4);
    assert!(read(&format!("{line}{fitting}\r\n\r\n")).is_ok());
    let larger = Some("a head larger than `limits.head`");
    assert_eq!(read(&format!("{line}{fitting}b\r\n\r\n")).err(), larger);
    assert_eq!(read(&format!("{line}{fitting}bbbb")).err(), larger);
    assert_eq!(read(&format!("HTTP/1.1 200 {}", "b".repeat(300))).err(), larger);
}

/// RFC 9112 §6.3.
#[test]
fn framing_is_told_once_or_by_the_close() {
    assert_eq!(
        verdict(200, ""),
        Ok(Verdict { length: Length::UntilClose, told: Length::UntilClose, keep_alive: false })
    );
    assert_eq!(verdict(200, "Content-Length: 0\r\n").map(|v| (v.length, v.keep_alive)), Ok((Length::Known(0), true)));
    assert_eq!(verdict(200, "Transfer-Encoding: CHUNKED\r\n").map(|v| v.length), Ok(Length::Chunked));
    for lines in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: -1\r\n",
        "Content-Length:\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        assert!(verdict(200, lines).is_err(), "{lines:?}");
        assert!(verdict(304, lines).is_err(), "{lines:?}");
    }
    let old = understood("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get);
    assert_eq!(old.err(), Some("`Transfer-Encoding` in an HTTP/1.0 answer"));
}

#[test]
fn some_answers_have_no_body_whatever_they_tell() {
    let lines = "Content-Length: 9\r\n";
    let none = |told, keep_alive| Ok(Verdict { length: Length::None, told, keep_alive });
    let head = understood("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Method::Head).map(|(_, v)| v);
    assert_eq!(head, none(Length::Known(9), true));
    assert_eq!(verdict(304, lines), none(Length::Known(9), true));
    assert_eq!(verdict(304, ""), none(Length::UntilClose, true));
    assert_eq!(verdict(204, ""), none(Length::UntilClose, true));
    assert_eq!(verdict(100, ""), none(Length::UntilClose, true));
}

/// RFC 9110 §8.6, RFC 9112 §6.1: what follows could be taken for the next answer.
#[test]
fn a_body_where_none_may_be_ends_the_connection() {
    let none = |told, keep_alive| Ok(Verdict { length: Length::None, told, keep_alive });
    assert_eq!(verdict(204, "Content-Length: 0\r\n"), none(Length::Known(0), true));
    assert_eq!(verdict(204, "Content-Length: 9\r\n"), none(Length::Known(9), false));
    assert_eq!(verdict(204, "Transfer-Encoding: chunked\r\n"), none(Length::Chunked, false));
    assert_eq!(verdict(103, "Content-Length: 9\r\n"), Err("an interim answer that announces a body"));
    assert_eq!(verdict(100, "Transfer-Encoding: chunked\r\n"), Err("an interim answer that announces a body"));
}

/// RFC 9112 §9.3, RFC 9110 §7.6.1.
#[test]
fn the_connection_stays_as_the_upstream_says() {
    let stays = |version: &str, lines: &str| {
        understood(&format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{lines}\r\n"), Method::Get)
            .map(|(_, v)| v.keep_alive)
    };
    assert_eq!(stays("1.1", ""), Ok(true));
    assert_eq!(stays("1.1", "Connection: x, Close\r\n"), Ok(false));
    assert_eq!(stays("1.0", ""), Ok(false));
    assert_eq!(stays("1.0", "Connection: Keep-Alive\r\n"), Ok(true));
    let many = format!("Connection: {}\r\n", "x,".repeat(101));
    assert_eq!(stays("1.1", &many), Err("more than 100 fields named in `Connection`"));
    let text = "HTTP/1.1 200 OK\r\nConnection: x-a, content-length\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n";
    let (head, verdict) = understood(text, Method::Get).unwrap();
    assert!(!head.fields.has("x-a"));
    assert_eq!(verdict.length, Length::Known(3));
}
