//! Evenly spaced: when each may go, so that what stands behind never sees more than its rate.
//!
//! Virtual scheduling, the generic cell rate algorithm (ITU-T I.371) with a queue in place of a tolerance: one number says when the next
//! may go. Whoever comes reserves that moment by a compare-and-swap, and sleeps until then wherever it runs. So all workers share a queue
//! without a lock, and without anybody who serves it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// How much later than its moment somebody may go without another one having to: timers are about so exact.
const SLACK: Duration = Duration::from_millis(2);

/// How often, and how many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    /// From one to the next.
    pub interval: Duration,
    /// How many may wait for their moment.
    pub queue: u32,
}

/// Says when each may go. Cheap to ask from any thread.
#[derive(Debug)]
pub struct Pacer {
    spacing: Spacing,
    queue: Arc<Queue>,
}

/// Whoever waits, for all who share the queue: also for pacers of another config, with another spacing.
#[derive(Debug)]
struct Queue {
    /// Points in time that threads share are counted from here, in nanoseconds.
    began: Instant,
    /// When the next may go.
    next: AtomicU64,
    /// When the next may be sent: those that were held up on their way are spaced once more.
    sent: AtomicU64,
}

/// A moment at which somebody may go. Dropped unused, it is free again for others, if nobody has reserved a later one.
#[derive(Debug)]
pub struct Turn {
    queue: Arc<Queue>,
    at: u64,
    /// When the next may go, if this one does.
    next: u64,
    is_used: bool,
}

/// There is no moment for it: too many wait, or it would be too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTurn {
    /// After this time there is one.
    pub retry: Duration,
}

impl Pacer {
    /// Nobody has come yet.
    #[must_use]
    pub fn new(spacing: Spacing, clock: &Clock) -> Self {
        Self::of(Arc::new(Queue::new(clock)), spacing)
    }

    fn of(queue: Arc<Queue>, spacing: Spacing) -> Self {
        Self { spacing: Spacing { interval: spacing.interval.max(Duration::from_nanos(1)), ..spacing }, queue }
    }

    /// Reserves the next free moment, which must not be later than `by`.
    ///
    /// # Errors
    /// There is none.
    pub fn reserve(&self, now: Instant, by: Instant) -> Result<Turn, NoTurn> {
        let queue = &self.queue;
        let (now, by, interval) = (queue.since(now), queue.since(by), nanos(self.spacing.interval));
        let farthest = now.saturating_add(interval.saturating_mul(self.spacing.queue.into())).min(by);
        let reserved = queue.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
            let at = next.max(now);
            (at <= farthest).then(|| at.saturating_add(interval))
        });
        match reserved {
            Ok(next) => {
                let at = next.max(now);
                Ok(Turn { queue: Arc::clone(queue), at, next: at.saturating_add(interval), is_used: false })
            }
            Err(next) => Err(NoTurn { retry: Duration::from_nanos(next.saturating_sub(farthest)) }),
        }
    }

    /// Whoever has a turn, and all else that it needs, goes: after this time. That is no time at all, unless it was held up after its turn,
    /// with others. `None`: that would be later than `by`, and nothing is reserved.
    pub fn send(&self, now: Instant, by: Instant) -> Option<Duration> {
        let queue = &self.queue;
        let (now, by, interval) = (queue.since(now), queue.since(by), nanos(self.spacing.interval));
        let step = |sent: u64| {
            let at = sent.max(now);
            (at.saturating_sub(nanos(SLACK)) <= by).then(|| at.saturating_add(interval))
        };
        let sent = queue.sent.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).ok()?;
        Some(Duration::from_nanos(sent.saturating_sub(now).saturating_sub(nanos(SLACK))))
    }

    /// How many wait for their moment, about: those that left are counted until it has come.
    #[must_use]
    pub fn waiting(&self, now: Instant) -> u64 {
        // The last moment that is taken is one before the next.
        let ahead = self.queue.next.load(Ordering::Relaxed).saturating_sub(self.queue.since(now));
        ahead.div_ceil(nanos(self.spacing.interval)).saturating_sub(1)
    }

    /// How often, and how many may wait.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }
}

impl Queue {
    fn new(clock: &Clock) -> Self {
        Self { began: clock.now(), next: AtomicU64::new(0), sent: AtomicU64::new(0) }
    }

    fn since(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.began))
    }
}

