use super::*;

fn whole(bytes: &str) -> Request {
    match request(bytes.as_bytes()).unwrap() {
        Parsed::Whole(message, used) if used == bytes.len() => message,
        other => panic!("not one whole request: {other:?}"),
    }
}

#[test]
fn a_chunked_request_is_read_with_its_trailers() {
    let message =
        whole("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\nT: 1\r\n\r\n");
    assert_eq!(message.content.body, b"abc");
    assert_eq!(all(&message.content.trailers, "t"), ["1"]);
    assert_eq!(message.line(), "POST /a HTTP/1.1");
}

#[test]
fn every_proper_start_of_a_request_is_partial() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n";
    for end in 0..bytes.len() {
        assert_eq!(request(&bytes[..end]), Ok(Parsed::Partial), "at {end}");
    }
}

#[test]
fn doubtful_requests_are_broken() {
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: 1\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
    ] {
        assert!(request(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
}

#[test]
fn an_answer_ends_where_its_framing_says() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP";
    let Ok(Parsed::Whole(answer, used)) = response(bytes, "GET", End::Open) else { panic!("whole") };
    assert_eq!((answer.status, answer.text().as_str(), used), (200, "hi", bytes.len() - 4));
    let Ok(Parsed::Whole(answer, used)) = response(bytes, "HEAD", End::Open) else { panic!("whole") };
    assert_eq!((answer.text().as_str(), used), ("", bytes.len() - 6));
    let bytes = b"HTTP/1.0 200 OK\r\n\r\nhi";
    assert_eq!(response(bytes, "GET", End::Open), Ok(Parsed::Partial));
    assert!(matches!(response(bytes, "GET", End::Closed), Ok(Parsed::Whole(_, 21))));
}
