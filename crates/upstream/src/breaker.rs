//! A circuit breaker: a service of which too much fails is left alone for a while, and then tried with a few requests.
//!
//! Closed, it costs two loads before an attempt and one compare-and-swap behind it, shared by all workers; the lock is taken
//! when it changes its state, and for the trials of one that is half open.

mod rest;

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_observe::metrics::{BreakerState, ServiceMetrics};

pub(crate) use self::rest::Rest;
use crate::growing::Growing;
use crate::outlier::{ErrorShare, Verdict};
use crate::window::Window;

/// When a service is left alone, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A share of the attempts that fails, if that is a reason.
    pub failures: Option<ErrorShare>,
    /// Failures in a row; 0: however many.
    pub consecutive: u32,
    /// For how long it stays open the first time; twice as long each further time.
    pub open: Duration,
    /// For how long at most.
    pub longest: Duration,
    /// How many requests are let through once that time is over; all of them have to go well.
    pub trials: u32,
    /// Answers that count as failures.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// An answer whose head takes longer counts as a failure.
    pub slow: Option<Duration>,
}

/// The breaker of one service, shared by all workers.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// The phase in the two lowest bits; above it a number that grows with each change.
    state: AtomicU32,
    /// Until when it stays open, in nanoseconds since `began`.
    open_until: AtomicU64,
    in_a_row: AtomicU32,
    window: Window,
    began: Instant,
    trial: Mutex<Trial>,
    metrics: Arc<ServiceMetrics>,
}

/// What only changes of the state, and trials, look at.
#[derive(Debug, Default)]
struct Trial {
    /// Below zero for a moment, if one that waits is given up before it is a trial again.
    running: i64,
    well: u32,
    /// For how long it was open before.
    past: Growing,
}

const CLOSED: u32 = 0;
const OPEN: u32 = 1;
const HALF_OPEN: u32 = 2;
const PHASE: u32 = 3;

/// When to come again while trials are under way.
const SOON: Duration = Duration::from_secs(1);

/// The service is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// For so long.
    pub retry: Duration,
}

/// The right to send one attempt. Dropped without a word of how it went, it counts for nothing.
#[derive(Debug)]
pub struct Pass {
    breaker: Arc<Breaker>,
    /// The state in which it was given.
    state: u32,
    is_told: bool,
}

/// The trials of one time that it is half open: all of them have to go well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(NonZeroU32);

