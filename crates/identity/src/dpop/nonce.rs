//! Nonces that say when they were made, and that nobody else can make: none of them is kept (RFC 9449 §9).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use data_encoding::BASE64URL_NOPAD;

/// Bytes of the tag: half of it is more than anybody guesses.
const TAG: usize = 16;

/// Makes nonces, and knows its own.
pub(super) struct Nonces {
    /// `None`: there is no randomness, and no nonce is good.
    key: Option<hmac::Key>,
    lasts: Duration,
}

impl Nonces {
    pub(super) fn new(secret: Option<&[u8]>, lasts: Duration) -> Self {
        let mut random = [0; 32];
        let key = match secret {
            Some(secret) => Some(hmac::Key::new(hmac::HMAC_SHA256, secret)),
            None => rand::fill(&mut random).ok().map(|()| hmac::Key::new(hmac::HMAC_SHA256, &random)),
        };
        Self { key, lasts }
    }

    /// For how long one may be used.
    pub(super) fn lasts(&self) -> Duration {
        self.lasts
    }

    pub(super) fn make(&self, now: SystemTime) -> String {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_be_bytes();
        BASE64URL_NOPAD.encode(&[&seconds[..], &self.tag(seconds).unwrap_or_default()].concat())
    }

    /// When one was made; `None`: it was not made here.
    pub(super) fn made(&self, nonce: &str) -> Option<SystemTime> {
        let bytes = BASE64URL_NOPAD.decode(nonce.as_bytes()).ok()?;
        let (seconds, tag) = bytes.split_first_chunk::<8>()?;
        verify_slices_are_equal(tag, &self.tag(*seconds)?).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*seconds)))
    }

    fn tag(&self, seconds: [u8; 8]) -> Option<Vec<u8>> {
        let told = [b"tollgate dpop nonce", &seconds[..]].concat();
        self.key.as_ref().map(|key| hmac::sign(key, &told).as_ref()[..TAG].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ones_own_nonces_are_known_and_gateways_may_share_them() {
        let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let (one, other) = (Nonces::new(None, Duration::from_secs(60)), Nonces::new(None, Duration::from_secs(60)));
        let nonce = one.make(now);
        assert_eq!(one.made(&nonce), Some(now));
        assert_eq!(other.made(&nonce), None);
        for forged in ["", "A", "AAAAAAAAAAA", &nonce[1..], &format!("{nonce}A"), &format!("B{}", &nonce[1..])] {
            assert_eq!(one.made(forged), None, "{forged}");
        }
        let shared = || Nonces::new(Some(b"0123456789abcdef"), Duration::from_secs(60));
        assert_eq!(shared().made(&shared().make(now)), Some(now));
    }
}
