use super::*;

#[test]
fn a_plain_request_means_the_same_to_both() {
    let bytes = b"POST /a/b?c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let understood = Reader::Loose.read(bytes);
    assert_eq!(understood, Reader::Literal.read(bytes));
    assert_eq!(
        (understood.len(), understood[0].body.as_slice(), understood[0].path.as_str()),
        (2, &b"hi"[..], "/a/b?c")
    );
}

#[test]
fn both_framings_mean_two_things() {
    let bytes = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n";
    assert_ne!(Reader::Loose.read(bytes), Reader::Literal.read(bytes));
}

#[test]
fn any_bytes_come_to_an_end() {
    for seed in 0..2000_u32 {
        let alphabet = b"GET / HTTP/1.1\r\n: 0x5;\"\tContent-Length: Transfer-Encoding: chunked%2e\\\0";
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            alphabet[(state >> 8) as usize % alphabet.len()]
        };
        let bytes: Vec<u8> = (0..120).map(|_| next()).collect();
        assert!(Reader::Loose.read(&bytes).len() <= MOST && Reader::Literal.read(&bytes).len() <= MOST);
    }
}
