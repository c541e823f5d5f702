//! What answers tell of limits: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), and `X-RateLimit-*`, which
//! no standard knows, and many clients do.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use tollgate_core::counters::Taken;
use tollgate_core::head::Fields;

/// What is told of one limit, as far as that is known beforehand.
#[derive(Debug)]
pub(super) struct Told {
    /// Its name, as a string of structured fields (RFC 9651 §3.3.3).
    name: String,
    /// The member of `RateLimit-Policy`.
    policy: Bytes,
    /// What `X-RateLimit-Limit` says.
    count: Bytes,
}

impl Told {
    /// Of a limit of so many in so many seconds.
    pub(super) fn new(name: &str, count: u32, seconds: u64) -> Self {
        let mut quoted = String::from("\"");
        for c in name.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                ' '..='~' => quoted.push(c),
                // Nothing else may stand in such a string.
                _ => quoted.push('?'),
            }
        }
        quoted.push('"');
        let policy = format!("{quoted};q={count};w={seconds}").into();
        Self { name: quoted, policy, count: count.to_string().into() }
    }

    /// Adds the fields of the standard.
    pub(super) fn add_to(&self, fields: &mut Fields, taken: &Taken) {
        let mut line = BytesMut::with_capacity(self.name.len() + 24);
        line.put_slice(self.name.as_bytes());
        // Writing to memory does not fail.
        let _ = write!(line, ";r={};t={}", taken.left, seconds(taken));
        fields.add(Bytes::from_static(b"RateLimit-Policy"), self.policy.clone());
        fields.add(Bytes::from_static(b"RateLimit"), line.freeze());
    }

    /// Sets the fields that no standard knows.
    pub(super) fn set_x(&self, fields: &mut Fields, taken: &Taken) {
        fields.set(Bytes::from_static(b"X-RateLimit-Limit"), self.count.clone());
        fields.set(Bytes::from_static(b"X-RateLimit-Remaining"), taken.left.to_string());
        fields.set(Bytes::from_static(b"X-RateLimit-Reset"), seconds(taken).to_string());
    }
}

/// After how many seconds all of it is there again, rounded up; to the nanosecond nobody counts.
fn seconds(taken: &Taken) -> u64 {
    taken.whole.as_secs() + u64::from(taken.whole.subsec_millis() > 0)
}