/// Why it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    InARow,
    Share,
    Trial,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(settings: Settings, metrics: Arc<ServiceMetrics>, began: Instant) -> Arc<Self> {
        metrics.watch().breaker(BreakerState::Closed);
        Arc::new(Self {
            settings,
            state: AtomicU32::new(CLOSED),
            open_until: AtomicU64::new(0),
            in_a_row: AtomicU32::new(0),
            window: Window::default(),
            began,
            trial: Mutex::default(),
            metrics,
        })
    }

    /// Whether an attempt may be made now.
    ///
    /// # Errors
    /// It is open, or as many trials as there may be are under way.
    pub fn enter(self: &Arc<Self>, now: Instant) -> Result<Pass, Open> {
        let state = self.state.load(Ordering::Acquire);
        if state & PHASE == CLOSED {
            return Ok(self.pass(state));
        }
        let refused = self.try_one(state, now);
        if refused.is_err() {
            self.metrics.watch().breaker_refused();
        }
        refused
    }

    /// Whether an attempt may be made at all, without taking the right to make one.
    ///
    /// # Errors
    /// It is open.
    pub fn look(&self, now: Instant) -> Result<(), Open> {
        if !self.is_open(now) {
            return Ok(());
        }
        self.metrics.watch().breaker_refused();
        Err(Open { retry: self.left(now) })
    }

    /// Whether an attempt would be refused now.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        self.state.load(Ordering::Acquire) & PHASE == OPEN && !self.left(now).is_zero()
    }

    /// Whether all is as usual.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & PHASE == CLOSED
    }

    /// How the service stands with it.
    #[must_use]
    pub fn stands(&self) -> BreakerState {
        match self.state.load(Ordering::Acquire) & PHASE {
            CLOSED => BreakerState::Closed,
            OPEN => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// Whether it matters how long the head of an answer takes.
    #[must_use]
    pub fn times(&self) -> bool {
        self.settings.slow.is_some()
    }

    /// What an answer of this status says, whose head took so long.
    #[must_use]
    pub fn verdict(&self, status: u16, took: Option<Duration>) -> Verdict {
        let is_slow = || self.settings.slow.zip(took).is_some_and(|(most, took)| took > most);
        let is_bad = self.settings.statuses.iter().any(|range| range.contains(&status));
        if is_bad || is_slow() { Verdict::Failed } else { Verdict::Well }
    }

    /// For how long it stays open; zero: it is not, or its time is over and the next request is a trial.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        match self.state.load(Ordering::Acquire) & PHASE {
            OPEN => Duration::from_nanos(self.open_until.load(Ordering::Acquire).saturating_sub(self.nanos(now))),
            _ => Duration::ZERO,
        }
    }

    fn pass(self: &Arc<Self>, state: u32) -> Pass {
        Pass { breaker: Arc::clone(self), state, is_told: false }
    }

    fn try_one(self: &Arc<Self>, seen: u32, now: Instant) -> Result<Pass, Open> {
        // While it is open nobody takes the lock.
        if seen & PHASE == OPEN && !self.left(now).is_zero() {
            return Err(Open { retry: self.left(now) });
        }
        let mut trial = self.lock();
        let state = self.state.load(Ordering::Acquire);
        let state = match state & PHASE {
            CLOSED => return Ok(self.pass(state)),
            OPEN if !self.left(now).is_zero() => return Err(Open { retry: self.left(now) }),
            OPEN => {
                (trial.running, trial.well) = (0, 0);
                let state = self.change(state, HALF_OPEN);
                tracing::info!(service = self.metrics.name(), "a circuit breaker lets trials through");
                state
            }
            _ => state,
        };
        if !self.has_room(&trial) {
            return Err(Open { retry: SOON });
        }
        trial.running += 1;
        Ok(self.pass(state))
    }

    /// Whether one more trial may be made.
    fn has_room(&self, trial: &Trial) -> bool {
        trial.running + i64::from(trial.well) < i64::from(self.settings.trials)
    }

    /// To another phase; the lock is held.
    fn change(&self, from: u32, phase: u32) -> u32 {
        let state = (from & !PHASE).wrapping_add(PHASE + 1) | phase;
        self.state.store(state, Ordering::Release);
        self.metrics.watch().breaker(match phase {
            CLOSED => BreakerState::Closed,
            OPEN => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        });
        state
    }

    /// How an attempt went that was begun in this state.
    fn told(&self, state: u32, verdict: Verdict, now: Instant) {
        match state & PHASE {
            CLOSED => {
                // What was begun before it opened says nothing of how the service is afterwards.
                if self.state.load(Ordering::Acquire) == state
                    && let Some(because) = self.count(verdict, now)
                {
                    self.open(state, because, now);
                }
            }
            _ => self.tried(state, Some(verdict), now),
        }
    }

    /// Counts; whether it was one failure too many.
    fn count(&self, verdict: Verdict, now: Instant) -> Option<Because> {
        let at = now.saturating_duration_since(self.began);
        let failures = self.settings.failures.as_ref();
        let is_share = failures.is_some_and(|failures| self.window.is_share(failures, verdict, at));
        if verdict == Verdict::Well {
            if self.in_a_row.load(Ordering::Relaxed) != 0 {
                self.in_a_row.store(0, Ordering::Relaxed);
            }
            return None;
        }
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.settings.consecutive > 0 && in_a_row >= self.settings.consecutive {
            return Some(Because::InARow);
        }
        is_share.then_some(Because::Share)
    }

    /// A trial begun in this state ended; `None`: nobody knows how.
    fn tried(&self, state: u32, verdict: Option<Verdict>, now: Instant) {
        let mut trial = self.lock();
        if self.state.load(Ordering::Acquire) != state {
            return;
        }
        trial.running -= 1;
        match verdict {
            None => {}
            Some(Verdict::Failed) => self.open_at(trial, state, Because::Trial, now),
            Some(Verdict::Well) => {
                trial.well += 1;
                if trial.well >= self.settings.trials {
                    self.in_a_row.store(0, Ordering::Relaxed);
                    self.window.clear();
                    trial.past.used_from(now);
                    self.change(state, CLOSED);
                    tracing::info!(service = self.metrics.name(), "a circuit breaker closed");
                }
            }
        }
    }

    fn open(&self, state: u32, because: Because, now: Instant) {
        let trial = self.lock();
        // Another worker may have been first.
        if self.state.load(Ordering::Acquire) == state {
            self.open_at(trial, state, because, now);
        }
    }

    fn open_at(&self, mut trial: MutexGuard<'_, Trial>, state: u32, because: Because, now: Instant) {
        let time = trial.past.next(self.settings.open, self.settings.longest, now);
        self.open_until.store(self.nanos(now + time), Ordering::Release);
        self.change(state, OPEN);
        drop(trial);
        let because = match because {
            Because::InARow => "failures in a row",
            Because::Share => "share of failures",
            Because::Trial => "a trial failed",
        };
        tracing::warn!(
            service = self.metrics.name(),
            because,
            seconds = time.as_secs_f64(),
            "a circuit breaker opened"
        );
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Trial> {
        self.trial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The round of trials that it belongs to; `None`: it is no trial.
    #[must_use]
    pub fn round(&self) -> Option<Round> {
        NonZeroU32::new(self.state).filter(|_| self.state & PHASE == HALF_OPEN).map(Round)
    }

    /// Whether the breaker is as it was when this was given.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.breaker.state.load(Ordering::Acquire) == self.state
    }

    /// It went so.
    pub fn told(mut self, verdict: Verdict, now: Instant) {
        self.is_told = true;
        self.breaker.told(self.state, verdict, now);
    }

    /// What an answer of this status says; see [`Breaker::verdict`].
    pub fn answered(self, status: u16, took: Option<Duration>, now: Instant) {
        let verdict = self.breaker.verdict(status, took);
        self.told(verdict, now);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_told && self.state & PHASE == HALF_OPEN {
            self.breaker.tried(self.state, None, self.breaker.began);
        }
    }
}

#[cfg(test)]
mod tests;
