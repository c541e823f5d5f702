//! The property of bodies: however they are cut, the same comes out. Shared with the fuzz targets.

use tollgate_core::body::Length;
use tollgate_http1::transfer::Outflow;

use crate::forward::{self, Ended, Pace};

/// Takes chunks apart the simplest way, as we write them and nobody else must: content, and the trailer lines.
pub(crate) fn dechunked(mut bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut content = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            assert!(bytes == b"\r\n" || bytes.ends_with(b"\r\n\r\n"), "the end is the end");
            return Some((content, bytes[..bytes.len() - 2].to_vec()));
        }
        content.extend_from_slice(bytes.get(..size)?);
        assert!(bytes[size..].is_empty() || b"\r\n".starts_with(&bytes[size..bytes.len().min(size + 2)]));
        bytes = bytes.get(size + 2..)?;
    }
}

/// Checks that the same comes out however the body is cut, or that it is refused as well.
///
/// # Panics
/// If not.
pub(crate) fn same_as_whole(bytes: &[u8], length: Length, pace: &Pace) {
    let whole = forward::body(bytes, length, Outflow::Plain, b"", &Pace { most: pace.most, ..Pace::whole() });
    let cut = forward::body(bytes, length, Outflow::Plain, b"head", pace);
    let framed = forward::body(bytes, length, Outflow::Chunked, b"", pace);
    assert_eq!(framed.used, cut.used);
    match &whole.end {
        Err(_) => assert!(cut.end.is_err() && framed.end.is_err(), "{:?}, {:?}", cut.end, whole.end),
        end => {
            assert_eq!((&cut.end, &framed.end), (end, end));
            assert_eq!(cut.used, whole.used);
            let head: &[u8] = if cut.out.is_empty() { b"" } else { b"head" };
            assert_eq!(&cut.out, &[head, &whole.out].concat());
        }
    }
    match dechunked(&framed.out) {
        Some((content, _)) => {
            assert_eq!(&framed.end, &Ok(Ended::Whole), "a body that is not whole never looks so");
            assert_eq!(&content, &whole.out);
        }
        None => assert!(framed.end != Ok(Ended::Whole)),
    }
}
