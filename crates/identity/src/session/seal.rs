//! What the gateway gives a browser to keep, so that nobody else can read or change it: AES-256-GCM.
//!
//! Keys follow each other by the day, made of one secret (HKDF, RFC 5869): no key seals without end, and all gateways that know the
//! secret open what any of them sealed. A secret is replaced by writing the new one before it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use data_encoding::BASE64URL_NOPAD;

use crate::checks::{Check, on};

/// How long a key seals.
const DAY: u64 = 86_400;
/// The format of what is sealed.
const VERSION: u8 = 1;
/// Version, day, nonce; the tag is behind the text.
const AHEAD: usize = 1 + 4 + NONCE;
const NONCE: usize = 12;
/// Fewest bytes of a secret.
pub(crate) const SHORTEST_SECRET: usize = 32;

/// Seals and opens.
pub struct Sealer {
    /// The first one seals, all open.
    roots: Vec<Prk>,
}

/// 256 bits of key.
struct Key;

impl KeyType for Key {
    fn len(&self) -> usize {
        32
    }
}

impl Sealer {
    /// Of these secrets the first one seals, all open. `None`: there is none, or one is shorter than 32 bytes.
    #[must_use]
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s [u8]>) -> Option<Self> {
        let root = |secret: &[u8]| {
            (secret.len() >= SHORTEST_SECRET).then(|| Salt::new(HKDF_SHA256, b"tollgate session").extract(secret))
        };
        let roots = secrets.into_iter().map(root).collect::<Option<Vec<_>>>()?;
        (!roots.is_empty()).then_some(Self { roots })
    }

    /// One that seals nothing and opens nothing: for who only looks at a config.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self { roots: Vec::new() }
    }

    /// Seals a text for this purpose. `None`: there are no random numbers.
    pub(crate) fn seal(&self, purpose: &str, text: &[u8], now: SystemTime) -> Option<String> {
        let day = day(now);
        let key = key(self.roots.first()?, day)?;
        let mut sealed = text.to_vec();
        let purpose = if on(Check::SealPurpose) { purpose } else { "" };
        let aad = [&[VERSION][..], &day.to_be_bytes(), purpose.as_bytes()].concat();
        let nonce = key.seal_in_place_append_tag(Aad::from(aad), &mut sealed).ok()?;
        let whole = [&[VERSION][..], &day.to_be_bytes(), nonce.as_ref(), &sealed].concat();
        Some(BASE64URL_NOPAD.encode(&whole))
    }

    /// Opens what was sealed for this purpose, no longer ago than that (a day more or less). `None`: it was not, or was changed.
    pub(crate) fn open(&self, purpose: &str, sealed: &str, now: SystemTime, oldest: Duration) -> Option<Vec<u8>> {
        let whole = BASE64URL_NOPAD.decode(sealed.as_bytes()).ok()?;
        let (ahead, text) = whole.split_at_checked(AHEAD)?;
        let (said, nonce) = ahead.split_at_checked(AHEAD - NONCE)?;
        let (version, of) = said.split_first()?;
        let of = u32::from_be_bytes(of.try_into().ok()?);
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let (today, days) = (day(now), u32::try_from(oldest.as_secs() / DAY).unwrap_or(u32::MAX));
        // Another gateway's clock may be a little ahead.
        let is_now = !on(Check::SealAge)
            || (of <= today.saturating_add(1) && of >= today.saturating_sub(days.saturating_add(1)));
        if *version != VERSION || !is_now {
            return None;
        }
        let purpose = if on(Check::SealPurpose) { purpose } else { "" };
        let aad = [said, purpose.as_bytes()].concat();
        self.roots.iter().find_map(|root| {
            let mut text = text.to_vec();
            let opened = key(root, of)?.open_in_place((&nonce).into(), Aad::from(&aad), &mut text).ok()?.len();
            text.truncate(opened);
            Some(text)
        })
    }
}

fn day(now: SystemTime) -> u32 {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(seconds / DAY).unwrap_or(u32::MAX)
}

fn key(root: &Prk, day: u32) -> Option<RandomizedNonceKey> {
    let mut bytes = [0; 32];
    root.expand(&[&day.to_be_bytes()], Key).ok()?.fill(&mut bytes).ok()?;
    RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NEW: &[u8] = b"fedcba9876543210fedcba9876543210";
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(days * DAY)
    }

    #[test]
    fn what_was_sealed_is_opened_for_its_purpose_and_its_time() {
        let own = Sealer::new([OLD]).unwrap();
        let sealed = own.seal("a", b"text", at(10)).unwrap();
        assert_eq!(own.open("a", &sealed, at(10), HOUR).as_deref(), Some(&b"text"[..]));
        assert_eq!(own.open("a", &sealed, at(11), HOUR).as_deref(), Some(&b"text"[..]));
        assert_eq!(own.open("a", &sealed, at(9), HOUR).as_deref(), Some(&b"text"[..]), "a clock behind");
        assert_eq!(own.open("b", &sealed, at(10), HOUR), None, "for something else");
        assert_eq!(own.open("a", &sealed, at(12), HOUR), None, "too old");
        assert_eq!(own.open("a", &sealed, at(8), HOUR), None, "from the future");
        assert_ne!(own.seal("a", b"text", at(10)).unwrap(), sealed, "no two are alike");
    }

    #[test]
    fn a_new_secret_seals_and_the_one_before_still_opens() {
        let (before, both, after) = (Sealer::new([OLD]), Sealer::new([NEW, OLD]), Sealer::new([NEW]));
        let (before, both, after) = (before.unwrap(), both.unwrap(), after.unwrap());
        let sealed = before.seal("a", b"text", at(1)).unwrap();
        assert!(both.open("a", &sealed, at(1), HOUR).is_some());
        assert!(after.open("a", &sealed, at(1), HOUR).is_none());
        let sealed = both.seal("a", b"text", at(1)).unwrap();
        assert!(after.open("a", &sealed, at(1), HOUR).is_some());
        assert!(Sealer::new([&b"short"[..]]).is_none() && Sealer::new([]).is_none());
    }

    proptest! {
        #[test]
        fn nothing_else_is_opened(text in "[A-Za-z0-9_-]{0,200}", at_byte in 0..60_usize, flip in 1..=255_u8) {
            let own = Sealer::new([OLD]).unwrap();
            prop_assert_eq!(own.open("a", &text, at(1), HOUR), None);
            let sealed = own.seal("a", b"a text that is long enough to be hit", at(1)).unwrap();
            let mut bytes = BASE64URL_NOPAD.decode(sealed.as_bytes()).unwrap();
            bytes[at_byte] ^= flip;
            prop_assert_eq!(own.open("a", &BASE64URL_NOPAD.encode(&bytes), at(1), HOUR), None);
            bytes.truncate(at_byte);
            prop_assert_eq!(own.open("a", &BASE64URL_NOPAD.encode(&bytes), at(1), HOUR), None);
        }
    }
}
