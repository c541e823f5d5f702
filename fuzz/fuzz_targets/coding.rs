//! See `tollgate_fuzz::coding`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate_fuzz::coding(bytes));
