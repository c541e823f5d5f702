//! How much of a limit callers have used: a port. What a limit is about, and what happens beyond it, is a policy's business.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cache::StoreError;
use crate::policy::BoxFuture;

/// Counts for limits.
pub trait Counters: fmt::Debug + Send + Sync + 'static {
    /// The counter of this limit. What was counted under its id before goes on, also by a counter that was made for an older plan.
    fn counter(&self, limit: &Limit) -> Arc<dyn Counter>;
}

/// Counts for one limit.
pub trait Counter: fmt::Debug + Send + Sync + 'static {
    /// Takes so much of what this key has left, all of it or nothing.
    fn take(&self, key: &[u8], cost: u32) -> Taking;

    /// Gives back what was taken just before and is not needed, since another limit had nothing left.
    fn give_back(&self, key: &[u8], cost: u32);
}

/// What came of taking: at once, or later.
pub enum Taking {
    /// This.
    Now(Taken),
    /// Somebody else has to be asked.
    Later(BoxFuture<'static, Result<Taken, StoreError>>),
}

/// What was taken, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// `None`: it was there. Else nothing was taken, and will be there no sooner than after this time.
    pub refused: Option<Duration>,
    /// How much more could be taken now.
    pub left: u64,
    /// After how long all of it is there again, if nothing else is taken.
    pub whole: Duration,
}

/// A limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Tells it from all others, over reloads and machines.
    pub id: String,
    /// How much.
    pub amount: Amount,
    /// What holds while the store in which several gateways count cannot be asked.
    pub alone: WhenAlone,
}

/// What holds of a limit while the store in which several gateways count cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAlone {
    /// Each gateway gives its share of what there is, as far as that can be told; else nobody can tell.
    Share,
    /// There is room.
    Allow,
    /// Nobody can tell.
    Refuse,
}

/// What is told of a store in which several gateways count.
#[derive(Debug, Default)]
pub struct StoreFacts {
    /// Whether there is one.
    pub is_used: AtomicBool,
    /// Whether it can be asked.
    pub is_up: AtomicBool,
    /// Gateways that count in it, as it told last.
    pub gateways: AtomicU64,
    /// Questions that were answered.
    pub answered: AtomicU64,
    /// Questions whose answer did not come in time.
    pub late: AtomicU64,
    /// Questions that could not be asked, or were answered with an error.
    pub failed: AtomicU64,
    /// Requests that were counted in a share of the limit.
    pub shared: AtomicU64,
    /// Requests that passed uncounted.
    pub allowed: AtomicU64,
    /// Requests of which nobody could tell.
    pub refused: AtomicU64,
}

/// How much may be taken in which time.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// A bucket that holds `burst` and is refilled evenly, `count` in each `period`: in any time t no more than burst + t × count ÷ period
    /// is taken. The generic cell rate algorithm (ITU-T I.371) counts it.
    Bucket {
        /// More than zero.
        count: u32,
        /// From a millisecond to an hour.
        period: Duration,
        /// More than zero.
        burst: u32,
    },
    /// No more than `count` in any `period`, wherever it begins.
    Sliding {
        /// More than zero.
        count: u32,
        /// From a millisecond to an hour.
        period: Duration,
    },
    /// No more than `count` in each of these of the calendar.
    Calendar {
        /// More than zero.
        count: u32,
        /// Which.
        each: Each,
        /// Where.
        zone: TimeZone,
    },
}

/// A window of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Each {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday (ISO 8601).
    Week,
    /// From the first to the last day.
    Month,
}
