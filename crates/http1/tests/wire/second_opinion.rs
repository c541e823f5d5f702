//! The same bytes for us and for hyper's server.
//!
//! Where we accept, hyper saw the same. Where hyper accepts and we refuse, the reason is on a list, with its clause.

use proptest::prelude::*;

use crate::generate;
use crate::second::{Difference, compare, difference, is_reason};
use crate::stricter::STRICTER;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(15000))]

    #[test]
    fn one_request_means_the_same_to_hyper(bytes in generate::request()) {
        compare(&bytes);
    }

    #[test]
    fn requests_in_a_row_mean_the_same_to_hyper(bytes in generate::pipeline()) {
        compare(&bytes);
    }

    #[test]
    fn noise_behind_a_request_line_means_the_same_to_hyper(bytes in generate::noise(80)) {
        compare(&[b"POST / HTTP/1.1\r\nHost: a\r\n".as_slice(), &bytes].concat());
        compare(&[b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &bytes].concat());
    }
}

#[test]
fn each_reason_to_be_stricter_than_hyper_is_needed() {
    for known in STRICTER {
        let found = difference(&known.example());
        let Some(Difference::Stricter(refusal)) = &found else { panic!("{}: {found:?}", known.detail) };
        assert!(is_reason(known, refusal), "{}: {refusal:?}", known.detail);
        assert!(known.clause.starts_with("RFC "), "{}", known.detail);
    }
}

#[test]
fn bytes_that_hyper_has_no_place_for_are_the_only_thing_in_which_we_are_laxer() {
    for target in ["/<", "/>", "/`", "/?<", "/?>", "/?\"", "http://a/?<"] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(matches!(difference(bytes.as_bytes()), Some(Difference::Laxer(..))), "{target}");
        compare(bytes.as_bytes());
    }
}
