//! Bytes without sense are refused or waited on, never a cause of panic; and nothing is found that is not there.

use proptest::prelude::*;
use tollgate_core::body::Length;
use tollgate_core::buffer::Buffer;
use tollgate_core::head::{Method, ReplyHead};
use tollgate_http1::target::check_host;
use tollgate_http1::{HeadLimits, response};

use crate::generate;
use crate::ours;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in generate::noise(200), start in "(GET / HTTP/1\\.1\r\n(Host: a\r\n)?)?") {
        let text = [start.as_bytes(), &bytes].concat();
        let (messages, _) = ours::requests(&text);
        prop_assert!(messages.len() <= text.len() / 18, "the shortest request has 18 bytes");
        let _ = check_host(&bytes);

        let mut head = ReplyHead::default();
        let line: &[u8] = if start.is_empty() { b"" } else { b"HTTP/1.1 200\r\n" };
        head.fields.buffer = Buffer::holding(&[line, &bytes].concat());
        if response::Reader::default().read(&mut head, &HeadLimits::default()).is_ok() {
            let _ = response::judge(&mut head, Method::Get);
        }
    }

    #[test]
    fn no_bytes_make_a_body_panic(mut bytes in generate::noise(200), n in any::<u64>()) {
        for length in [Length::Chunked, Length::Known(n), Length::UntilClose, Length::None] {
            if let Ok(Some((content, _, used))) = ours::body(length, &mut bytes) {
                prop_assert!(content.len() <= used && used <= bytes.len());
            }
        }
    }
}
