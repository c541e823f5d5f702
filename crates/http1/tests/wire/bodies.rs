//! Bodies through buffers of any size, in reads and writes of any size.

use proptest::prelude::*;
use tollgate_core::body::Length;
use tollgate_http1::transfer::{Bad, Outflow};

use crate::any_cut::{dechunked, same_as_whole};
use crate::forward::{self, Ended, Pace};
use crate::generate;
use crate::ours;

/// Chunks of these sizes, and what they hold.
fn chunked(sizes: &[usize]) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut content, mut counter) = (Vec::new(), Vec::new(), 0u8);
    for size in sizes {
        bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        let piece: Vec<u8> = std::iter::repeat_with(|| {
            counter = counter.wrapping_mul(5).wrapping_add(7);
            counter
        })
        .take(*size)
        .collect();
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_cut_of_a_chunked_body_gives_the_same(bytes in generate::chunked(6), next in "[ -~]{0,9}", pace in pace(1..200usize, 60)) {
        let bytes = [&bytes, next.as_bytes()].concat();
        same_as_whole(&bytes, Length::Chunked, &pace);
        let all = Pace { most: u64::MAX, ..pace };
        same_as_whole(&bytes, Length::Chunked, &all);
        for at in 0..bytes.len() {
            same_as_whole(&bytes, Length::Chunked, &Pace { reads: vec![at.max(1), usize::MAX], room: usize::MAX, ..all.clone() });
        }
    }

    #[test]
    fn every_cut_of_a_noisy_chunked_body_gives_the_same(bytes in generate::noise(60), pace in pace(1..50usize, 60)) {
        same_as_whole(&bytes, Length::Chunked, &pace);
    }

    #[test]
    fn every_cut_of_a_counted_body_gives_the_same(bytes in generate::noise(300), n in 0..400u64, pace in pace(1..200usize, 250)) {
        same_as_whole(&bytes, Length::Known(n), &pace);
        let passed = forward::body(&bytes, Length::Known(n), Outflow::Plain, b"", &Pace { most: u64::MAX, ..pace });
        prop_assert_eq!(passed.used, bytes.len().min(usize::try_from(n).unwrap()), "what follows is left alone");
    }

    #[test]
    fn every_cut_of_a_body_that_ends_with_the_connection_gives_the_same(bytes in generate::noise(300), pace in pace(1..200usize, 250)) {
        same_as_whole(&bytes, Length::UntilClose, &pace);
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
