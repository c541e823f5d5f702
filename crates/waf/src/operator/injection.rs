//! Whether a value would change the meaning of a statement of SQL, or of a page: libinjection's answer.
//!
//! The only place that knows by whom it is given.

/// What the value would be in SQL, as the kinds of its words, if it is an attack.
pub(crate) fn sql(value: &[u8]) -> Option<Vec<u8>> {
    let found = libinjectionrs::detect_sqli(value);
    found.is_injection().then(|| found.fingerprint.map_or(Vec::new(), |kinds| kinds.as_str().as_bytes().to_vec()))
}

/// Whether the value would run a script in a page.
pub(crate) fn script(value: &[u8]) -> bool {
    libinjectionrs::detect_xss(value).is_injection()
}