impl Turn {
    /// How long until then.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Duration {
        Duration::from_nanos(self.at.saturating_sub(self.queue.since(now)))
    }

    /// It has come, and is used.
    pub fn used(mut self) {
        self.is_used = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_used {
            // In vain if there is a later one: whoever has that knows when it goes.
            let _ = self.queue.next.compare_exchange(self.next, self.at, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// All queues that are in use, by what they are for: a new config goes on with those of the one before, and one that is not taken changes
/// nothing.
#[derive(Debug)]
pub struct Pacers {
    clock: Clock,
    all: Mutex<HashMap<String, Weak<Queue>>>,
}

impl Pacers {
    /// None yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, all: Mutex::default() }
    }

    /// A pacer of the queue of this id. If that had another spacing, those who wait keep their turns, and the next comes behind them.
    #[must_use]
    pub fn pacer(&self, id: &str, spacing: Spacing) -> Arc<Pacer> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = all.get(id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let queue = Arc::new(Queue::new(&self.clock));
            all.retain(|_, queue| queue.strong_count() > 0);
            all.insert(id.to_owned(), Arc::downgrade(&queue));
            queue
        });
        Arc::new(Pacer::of(queue, spacing))
    }

    /// Its time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const STEP: Duration = Duration::from_millis(20);

    fn fifty(queue: u32) -> (Arc<Pacer>, Clock) {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        (Arc::new(Pacer::new(Spacing { interval: STEP, queue }, &clock)), clock)
    }

    /// How long each of so many who come at once waits, in steps; `None`: refused.
    fn waits(pacer: &Arc<Pacer>, clock: &Clock, many: usize) -> Vec<Option<u32>> {
        let turn = || {
            let turn = pacer.reserve(clock.now(), clock.now() + SECOND * 60).ok()?;
            let wait = turn.wait(clock.now());
            turn.used();
            Some(u32::try_from(wait.as_millis() / 20).unwrap())
        };
        (0..many).map(|_| turn()).collect()
    }

    #[test]
    fn who_comes_at_once_goes_one_after_the_other_and_the_queue_has_an_end() {
        let (pacer, clock) = fifty(3);
        assert_eq!(waits(&pacer, &clock, 6), [Some(0), Some(1), Some(2), Some(3), None, None]);
        assert_eq!(pacer.waiting(clock.now()), 3);
        clock.advance(STEP * 2);
        assert_eq!(pacer.waiting(clock.now()), 1);
        assert_eq!(waits(&pacer, &clock, 3), [Some(2), Some(3), None]);
        clock.advance(SECOND);
        assert_eq!(
            (pacer.waiting(clock.now()), waits(&pacer, &clock, 2)),
            (0, vec![Some(0), Some(1)]),
            "nothing is saved"
        );
    }

    #[test]
    fn who_would_be_too_late_is_refused_at_once_and_told_when_to_come() {
        let (pacer, clock) = fifty(1000);
        waits(&pacer, &clock, 11);
        let refused = pacer.reserve(clock.now(), clock.now() + STEP * 10).unwrap_err();
        assert_eq!(refused, NoTurn { retry: STEP });
        assert!(pacer.reserve(clock.now(), clock.now() + STEP * 11).is_ok());
        assert!(pacer.reserve(clock.now() + STEP, clock.now()).is_err(), "its time is over");
    }

    #[test]
    fn whoever_leaves_as_the_last_gives_its_moment_back() {
        let (pacer, clock) = fifty(10);
        let reserve = || pacer.reserve(clock.now(), clock.now() + SECOND).unwrap();
        let (first, second, third) = (reserve(), reserve(), reserve());
        drop(second);
        assert_eq!(pacer.waiting(clock.now()), 2, "somebody is behind it");
        drop(third);
        assert_eq!(reserve().wait(clock.now()), STEP * 2);
        first.used();
    }

    #[test]
    fn whoever_was_held_up_with_others_is_spaced_once_more() {
        let (pacer, clock) = fifty(10);
        let send = || pacer.send(clock.now(), clock.now() + STEP * 3).expect("in time");
        // Just in time, each a little late.
        for _ in 0..100 {
            assert_eq!(send(), Duration::ZERO);
            clock.advance(STEP);
        }
        clock.advance(SECOND);
        let late: Vec<Duration> = (0..4).map(|_| send()).collect();
        assert_eq!(late, [Duration::ZERO, STEP - SLACK, STEP * 2 - SLACK, STEP * 3 - SLACK]);
        assert_eq!(pacer.send(clock.now(), clock.now() + STEP * 3), None, "too late");
        clock.advance(STEP);
        assert_eq!(send(), STEP * 3 - SLACK, "who was too late took nobody's moment");
    }

    #[test]
    fn threads_never_share_a_moment() {
        let (pacer, clock) = fifty(100_000);
        let (now, by) = (clock.now(), clock.now() + SECOND * 10_000);
        let reserve = || {
            let turns: Vec<Turn> = (0..1000).map(|_| pacer.reserve(now, by).unwrap()).collect();
            let moments: Vec<u64> = turns.iter().map(|turn| turn.at).collect();
            turns.into_iter().for_each(Turn::used);
            moments
        };
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(reserve));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert!(all.iter().zip(0..).all(|(at, place)| *at == place * nanos(STEP)));
    }

    #[test]
    fn a_new_config_goes_on_where_the_one_before_was() {
        let clock = Clock::fake(SystemTime::UNIX_EPOCH);
        let (pacers, spacing) = (Pacers::new(clock.clone()), Spacing { interval: STEP, queue: 10 });
        let first = pacers.pacer("stock", spacing);
        waits(&first, &clock, 3);
        assert_eq!(waits(&pacers.pacer("stock", spacing), &clock, 1), [Some(3)]);
        let slower = pacers.pacer("stock", Spacing { interval: STEP * 2, ..spacing });
        assert_eq!(waits(&slower, &clock, 2), [Some(4), Some(6)]);
        assert_eq!(waits(&first, &clock, 1), [Some(8)], "both while both are there");
        drop(slower);
        assert_eq!(
            waits(&pacers.pacer("stock", spacing), &clock, 1),
            [Some(9)],
            "one that is not taken changes nothing"
        );
        assert_eq!(pacers.pacer("orders", spacing).waiting(clock.now()), 0);
        drop(first);
        assert_eq!(pacers.pacer("stock", spacing).waiting(clock.now()), 0, "nobody used it any more");
    }
}
