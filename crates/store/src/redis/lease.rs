//! Leases: what a gateway has of a limit beforehand, so that it need not ask for each request. What is leased is taken already as far as
//! everybody else is concerned.
//!
//! A word holds until when the lease may be used, how large it was, how much of it is left, and whether more is being asked for.

use std::time::Duration;

use crate::count::table::Meaning;

/// What a tick of leases is.
const TICK: Duration = Duration::from_millis(4);
/// For how many ticks the size of a lease that ran out is remembered.
const REMEMBERED: u64 = 250;
/// After how many ticks nobody waits for an answer any more.
const ANSWERED: u64 = 1000;
/// The largest lease.
pub(super) const MOST: u32 = (1 << 11) - 1;
const SIZE: u32 = 11;
const BUSY: u32 = 22;
const UNTIL: u32 = 23;

/// A word is a lease.
#[derive(Debug)]
pub(super) struct Leased;

impl Meaning for Leased {
    fn is_over(word: u64, now: u64) -> bool {
        let lease = Lease::read(word);
        lease.until + if lease.is_busy { ANSWERED } else { REMEMBERED } <= now
    }

    /// One that is at work, and then those with most left, are missed most.
    fn weight(word: u64, _: u64) -> u64 {
        let lease = Lease::read(word);
        u64::from(lease.left) + if lease.is_busy { u64::from(MOST) + 1 } else { 0 }
    }
}

/// What a word says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lease {
    /// The tick from which on it may not be used any more.
    until: u64,
    /// Whether more is being asked for.
    is_busy: bool,
    size: u32,
    left: u32,
}

/// What becomes of who finds no lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    /// Somebody asks already.
    Wait,
    /// It is for them to ask: for so much, and so much comes back.
    Ask {
        /// How much would be used soon.
        want: u32,
        /// What is left of a lease that ran out.
        back: u32,
        /// The tick at which it did.
        until: u64,
    },
}

/// The tick of a time.
pub(super) fn tick(since: Duration) -> u64 {
    u64::try_from(since.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}

/// The time of a tick.
pub(super) fn time(tick: u64) -> Duration {
    Duration::from_millis(tick.saturating_mul(4))
}

impl Lease {
    fn read(word: u64) -> Self {
        let low = |bits: u32| u32::try_from(word >> bits & u64::from(MOST)).unwrap_or(0);
        Self { until: word >> UNTIL, is_busy: word >> BUSY & 1 == 1, size: low(SIZE), left: low(0) }
    }

    fn word(self) -> u64 {
        self.until << UNTIL
            | u64::from(self.is_busy) << BUSY
            | u64::from(self.size.min(MOST)) << SIZE
            | u64::from(self.left.min(MOST))
    }

    /// Uses so much of the lease; the new word, and how much is left.
    pub(super) fn spend(word: u64, now: u64, cost: u32) -> Option<(u64, u32)> {
        let lease = Self::read(word);
        let left = lease.left.checked_sub(cost).filter(|_| now < lease.until)?;
        Some((Self { left, ..lease }.word(), left))
    }

    /// Asks for a new lease of `most` at most, if nobody does. `lasts`: how long leases may be used.
    pub(super) fn ask(word: u64, now: u64, lasts: Duration, most: u32) -> (Option<u64>, Asking) {
        let lease = Self::read(word);
        if lease.is_busy && now < lease.until + ANSWERED {
            return (None, Asking::Wait);
        }
        let half = tick(lasts / 2);
        let want = match lease.left {
            // Used up before half of its time was over: twice as much will be, too.
            0 if now + half < lease.until => lease.size.saturating_mul(2),
            0 if now < lease.until + half => lease.size,
            0 => lease.size / 2,
            left => lease.size.saturating_sub(left),
        };
        let want = want.clamp(1, most.clamp(1, MOST));
        let busy = Self { until: now, is_busy: true, size: want, left: 0 };
        (Some(busy.word()), Asking::Ask { want, back: lease.left, until: lease.until })
    }

    /// The word of a lease of so much that may be used until then. `None` was had: whoever asks next asks anew.
    pub(super) fn granted(word: u64, left: u32, until: u64) -> u64 {
        let lease = Self::read(word);
        Self { until, is_busy: false, size: lease.size, left }.word()
    }

    /// The word after so much was given back that was just used.
    pub(super) fn give_back(word: u64, now: u64, cost: u32) -> Option<u64> {
        let lease = Self::read(word);
        (now < lease.until && lease.left + cost <= lease.size).then(|| Self { left: lease.left + cost, ..lease }.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_millis(40);

    fn granted(word: u64, left: u32, until: u64) -> u64 {
        Lease::granted(word, left, until)
    }

    #[test]
    fn a_lease_is_used_until_it_is_used_up_or_over() {
        let word = granted(0, 3, 10);
        let (word, left) = Lease::spend(word, 9, 2).unwrap();
        assert_eq!(left, 1);
        assert_eq!(Lease::spend(word, 9, 2), None);
        assert_eq!(Lease::spend(word, 10, 1), None, "it is over");
        assert_eq!(Lease::spend(word, 9, 1).unwrap().1, 0);
    }

    #[test]
    fn one_asks_and_the_others_wait_but_not_for_ever() {
        let (word, asking) = Lease::ask(0, 5, LASTS, MOST);
        assert_eq!(asking, Asking::Ask { want: 1, back: 0, until: 0 });
        let word = word.unwrap();
        assert_eq!(Lease::ask(word, 6, LASTS, MOST), (None, Asking::Wait));
        assert!(matches!(Lease::ask(word, 5 + ANSWERED, LASTS, MOST), (Some(_), Asking::Ask { .. })));
        assert_eq!(Lease::spend(word, 5, 0), None);
    }

    #[test]
    fn leases_grow_with_what_is_used_and_shrink_with_what_is_not() {
        let of = |size: u32, left: u32| Lease { until: 100, is_busy: false, size, left }.word();
        let want = |word, now| match Lease::ask(word, now, LASTS, 100).1 {
            Asking::Ask { want, back, .. } => (want, back),
            Asking::Wait => panic!(),
        };
        assert_eq!(want(of(8, 0), 91), (16, 0), "used up at once");
        assert_eq!(want(of(8, 0), 97), (8, 0), "used up in time");
        assert_eq!(want(of(8, 0), 200), (4, 0), "and nobody came for a while");
        assert_eq!(want(of(8, 6), 101), (2, 6), "what is left comes back");
        assert_eq!(want(of(8, 8), 101), (1, 8));
        assert_eq!(want(of(80, 0), 91), (100, 0), "no more than one may have");
    }

    #[test]
    fn what_is_given_back_is_there_again() {
        let word = Lease { until: 100, is_busy: false, size: 8, left: 7 }.word();
        let word = Lease::give_back(word, 50, 1).unwrap();
        assert_eq!(Lease::read(word).left, 8);
        assert_eq!(Lease::give_back(word, 50, 1), None, "no more than there was");
        assert_eq!(Lease::give_back(word, 100, 0), None, "over");
    }

    #[test]
    fn words_are_forgotten_once_they_say_nothing() {
        let word = granted(0, 3, 10);
        assert!(!Leased::is_over(word, 10) && Leased::is_over(word, 10 + REMEMBERED));
    }
}
