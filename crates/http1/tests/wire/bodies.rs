//! Bodies through buffers of any size, in reads and writes of any size.

use proptest::prelude::*;
use tollgate_core::body::Length;
use tollgate_http1::transfer::{Bad, Outflow};

use crate::forward::{self, Ended, Pace};
use crate::generate;
use crate::ours;

/// Takes chunks apart the simplest way, as we write them and nobody else must: content, and the trailer lines.
fn dechunked(mut bytes: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
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

/// Chunks of these sizes, and what they hold.
fn chunked(sizes: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut content, mut counter) = (Vec::new(), Vec::new(), 0u8);
    for size in sizes {
        bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        let piece: Vec<u8> = std::iter::repeat_with(|| { counter = counter.wrapping_mul(5).wrapping_add(7); counter }).take(*size).collect();
        bytes.extend_from_slice(&piece);
        bytes.extend_from_slice(b"\r\n");
        content.extend_from_slice(&piece);
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    (bytes, content)
}

fn pace(room: impl Strategy<Value = usize>, most: u64) -> impl Strategy<Value = Pace> {
    (room, generate::cuts(), generate::cuts()).prop_map(move |(room, reads, writes)| Pace { room, reads, writes, most })
}

/// However it is cut, the same comes out, or it is refused as well.
fn same_as_whole(bytes: &[u8], length: Length, pace: &Pace) -> Result<(), TestCaseError> {
    let whole = forward::body(bytes, length, Outflow::Plain, b"", &Pace { most: pace.most, ..Pace::whole() });
    let cut = forward::body(bytes, length, Outflow::Plain, b"head", pace);
    let framed = forward::body(bytes, length, Outflow::Chunked, b"", pace);
    prop_assert_eq!(framed.used, cut.used);
    match &whole.end {
        Err(_) => prop_assert!(cut.end.is_err() && framed.end.is_err(), "{:?}, {:?}", cut.end, whole.end),
        end => {
            prop_assert_eq!((&cut.end, &framed.end), (end, end));
            prop_assert_eq!(cut.used, whole.used);
            let head: &[u8] = if cut.out.is_empty() { b"" } else { b"head" };
            prop_assert_eq!(&cut.out, &[head, &whole.out].concat());
        }
    }
    match dechunked(&framed.out) {
        Some((content, _)) => {
            prop_assert_eq!(&framed.end, &Ok(Ended::Whole), "a body that is not whole never looks so");
            prop_assert_eq!(&content, &whole.out);
        }
        None => prop_assert!(framed.end != Ok(Ended::Whole)),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_cut_of_a_chunked_body_gives_the_same(bytes in generate::chunked(6), next in "[ -~]{0,9}", pace in pace(1..200usize, 60)) {
        let bytes = [&bytes, next.as_bytes()].concat();
        same_as_whole(&bytes, Length::Chunked, &pace)?;
        let all = Pace { most: u64::MAX, ..pace };
        same_as_whole(&bytes, Length::Chunked, &all)?;
        for at in 0..bytes.len() {
            same_as_whole(&bytes, Length::Chunked, &Pace { reads: vec![at.max(1), usize::MAX], room: usize::MAX, ..all.clone() })?;
        }
    }

    #[test]
    fn every_cut_of_a_noisy_chunked_body_gives_the_same(bytes in generate::noise(60), pace in pace(1..50usize, 60)) {
        same_as_whole(&bytes, Length::Chunked, &pace)?;
    }

    #[test]
    fn every_cut_of_a_counted_body_gives_the_same(bytes in generate::noise(300), n in 0..400u64, pace in pace(1..200usize, 250)) {
        same_as_whole(&bytes, Length::Known(n), &pace)?;
        let passed = forward::body(&bytes, Length::Known(n), Outflow::Plain, b"", &Pace { most: u64::MAX, ..pace });
        prop_assert_eq!(passed.used, bytes.len().min(usize::try_from(n).unwrap()), "what follows is left alone");
    }

    #[test]
    fn every_cut_of_a_body_that_ends_with_the_connection_gives_the_same(bytes in generate::noise(300), pace in pace(1..200usize, 250)) {
        same_as_whole(&bytes, Length::UntilClose, &pace)?;
    }

    #[test]
    fn large_and_small_chunks_in_any_order_come_out_whole(
        sizes in prop::collection::vec(prop_oneof![1..20usize, 1000..1100usize, 1..4000usize], 0..60),
        pace in pace(prop_oneof![1..100usize, 1000..72000usize], u64::MAX),
        scale in prop_oneof![Just(1usize), Just(50), Just(5000)],
    ) {
        let (bytes, content) = chunked(&sizes);
        let pace = Pace { reads: pace.reads.iter().map(|n| n * scale).collect(), writes: pace.writes.iter().map(|n| n * scale).collect(), ..pace };
        let passed = forward::body(&bytes, Length::Chunked, Outflow::Chunked, b"", &pace);
        prop_assert_eq!((passed.used, passed.end), (bytes.len(), Ok(Ended::Whole)));
        prop_assert_eq!(dechunked(&passed.out).unwrap().0, content);
    }

    #[test]
    fn what_is_encoded_is_decoded_to_the_same(
        content in generate::noise(600),
        trailers in prop::collection::vec(("[xy]-[a-z!]{1,6}", "[!-~]{1,5}( [!-~]{1,5})?"), 0..4),
        pace in pace(1..300usize, u64::MAX),
    ) {
        let plain = forward::body(&content, Length::UntilClose, Outflow::Chunked, b"", &pace).out;
        // The same with trailers behind: instead of the last chunk, one that has them.
        let (mut text, lines) = (plain[..plain.len() - 2].to_vec(), ours::added(&trailers));
        tollgate_http1::write::fields(&mut text, &lines, |_, _| false);
        text.extend_from_slice(b"\r\n");
        let (decoded, read, used) = ours::body(Length::Chunked, &mut text.clone()).unwrap().unwrap();
        prop_assert_eq!(&decoded, &content);
        prop_assert_eq!(read, ours::sorted(lines.iter()));
        prop_assert_eq!(used, text.len());
        let again = forward::body(&text, Length::Chunked, Outflow::Chunked, b"", &pace);
        let (passed, left) = dechunked(&again.out).unwrap();
        prop_assert_eq!((passed, left), dechunked(&text).unwrap(), "content and trailers pass through unchanged");
    }
}

#[test]
fn a_body_above_the_limit_never_leaves_whole() {
    let (bytes, _) = chunked(&[30, 30, 1]);
    for (reads, room) in [(vec![1], 7), (vec![usize::MAX], usize::MAX)] {
        let pace = Pace { most: 60, reads, room, ..Pace::whole() };
        let passed = forward::body(&bytes, Length::Chunked, Outflow::Chunked, b"", &pace);
        assert_eq!(passed.end, Err(Bad::TooLarge));
        assert_eq!(dechunked(&passed.out), None);
    }
}
