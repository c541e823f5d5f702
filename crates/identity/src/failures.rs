//! How often addresses have come with wrong credentials lately: whoever tries too many gets no further costly look at one for a while.
//!
//! Bounded: there are two generations of a minute each, and as many addresses in each as there is room for; when there is none, the
//! oldest are forgotten. What is remembered of good credentials is not counted and not held up.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_core::clock::Clock;
use tollgate_core::facts::ClientAddress;
use tollgate_core::principal::Budget;
use tollgate_core::problem::Fault;

use crate::bound::faults::PROOF_SIGNATURE;
use crate::certificate::faults::UNTRUSTED;
use crate::faults::{
    BASIC_REFUSED, INACTIVE, KEY_UNKNOWN, SIGNATURE, SIGNATURE_INVALID, SIGNATURE_UNKNOWN_KEY, SIGV4_SIGNATURE,
    SIGV4_UNKNOWN_KEY,
};
use crate::ldap::faults::LDAP_REFUSED;

/// What is counted by.
const WINDOW: Duration = Duration::from_secs(60);
/// What whoever guesses is refused with. Not what comes of a token that has expired, or of a key that is new: whole offices behind one address
/// come with those.
static GUESSES: [&Fault; 11] = [
    &SIGNATURE,
    &INACTIVE,
    &KEY_UNKNOWN,
    &BASIC_REFUSED,
    &LDAP_REFUSED,
    &SIGV4_SIGNATURE,
    &SIGV4_UNKNOWN_KEY,
    &SIGNATURE_INVALID,
    &SIGNATURE_UNKNOWN_KEY,
    &PROOF_SIGNATURE,
    &UNTRUSTED,
];
/// Most addresses of a generation.
const MOST: usize = 65_536;

/// Counts wrong credentials by address.
#[derive(Debug)]
pub struct Failures {
    /// Most wrong credentials of one address in a minute.
    most: u64,
    clock: Clock,
    /// Whether there are any at all: mostly not, and then nobody waits for the lock.
    any: AtomicBool,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    began: Instant,
    young: HashMap<IpAddr, u64>,
    old: HashMap<IpAddr, u64>,
}

impl Failures {
    /// Allows so many wrong credentials of one address (one /64 of IPv6) in a minute.
    #[must_use]
    pub fn new(most: u64, clock: Clock) -> Self {
        let counts = Counts { began: clock.now(), young: HashMap::new(), old: HashMap::new() };
        Self { most, clock, any: AtomicBool::new(false), counts: Mutex::new(counts) }
    }

    fn counts(&self) -> (MutexGuard<'_, Counts>, Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let passed = now.saturating_duration_since(counts.began);
        if passed >= WINDOW {
            let young = std::mem::take(&mut counts.young);
            counts.old = if passed < WINDOW * 2 { young } else { HashMap::new() };
            counts.began = now;
            self.any.store(!counts.old.is_empty(), Ordering::Relaxed);
        }
        let passed = now.saturating_duration_since(counts.began);
        (counts, passed)
    }
}

impl Budget for Failures {
    fn is_spent(&self, by: ClientAddress) -> Option<Duration> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let address = prefix(by.ip()?);
        let (counts, passed) = self.counts();
        let count = |of: &HashMap<IpAddr, u64>| of.get(&address).copied().unwrap_or(0);
        // Of the minute before, the part that is not over yet.
        let left = (WINDOW - passed.min(WINDOW)).as_secs_f64() / WINDOW.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an estimate"
        )]
        let before = (count(&counts.old) as f64 * left) as u64;
        (count(&counts.young) + before >= self.most).then(|| (WINDOW - passed.min(WINDOW)).max(Duration::from_secs(1)))
    }

    fn failed(&self, by: ClientAddress, why: &'static Fault) {
        if !GUESSES.iter().any(|guess| std::ptr::eq(*guess, why)) {
            return;
        }
        // Whoever is on this machine could do worse.
        let Some(address) = by.ip().map(prefix) else { return };
        let (mut counts, _) = self.counts();
        if counts.young.len() >= MOST && !counts.young.contains_key(&address) {
            counts.old = std::mem::take(&mut counts.young);
        }
        *counts.young.entry(address).or_default() += 1;
        self.any.store(true, Ordering::Relaxed);
    }
}

/// Who has one address of IPv6 usually has all of its /64.
fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn by(text: &str) -> ClientAddress {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_tries_in_a_minute() {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        let failures = Failures::new(3, clock.clone());
        let fail = |text: &str| failures.failed(by(text), &SIGNATURE);
        let spent = |text: &str| failures.is_spent(by(text)).is_some();
        assert!(!spent("192.0.2.1"));
        (0..3).for_each(|_| fail("192.0.2.1"));
        assert!(spent("192.0.2.1") && !spent("192.0.2.2"));
        // All of a /64 is one.
        (0..3).for_each(|n| fail(&format!("2001:db8::{n}")));
        assert!(spent("2001:db8::ffff") && !spent("2001:db8:0:1::1"));
        clock.advance(WINDOW);
        assert!(spent("192.0.2.1"), "the minute before counts for as much as is left of it");
        clock.advance(WINDOW / 2);
        assert!(!spent("192.0.2.1"));
        clock.advance(WINDOW * 2);
        assert!(!spent("192.0.2.1"));
        (0..9).for_each(|_| failures.failed(by("192.0.2.3"), &crate::faults::EXPIRED));
        assert!(!spent("192.0.2.3"), "that is no guess");
        failures.failed(ClientAddress::Unix, &SIGNATURE);
        assert!(failures.is_spent(ClientAddress::Unix).is_none());
    }

    #[test]
    fn however_many_addresses_there_are_the_room_is_bounded() {
        let failures = Failures::new(1, Clock::fake(SystemTime::UNIX_EPOCH));
        (0..200_000u32).for_each(|n| failures.failed(IpAddr::from(n.to_be_bytes()).into(), &SIGNATURE));
        let counts = failures.counts().0;
        assert!(counts.young.len() <= MOST && counts.old.len() <= MOST);
    }
}
